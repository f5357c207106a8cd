"""What each process of the engine contract does: the real loop on gloo workers, without Ray.

python engine_worker.py FOLDER RANK WORLD STOP_AFTER [SETTINGS as JSON]

Trains FOLDER/training.json (with SETTINGS, dotted paths, over it) from the newest checkpoint in FOLDER until STOP_AFTER
steps are done; at the end of the training it writes FOLDER/model. metrics.jsonl and notes.jsonl lie in FOLDER.
"""

import json
import os
import secrets
import sys
from pathlib import Path

FOLDER, RANK, WORLD, STOP_AFTER = Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:5])
SETTINGS = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from trainshed.record.storage import Storage  # noqa: E402
from trainshed.runtime import tasks  # noqa: E402
from trainshed.runtime.shards import Blocks  # noqa: E402
from trainshed.runtime.training.checkpoints.keeper import Keeper  # noqa: E402
from trainshed.runtime.training.host import BareHost, World  # noqa: E402
from trainshed.runtime.training.loop import Splits, train  # noqa: E402
from trainshed.runtime.training.metric_log import MetricLog  # noqa: E402
from trainshed.runtime.training.notes import Notes, told_to_nobody  # noqa: E402
from trainshed.spec.override import override  # noqa: E402
from trainshed.spec.train import Training  # noqa: E402


class StoppingHost(BareHost):
    """Asks to stop after a step, as `platform stop` would."""

    def __init__(self, world):
        super().__init__(world)
        self.steps = 0

    def stepped(self, step):
        self.steps = step

    def notice(self):
        return "stop" if self.steps + 1 >= STOP_AFTER else None


def run(folder, settings):
    training = override(Training.model_validate_json((folder / "training.json").read_text()), settings)
    manifest = json.loads((folder / "data" / "manifest.json").read_text())
    splits = Splits(*(Blocks(folder / "data", manifest, "train") for _ in range(2)))
    facts = tasks.DataFacts.read(folder / "data", manifest)
    storage, first = Storage.open(folder), RANK == 0
    log = MetricLog(storage, "metrics.jsonl") if first else None
    told = Notes(storage, ".") if first else told_to_nobody
    world = World(RANK, WORLD, torch.device("cpu"))
    host = StoppingHost(world) if training.steps > STOP_AFTER else BareHost(world)
    task = tasks.build(training, facts)
    keeper = Keeper(storage, ".", training.checkpoint, world, told)
    engine, metrics = train(training, task, splits, host, metric_log=log, keeper=keeper, told=told)
    if "notice" not in metrics:
        state = engine.export()
        if first:
            task.export(state, folder / "model")
    dist.barrier()


if __name__ == "__main__":
    rendezvous = os.environ.get("RENDEZVOUS") or f"{FOLDER}/rendezvous-{secrets.token_hex(4)}"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=RANK, world_size=WORLD)
    run(FOLDER, SETTINGS)
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
