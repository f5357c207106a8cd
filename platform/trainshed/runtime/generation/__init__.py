"""How a model says tokens: continuous batches and sampling, for endpoints and for trainings that learn from answers."""
