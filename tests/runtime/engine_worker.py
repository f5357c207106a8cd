"""What each process of the engine contract does: the real loop on two gloo workers, without Ray.

python engine_worker.py FOLDER RANK WORLD STAGE STOP_AFTER
"""

import json
import os
import shutil
import sys
from pathlib import Path

RANK, WORLD, STAGE, STEPS = (int(argument) for argument in sys.argv[2:6])
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch.distributed as dist  # noqa: E402

from trainshed.record.storage import Storage  # noqa: E402
from trainshed.runtime import tasks  # noqa: E402
from trainshed.runtime.shards import Blocks  # noqa: E402
from trainshed.runtime.training.host import World  # noqa: E402
from trainshed.runtime.training.loop import Splits, train  # noqa: E402
from trainshed.runtime.training.metric_log import MetricLog  # noqa: E402
from trainshed.spec.train import Training  # noqa: E402

FOLDER = Path(sys.argv[1])


class FolderHost:
    """Checkpoints are kept in one folder; the newest is resumed from."""

    def __init__(self, world):
        self.world = world

    def resume_folder(self):
        found = sorted((FOLDER / "checkpoints").glob("step-*"))
        return found[-1] if found else None

    def validated(self, metrics):
        pass

    def checkpointed(self, folder, metrics):
        target = FOLDER / "checkpoints" / f"step-{metrics['step']:03d}"
        shutil.copytree(folder, target, dirs_exist_ok=True)
        shutil.rmtree(folder)
        dist.barrier()


def main():
    dist.init_process_group("gloo", init_method=f"file://{FOLDER}/rendezvous-{STEPS}", rank=RANK, world_size=WORLD)
    training = Training.model_validate_json((FOLDER / "training.json").read_text())
    training = training.model_copy(update={"engine": training.engine.model_copy(update={"zero_stage": STAGE})})
    manifest = json.loads((FOLDER / "data" / "manifest.json").read_text())
    splits = Splits(*(Blocks(FOLDER / "data", manifest, "train") for _ in range(2)))
    facts = tasks.DataFacts.read(FOLDER / "data", manifest)
    log = MetricLog(Storage.open(FOLDER), "metrics.jsonl") if RANK == 0 else None
    import torch

    host = FolderHost(World(RANK, WORLD, torch.device("cpu")))
    if training.steps > STEPS:  # stops in the middle, as a killed worker would: only the checkpoint is left
        stop_after = STEPS

        class Stop(Exception):
            pass

        def checkpointed(folder, metrics, keep=host.checkpointed):
            keep(folder, metrics)
            if metrics["step"] >= stop_after:
                raise Stop

        host.checkpointed = checkpointed
        try:
            train(training, tasks.build(training, facts), splits, host, metric_log=log)
        except Stop:
            return
    engine, _ = train(training, tasks.build(training, facts), splits, host, metric_log=log)
    state = engine.export()
    if RANK == 0:
        tasks.build(training, facts).export(state, FOLDER / "model")


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
