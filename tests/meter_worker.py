"""One of two processes that validate together: python meter_worker.py FOLDER RANK."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trainshed.record.data_manifest import DataManifest
from trainshed.runtime import tasks
from trainshed.runtime.shards import open_split
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.validation import validate
from trainshed.spec.training.train import Training


class PlainEngine:
    """Torch without an engine: what `validate` calls of one."""

    def __init__(self, model):
        self._model = model
        self.forward = model

    def train(self, *, on):
        self._model.train(on)


def figures(folder, world):
    """The metrics of the held-out samples, and of the first five."""
    training = Training.model_validate_json((folder / "training.json").read_text())
    manifest = DataManifest.model_validate_json((folder / "data" / "manifest.json").read_text())
    task = tasks.build(training, tasks.DataFacts.read(folder / "data", manifest))
    torch.manual_seed(0)
    engine, samples = PlainEngine(task.make_model()), open_split(folder / "data", manifest, "train")
    return [validate(training, task, samples, engine, world, limit=limit) for limit in (None, 5)]


def main():
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = figures(folder, World(rank, 2, torch.device("cpu")))
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)
