"""Libraries that a training needs and this machine lacks are found before the queue, where it is the cluster."""

import sys

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from submitting import checked
from trainshed.errors import SpecError
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

ON_A_GPU = {"engine": {"kind": "ddp"}, "workers": {"count": 1, "gpus": 1, "per_device_batch_size": 4}}
EIGHT_BITS = {**ON_A_GPU, "optimizer": {"kind": "adamw_8bit", "learning_rate": 1e-4}}


def faults(folder, job, *, local=True):
    file = folder / "job.yaml"
    file.write_text(text(PREPARE, job))
    try:
        checked(load_files([file]), Storage.open(folder / "storage"), local=local)
    except SpecError as error:
        return [str(fault).removeprefix(f"{file}:") for fault in error.faults]
    return []


@pytest.mark.parametrize("kind", ["train", "tune"])
def test_bitsandbytes_is_asked_for_where_this_machine_is_the_cluster(kind, tmp_path, monkeypatch):
    job = changed(TRAIN, **EIGHT_BITS) if kind == "train" else {**TUNE, "train": {**TUNE["train"], **EIGHT_BITS}}
    if kind == "tune":
        job["space"] = {"optimizer.learning_rate": {"log_uniform": [1e-5, 1e-3]}}
    assert not any("bitsandbytes" in one for one in faults(tmp_path, job)), "it is installed"
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # Python's own word for a module that cannot be imported
    (found,) = [one for one in faults(tmp_path, job) if "bitsandbytes" in one]
    assert f"{'train.' if kind == 'tune' else ''}optimizer.kind: adamw_8bit needs bitsandbytes" in found
    assert "pip install 'trainshed[bitsandbytes]'" in found
    assert int(found.split(":")[0]) > 1
    assert not any("bitsandbytes" in one for one in faults(tmp_path, job, local=False)), "another cluster may have it"
