"""A training of what a sweep has found: its best trial's settings, with what the document says itself over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trainshed.errors import Fault, SpecError
from trainshed.spec.document.override import override
from trainshed.spec.document.part import Count, Name, Part, RunRef
from trainshed.spec.sweep.constraints import broken_by
from trainshed.spec.training.changes import scaled, without
from trainshed.spec.training.engines import Engine
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import heads_misfit
from trainshed.spec.training.points import Points
from trainshed.spec.training.registration import RegisterAs
from trainshed.spec.training.saving import Checkpoints, Recovery, Validation
from trainshed.spec.training.trackers import ReportTo
from trainshed.spec.training.train import Training, TrainJob
from trainshed.spec.training.workers import Workers


class TrainFromBest(Part):
    """A training that takes everything from a sweep's best trial but what it says itself."""

    kind: Literal["train"]
    name: Name
    from_best: RunRef
    """The sweep whose best trial is trained."""
    settings: dict[str, JsonValue] = Field(default={})
    """Dotted paths into the best trial's training with values of this document's own, like `model.width: 1024`."""
    steps: Count | None = None
    workers: Workers | None = None
    engine: Engine | None = None
    global_batch_size: Count | None = None
    seed: int | None = None
    validation: Validation | None = None
    checkpoint: Checkpoints | None = None
    recovery: Recovery | None = None
    export: Export | None = None
    self_test: bool | None = None
    max_failures: Annotated[int, Field(ge=0)] | None = None
    register_as: RegisterAs | None = Field(default=None, alias="register")
    """The model name under which the exported weights become the next version; `{name, gate: run://EVALUATION}` where
    an evaluation must let it pass first."""
    report_to: ReportTo = ()
    """Trackers that show the run besides its own record: tensorboard, mlflow, wandb."""

    def resolve(self, best: Training, constraints: Sequence[str] = ()) -> TrainJob:
        """The full job: the best trial's training with this document's fields and settings over it.

        The sweep's constraints hold for the settings too.

        What changed in the middle of that training changes at the same part of this one, unless the document says it.

        Raises:
            pydantic.ValidationError: a field does not fit that training.
            SpecError: a setting does not, by its dotted path; or a model that grows by muP has heads of another size.
        """
        own = self.model_dump(by_alias=True, exclude_none=True, exclude={"from_best", "settings"})
        training = best = self._over_own_steps(best)
        if self.settings:
            shared = {key: value for key, value in own.items() if key in Training.model_fields}
            training = override(best, {**shared, **self.settings})
            if fault := heads_misfit(best.model, training.model):
                raise SpecError([Fault("", 0, "model.heads", fault)])
            data = training.model_dump(mode="json", by_alias=True)
            if broken := broken_by(constraints, data, own=self.settings):
                raise SpecError(
                    [Fault("", 0, broken[0], f"the sweep's constraint `{broken[1]}` does not hold with it")]
                )
        merged: dict[str, Any] = training.model_dump() | own
        return TrainJob.model_validate(merged)

    def _over_own_steps(self, best: Training) -> Training:
        """What the best trial says of single steps of the whole, at the same parts of this document's steps."""
        said = self.settings.get("steps", self.steps)
        steps = said if isinstance(said, int) and said > 0 else best.steps
        if steps is None:
            return best  # epochs, of a sweep that is yet to be run: nothing of it is at a step
        changes = without(best.changes, self.settings)
        schedule = best.schedule
        if best.steps is not None and steps != best.steps:
            changes = scaled(changes, old=best.steps, new=steps)
            schedule = schedule.scaled(old=best.steps, new=steps) if isinstance(schedule, Points) else schedule
        return best.model_copy(update={"changes": changes, "schedule": schedule, "steps": steps, "epochs": None})
