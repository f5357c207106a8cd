"""What an evaluation may say: which model on which data, what its figures must be, and how they are measured."""
