"""A population: members report where their checkpoint lies, and one that is replaced goes on from another's.

Ray Tune moves checkpoints between trials by the folder that a trial reported. Ours is a note of a few bytes that says
which trial's checkpoint is meant; the checkpoint itself is copied in the storage, by the trial that goes on from it.
"""

from __future__ import annotations

import json
import tempfile
import time
from functools import cached_property
from pathlib import Path

import ray.tune

from trainshed.errors import PlatformError
from trainshed.patience import Wait
from trainshed.record.checkpoints import all_checkpoints, path_of
from trainshed.record.facts import Settings
from trainshed.record.metric_rows import MetricRow
from trainshed.record.trial_facts import Taken, TakenOver, TrialFacts
from trainshed.record.trials import TrialFiles
from trainshed.runtime.scratch import scratch

NOTE = "checkpoint.json"
COMMIT_WAIT_S = 300.0
POLL_S = 0.02


class Exchange:
    """One member's side."""

    def __init__(self, trial: TrialFiles, interval: int) -> None:
        self._trial = trial
        self._interval = interval

    def report(self, row: MetricRow) -> None:
        """Tells Tune; where the population is looked at, with the note of the same step's checkpoint once complete."""
        step = row.step
        numbers = row.numbers
        if step % self._interval:
            ray.tune.report(numbers)
            return
        self._wait_for(step)
        with tempfile.TemporaryDirectory(prefix="trainshed-note-") as folder:
            (Path(folder) / NOTE).write_text(json.dumps({"number": self._trial.number, "step": step}))
            ray.tune.report(numbers, checkpoint=ray.tune.Checkpoint.from_directory(folder))

    def is_over(self, steps: int) -> bool:
        """Whether Tune wants this member to go on from another's last step: there is nothing left to be learnt."""
        given = self._given
        return given is not None and given["number"] != self._trial.number and given["step"] >= steps

    def take_over(self, settings: Settings) -> Taken | None:
        """Where Tune says so: the weights, optimizer and story of another member become this one's; what to note of it.

        Raises:
            PlatformError: the other's checkpoint is gone.
        """
        note = self._given
        if note is None or note["number"] == self._trial.number:
            return None
        source = TrialFiles(self._trial.storage, self._trial.sweep, int(note["number"]))
        self._copy(source, int(note["step"]))
        facts = source.facts or TrialFacts(settings={})
        step = int(note["step"])
        taken = TakenOver(source=source.name, step=step, settings=settings)
        before = [one for one in facts.took_over if one.step < step]
        first = facts.first_settings if facts.took_over else facts.settings
        noted = Taken(took_over=(*before, taken))
        return noted if first is None else noted.model_copy(update={"first_settings": first})

    def heard(self, steps: int) -> int:
        """The step up to which Tune has heard of this member; `steps`, the last, where it wants to hear of no old one.

        Workers run on while their trial is paused: what they measured then is told when it goes on.
        """
        given = self._given
        return steps if given is None else given["step"]

    @cached_property
    def _given(self) -> dict[str, int] | None:
        """Which trial's checkpoint Tune has given this one, and of which step; None: it is at its beginning."""
        given = ray.tune.get_checkpoint()
        if given is None:
            return None
        with given.as_directory() as folder:
            found: dict[str, int] = json.loads((Path(folder) / NOTE).read_text())
        return found

    def _wait_for(self, step: int) -> None:
        """Waits until the checkpoint of a step is complete."""
        wait = Wait(COMMIT_WAIT_S)
        while all(one.step != step for one in all_checkpoints(self._trial.storage, self._trial.folder)):
            if wait.over:
                raise PlatformError(f"the checkpoint of step {step} was not complete within {wait}")
            time.sleep(POLL_S)

    def _copy(self, source: TrialFiles, step: int) -> None:
        storage = self._trial.storage
        there = path_of(source.folder, step)
        if all(one.step != step for one in all_checkpoints(storage, source.folder)):
            raise PlatformError(f"{source.name} has no checkpoint of step {step} any more")
        self._trial.drop_state()
        with scratch("exchange") as copy:
            local = storage.download(there, copy)
            storage.upload(local, path_of(self._trial.folder, step))
        rows = [row for row in source.rows() if row.step <= step]
        text = "".join(f"{json.dumps(row.values)}\n" for row in rows)
        storage.write(f"{self._trial.folder}/metrics.jsonl", text.encode())
