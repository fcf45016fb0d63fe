"""The grid of attributions, attacks and metrics, and the command that runs it on checkpoints."""
