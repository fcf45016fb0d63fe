"""Ways of training a classifier."""
