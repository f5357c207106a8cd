"""T3, T4, T8: what the loop's own doings cost, measured in the loop itself on two gloo workers.

    .venv/bin/python benchmarks/loop.py [--pairs 7] [--steps 20]

T3: a step with metrics, hashes, clock and log / without, pairs interleaved. T4: the stall of a checkpoint that is
written off the step path / the time of one that is waited for, and what 20 steps lose to one save. T8: waiting for
input as a part of the step. The model has 9 M parameters and the data lies in memory-mapped shards, as in a job.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from results import write_result

WORKERS, BATCH, BLOCK, VOCAB = 2, 8, 128, 4096
TRAINING = {
    "model": {"kind": "llama", "layers": 4, "heads": 6, "width": 384, "feed_forward": 1024},
    "data": "run://random",
    "optimizer": {"kind": "adamw", "learning_rate": 1e-4},
    "engine": {"kind": "deepspeed", "zero_stage": 2},
    "workers": {"count": WORKERS, "per_device_batch_size": BATCH // WORKERS},
    "global_batch_size": BATCH,
    "validation": {"every_steps": 100_000, "max_samples": 2},
    "checkpoint": {"every_steps": 100_000, "keep": 1},
    "recovery": {"attempts": 0},
    "self_test": False,
}
WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", nargs=2, metavar=("RANK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(int(options.worker[0]), Path(options.worker[1]), options.pairs, options.steps)
    command = f"python benchmarks/loop.py --pairs {options.pairs} --steps {options.steps}"
    found = measure(options.pairs, options.steps)
    what = "seconds of a step with metrics, hashes and log / without, less 1; 9 M parameters, ZeRO-2, 2 workers"
    write_result("T3", what, "<= 1 %", [a / b - 1 for a, b in found["logged"]], command=command, pairs=[])
    lost = statistics.median(a / b - 1 for a, b in found["saved"])
    what = f"stall of a save off the step path / a save that is waited for; 20 steps lose {lost:.1%} to one save"
    write_result("T4", what, "<= 0.15", [a / b for a, b in found["stalls"]], command=command, pairs=[])
    what = "waiting for input / step time, worker 0"
    write_result("T8", what, "<= 2 %", found["input"], command=command, pairs=[])


def measure(pairs: int, steps: int) -> dict:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, __file__, "--pairs", str(pairs), "--steps", str(steps), "--worker"]
        started = [
            subprocess.Popen([*command, str(rank), folder], env={**environment, "LOCAL_RANK": str(rank)})
            for rank in range(WORKERS)
        ]
        if any(process.wait() for process in started):
            raise SystemExit("a worker failed")
        return json.loads((Path(folder) / "found.json").read_text())


def worker(rank: int, folder: Path, pairs: int, steps: int) -> None:
    import torch
    import torch.distributed as dist

    from trainshed.runtime.training.host import World

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORKERS)
    world = World(rank, WORKERS, torch.device("cpu"))
    parts = Parts(folder, world)
    found = {"logged": [], "saved": [], "stalls": [], "input": []}
    parts.seconds_of_steps(steps, logged=True)  # warms everything up
    for _ in range(pairs):
        a = parts.seconds_of_steps(steps, logged=True)
        b = parts.seconds_of_steps(steps, logged=False)
        found["logged"].append((a, b))
        found["input"].append(parts.input_share())
    for _ in range(pairs):
        found["stalls"].append(parts.stalls())
        found["saved"].append((parts.twenty(saved=True), parts.twenty(saved=False)))
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone


class Parts:
    """The loop, and an engine of the same training outside of it."""

    def __init__(self, folder: Path, world: object) -> None:
        import numpy as np
        import torch

        from trainshed.record.data_manifest import DataManifest
        from trainshed.record.storage import Storage
        from trainshed.runtime import tasks
        from trainshed.runtime.data import tokenizer
        from trainshed.runtime.shards import Blocks, BlockWriter
        from trainshed.runtime.training import engines
        from trainshed.runtime.training.checkpoints.keeper import Keeper
        from trainshed.runtime.training.optim.optimizers import build_optimizer
        from trainshed.spec.data.prepare import TrainBpe
        from trainshed.spec.training.saving import Checkpoints
        from trainshed.spec.training.train import Training

        self.folder, self.world, self.storage = folder, world, Storage.open(folder)
        own = f"data-{world.worker}"
        writer = BlockWriter(self.storage, own, "train", BLOCK, VOCAB)
        writer.add(np.random.default_rng(0).integers(0, VOCAB, 4096 * BLOCK).astype(np.uint32))
        manifest = DataManifest(block_size=BLOCK, vocab_size=VOCAB, splits={"train": writer.close()})
        spec = TrainBpe(vocab_size=VOCAB)
        tokenizer.save(tokenizer.train(spec, ["some text"]), spec, BLOCK, folder / own / "tokenizer")
        self.blocks = Blocks(folder / own, manifest, "train")
        self.training = Training.model_validate_json(json.dumps({**TRAINING, "steps": 10**6}))
        self.task = tasks.build(self.training, tasks.DataFacts.read(folder / own, manifest))
        torch.manual_seed(0)
        self.engine = engines.build(
            self.training, self.task.make_model, partial(build_optimizer, self.training.optimizer), world.device
        )
        self.keeper = Keeper(self.storage, "saves", Checkpoints(keep=1), world, lambda *_: None)
        self.saves = 0
        self.twenty(saved=False)
        self.stalls()

    def seconds_of_steps(self, steps: int, *, logged: bool) -> float:
        """The median step of the whole loop."""
        from trainshed.runtime.training.host import BareHost
        from trainshed.runtime.training.loop.loop import train
        from trainshed.runtime.training.loop.metric_log import MetricLog
        from trainshed.runtime.training.loop.setup import make_engine
        from trainshed.runtime.training.loop.state import Splits

        class Watching(BareHost):
            times: list = []  # noqa: RUF012 - set anew below

            def stepped(self, step: int) -> None:  # noqa: ARG002
                self.times.append(time.perf_counter())

        Watching.times = []
        training = self.training.model_copy(update={"steps": steps + WARM_UP})
        log = MetricLog(self.storage, "metrics.jsonl") if logged and self.world.worker == 0 else None
        engine = make_engine(training, self.task, self.world)
        train(training, self.task, Splits(self.blocks, self.blocks), Watching(self.world), engine, metric_log=log)
        if log is not None:
            log.close()
        times = Watching.times[WARM_UP:-1]
        return statistics.median(b - a for a, b in itertools.pairwise(times))

    def input_share(self) -> float:
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()][WARM_UP:-1]
        return statistics.median(row["input_s"] / row["step_time_s"] for row in rows)

    def stalls(self) -> tuple[float, float]:
        """Seconds that training waits for a save off the step path, and for one that it sees through."""
        self.steps(2)
        began = time.perf_counter()
        self.save()
        off = time.perf_counter() - began
        self.keeper.close()
        self.steps(2)
        began = time.perf_counter()
        self.save()
        self.keeper.close()
        return off, time.perf_counter() - began

    def twenty(self, *, saved: bool) -> float:
        """Seconds of 20 steps, the first of them after a save."""
        import torch.distributed as dist

        self.keeper.close()
        dist.barrier()
        began = time.perf_counter()
        if saved:
            self.save()
        self.steps(20)
        dist.barrier()
        return time.perf_counter() - began

    def save(self) -> None:
        from trainshed.runtime.training.checkpoints.progress import Progress

        self.saves += 1
        self.keeper.save(self.engine, Progress(self.saves), {})

    def steps(self, count: int) -> None:
        import numpy as np

        for number in range(count):
            ids = np.arange(BATCH // WORKERS) + BATCH * number
            batch = self.task.batch(self.blocks.take(ids), keys=[(0, 0)] * len(ids))
            loss = self.task.loss(self.engine.forward, batch, label_smoothing=0.0)
            self.engine.backward(loss / self.task.weight(batch))
            self.engine.step(1e-4)


if __name__ == "__main__":
    main()
