"""Heartbeats of workers, and the watchdog that acts on them; for trainings and trials."""
