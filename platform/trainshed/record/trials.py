"""The trials of a sweep as files: what each was given, what it measured, how it ended. The only memory of a sweep.

    trials/trial-00003/trial.json  metrics.jsonl  checkpoints/  ended.json

trial.json is written when a trial begins and again when its training changes; ended.json once, last.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from trainshed.errors import DamagedFile, FailureKind
from trainshed.record.checkpoints import FOLDER as CHECKPOINTS
from trainshed.record.facts import TrialEnd, TrialFacts, parse_facts, passed_over
from trainshed.record.facts import is_measured as is_measured  # of trials, to those who compare them
from trainshed.record.journal import of_steps, parse_lines, read_steps
from trainshed.record.names import is_hidden
from trainshed.record.run import now
from trainshed.record.storage import Storage
from trainshed.spec.training.train import Training

END_BYTES = 1 << 16
NUMBERED = re.compile(r"trial-([0-9]{5,9})")
ENDED = "ended"
EARLY = "stopped early"
FAILED = "failed"
FIRST = "first_settings"
"""In trial.json of a population's member: what its weights began with; what came later stands in `took_over`."""
OWN_STOP = "early_stopping"
"""What `by` in ended.json says of a trial that ended by its training's own rule; else it is the sweep's rule."""
CUT = "cut off"
"""The sweep ended before the trial did: at a limit of its budget."""


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
    def facts(self) -> dict[str, Any] | None:
        """trial.json: settings, and the whole training with them; None where the trial has not begun.

        Raises:
            DamagedFile: it is not what a trial writes.
        """
        return self._read("trial.json", TrialFacts)

    @property
    def ended(self) -> dict[str, Any] | None:
        """ended.json: `state`, and for a failed trial `kind` and `cause`; None while it has not ended.

        One that is damaged says nothing: the trial goes on, and ends again.
        """
        try:
            return self._read("ended.json", TrialEnd)
        except DamagedFile as error:
            passed_over(error)
            return None

    @property
    def failure(self) -> FailureKind | None:
        """What failed; None where it has not ended, or not by a failure."""
        return failure_of(self.ended)

    def begin(self, settings: dict[str, Any], training: Training, **more: Any) -> None:
        """The trial runs with this training from here on."""
        try:
            before = self.facts or {}
        except DamagedFile as error:
            passed_over(error)
            before = {}
        facts = {"settings": settings, "training": training.model_dump(mode="json"), **more}
        self.storage.write_json(f"{self.folder}/trial.json", {"began_at": now(), **before, **facts})

    def end(self, state: str, **facts: Any) -> None:
        """The trial is over, and is not run again."""
        self.storage.write_json(f"{self.folder}/ended.json", {"state": state, "ended_at": now(), **facts})

    def rows(self) -> list[dict[str, Any]]:
        """metrics.jsonl."""
        return read_steps(self.storage, f"{self.folder}/metrics.jsonl")

    def held_out(self) -> list[dict[str, Any]]:
        """The rows that held-out figures were taken at."""
        return [row for row in self.rows() if "validation_loss" in row]

    def newest(self) -> dict[str, Any]:
        """The last of `held_out`, from the end of the file alone; empty where there is none."""
        path, length = f"{self.folder}/metrics.jsonl", END_BYTES
        while size := self.storage.size(path):
            read = of_steps(parse_lines(self.storage.read_end(path, length)))
            rows = [row for row in read if "validation_loss" in row]
            if rows or length >= size:
                return rows[-1] if rows else {}
            length *= 8
        return {}

    def drop_state(self) -> None:
        """Removes its checkpoints, its folds' too: nothing goes on from them any more."""
        for folder in (self.folder, *self._folds()):
            self.storage.delete(f"{folder}/{CHECKPOINTS}")

    def _folds(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in self.storage.names(self.folder) if name.startswith("fold-")]

    def _read(self, file: str, kind: type[TrialFacts] | type[TrialEnd]) -> dict[str, Any] | None:
        path = f"{self.folder}/{file}"
        found = self.storage.read_json(path)
        if found is not None:
            parse_facts(found, kind, self.storage.address(path))
        return found or None


def failure_of(ended: dict[str, Any] | None) -> FailureKind | None:
    """What an ended.json says that failed; `unknown` where it has no kind, or one of another version."""
    if ended is None or ended.get("state") != FAILED:
        return None
    kind = ended.get("kind")
    return FailureKind(kind) if kind in list(FailureKind) else FailureKind.UNKNOWN


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
