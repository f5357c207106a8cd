"""The layouts of a training's engine, and those that others would have."""

from __future__ import annotations

from trainshed.spec.training.engines import Layout, zero_layouts
from trainshed.spec.training.train import Training


def layouts_to_choose_from(training: Training) -> tuple[Layout, ...]:
    """What may be chosen: what the job says, or every layout that offloads at least what it says."""
    return training.engine.layouts(training.optimizer, training.precision, on_gpus=training.workers.gpus > 0)


def layouts_of_engine(training: Training) -> tuple[Layout, ...]:
    """The layouts that the job's engine could have, least communication first; none where it has but one."""
    return training.engine.alternatives(training.precision, on_gpus=training.workers.gpus > 0)


def layouts_to_suggest(training: Training) -> tuple[Layout, ...]:
    """Where the job's own does not fit: its engine's, then those of ZeRO, which can split and offload all there is."""
    others = zero_layouts(training.precision, on_gpus=training.workers.gpus > 0)
    return tuple(dict.fromkeys((*layouts_of_engine(training), *others)))
