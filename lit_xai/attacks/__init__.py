"""Perturbations that change an explanation and keep the prediction."""
