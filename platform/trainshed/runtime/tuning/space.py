"""A job's space in Ray Tune's words, and a trial's settings back on the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from ray import tune

from trainshed.spec.override import override
from trainshed.spec.train import Training
from trainshed.spec.tune import Choice, LogUniform, Range, Uniform


def param_space(space: Mapping[str, Range]) -> dict[str, Any]:
    """Dotted path to Tune's sampler."""
    return {path: _domain(values) for path, values in space.items()}


def with_settings(training: Training, settings: Mapping[str, Any]) -> Training:
    """The training of one trial; numbers that Tune drew with numpy become plain ones."""
    plain = {path: value.item() if hasattr(value, "item") else value for path, value in settings.items()}
    return override(training, plain, file="space")


def _domain(values: Range) -> Any:
    match values:
        case Uniform(uniform=(low, high)):
            return tune.uniform(low, high)
        case LogUniform(log_uniform=(low, high)):
            return tune.loguniform(low, high)
        case Choice(choice=options):
            return tune.choice(list(options))
        case _:
            assert_never(values)
