"""What each process of a training on rewards does: the real loop on gloo workers, without Ray."""

import json

import torch

from engine_worker import begin, end
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.spec.training.saving import Recovery, Validation
from trainshed.spec.training.workers import Workers


class Kept:
    """The rows of a training, in memory."""

    def __init__(self):
        self.rows = []

    def rewind(self, step):
        """There is nothing to go back to."""

    def row(self, **values):
        self.rows.append(values)


def curve(case, world, engine, *, steps=3, batch=8, **changes):
    """The metrics of each step."""
    changes = {
        "engine": engine,
        "workers": Workers(count=world.workers, per_device_batch_size=batch // world.workers // 2),
        "global_batch_size": batch,
        "steps": steps,
        "self_test": False,
        "validation": Validation(every_steps=steps, max_samples=8),
        "recovery": Recovery(attempts=0),
        **changes,
    }
    case.training = case.training.model_copy(update=changes)
    task = case.task
    kept = Kept()
    engine = make_engine(case.training, task, world)
    train(case.training, task, Splits(case.samples, case.samples), BareHost(world), engine, metric_log=kept)
    return kept.rows


def train_all(rank, workers, folder, rendezvous, cells):
    """Every cell, one after another; FOLDER/NAME.json has its rows."""
    begin(rank, workers, rendezvous)
    for name, (case, engine, changes) in cells.items():
        rows = curve(case, World(rank, workers, torch.device("cpu")), engine, **changes)
        if rank == 0:
            (folder / f"{name}.json").write_text(json.dumps(rows))
    end()
