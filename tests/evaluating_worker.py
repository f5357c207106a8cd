"""One of two processes that evaluate a model together: python evaluating_worker.py FOLDER RANK."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.scoring.evaluating import evaluate_worker
from trainshed.runtime.training.worker_spec import WorkerSpec


def main():
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    order = WorkerSpec(**json.loads((folder / "order.json").read_text()))
    evaluate_worker(order, BareHost(World(rank, 2, torch.device("cpu"))))


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)
