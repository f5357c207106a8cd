"""What tests of trainings in their own process share."""

import pytest
import torch.distributed as dist


@pytest.fixture
def group_of_one():
    """A process group that this process is alone in."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
