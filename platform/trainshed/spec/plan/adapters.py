"""How many weights the optimizer moves: all of them, or low-rank adapters beside frozen ones (arXiv 2106.09685)."""

from __future__ import annotations

from trainshed.spec.adapting import Lora
from trainshed.spec.train import Training

LIKELY_LAYERS_PER_WIDTH = 1 / 128
"""Depth over width of common decoders, to guess the shape of a model of which only the size is known."""
WEIGHTS_PER_LAYER = 12
"""In squares of the width: attention and feed-forward."""
AUTO_SIDES, ALL_SIDES, ONE_SIDE = 4, 19, 2
"""Inputs and outputs, in widths, of the layers that get adapters: queries and values; all of them; one named."""


def trainable_parameters(training: Training, parameters: int | None) -> int | None:
    """Weights with gradients and optimizer states; those under `freeze` are counted too, for their size is not known.

    With adapters it is a guess from the model's size, within a factor of two of a number that is small.
    """
    if training.lora is None or parameters is None:
        return parameters
    return min(parameters, _adapters(training.lora, parameters))


def _adapters(lora: Lora, parameters: int) -> int:
    width = (parameters / (WEIGHTS_PER_LAYER * LIKELY_LAYERS_PER_WIDTH)) ** (1 / 3)
    layers = width * LIKELY_LAYERS_PER_WIDTH
    match lora.target_modules:
        case "auto":
            sides = AUTO_SIDES
        case "all-linear":
            sides = ALL_SIDES
        case names:
            sides = ONE_SIDE * len(names)
    return int(lora.rank * sides * width * layers)
