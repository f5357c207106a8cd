"""Can every setting of a sweep stand in its training? Tried before anything runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from trainshed.errors import Fault, SpecError
from trainshed.spec.override import override
from trainshed.spec.searchable import path_faults
from trainshed.spec.space import Choice, Integer, LogUniform, Normal, Range, Uniform, draw, ends, holds
from trainshed.spec.train import Training
from trainshed.spec.tune import TuneJob
from trainshed.spec.yaml_tree import Document

DRAWN = 24
"""So many whole trials are drawn and validated, beside the ends of each range."""


def space_faults(job: TuneJob, document: Document) -> list[Fault]:
    """Every path of the space with every end of its range, then whole settings drawn at random, then those given."""
    faults: list[Fault] = []
    for path, values in job.space.items():
        line = document.line_of(("space", path))
        found = path_faults(job, path, values) or _condition_faults(job, path, values)
        found = found or _value_faults(job, path, values)
        faults += [Fault(document.file, line, f"space.{path}", message) for message in found]
    if faults:
        return faults
    return [*_given_faults(job, document), *_drawn_faults(job, document)]


def pick_at_random(source: random.Random) -> Callable[[str, Range], JsonValue]:
    """A `pick` for `draw`: each value from its own range."""

    def pick(_path: str, values: Range) -> JsonValue:
        match values:
            case Uniform(uniform=(low, high), step=None):
                return source.uniform(low, high)
            case Uniform(uniform=(low, high), step=float(step)):
                return low + step * source.randrange(int((high - low) / step + 1e-9) + 1)
            case LogUniform(log_uniform=(low, high)):
                return min(high, max(low, float(low * (high / low) ** source.random())))
            case Integer(integer=(first, last), step=step):
                return source.randrange(first, last + 1, step)
            case Normal():
                return values.at_share(source.random())
            case Choice(choice=options):
                chosen: JsonValue = source.choice(options)
                return chosen
        raise AssertionError(values)

    return pick


def _condition_faults(job: TuneJob, path: str, values: Range) -> list[str]:
    """A condition must be on a path that is there, and hold for some setting of the space."""
    for condition, wanted in values.when.items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        for value in allowed:
            try:
                override(_parents(job, condition, value), {condition: value})
            except SpecError as error:
                return [f"when.{condition}: {error.faults[0].message}"]
        if not any(holds({condition: wanted}, training) for training in reachable(job, path)):
            return [f"when.{condition}: is never {' or '.join(map(str, allowed))} in this sweep"]
    return []


def _value_faults(job: TuneJob, path: str, values: Range) -> list[str]:
    tried = list(reachable(job, path))
    bases = [training for training in tried if holds(values.when, training)]
    for value in ends(values):
        faults: list[Fault] = []
        for base in bases:  # a value may need another setting of the space: it must fit one of them
            try:
                override(base, {path: value})
                faults = []
                break
            except SpecError as error:
                faults = error.faults
        if faults:
            return [fault.message for fault in faults]
    return []


def reachable(job: TuneJob, but: str) -> Iterator[Training]:
    """The training, and the training with each value of each choice in the space."""
    yield job.train
    for path, values in job.space.items():
        if path == but or not isinstance(values, Choice):
            continue
        for value in values.choice:
            try:
                yield override(job.train, {path: value})
            except SpecError:
                continue


def _parents(job: TuneJob, condition: str, value: Any) -> Training:
    """A training that the condition's path exists in, where the space has one."""
    for training in reachable(job, ""):
        try:
            override(training, {condition: value})
        except SpecError:
            continue
        return training
    return job.train


def _given_faults(job: TuneJob, document: Document) -> list[Fault]:
    """Settings to start with must lie in the space."""
    faults = []
    given: tuple[Mapping[str, JsonValue], ...] = getattr(job.search, "start_with", ())
    for number, settings in enumerate(given):
        line = document.line_of(("search", "start_with", number))
        key = f"search.start_with.{number}"
        unknown = [path for path in settings if path not in job.space]
        if unknown:
            faults.append(Fault(document.file, line, key, f"{unknown[0]} is not in the space"))
            continue
        for path, value in settings.items():
            if not contains(job.space[path], value):
                faults.append(Fault(document.file, line, key, f"{path}: {value} is not in its range"))
    return faults


def fits(space: Mapping[str, Range], settings: Mapping[str, JsonValue]) -> bool:
    """Whether settings of another sweep lie in this space: every path of it without a condition, each in its range."""
    needed = {path for path, values in space.items() if not values.when}
    return needed <= settings.keys() <= space.keys() and all(contains(space[path], settings[path]) for path in settings)


def contains(values: Range, value: JsonValue) -> bool:
    """Whether a range has a value."""
    if isinstance(values, Choice):
        return value in values.choice
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = (float(str(end)) for end in ends(values))
    return low <= value <= high and (not isinstance(values, Integer) or isinstance(value, int))


def _drawn_faults(job: TuneJob, document: Document) -> list[Fault]:
    """Settings that are right each for itself and cannot stand together."""
    source = random.Random(0)
    for _ in range(DRAWN):
        settings: dict[str, JsonValue] = {}
        pick = pick_at_random(source)

        def remembered(path: str, values: Range, settings: dict[str, JsonValue] = settings, pick: Any = pick) -> Any:
            settings[path] = pick(path, values)
            return settings[path]

        try:
            draw(job.space, job.train, remembered)
        except SpecError as error:
            together = ", ".join(f"{path} {_short(value)}" for path, value in settings.items())
            message = f"{error.faults[0].message} (with {together}); such trials would fail: change the space"
            return [Fault(document.file, document.line_of(("space",)), "space", message)]
    return []


def _short(value: JsonValue) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
