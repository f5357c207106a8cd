"""What Ray Train has no public way to: each seam, and what we take for granted of it."""

import inspect
import re

import pytest
import ray
from ray.train.backend import Backend
from ray.train.torch import TorchTrainer
from ray.train.torch import config as of_torch

from paths import ROOT
from trainshed.runtime.training.ray_train import seams
from trainshed.runtime.training.ray_train.rendezvous import RendezvousBackend

SOURCE = ROOT / "platform" / "trainshed"
PRIVATE = re.compile(r"ray\.train\.v2|ray\._private|ray\.train\.torch\.config|scaling_config\._|WorkerGroup\._")
TAKEN_FOR_GRANTED = {
    "TrainController.worker_group_cls": lambda: seams.TrainController.worker_group_cls is seams.WorkerGroup,
    "TrainController makes its group by `worker_group_cls.create(...)`": lambda: (
        "self.worker_group_cls.create(" in inspect.getsource(seams.TrainController._start_worker_group)
    ),
    "WorkerGroup.create makes the group and starts it": lambda: (
        "worker_group._start()" in inspect.getsource(seams.WorkerGroup.create)
    ),
    "WorkerGroup._create_placement_group": lambda: (
        parameters(seams.WorkerGroup._create_placement_group) == ["self", "scaling_config", "worker_group_context"]
    ),
    "WorkerGroup._create_workers": lambda: (
        parameters(seams.WorkerGroup._create_workers)[:4]
        == ["self", "num_workers", "placement_group", "resources_per_worker"]
    ),
    "WorkerGroup._init_train_context_on_workers": lambda: hasattr(seams.WorkerGroup, "_init_train_context_on_workers"),
    "ScalingPolicy has two decisions to make": lambda: (
        {
            "make_decision_for_non_running_worker_group",
            "make_decision_for_running_worker_group",
        }
        <= seams.ScalingPolicy.__abstractmethods__
    ),
    "FailurePolicy has one": lambda: {"make_decision"} <= seams.FailurePolicy.__abstractmethods__,
    "a failure is tried again or raised": lambda: {"RETRY", "RAISE"} <= set(seams.FailureDecision.__members__),
    "workers meet in `on_start` of the backend, and part in `on_shutdown`": lambda: (
        parameters(Backend.on_start) == parameters(Backend.on_shutdown) == ["self", "worker_group", "backend_config"]
    ),
    "Ray Train's own backend for torch names the ranks": lambda: (
        parameters(of_torch._set_torch_distributed_env_vars) == []
    ),
    "it ends the process group": lambda: parameters(of_torch._shutdown_torch) == ["destroy_process_group"],
    "it sets the device around the worker's function": lambda: (
        of_torch.TorchConfig().train_func_context is of_torch.TorchConfigContextManager
    ),
    "it shares the devices of a node among its workers": lambda: (
        of_torch._TorchBackend.share_cuda_visible_devices == RendezvousBackend.share_cuda_visible_devices
    ),
    "its trainer adds no more than the backend's name": lambda: (
        {name for name in vars(TorchTrainer) if not name.startswith(("__doc", "__mod", "_annotated"))}
        == {"__init__", "_get_local_controller"}
    ),
}


def parameters(function):
    return list(inspect.signature(function).parameters)


def test_ray_is_the_version_that_the_seams_were_checked_against():
    assert ray.__version__ == seams.CHECKED_AGAINST, "read every seam again, then write the new version there"


@pytest.mark.parametrize("seam", TAKEN_FOR_GRANTED)
def test_a_seam_is_as_it_was(seam):
    assert TAKEN_FOR_GRANTED[seam]()


def test_every_seam_is_listed_with_its_use():
    ours = {name for name in seams.__all__ if name not in ("SEAMS", "CHECKED_AGAINST")}
    own = {name for name in ours if getattr(getattr(seams, name), "__module__", "") == seams.__name__}
    listed = {id(value) for value in seams.SEAMS.values()}
    assert [name for name in sorted(ours - own) if id(getattr(seams, name)) not in listed] == []


def test_no_other_file_knows_a_private_name_of_ray_train():
    files = [file for file in SOURCE.rglob("*.py") if file.name != "seams.py" and PRIVATE.search(file.read_text())]
    assert files == []
