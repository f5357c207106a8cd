"""What each process of the engine contract does: the real loop on gloo workers, without Ray.

Trains `training.json` of a folder (with settings, dotted paths, over it) from the newest checkpoint there until so many
steps are done; at the end of the training it writes `model`. metrics.jsonl and notes.jsonl lie there too.
"""

import json
import os

import torch
import torch.distributed as dist

from trainshed.record.storage import Storage
from trainshed.runtime import tasks
from trainshed.runtime.shards import Blocks
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop import Splits, train
from trainshed.runtime.training.metric_log import MetricLog
from trainshed.runtime.training.notes import Notes, told_to_nobody
from trainshed.spec.override import override
from trainshed.spec.train import Training


class StoppingHost(BareHost):
    """Asks to stop after a step, as `platform stop` would."""

    def __init__(self, world, stop_after):
        super().__init__(world)
        self.steps, self.stop_after = 0, stop_after

    def stepped(self, step):
        self.steps = step

    def notice(self):
        return "stop" if self.steps + 1 >= self.stop_after else None


def work(rank, workers, folder, rendezvous, stop_after, settings):
    """One worker, from its start to its end."""
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers)
    training = override(Training.model_validate_json((folder / "training.json").read_text()), settings)
    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    splits = Splits(*(Blocks(folder / "data", manifest, "train") for _ in range(2)))
    facts = tasks.DataFacts.read(folder / "data", manifest)
    storage, first = Storage.open(folder), rank == 0
    log = MetricLog(storage, "metrics.jsonl") if first else None
    told = Notes(storage, ".") if first else told_to_nobody
    world = World(rank, workers, torch.device("cpu"))
    host = StoppingHost(world, stop_after) if training.steps > stop_after else BareHost(world)
    task = tasks.build(training, facts)
    keeper = Keeper(storage, ".", training.checkpoint, world, told)
    engine, metrics = train(training, task, splits, host, metric_log=log, keeper=keeper, told=told)
    if "notice" not in metrics:
        state = engine.export()
        if first:
            task.export(state, folder / "model")
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
