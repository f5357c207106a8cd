"""Optimizers, the groups of their parameters, and regularization."""
