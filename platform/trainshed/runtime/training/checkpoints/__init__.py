"""Saving and restoring the training state: copied in one go, written off the step path, read back by any world."""
