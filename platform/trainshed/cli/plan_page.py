"""How `platform plan` looks: one line of arithmetic, a table of what a worker holds, what is chosen and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from trainshed.cli.run_page import cell
from trainshed.cli.show import number, print_json, print_table, size

if TYPE_CHECKING:
    from trainshed.spec.plan import Need, Plan, SweepNeed

COLUMNS = ["", "layout", "parameters", "gradients", "optimizer", "buffers", "activations", "a worker", "host", "disk"]


def print_plans(plans: Sequence[Plan], *, as_json: bool) -> None:
    """Every plan, for people or for programs."""
    if as_json:
        print_json([_data(each) for each in plans])
        return
    for each in plans:
        _print_plan(each)
    if not plans:
        typer.echo("nothing to train")


def _data(each: Plan) -> dict[str, object]:
    import dataclasses

    from pydantic_core import to_jsonable_python  # the layouts hold a pydantic part

    data: dict[str, object] = to_jsonable_python(dataclasses.asdict(each))
    return {**data, "flops": each.flops}


def _print_plan(each: Plan) -> None:
    count = each.cost.parameters
    trainable = each.cost.trainable
    weights = "parameters counted on the cluster" if count is None else f"{number(count)} parameters"
    if trainable is not None and trainable != count:
        weights += f", {number(trainable)} of them trained"
    flops = "" if each.flops is None else f", {each.flops:.2e} FLOP"
    passes = f"{each.accumulation} pass(es) on each of {each.workers} worker(s)"
    step = "step" if each.cost.learns else "batch"
    tokens = f"{number(each.tokens_per_step)} tokens a {step} ({passes}), {_length(each)}"
    typer.echo(f"{each.name}: {weights}, {tokens}{flops}")
    rows = [_row(each, one) for one in each.table]
    if rows:
        used = [n for n in range(len(COLUMNS)) if n < 2 or any(row[n] != "0 B" for row in rows)]
        print_table([COLUMNS[n] for n in used], [[row[n] for n in used] for row in rows], empty="")
    if each.chosen is not None:
        typer.echo(f"chosen: {each.chosen.layout}, {each.chosen.per_device_batch_size} sample(s) a pass: {each.why}")
        limit = (
            "nobody says what a worker has" if each.limit is None else f"{size(each.limit.bytes)} ({each.limit.source})"
        )
        typer.echo(f"a worker may use: {limit}")
        device = each.chosen.loading_device
        and_device = f", {size(device)} of its device's" if device else ""
        typer.echo(f"while it loads: at most {size(each.chosen.loading_host)} of the machine's memory{and_device}")
    else:
        typer.echo(f"not planned: {each.why}")
    if each.sweep is not None:
        typer.echo(_sharing(each.sweep))
    if each.price is not None:
        amount = f"{each.price.amount:.4g} {each.price.currency or ''}".rstrip()
        typer.echo(f"a device-hour costs {amount} ({each.price.source})")
    typer.echo("")


def _length(each: Plan) -> str:
    """How long it trains."""
    if not each.cost.learns:
        return "every sample once"
    if each.steps is None or each.tokens is None:
        return f"{each.epochs:g} epochs, whose steps are counted when the data is there"
    return f"{number(each.tokens)} tokens in all, {each.steps:,} steps"


def _sharing(sweep: SweepNeed) -> str:
    settings = ", ".join(f"{path} {cell(value)}" for path, value in sweep.settings.items())
    said = f"the largest trial ({settings})" if settings else "every trial"
    said += f" needs {size(sweep.needed)}"
    if sweep.limit is not None:
        said += f" of {size(sweep.limit.bytes)} ({sweep.limit.source})"
    many = sweep.trials_per_device > 1
    return f"{said}: {f'{sweep.trials_per_device} trials share a device' if many else 'one trial a device'}"


def _row(each: Plan, one: Need) -> list[str]:
    held = (one.parameters, one.gradients, one.optimizer, one.buffers, one.activations, one.total, one.host, one.disk)
    return ["->" if one == each.chosen else "", str(one.layout), *(size(count) for count in held)]
