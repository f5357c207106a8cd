"""Sweeps on Ray Tune. A trial is the same training as any other; only its settings are drawn."""
