"""The optimizer steps that epochs come to, once it is known how many samples there are.

An epoch is as many whole global batches as there are, as the order of samples has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from trainshed.errors import SpecError
from trainshed.spec.document.override import override
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.train import Training

AnyTraining = TypeVar("AnyTraining", bound=Training)


def steps_of(epochs: float, *, samples: int, global_batch_size: int) -> int:
    """The nearest whole number of steps, one at least."""
    return max(1, round(epochs * (samples // global_batch_size)))


def with_steps(training: AnyTraining, samples: int) -> AnyTraining:
    """The training with steps in place of its epochs; the same one where it says steps.

    Raises:
        SpecError: its schedule or changes do not fit so many steps.
    """
    if training.epochs is None:
        return training
    steps = steps_of(training.epochs, samples=samples, global_batch_size=training.global_batch_size)
    with _said_of(training.epochs, samples, steps):
        return override(training, {"steps": steps, "epochs": None})


def sweep_with_steps(job: TuneJob, samples: int) -> TuneJob:
    """The same of a sweep; in cross-validation a trial learns from the samples that are not held out. Raises as it."""
    training = job.train
    if training.epochs is None:
        return job
    learnt = samples if job.folds is None else samples * (job.folds - 1) // job.folds
    steps = steps_of(training.epochs, samples=learnt, global_batch_size=training.global_batch_size)
    with _said_of(training.epochs, learnt, steps):
        return override(job, {"train.steps": steps, "train.epochs": None})


@contextmanager
def _said_of(epochs: float, samples: int, steps: int) -> Iterator[None]:
    """Whatever does not fit the steps is said of the epochs that they were counted from."""
    try:
        yield
    except SpecError as error:
        said = f"{epochs:g} epochs of {samples:,} samples are {steps:,} steps: "
        faults = [replace(fault, key="epochs", message=said + fault.message) for fault in error.faults]
        raise SpecError(faults) from None
