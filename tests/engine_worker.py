"""What each process of the engine contract does: the real loop on gloo workers, without Ray.

Trains `training.json` of a folder (with settings, dotted paths, over it) from the newest checkpoint there until so many
steps are done; at the end of the training it writes `model`. metrics.jsonl and notes.jsonl lie there too.
"""

import contextlib
import os

import torch
import torch.distributed as dist

from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.data_manifest import DataManifest
from trainshed.record.events import to_nobody
from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.shards import Blocks
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.notes import Notes
from trainshed.spec.document.override import override
from trainshed.spec.training.train import Training
from waiting import wait_for


class StoppingHost(BareHost):
    """Asks to end after a step, as `platform stop` would, or a machine that is taken away."""

    def __init__(self, world, stop_after, why="stop"):
        super().__init__(world)
        self.steps, self.stop_after, self.why = 0, stop_after, why

    def stepped(self, step):
        self.steps = step

    def notice(self):
        return self.why if self.steps + 1 >= self.stop_after else None


class Killed(Exception):
    """A training ends between two steps, and saves nothing."""


class KillingHost(BareHost):
    """Kills the training after a step, once the last checkpoint that was due before is complete."""

    def __init__(self, world, storage, kill_after, every_steps):
        super().__init__(world)
        self.storage, self.kill_after = storage, kill_after
        self.due = (kill_after - 1) // every_steps * every_steps

    def stepped(self, step):
        if step == self.kill_after:
            if self.due:
                wait_for(lambda: any(one.step == self.due for one in all_checkpoints(self.storage, ".")), every_s=0.01)
            raise Killed


def work(rank, workers, folder, rendezvous, stop_after, settings):
    """One worker, from its start to its end."""
    begin(rank, workers, rendezvous)
    world = World(rank, workers, torch.device("cpu"))
    training = read_training(folder, settings)
    host = StoppingHost(world, stop_after) if training.steps > stop_after else BareHost(world)
    train_in(folder, training, host)
    end()


def work_through(rank, workers, rendezvous, runs):
    """One worker of many trainings, one after another: `(folder, settings, ends_after)` of each, or None to its end.

    `ends_after` is a step after which it is killed, or ("kill" | "stop" | "leave", step).
    """
    begin(rank, workers, rendezvous)
    world = World(rank, workers, torch.device("cpu"))
    for folder, settings, ends_after in runs:
        training, host = read_training(folder, settings), BareHost(world)
        how, step = ends_after if isinstance(ends_after, tuple) else ("kill", ends_after)
        if how != "kill":
            host = StoppingHost(world, step, how)
        elif step is not None:
            host = KillingHost(world, Storage.open(folder), step, training.checkpoint.every_steps)
        with contextlib.suppress(Killed):
            train_in(folder, training, host)
        dist.barrier()
    end()


def begin(rank, workers, rendezvous):
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)


def end():
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort


def read_training(folder, settings):
    return override(Training.model_validate_json((folder / "training.json").read_text()), settings)


def train_in(folder, training, host):
    """From the newest checkpoint in a folder to where the host ends it."""
    manifest = DataManifest.model_validate_json((folder / "data" / "manifest.json").read_text())
    splits = Splits(*(Blocks(folder / "data", manifest, "train") for _ in range(2)))
    storage, first = Storage.open(folder), host.world.worker == 0
    log = MetricLog(storage, "metrics.jsonl") if first else None
    sink = Notes(storage, ".") if first else to_nobody
    task = tasks.build(training, tasks.DataFacts.read(folder / "data", manifest))
    keeper = Keeper(storage, ".", training.checkpoint, host.world, sink)
    engine = make_engine(training, task, host.world, sink)
    ended = train(training, task, splits, host, engine, metric_log=log, keeper=keeper, sink=sink)
    if ended.notice is None:
        state = engine.export()
        if first:
            task.export(state, folder / "model")
