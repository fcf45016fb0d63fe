"""What is watched while a classifier trains."""
