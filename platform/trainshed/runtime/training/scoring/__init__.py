"""One pass of a model over prepared data by the workers of a training, and the figures that it leaves."""
