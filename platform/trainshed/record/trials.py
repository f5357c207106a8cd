"""The trials of a sweep as files: what each was given, what it measured, how it ended. The only memory of a sweep.

    trials/trial-00003/trial.json  metrics.jsonl  checkpoints/  ended.json

trial.json is written when a trial begins and again when its training changes; ended.json once, last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from trainshed.errors import DamagedFile, FailureKind
from trainshed.record.checkpoints import FOLDER as CHECKPOINTS
from trainshed.record.facts import Settings, passed_over, read_facts
from trainshed.record.journal import of_steps, parse_lines
from trainshed.record.metric_rows import MetricRow, read_rows
from trainshed.record.names import is_hidden
from trainshed.record.run import now
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import Taken, TrialEnd, TrialFacts
from trainshed.spec.training.train import Training

END_BYTES = 1 << 16
NUMBERED = re.compile(r"trial-([0-9]{5,9})")


def name_of(number: int) -> str:
    """`trial-00003` of 3."""
    return f"trial-{number:05d}"


def number_of(name: str) -> int:
    """3 of `trial-00003`.

    Raises:
        DamagedFile: it is no name of a trial.
    """
    found = NUMBERED.fullmatch(name)
    if found is None or name_of(int(found[1])) != name:
        raise DamagedFile(f"{name}: no trial")
    return int(found[1])


@dataclass(frozen=True)
class TrialFiles:
    """One trial's directory."""

    storage: Storage
    sweep: str
    """The sweep's directory, relative to the storage."""
    number: int

    @property
    def name(self) -> str:
        """`trial-00003`."""
        return name_of(self.number)

    @property
    def folder(self) -> str:
        """Relative to the storage."""
        return f"{self.sweep}/trials/{self.name}"

    @property
    def facts(self) -> TrialFacts | None:
        """trial.json: settings, and the whole training with them; None where the trial has not begun.

        Raises:
            DamagedFile: it is not what a trial writes.
        """
        return read_facts(self.storage, f"{self.folder}/trial.json", TrialFacts)

    @property
    def ended(self) -> TrialEnd | None:
        """ended.json; None while it has not ended.

        One that is damaged says nothing: the trial goes on, and ends again.
        """
        try:
            return read_facts(self.storage, f"{self.folder}/ended.json", TrialEnd)
        except DamagedFile as error:
            passed_over(error)
            return None

    @property
    def failure(self) -> FailureKind | None:
        """What failed; None where it has not ended, or not by a failure."""
        ended = self.ended
        return None if ended is None else ended.failure

    @property
    def training(self) -> Training:
        """The whole training of trial.json.

        Raises:
            DamagedFile: it has not begun, or its file is not what a trial writes.
            ValidationError: this version cannot read the training.
        """
        facts = self.facts
        if facts is None or facts.training is None:
            raise DamagedFile(f"{self.storage.address(self.folder)}/trial.json: it says no training")
        return Training.model_validate_json(json.dumps(facts.training.as_json()), strict=True)

    def begin(self, settings: Settings, training: Training, taken: Taken | None = None) -> None:
        """The trial runs with this training from here on; what it had noted before stands."""
        try:
            before = self.facts
        except DamagedFile as error:
            passed_over(error)
            before = None
        facts = {"settings": settings, "training": training.model_dump(mode="json")}
        noted = {} if before is None else before.as_json()
        said = {"began_at": now(), **noted, **facts, **({} if taken is None else taken.as_json())}
        self.storage.write_json(f"{self.folder}/trial.json", TrialFacts.model_validate(said).as_json())

    def end(self, end: TrialEnd) -> None:
        """The trial is over, and is not run again."""
        dated = end if end.ended_at is not None else end.model_copy(update={"ended_at": now()})
        self.storage.write_json(f"{self.folder}/ended.json", dated.as_json())

    def rows(self) -> list[MetricRow]:
        """metrics.jsonl."""
        return read_rows(self.storage, f"{self.folder}/metrics.jsonl")

    def held_out(self) -> list[MetricRow]:
        """The rows that held-out figures were taken at; before its first step it is no trial yet."""
        return [row for row in self.rows() if row.is_held_out and row.step]

    def newest(self) -> MetricRow | None:
        """The last of `held_out`, from the end of the file alone; None where there is none."""
        path = f"{self.folder}/metrics.jsonl"
        length = END_BYTES
        while size := self.storage.size(path):
            read = map(MetricRow.of, of_steps(parse_lines(self.storage.read_end(path, length))))
            rows = [row for row in read if row.is_held_out and row.step]
            if rows or length >= size:
                return rows[-1] if rows else None
            length *= 8
        return None

    def drop_state(self) -> None:
        """Removes its checkpoints, its folds' too: nothing goes on from them any more."""
        for folder in (self.folder, *self._folds()):
            self.storage.delete(f"{folder}/{CHECKPOINTS}")

    def _folds(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in self.storage.names(self.folder) if name.startswith("fold-")]


def begun(storage: Storage, sweep: str, *, but: Container[str] = ()) -> Iterator[TrialFiles]:
    """Every trial that has begun, by number, but those of these names: nothing of theirs is read.

    What is no trial is passed over, and one whose trial.json is damaged: a sweep that goes on begins it anew.
    """
    for name in storage.names(f"{sweep}/trials"):
        if name in but or is_hidden(name):
            continue
        try:
            trial = TrialFiles(storage, sweep, number_of(name))
            if trial.facts is not None:
                yield trial
        except DamagedFile as error:
            passed_over(error)
