"""What a reference job may say: which model's log-probabilities stand beside the answers of preferences."""

from __future__ import annotations

from math import lcm
from typing import Annotated, Literal

from pydantic import Field

from trainshed.spec.devices import Precision
from trainshed.spec.document.part import Name, Part, RunRef
from trainshed.spec.training.engines import Ddp, Fsdp
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.optimizers import Sgd
from trainshed.spec.training.preference import Dpo
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

MOST_AT_ONCE = 64
"""Preferences in one pass of a worker, where the plan chooses."""


class ReferenceJob(Part):
    """Measures every answer of preferences once with a model that stands still, and makes data that has it in columns.

    A training of task dpo on that data then needs no second model in memory.
    """

    kind: Literal["reference"]
    name: Name
    data: RunRef
    """The prepare run with the preferences."""
    model: Pretrained
    """The reference, mostly the model that the training begins with."""
    engine: Annotated[Ddp | Fsdp, Field(discriminator="kind")] = Ddp()
    """ddp: each worker holds the whole model. fsdp: the workers split it."""
    precision: Precision = "fp32"
    """That of the training which will read it, or the two differ by their rounding alone."""
    workers: Workers = Workers()
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often workers are started again; what is measured by then is kept."""

    @property
    def training(self) -> Training:
        """The training whose model, data and workers these are; it is planned and checked, and never takes a step."""
        counts = range(self.workers.min_count, self.workers.max_count + 1)
        given = self.workers.per_device_batch_size
        return Training(
            task=Dpo(),
            model=self.model,
            data=self.data,
            optimizer=Sgd(learning_rate=1.0, momentum=0.0),
            engine=self.engine,
            precision=self.precision,
            workers=self.workers,
            global_batch_size=lcm(*counts) * (MOST_AT_ONCE if given == "auto" else given),
            steps=1,
            self_test=False,
            max_failures=self.max_failures,
        )
