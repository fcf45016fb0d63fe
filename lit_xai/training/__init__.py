"""Runs of the training command: begun, kept sound, stopped and resumed."""
