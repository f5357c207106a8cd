"""Trainings: from a train job to a model in the record."""
