"""Explanations of a prediction, twice differentiable where the method is."""
