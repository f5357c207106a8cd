"""Figures of a model on held-out samples: intervals, answers, leakage, the gate, and the report of all that."""
