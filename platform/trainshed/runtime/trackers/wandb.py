"""Weights & Biases: a run whose id is ours, online or as files in the run's folder; trials are in their sweep's group.

W&B forgets no figure, and takes no step a second time: steps come here once no restart does them again. Its own
process writes behind: which step was the last is asked of the server, or read in the files.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

from trainshed.record.metric_rows import MetricRow
from trainshed.record.storage import Storage
from trainshed.record.tracking import TrackedFacts
from trainshed.runtime.trackers.tracker import Ending, Head, Outcome, Unavailable, figures_of, first_line
from trainshed.spec.training.trackers import Wandb

EXIT_CODES = {Outcome.FINISHED: 0, Outcome.FAILED: 1, Outcome.KILLED: 255}
FILE_HEADER = 7
BLOCK = 32 * 1024
RECORD_HEADER = struct.Struct("<IHB")
"""Of each piece of a record: check sum, length, and whether it is whole (1), the first (2), inner or last (4)."""


class WandbTracker:
    """One project."""

    def __init__(self, settings: Wandb, storage: Storage, folder: str) -> None:
        self._settings = settings
        self._offline = settings.mode == "offline"
        self._folder = storage.path(folder) if self._offline else tempfile.mkdtemp(prefix="trainshed-wandb-")

    def open(self, head: Head, known: TrackedFacts | None) -> WandbRun:  # noqa: ARG002 - its id is ours
        """The run of this head's key; offline, files that go on where those before them ended."""
        stands = last_step(Path(self._folder), head.key) if self._offline else None
        with _answered():
            run = wandb.init(
                project=self._settings.project,
                entity=self._settings.entity,
                id=head.key,
                name=head.name,
                group=head.group,
                job_type=head.kind,
                mode=self._settings.mode,
                resume="allow",
                reinit="create_new",
                dir=self._folder,
                settings=self._quiet(),
            )
            run.config.update({**head.params, **head.tags}, allow_val_change=True)
        if stands is None:
            stands = run.starting_step - 1 if run.resumed else 0
        return WandbRun(run, stands, self._folder if self._offline else run.url)

    def close(self) -> None:
        """Has W&B's own process write its files to their ends, and leave."""
        with _answered():
            wandb.teardown()

    def _quiet(self) -> wandb.Settings:
        """Nothing is sent that the job does not say: no code, no machine, no console."""
        server = {} if self._settings.server is None else {"base_url": self._settings.server}
        return wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
            init_timeout=30.0,
            **server,
        )


class WandbRun:
    """One run."""

    def __init__(self, run: Any, stands: int, where: str | None) -> None:
        self._run = run
        self._closed = False
        self.id = str(run.id)
        self.where = where
        self.stands = stands

    def log(self, rows: Sequence[MetricRow]) -> None:
        """Gives the rows to W&B's own process."""
        with _answered():
            for row in rows:
                self._run.log(figures_of(row), step=row.step)

    def end(self, ending: Ending) -> None:
        """Sends what came of the run, waits until all of it is there, and closes it."""
        if self._closed:
            return
        with _answered():
            self._run.summary.update({**ending.figures, **ending.tags})
            self._run.finish(exit_code=EXIT_CODES[ending.outcome])
        self._closed = True

    def leave(self) -> None:
        """Has W&B's process write what it holds; the run stands as one that was cut off until it goes on."""
        if self._closed:
            return
        self._closed = True
        with _answered():
            self._run.finish(exit_code=EXIT_CODES[Outcome.KILLED])


def last_step(folder: Path, run: str) -> int:
    """The last step in the offline files of a run; 0 where there are none."""
    files = sorted(folder.glob(f"wandb/offline-run-*/run-{run}.wandb"))
    return max(
        (record.history.step.num for file in files for record in records(file) if _is_history(record)), default=0
    )


def records(file: Path) -> Iterator[WandbRecord]:
    """The records of one of W&B's files, as far as they are whole. The form is LevelDB's log."""
    with file.open("rb") as stream:
        stream.seek(FILE_HEADER)
        held = b""
        while True:
            left = BLOCK - stream.tell() % BLOCK
            if left < RECORD_HEADER.size:
                stream.seek(left, 1)
            head = stream.read(RECORD_HEADER.size)
            if len(head) < RECORD_HEADER.size:
                return
            _, length, part = RECORD_HEADER.unpack(head)
            content = stream.read(length)
            if part == 0 or len(content) < length:
                return
            held = content if part in (1, 2) else held + content
            if part in (1, 4):
                yield WandbRecord.FromString(held)


def _is_history(record: WandbRecord) -> bool:
    return bool(record.WhichOneof("record_type") == "history")


@contextmanager
def _answered() -> Iterator[None]:
    """Makes the errors of W&B, and of the network below it, ours."""
    try:
        yield
    except (wandb.Error, OSError) as error:
        raise Unavailable(first_line(error)) from error
