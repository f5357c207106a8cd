"""What a worker opens before it does anything: its log, the data it reads, the model of ours that it begins with."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trainshed.record.data_manifest import DataManifest
from trainshed.record.facts import parse_facts
from trainshed.record.journal import Journal, JournalHandler
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.models.own import with_own_weights
from trainshed.runtime.scratch import scratch
from trainshed.runtime.shards import Blocks, Examples, open_data
from trainshed.runtime.training.host import Host
from trainshed.runtime.training.loop.loop import log
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.training.train import Training


@dataclass(frozen=True)
class Opened:
    """What a worker has, once its files are here and were compared with their hashes."""

    storage: Storage
    training: Training
    """With the private copy of a model of ours in the place of its name."""
    manifest: DataManifest
    facts: tasks.DataFacts
    splits: dict[str, Blocks | Examples]
    """The samples, in the manifest's order."""


@contextmanager
def opened(plan: WorkerSpec, host: Host) -> Iterator[Opened]:
    """Inside, everything is there; what ends the worker within is the last entry of its log.

    Raises:
        PlatformError: a file is missing or damaged.
    """
    storage = Storage.open(plan.storage)
    asked = Training.model_validate_json(json.dumps(plan.training), strict=True)
    with (
        _worker_log(storage, plan, host),
        scratch("data") as copy,
        with_own_weights(asked, plan.weights, storage) as training,
    ):
        folder = storage.download(plan.data, copy)
        place = folder / "manifest.json"
        manifest = parse_facts(json.loads(place.read_text()), DataManifest, str(place))
        splits = dict(zip(manifest.splits, open_data(folder, manifest), strict=True))
        yield Opened(storage, training, manifest, tasks.DataFacts.read(folder, manifest), splits)


@contextmanager
def _worker_log(storage: Storage, plan: WorkerSpec, host: Host) -> Iterator[None]:
    """The worker's own log file; what ends the worker is its last entry."""
    journal = Journal(storage, f"{plan.folder}/logs/worker-{host.world.worker}.log")
    handler = JournalHandler(journal)
    handler.addFilter(lambda record: record.name.startswith("trainshed") or record.levelno >= logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        log.info(
            "worker %d of %d on %s, process %d", host.world.worker, host.world.workers, host.world.device, os.getpid()
        )
        yield
    except Exception:
        log.exception("worker %d failed", host.world.worker)
        raise
    finally:
        root.removeHandler(handler)
        journal.close()
