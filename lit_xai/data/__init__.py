"""Data modules whose batches carry pixels in [0, 1] and the position of each sample."""
