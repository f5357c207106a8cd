"""Can every setting of a sweep stand in its training? Tried before anything runs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from trainshed.errors import Fault, SpecError
from trainshed.spec.document.override import override
from trainshed.spec.document.walk import nearest
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.sweep.constraint_kinds import misuse
from trainshed.spec.sweep.constraints import parse
from trainshed.spec.sweep.possible import MOST_DRAWN, MOST_LOOKED_AT, Possible, Settings, short
from trainshed.spec.sweep.range_values import contains, pick_at_random
from trainshed.spec.sweep.searchable import path_faults
from trainshed.spec.sweep.space import Choice, Range, ends, holds
from trainshed.spec.sweep.tune import FEWEST_MEMBERS, TuneJob
from trainshed.spec.training.train import Training


def space_faults(job: TuneJob, document: Document) -> list[Fault]:
    """Every path of the space with every end of its range, then the constraints, then whole settings."""
    faults: list[Fault] = []
    for path, values in job.space.items():
        line = document.line_of(("space", path))
        found = path_faults(job, path, values) or _choice_faults(values) or _condition_faults(job, path, values)
        found = found or _value_faults(job, path, values)
        faults += [Fault(document.file, line, f"space.{path}", message) for message in found]
    return faults or _constraint_faults(job, document) or _possible_faults(job, document)


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
        if faults and _alone(job).at_random(random.Random(0), {path: value}) is None:
            return [fault.message for fault in faults]
    return []


def _alone(job: TuneJob) -> Possible:
    """What can stand together, whatever the constraints: some values need two others of the space."""
    return Possible(job.model_copy(update={"constraints": ()}))


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
    """Settings to start with must lie in the space, and with what is drawn beside them must be a trial."""
    faults = []
    given: tuple[Settings, ...] = getattr(job.search, "start_with", ())
    for number, settings in enumerate(given):
        own = Possible(job)
        message = _outside(job, settings)
        if message is None and own.not_among((), random.Random(number), settings) is None:
            message = f"cannot be a trial: {own.why}"
        if message is not None:
            line = document.line_of(("search", "start_with", number))
            faults.append(Fault(document.file, line, f"search.start_with.{number}", message))
    return faults


def _outside(job: TuneJob, settings: Settings) -> str | None:
    """Which of the settings is not in the space, in words."""
    for path, value in settings.items():
        if path not in job.space:
            return f"{path} is not in the space"
        if not contains(job.space[path], value):
            return f"{path}: {value} is not in its range"
    return None


def fits(space: Mapping[str, Range], settings: Mapping[str, JsonValue]) -> bool:
    """Whether settings of another sweep lie in this space: every path of it without a condition, each in its range."""
    needed = {path for path, values in space.items() if not values.when}
    return needed <= settings.keys() <= space.keys() and all(contains(space[path], settings[path]) for path in settings)


def _constraint_faults(job: TuneJob, document: Document) -> list[Fault]:
    """Paths that no trial has, and values of kinds that do not go together."""
    faults = []
    trainings = [training.model_dump(mode="json", by_alias=True) for training in reachable(job, "")]
    known = {path for training in trainings for path in _paths_in(training)}
    for number, text in enumerate(job.constraints):
        constraint = parse(text)
        message = None
        unknown = next((path for path in constraint.paths if path not in known), None)
        if unknown is not None:
            near = nearest(unknown, known)
            message = f"unknown path {unknown}" + (f"; {near}" if near.startswith("did") else "")
        else:
            message = next(filter(None, (misuse(constraint, one) for one in trainings)), None)
        if message is not None:
            line = document.line_of(("constraints", number))
            faults.append(Fault(document.file, line, f"constraints.{number}", f"`{text}`: {message}"))
    return faults


def _paths_in(data: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in data.items():
        yield above + name
        if isinstance(value, Mapping):
            yield from _paths_in(value, f"{above}{name}.")


def _choice_faults(values: Range) -> list[str]:
    """A value that stands twice is one value to a search that goes through them, and two to one that draws."""
    seen: list[JsonValue] = []
    for value in values.choice if isinstance(values, Choice) else ():
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in seen):
            return [f"choice has {short(value)} twice; write each value once"]
        seen.append(value)
    return []


def _possible_faults(job: TuneJob, document: Document) -> list[Fault]:
    """What cannot stand together is left out of a sweep; where that leaves nothing, it is said here."""
    possible = Possible(job)
    source = random.Random(0)
    if possible.size is not None and possible.size <= MOST_LOOKED_AT:
        found = next(possible.combinations(), None)
        tried = f"all {possible.size} combinations are refused"
    else:
        drawn = (possible.drawn(pick_at_random(source)) for _ in range(MOST_DRAWN))
        found = next(filter(None, drawn), None)
        tried = f"{MOST_DRAWN} settings were drawn, and all are refused"
    if found is not None and job.is_population and possible.size is not None and possible.size < MOST_LOOKED_AT:
        members = sum(1 for _ in itertools.islice(possible.combinations(), FEWEST_MEMBERS))
        if members < FEWEST_MEMBERS:
            message = (
                f"{job.stop_early.kind} needs {FEWEST_MEMBERS} or more members that differ; the space has {members}"
            )
            return [Fault(document.file, document.line_of(("space",)), "space", message)]
    if found is not None:
        return _given_faults(job, document)
    key = "constraints" if "constraint" in possible.why and job.constraints else "space"
    message = f"nothing in it can be a trial: {tried}; the first: {possible.why}"
    return [Fault(document.file, document.line_of((key,)), key, message)]
