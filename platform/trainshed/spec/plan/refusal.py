"""What is not handed over because it cannot fit, with the nearest thing that would."""

from __future__ import annotations

from collections.abc import Iterator

from trainshed.errors import PlanError
from trainshed.spec.plan.choose import Plan
from trainshed.spec.plan.layouts import layouts_of_engine, layouts_to_choose_from, layouts_to_suggest
from trainshed.spec.plan.limits import Limit
from trainshed.spec.plan.model import ModelCost
from trainshed.spec.plan.states import batches_to_choose_from, checkpoints_activations, need, needed
from trainshed.spec.training.engines import Layout
from trainshed.spec.training.train import Training

MOST_WORKERS = 1024


def refuse_what_cannot_fit(made: Plan, training: Training) -> None:
    """Refuses a plan that does not fit; does nothing where the memory is not known.

    Raises:
        PlanError: it does not fit; the message names the nearest thing that would.
    """
    if made.limit is None or not made.table:
        return
    open_to_choice = [one for one in made.table if one.layout in layouts_to_choose_from(training)]
    smallest = made.chosen or min(open_to_choice or made.table, key=lambda one: needed(one, training.workers))
    if needed(smallest, training.workers) <= made.limit.bytes:
        return
    loads = max(smallest.loading_device, 0 if training.workers.gpus else smallest.loading_host)
    when = f", {loads / 1e9:.2f} GB while it loads" if loads > smallest.total else ""
    hint = next(_what_would_fit(training, made.cost, made.limit), None)
    raise PlanError(
        f"{made.name}: {smallest.layout} with {smallest.per_device_batch_size} sample(s) a pass needs "
        f"{needed(smallest, training.workers) / 1e9:.2f} GB a worker ({smallest.states / 1e9:.2f} GB of states, "
        f"{smallest.activations / 1e9:.2f} GB of activations{when}), "
        f"{made.limit.source} is {made.limit.bytes / 1e9:.2f} GB; "
        + (f"{hint} would fit" if hint else "nothing that could be changed would fit; take a smaller model")
    )


def _what_would_fit(training: Training, cost: ModelCost, limit: Limit) -> Iterator[str]:
    """Changes that make it fit, the smallest first."""
    batch = batches_to_choose_from(training)[-1]
    checkpointing = checkpoints_activations(training)

    def fits(layout: Layout, batch: int, *, again: bool, changed: Training = training) -> bool:
        return needed(need(changed, cost, layout, batch, checkpointing=again), changed.workers) <= limit.bytes

    def keys(layout: Layout) -> str:
        return layout.keys if layout.engine == own.engine else f"engine.kind: {layout.engine} with {layout.keys}"

    own = layouts_to_choose_from(training)[-1]
    yield from (
        f"workers.per_device_batch_size: {less}"
        for less in range(batch - 1, 0, -1)
        if training.global_batch_size % (training.workers.max_count * less) == 0
        and fits(own, less, again=checkpointing)
    )
    if not checkpointing and fits(own, batch, again=True):
        yield "engine.activation_checkpointing: true"
    for less in dict.fromkeys((batch, 1)):
        also = "" if less == batch else f" with workers.per_device_batch_size: {less}"
        for again in sorted({checkpointing, True}):
            with_it = also + ("" if again == checkpointing else " and engine.activation_checkpointing: true")
            for layout in layouts_to_suggest(training) if cost.learns else layouts_of_engine(training):
                if fits(layout, less, again=again):
                    yield f"{keys(layout)}{with_it}"
    last = (layouts_of_engine(training) or layouts_to_suggest(training))[-1]
    count = training.workers.max_count
    while (count := 2 * count) <= MOST_WORKERS:
        more = training.model_copy(update={"workers": training.workers.model_copy(update={"count": count})})
        if fits(last, 1, again=True, changed=more):
            yield f"{keys(last)} on workers.count: {count}"
