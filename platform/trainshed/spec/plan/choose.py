"""The plan of a training: the table of layouts, and the cheapest that fits where the job says `auto`.

Cheapest is the one with the least communication (`layouts` has the order); within a layout the largest batch is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from trainshed.errors import PlanError
from trainshed.spec.plan.layouts import layouts_of_engine, layouts_to_choose_from
from trainshed.spec.plan.limits import Limit, limits_of
from trainshed.spec.plan.model import ModelCost, at_rest, cost_of
from trainshed.spec.plan.price import HourPrice
from trainshed.spec.plan.sharing import SweepNeed
from trainshed.spec.plan.states import Need, batches_to_choose_from, checkpoints_activations, need, needed
from trainshed.spec.training.engines import Layout
from trainshed.spec.training.models import DataSizes
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

AnyTraining = TypeVar("AnyTraining", bound=Training)

FLOPS_PER_PARAMETER_AND_TOKEN = 6


@dataclass(frozen=True)
class Plan:
    """The arithmetic of one training."""

    name: str
    cost: ModelCost
    global_batch_size: int
    tokens_per_step: int
    steps: int | None
    """None where they are counted when the data is there."""
    epochs: float | None
    tokens: int | None
    workers: int
    worker: Workers
    """What each of them gets."""
    accumulation: int
    table: tuple[Need, ...]
    """Every layout at the chosen batch; empty where only the cluster can count the weights."""
    chosen: Need | None
    """What the job says, or what was chosen for `auto`; None where nothing fits or nothing is known."""
    limit: Limit | None
    """What one worker may use; None where nobody says it."""
    why: str
    sweep: SweepNeed | None = None
    """Of a sweep's trials, where they can be counted."""
    price: HourPrice | None = None
    """Of one device for one hour, where somebody says it."""

    @property
    def needed(self) -> int | None:
        """Bytes that one worker needs on its device, or of the machine where it has none."""
        if self.chosen is None:
            return None
        return needed(self.chosen, self.worker)

    @property
    def flops(self) -> float | None:
        """Floating-point operations of forward and backward passes, about."""
        count = self.cost.parameters
        if count is None or self.tokens is None:
            return None
        return float(FLOPS_PER_PARAMETER_AND_TOKEN * count * self.tokens)


def plan(
    name: str, training: Training, sizes: DataSizes, *, machine_bytes: int | None = None, learns: bool = True
) -> Plan:
    """The plan of a training over data of these sizes; without `learns` of its model alone, which only answers.

    Raises:
        PlanError: the job says `auto` where the plan cannot know enough to choose.
    """
    cost = cost_of(training, sizes)
    cost = cost if learns else at_rest(cost, training)
    limit = next(iter(limits_of(training.workers, machine_bytes)), None)
    _refuse_blind_auto(name, training, cost, limit)
    chosen = None
    why = f"the weights of a {training.model.kind} model are counted on the cluster"
    table: tuple[Need, ...] = ()
    if cost.parameters is not None:
        chosen, why = _choose(training, cost, limit)
        table = _table(training, cost, chosen)
        if cost.layers is None:
            why += f"; without activations, which only the cluster knows of a {training.model.kind} model"
    per_device = chosen.per_device_batch_size if chosen else batches_to_choose_from(training)[-1]
    steps = training.steps if learns else None
    return Plan(
        name=name,
        cost=cost,
        global_batch_size=training.global_batch_size,
        tokens_per_step=training.global_batch_size * cost.tokens_of_sample,
        steps=steps,
        epochs=training.epochs if learns else 1.0,
        tokens=None if steps is None else training.global_batch_size * cost.tokens_of_sample * steps,
        workers=training.workers.max_count,
        worker=training.workers,
        accumulation=training.global_batch_size // (training.workers.max_count * per_device),
        table=table,
        chosen=chosen,
        limit=limit,
        why=why,
    )


def resolved(training: AnyTraining, chosen: Need | None) -> AnyTraining:
    """The training with what was chosen in place of every `auto`; the same one where it says none."""
    values: dict[str, object] = {}
    if training.engine.open_key is not None:
        assert chosen is not None
        values["engine"] = training.engine.settled(chosen.layout)
    if training.workers.per_device_batch_size == "auto":
        assert chosen is not None
        update = {"per_device_batch_size": chosen.per_device_batch_size}
        values["workers"] = training.workers.model_copy(update=update)
    return training.model_copy(update=values) if values else training


def _refuse_blind_auto(name: str, training: Training, cost: ModelCost, limit: Limit | None) -> None:
    autos = []
    if (key := training.engine.open_key) is not None:
        autos.append(key)
    if training.workers.per_device_batch_size == "auto":
        autos.append("workers.per_device_batch_size")
    if not autos:
        return
    said = f"{name}: {' and '.join(autos)}: auto"
    if cost.parameters is None or (cost.layers is None and autos[-1].startswith("workers")):
        what = "weights" if cost.parameters is None else "activations"
        raise PlanError(
            f"{said} needs a model whose {what} can be counted from the job, and a {training.model.kind} model is only "
            "known on the cluster; give numbers"
        )
    if not layouts_to_choose_from(training):
        each = (training.engine.settled(layout) for layout in layouts_of_engine(training))
        cause = next(fault for one in each if (fault := one.optimizer_misfit(training.optimizer)) is not None)
        raise PlanError(f"{said}: no stage goes with precision {training.precision}: {cause}")
    if limit is None:
        raise PlanError(f"{said} needs to know the memory of a worker; give workers.gpu_type or workers.memory_gb")


def _choose(training: Training, cost: ModelCost, limit: Limit | None) -> tuple[Need | None, str]:
    batches = batches_to_choose_from(training)
    layouts = layouts_to_choose_from(training)
    for layout in layouts:
        for batch in batches:
            found = need(training, cost, layout, batch, checkpointing=checkpoints_activations(training))
            if limit is None or needed(found, training.workers) <= limit.bytes:
                fixed = len(layouts) == 1 and len(batches) == 1
                return found, "as the job says" if fixed else _reason(training, layouts, batches, found)
    if len(layouts) == 1 and len(batches) == 1:
        return need(
            training, cost, layouts[0], batches[0], checkpointing=checkpoints_activations(training)
        ), "as the job says"
    return None, "nothing fits"


def _reason(training: Training, layouts: tuple[Layout, ...], batches: tuple[int, ...], found: Need) -> str:
    said = []
    if len(layouts) > 1:
        said.append(f"{found.layout} is the one with the least communication that fits")
    if len(batches) > 1:
        share = training.global_batch_size // training.workers.max_count
        whole = found.per_device_batch_size == share
        said.append(f"{found.per_device_batch_size} is " + ("the whole share" if whole else "the largest that fits"))
    return "; ".join(said)


def _table(training: Training, cost: ModelCost, chosen: Need | None) -> tuple[Need, ...]:
    """Every layout that the engine could have, at the chosen batch or the smallest."""
    batch = chosen.per_device_batch_size if chosen else batches_to_choose_from(training)[-1]
    own = (chosen.layout,) if chosen else layouts_to_choose_from(training)
    layouts = dict.fromkeys((*layouts_of_engine(training), *own))
    return tuple(
        need(training, cost, layout, batch, checkpointing=checkpoints_activations(training)) for layout in layouts
    )
