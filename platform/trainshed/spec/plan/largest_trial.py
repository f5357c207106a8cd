"""Which trial of a sweep needs the most memory: of the paths that move it, the ends and choices, put together.

Pure; knows the arithmetic of a plan, not what there is to fit into.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from trainshed.errors import SpecError
from trainshed.spec.document.override import override
from trainshed.spec.plan.layouts import layouts_to_choose_from
from trainshed.spec.plan.model import cost_of
from trainshed.spec.plan.states import batches_to_choose_from, checkpoints_activations, need, needed
from trainshed.spec.sweep.constraints import Constraint, parse
from trainshed.spec.sweep.range_values import count, point
from trainshed.spec.sweep.space import Choice, Range, draw, ends, holds
from trainshed.spec.sweep.space_check import reachable
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.models import DataSizes
from trainshed.spec.training.train import Training

MOST_POINTS = 512
"""So many are tried at most; each path's largest values come first."""

Settings = dict[str, JsonValue]
SizesOf = Callable[[Training], DataSizes]


@dataclass(frozen=True)
class LargestTrial:
    """One point of a space."""

    settings: Settings
    """Those of the point that move memory, or that such a one hangs on."""
    training: Training
    all_counted: bool
    """Whether weights and activations of every point that was tried are known."""


def sizes_by_data(sizes: DataSizes, of_each: Mapping[str, DataSizes]) -> SizesOf:
    """The sizes of the data that a training reads, and `sizes` of what is in no list."""
    return lambda training: of_each.get(training.data, sizes)


def largest_trial(job: TuneJob, sizes_of: SizesOf) -> LargestTrial | None:
    """The trial that needs the most on its device; None where none can be counted from the job."""
    moving = _moving(job, sizes_of)
    tried = list(itertools.islice(_points(job, moving), MOST_POINTS))
    counted = [(count, *point) for point in tried if (count := bytes_of(point[1], sizes_of(point[1]))) is not None]
    if not counted:
        return None
    _, settings, training = max(counted, key=lambda one: one[0])
    layers = all(cost_of(one, sizes_of(one)).layers is not None for _, one in tried)
    return LargestTrial(settings, training, all_counted=layers and len(counted) == len(tried))


def bytes_of(training: Training, sizes: DataSizes) -> int | None:
    """What one worker needs on its device, with the smallest batch and the first layout where the job says `auto`."""
    cost = cost_of(training, sizes)
    layouts = layouts_to_choose_from(training)
    batches = batches_to_choose_from(training)
    if cost.parameters is None or not layouts or not batches:
        return None
    checkpointing = checkpoints_activations(training)
    return needed(need(training, cost, layouts[0], batches[-1], checkpointing=checkpointing), training.workers)


def _points(job: TuneJob, moving: dict[str, list[JsonValue]]) -> Iterator[tuple[Settings, Training]]:
    """Every combination that can stand, with its training; the other settings have the first value of their range."""
    constraints = [one for one in map(parse, job.constraints) if _is_decided(job, one, moving)]
    for values in itertools.product(*moving.values()):
        chosen = dict(zip(moving, values, strict=True))

        def pick(path: str, values: Range, chosen: Settings = chosen) -> JsonValue:
            return chosen[path] if path in chosen else _extremes(values)[0]

        try:
            settings, training = draw(job.space, job.train, pick)
        except SpecError:
            continue
        data = training.model_dump(mode="json", by_alias=True)
        if all(one.holds(data) for one in constraints):
            yield {path: settings[path] for path in moving if path in settings}, training


def _is_decided(job: TuneJob, constraint: Constraint, moving: dict[str, list[JsonValue]]) -> bool:
    """Whether the combinations show all that a constraint can allow: it hangs on choices alone, of which none is left
    out. Under another one a trial between the ends of a range may need more than those that it leaves of the ends."""
    above = [path for key in constraint.paths for path in _above(job, key)]
    return all(path in moving and isinstance(job.space[path], Choice) for path in above)


def _moving(job: TuneJob, sizes_of: SizesOf) -> dict[str, list[JsonValue]]:
    """The paths that move memory and those that they hang on, each with its values, the largest first."""
    bytes_by = {path: _bytes_by_value(job, path, values, sizes_of) for path, values in job.space.items()}
    names = {path for path, rows in bytes_by.items() if any(len(set(row.values())) > 1 for row in rows)}
    while more := {path for name in names for key in job.space[name].when for path in _above(job, key)} - names:
        names |= more

    def hunger(path: str, number: int) -> int:
        return max((row.get(number) or 0 for row in bytes_by[path]), default=0)

    moving: dict[str, list[JsonValue]] = {}
    for path in (path for path in job.space if path in names):
        values = _extremes(job.space[path])
        order = sorted(range(len(values)), key=lambda number: -hunger(path, number))
        moving[path] = [values[number] for number in order]
    return moving


def _bytes_by_value(job: TuneJob, path: str, values: Range, sizes_of: SizesOf) -> list[dict[int, int | None]]:
    """The bytes by the number of a path's value, for each training that the path may be set in."""
    rows = []
    for base in reachable(job, path):
        row: dict[int, int | None] = {}
        for number, value in enumerate(_extremes(values) if holds(values.when, base) else ()):
            try:
                training = override(base, {path: value})
                row[number] = bytes_of(training, sizes_of(training))
            except SpecError:
                continue
        rows.append(row)
    return rows


def _above(job: TuneJob, key: str) -> list[str]:
    """Paths of the space that decide what stands at a key: itself, and whole parts that hold it."""
    return [path for path in job.space if key == path or key.startswith(f"{path}.")]


def _extremes(values: Range) -> Sequence[JsonValue]:
    """Values that a trial can have: every choice, the first and last of a range."""
    total = count(values)
    if isinstance(values, Choice) or total is None:
        return ends(values)
    return (point(values, 0), point(values, total - 1))
