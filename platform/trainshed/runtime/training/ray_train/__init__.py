"""Trainings under Ray Train: groups of workers, their restarts, sizes and rendezvous."""
