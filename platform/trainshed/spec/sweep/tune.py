"""What a sweep may say: a training, a space of dotted paths into it, how it is searched, stopped and paid for."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from trainshed.spec.document.locations import is_reference
from trainshed.spec.document.part import Name, Part
from trainshed.spec.sweep.constraints import ConstraintText
from trainshed.spec.sweep.possible import MOST_LOOKED_AT, Possible
from trainshed.spec.sweep.range_values import count
from trainshed.spec.sweep.search import GridSearch, RandomSearch, Search
from trainshed.spec.sweep.space import Choice, Integer, LogUniform, Space, Uniform
from trainshed.spec.sweep.stopping import Budget, Failures, NoStop, Pb2, Pbt, StopEarly
from trainshed.spec.training.changes import can_change
from trainshed.spec.training.export import registration_misfit
from trainshed.spec.training.tasks import Custom, metrics_of
from trainshed.spec.training.trackers import ReportTo
from trainshed.spec.training.train import Training

MOST_CONSTRAINTS = 50
FEWEST_MEMBERS = 4
"""Of a population."""
GRAINS = 10_000
"""Ray counts resources in parts of one so small."""


def _searched(space: Space, path: str) -> tuple[JsonValue, ...]:
    """The values of a path that is searched by a list; none where it is not."""
    values = space.get(path)
    return values.choice if isinstance(values, Choice) else ()


class TuneJob(Part):
    """A search over trainings for the best metric."""

    kind: Literal["tune"]
    name: Name
    train: Training
    space: Space
    """Dotted path into `train`: range."""
    constraints: Annotated[tuple[ConstraintText, ...], Field(max_length=MOST_CONSTRAINTS)] = ()
    """What every trial must have, over paths of `train`: `model.width % model.heads == 0`."""
    search: Search
    stop_early: StopEarly = NoStop()
    metric: str = "validation_loss"
    """What trials are compared by: a figure that the task reports on held-out data, or train_loss."""
    goal: Literal["minimize", "maximize"] | None = None
    """Losses, errors and perplexity are minimized, everything else is maximized, where it is not given."""
    trials_per_device: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = 1
    """So many one-worker trials share a GPU; `auto` is as many as fit by the plan, at most search.concurrent."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """So many trainings a trial, each with another part of the training data held out; the metric is their mean."""
    budget: Budget = Budget()
    failures: Failures = Failures()
    best_among: Literal["finished", "all"] = "finished"
    """`finished`: one that was cut off is the best only where none came to its end; `all`: the figure alone counts, and
    with `register` a best trial that was stopped early is trained to its end first."""
    register_as: Name | None = Field(default=None, alias="register")
    """The model name under which the best trial, as it stands, becomes the next version; from_best trains it anew."""
    report_to: ReportTo = ()
    """Trackers that show the sweep and each of its trials besides its own record: tensorboard, mlflow, wandb."""

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Every reference to data that a trial may read, each once, the training's own first."""
        searched = self.space.get("data")
        chosen = searched.choice if isinstance(searched, Choice) else ()
        return tuple(dict.fromkeys([self.train.data, *map(str, chosen)]))

    @property
    def weights(self) -> tuple[str, ...]:
        """Every model or checkpoint of our own that a trial may begin with, each once, the training's own first."""
        if self.train.init_from is not None:
            return (self.train.init_from,)
        said = [self.train.weights, *_searched(self.space, "model.name_or_path")]
        said += [one.get("name_or_path") for one in _searched(self.space, "model") if isinstance(one, dict)]
        return tuple(dict.fromkeys(one for one in said if isinstance(one, str) and is_reference(one)))

    @property
    def learns_from(self) -> tuple[str, ...]:
        """References to the earlier sweeps whose trials the search knows."""
        found: tuple[str, ...] = getattr(self.search, "learn_from", ())
        return found

    @cached_property
    def trials(self) -> int:
        """How many there are to be at most; a search ends before where there is nothing left to be tried."""
        if not isinstance(self.search, GridSearch):
            return self.search.trials
        possible = Possible(self)
        combinations = possible.size or 0
        wanted = min(combinations, self.search.trials or combinations)
        if combinations > MOST_LOOKED_AT:
            return wanted
        return sum(1 for _ in itertools.islice(possible.combinations(), wanted))

    @property
    def concurrent(self) -> int:
        """How many run at a time at most: all of a population, whose members wait for each other, and under `auto`."""
        asked = self.search.concurrent
        return self.trials if self.is_population or asked == "auto" else min(asked, self.trials)

    @property
    def is_population(self) -> bool:
        """Whether trials go on from one another's checkpoints."""
        return isinstance(self.stop_early, Pbt | Pb2)

    @property
    def gpus_of_a_worker(self) -> float:
        """The GPUs asked of Ray; a fraction in ten-thousandths, rounded down so that the parts never exceed one."""
        sharing = 1 if self.trials_per_device == "auto" else self.trials_per_device
        return self.train.workers.gpus if sharing == 1 else GRAINS // sharing / GRAINS

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which end of the metric is the better one."""
        falls = self.metric.endswith(("loss", "perplexity", "mse"))
        goal = self.goal or ("minimize" if falls else "maximize")
        return "min" if goal == "minimize" else "max"

    @property
    def steps_of_a_trial(self) -> int:
        """Optimizer steps of a whole trial, over all its folds."""
        return self.train.total_steps * (self.folds or 1)

    @model_validator(mode="after")
    def _metric_is_reported(self) -> TuneJob:
        known = metrics_of(self.train.task)
        if self.metric not in known:
            more = "; what else its meter gives belongs into train.task.metrics"
            raise ValueError(
                f"metric: {self.train.task.kind} does not report {self.metric!r}; it reports {', '.join(known)}"
                + (more if isinstance(self.train.task, Custom) else "")
            )
        return self

    @model_validator(mode="after")
    def _trials_are_of_one_size(self) -> TuneJob:
        if isinstance(self.train.workers.count, tuple):
            raise ValueError("train.workers.count must be one number in a sweep: trials of other sizes do not compare")
        return self

    @model_validator(mode="after")
    def _trials_change_by_themselves(self) -> TuneJob:
        if self.train.changes:
            raise ValueError("train.changes: a sweep searches one value of each setting; leave it out")
        return self

    @model_validator(mode="after")
    def _trials_are_of_one_length(self) -> TuneJob:
        if self.train.epochs is None:
            return self
        searched = next((path for path in ("global_batch_size", "data") if path in self.space), None)
        if searched is not None:
            raise ValueError(
                f"train.epochs: with {searched} in the space they are other numbers of steps for each trial, which do "
                "not compare; say train.steps"
            )
        return self

    @model_validator(mode="after")
    def _one_worker_shares_one_gpu(self) -> TuneJob:
        workers = self.train.workers
        if self.trials_per_device == 1:
            return self
        if workers.max_count > 1:
            raise ValueError(
                "trials_per_device: trials of several workers keep whole devices, nccl refuses two workers on one; "
                f"leave it out, or set train.workers.count: 1, got {workers.max_count}"
            )
        if workers.gpus not in (0, 1):
            raise ValueError(
                f"trials_per_device: trials share one GPU; set train.workers.gpus: 1, got {workers.gpus:g}"
            )
        if not workers.gpus and self.trials_per_device != "auto":
            raise ValueError(
                "trials_per_device: without GPUs trials share the machine, and search.concurrent says how many; leave "
                "it out, or set train.workers.gpus: 1"
            )
        return self

    @model_validator(mode="after")
    def _first_rung_is_reached(self) -> TuneJob:
        grace = getattr(self.stop_early, "grace_steps", None)
        if grace is not None and self.train.steps is not None and grace >= self.steps_of_a_trial:
            raise ValueError(
                "stop_early.grace_steps must be under the steps of a trial: "
                f"{grace} is not under {self.steps_of_a_trial}"
            )
        return self

    @model_validator(mode="after")
    def _one_training_is_registered(self) -> TuneJob:
        if self.folds is not None and self.register_as is not None:
            raise ValueError("register: a trial of folds is several trainings; train the best settings with from_best")
        if fault := registration_misfit(self.train.export, self.register_as, inside="train."):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _grid_has_an_end(self) -> TuneJob:
        if not isinstance(self.search, GridSearch):
            return self
        endless = [path for path, values in self.space.items() if count(values) is None]
        if endless:
            raise ValueError(
                f"search: a grid goes through choice, integer, and uniform with a step; {', '.join(endless)} has no end"
            )
        return self

    @model_validator(mode="after")
    def _population_can_change(self) -> TuneJob:
        if not isinstance(self.stop_early, Pbt | Pb2):
            return self
        kind = self.stop_early.kind
        every = self.train.validation.every_steps
        if not isinstance(self.search, RandomSearch):
            raise ValueError(f"search: the population of {kind} is drawn at random; say kind: random")
        if self.search.trials < FEWEST_MEMBERS:
            raise ValueError(
                f"search.trials: {kind} needs a population of {FEWEST_MEMBERS} or more, got {self.search.trials}"
            )
        if self.folds is not None:
            raise ValueError(f"folds: {kind} changes one training; leave folds out")
        looks, part = (2, "half of train.steps") if isinstance(self.stop_early, Pb2) else (1, "train.steps")
        steps = self.train.steps
        too_long = steps is not None and looks * self.stop_early.interval_steps >= steps
        if self.stop_early.interval_steps % every or too_long:
            under = "" if steps is None else f", and under {part}, {steps / looks:g}"
            raise ValueError(
                f"stop_early.interval_steps: must be a multiple of train.validation.every_steps, {every}{under}, got "
                f"{self.stop_early.interval_steps}"
            )
        for path, values in self.space.items():
            if not can_change(path):
                raise ValueError(
                    f"space: {kind} changes settings in the middle of a training; {path} cannot change there"
                )
            if values.when:
                raise ValueError(f"space: {path} has a condition; {kind} changes every setting of the space")
            if isinstance(self.stop_early, Pb2) and not isinstance(values, Uniform | LogUniform | Integer):
                raise ValueError(f"space: pb2 changes numbers only; {path} is none")
            if isinstance(values, Choice) and any(isinstance(value, dict | list) for value in values.choice):
                raise ValueError(f"space: {kind} changes single values; a choice of {path} is more than one")
        return self
