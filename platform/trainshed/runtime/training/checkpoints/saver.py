"""Writes checkpoints while training goes on. One save at a time: the next one waits for the one before.

Workers speak through the storage alone: each writes its part and a note with the hash; worker 0 waits for all notes
and commits. A save that fails is said and forgotten: training goes on from nothing worse than the checkpoint before.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time

from trainshed.patience import Wait
from trainshed.record.checkpoints import MANIFEST, METRIC, part_name, path_of, prune
from trainshed.record.events import CheckpointFailed, CheckpointKept, Sink
from trainshed.record.facts import CheckpointFacts, PartFacts, read_facts
from trainshed.record.storage import Storage
from trainshed.runtime.training.checkpoints.snapshot import Snapshot
from trainshed.runtime.training.engines import Engine
from trainshed.spec.training.saving import Checkpoints

log = logging.getLogger("trainshed.training")

COMMIT_WAIT_S = 120.0
POLL_S = 0.02


class Saver:
    """One worker's part of every save of a training."""

    def __init__(
        self, storage: Storage, folder: str, policy: Checkpoints, snapshot: Snapshot, *, token: str, sink: Sink
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._policy = policy
        self._snapshot = snapshot
        self._token = token
        self._sink = sink
        self._thread: threading.Thread | None = None
        self._failed: str | None = None
        self.committed_step = -1
        """The newest step whose save this worker has seen through; on worker 0 its manifest is written."""

    def save(self, engine: Engine, manifest: CheckpointFacts) -> None:
        """Copies the state and returns; a thread does the rest, and adds the files to the manifest."""
        self.wait()
        self._snapshot.take(engine)
        self._thread = threading.Thread(target=self._write, args=(manifest,), name="save", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits until the save under way has ended."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Waits for the save under way.

        Raises:
            OSError: the last save failed, so the end of the training would not be there.
        """
        self.wait()
        if self._failed is not None:
            raise OSError(self._failed)

    def _write(self, manifest: CheckpointFacts) -> None:
        began = time.perf_counter()
        try:
            path = path_of(self._folder, manifest.step)
            self._write_part(path)
            if self._snapshot.worker == 0:
                self._commit(path, manifest)
            self._failed = None
            self.committed_step = manifest.step
        except OSError as error:
            self._failed = f"the checkpoint of step {manifest.step} could not be written: {error}"
            log.error("%s", self._failed)
            self._sink(CheckpointFailed(step=manifest.step, cause=str(error)))
            return
        if self._snapshot.worker == 0:
            self._sink(CheckpointKept(step=manifest.step, seconds=round(time.perf_counter() - began, 3)))

    def _write_part(self, path: str) -> None:
        """The part, then its note: a note is the word that the part is whole."""
        name = part_name(self._snapshot.worker, self._token)
        digest = hashlib.sha256()
        target = self._storage.path(f"{path}/{name}")
        self._storage.fs.create_dir(self._storage.path(path), recursive=True)
        if self._storage.is_local:
            with open(target, "wb", buffering=0) as file:
                size = self._snapshot.write_to(file, digest)
                os.fsync(file.fileno())
        else:
            with self._storage.fs.open_output_stream(target) as stream:
                size = self._snapshot.write_to(stream, digest)
        note = PartFacts(sha256=digest.hexdigest(), bytes=size)
        self._storage.write_json(f"{path}/{_note(name)}", note.as_json())

    def _commit(self, path: str, manifest: CheckpointFacts) -> None:
        files: dict[str, PartFacts] = {}
        wait = Wait(COMMIT_WAIT_S)
        for worker in range(self._snapshot.workers):
            name = part_name(worker, self._token)
            while (note := read_facts(self._storage, f"{path}/{_note(name)}", PartFacts)) is None:
                if wait.over:
                    raise OSError(f"worker {worker} has not written its part within {wait}")
                time.sleep(POLL_S)
            files[name] = note
        whole = manifest.model_copy(update={"workers": self._snapshot.workers, "files": files})
        self._storage.write_json(f"{path}/{MANIFEST}", whole.as_json())
        prune(self._storage, self._folder, last=self._policy.keep, best=self._policy.keep_best, metric=METRIC)


def _note(part: str) -> str:
    return part.replace(".safetensors", ".json")
