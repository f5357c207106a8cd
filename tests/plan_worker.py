"""What each process does that is told a training as the driver tells it: the worker function on gloo, without Ray."""

import torch

from engine_worker import begin, end
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.worker import run_worker


def follow(rank, workers, rendezvous, plans):
    """One worker of these trainings, one after another."""
    begin(rank, workers, rendezvous)
    for plan in plans:
        run_worker(plan, BareHost(World(rank, workers, torch.device("cpu"))))
    end()
