"""Loaded by every Python process of the cluster under test: SIGUSR1 makes one fail from within, as FAULT_FILE says.

Kills need no help; but that a process exits with 0 in mid-run, that its data loader raises, that it wants more memory
than it may have, that its gradients are no numbers, that two of its threads wait for each other: that only the process
itself can do.
"""

import os
import resource
import signal
import sys
import threading

import psutil


def fail(_number, _frame):
    """Runs in the main thread; the training runs in another."""
    with open(os.environ["FAULT_FILE"]) as file:
        kind = file.read().strip()
    if kind == "exit":
        os._exit(0)
    if kind == "nan":
        break_gradients_once(sys.modules["trainshed.runtime.training.loop.stepper"].Stepper)
        return
    blocks = sys.modules["trainshed.runtime.shards"].Blocks
    true_take = blocks.take

    def take(self, ids):
        blocks.take = true_take
        if kind == "raise":
            raise ValueError("the loader broke, on purpose")
        if kind == "bad data":
            raise sys.modules["trainshed.errors"].PlatformError("shard 3: bad data, on purpose")
        if kind == "memory":
            here = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (here + (64 << 20), resource.RLIM_INFINITY))
            return bytearray(1 << 30)
        if kind == "deadlock":
            threading.Event().wait()
        return true_take(self, ids)

    blocks.take = take


def break_gradients_once(stepper):
    """The gradients of one share of samples are no numbers."""
    true_pass = stepper._pass

    def broken(self, batch, scale):
        stepper._pass = true_pass
        return true_pass(self, batch, scale * float("nan"))

    stepper._pass = broken


if "FAULT_FILE" in os.environ:
    signal.signal(signal.SIGUSR1, fail)
