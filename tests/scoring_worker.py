"""What each process of a pass that only measures does: the real pass over samples in memory, on gloo workers."""

import dataclasses

import torch

from engine_worker import begin, end
from trainshed.record.storage import Storage
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.metric_log import NoRows
from trainshed.runtime.training.scoring.files import ScoreFiles
from trainshed.runtime.training.scoring.measure import measure_splits
from trainshed.runtime.training.scoring.worker import answering
from trainshed.spec.training.engines import Ddp


class EndingHost(BareHost):
    """Is told to end once so many samples are done; remembers how many were."""

    def __init__(self, world, after=None, why="stop"):
        super().__init__(world)
        self.done, self.after, self.why = 0, after, why

    def stepped(self, step):
        self.done = step

    def notice(self):
        return self.why if self.after is not None and self.done >= self.after else None


def measure(case, world, folder, *, host=None, engine=None, precision="fp32", counts=None):
    """The pass over a case's samples, all of them as one split; what `measure_splits` gives."""
    training = case.training.model_copy(update={"precision": precision, "engine": engine or Ddp()})
    task = dataclasses.replace(case, training=training).task

    def of_samples(forward, batch):
        if counts is not None:
            counts.append(len(batch["labels"]) // 2)
        return task.of_samples(forward, batch)

    return measure_splits(
        of_samples,
        task,
        {"train": case.samples},
        answering(training, task, world),
        host or EndingHost(world),
        per_device=training.workers.per_device,
        files=ScoreFiles(Storage.open(folder), ".", size=13),
        rows=NoRows(),
    )


def measure_all(rank, workers, folder, rendezvous, cells):
    """Every cell, each into a folder of its own; small files, so that there are several."""
    begin(rank, workers, rendezvous)
    for name, (case, engine, precision) in cells.items():
        place = folder / name
        place.mkdir(exist_ok=True)
        measure(case, World(rank, workers, torch.device("cpu")), place, engine=engine, precision=precision)
    end()


def figures(folder, samples, scratch):
    """What was written, by column."""
    table = ScoreFiles(Storage.open(folder), ".", size=13).read("train", samples, scratch)
    return {name: table[name].to_numpy() for name in table.column_names}
