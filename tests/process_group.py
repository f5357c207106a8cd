"""A process group that a test's process is alone in, and its end."""

import sys
from contextlib import contextmanager

import torch.distributed as dist


@contextmanager
def alone():
    """A process group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        end_group()


def end_group():
    """End this process's group, also for DeepSpeed where it is loaded: it remembers groups for the whole process."""
    dist.destroy_process_group()
    if groups := sys.modules.get("deepspeed.utils.groups"):
        groups._release_process_group_references()
