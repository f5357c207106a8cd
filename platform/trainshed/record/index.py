"""What a storage holds, found by name: runs, those that can be built on, and model versions.

An `Index` is made for one command: it lists a folder when it is first asked for something in it, and not again. The
functions below it are for callers with one question.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.evaluation import EvaluationResult
from trainshed.record.facts import JobFacts, passed_over
from trainshed.record.names import RUN_ID, is_hidden, is_one
from trainshed.record.registry import ModelVersion, numbers_of, resolve_among
from trainshed.record.results import Result, SweepResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.spec.kinds import is_wanted, with_article


@dataclass(frozen=True)
class Listed:
    """A run as the list has it: its directory, and what its job.json said when it was listed."""

    run: Record
    facts: JobFacts


@dataclass(frozen=True)
class Finished:
    """A run that can be built on, with what it came to."""

    run: Record
    outcome: Result


class Index:
    """Runs and model versions of one storage, as they stood when they were first asked for."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._numbers: dict[str, list[int]] = {}

    @cached_property
    def runs(self) -> tuple[Listed, ...]:
        """Every run, newest first; what is none is passed over."""
        found = list(_listed(self.storage))
        return tuple(sorted(found, key=lambda one: (one.facts.created_at, one.facts.number), reverse=True))

    def run(self, target: str) -> Record:
        """The run with this id, or the newest run of this name.

        Raises:
            UsageError: there is neither.
        """
        if is_one(RUN_ID, target):
            if self.storage.exists(f"runs/{target}/job.json"):
                return Record(self.storage, target)
            for one in self.runs:
                if one.facts.job.name == target:
                    return one.run
        raise UsageError(f"no run {target!r} in {self.storage.uri}; `platform runs` lists them")

    def finished(self, target: str, kind: str) -> Finished:
        """What `run://TARGET` means: the run of that id, or the newest run of that name and kind to build on.

        Raises:
            UsageError: there is none, or it is of another kind, or none of them succeeded.
            DamagedFile: its result does not say what it came to.
        """
        name = target.removeprefix("run://")
        fitting = self.named(name, kind)
        for run in fitting:
            outcome = run.outcome
            if outcome is not None and _can_be_built_on(outcome):
                return Finished(run, outcome)
        missing = "has a best trial" if kind == "tune" else "has succeeded"
        raise UsageError(
            f"run://{name}: no run of that name {missing}; the newest, {fitting[0].run_id}, is {fitting[0].state}"
        )

    def named(self, name: str, kind: str) -> list[Record]:
        """The run of that id, or every run of that name and kind, newest first.

        Raises:
            UsageError: there is none, or it is of another kind.
        """
        named = [one for one in self.runs if name in (one.run.run_id, one.facts.job.name)]
        if not named:
            raise UsageError(f"run://{name} is neither an earlier document here nor a run in {self.storage.uri}")
        fitting = [one.run for one in named if is_wanted(one.facts.job.kind, kind)]
        if not fitting:
            found = with_article(named[0].facts.job.kind)
            raise UsageError(f"run://{name} is {found} run; {with_article(kind)} run is needed here")
        return fitting

    def version(self, reference: str) -> ModelVersion:
        """What `NAME@N`, `NAME@latest` or `NAME@ALIAS` points at. Raises as `registry.resolve`."""
        name = reference.partition("@")[0]
        if name not in self._numbers:
            self._numbers[name] = numbers_of(self.storage, name)
        return resolve_among(self._numbers[name], self.storage, reference)


def all_runs(storage: Storage) -> list[Record]:
    """Every run, newest first; what is none is passed over."""
    return [one.run for one in Index(storage).runs]


def find_run(storage: Storage, target: str) -> Record:
    """The run with this id, or the newest run of this name. Raises as `Index.run`."""
    return Index(storage).run(target)


def find_finished(storage: Storage, target: str, kind: str) -> Record:
    """The run that `run://TARGET` means. Raises as `Index.finished`."""
    return Index(storage).finished(target, kind).run


def _can_be_built_on(outcome: Result) -> bool:
    """A sweep that could not register its model has a best trial all the same; one whose budget was too small, none.

    Of evaluations those can be whose model did not fail.
    """
    match outcome:
        case SweepResult():
            return outcome.best is not None
        case EvaluationResult():
            return outcome.verdict is None or outcome.verdict.passed
        case _:
            return True


def _listed(storage: Storage) -> Iterator[Listed]:
    for name in storage.names("runs"):
        if is_hidden(name):
            continue
        try:
            if not is_one(RUN_ID, name):
                raise DamagedFile(f"{storage.address('runs')}/{name}: no run")
            run = Record(storage, name)
            yield Listed(run, run.facts)
        except UsageError:
            passed_over(DamagedFile(f"{storage.address(f'runs/{name}')}: no run: it has no job.json"))
        except (DamagedFile, OSError) as error:
            passed_over(error)
