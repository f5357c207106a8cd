"""Trainshed: trains, tunes and serves transformers on Ray."""

__version__ = "0.1.0"
