"""Scores of an explanation before an attack against the one after it."""
