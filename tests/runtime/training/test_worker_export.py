"""A worker from prepared data to a model in storage: what it returns, and what lies there."""

import json

import pytest
import torch
from safetensors.torch import load_file

from prepared_on_disk import BLOCK, prepared
from trainshed.record.storage import Storage
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.export import Export
from trainshed.spec.training.models import Llama, Pretrained
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

pytestmark = pytest.mark.usefixtures("group_of_one")

MODEL = Llama(layers=1, heads=2, width=32, context=BLOCK)


@pytest.fixture
def worked(tmp_path):
    """Trains on a data set as the only worker of a run; what it returned, and the run's folder."""
    storage = Storage.open(tmp_path)
    data = prepared(storage, "text", [5, 6, 7, 8, 9], held_out=[5, 6])  # blocks that are all the same

    def of(name, **settings):
        training = Training(
            data="run://text",
            optimizer=AdamW(learning_rate=0.01),
            engine=Ddp(),
            workers=Workers(count=1, per_device_batch_size=4),
            global_batch_size=4,
            steps=4,
            self_test=False,
            **{"model": MODEL, **settings},
        )
        plan = WorkerSpec(training.model_dump(mode="json"), storage.uri, data.outcome.data, f"runs/{name}", export=True)
        return run_worker(plan, BareHost(World(0, 1, torch.device("cpu")))), tmp_path / "runs" / name

    return of


def test_the_averaged_weights_that_were_validated_are_exported_and_compared(worked):
    ended, folder = worked("first", regularization=Regularization(ema_decay=0.9))
    agreement = ended.export["model"].agreement
    assert (agreement.samples, agreement.tolerance) == (16, 1e-4)
    assert agreement.difference < 1e-5
    assert agreement.trained == pytest.approx(-ended.last.numbers["validation_loss"], rel=1e-5)
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    assert manifest["export"] == ended.export["model"].as_json()
    assert ended.last.values["model_sha256"] == manifest["files"]["model.safetensors"]


def test_adapters_of_a_run_s_model_lie_beside_the_merged_one(worked):
    _, first = worked("first")
    given = {"model": Pretrained(name_or_path=str(first / "model")), "lora": Lora(rank=2)}
    ended, folder = worked("second", **given, export=Export(adapters="both", dtype="bf16"))
    assert list(ended.export) == ["adapter", "model"]
    assert [facts.dtype for facts in ended.export.values()] == ["bf16", "bf16"]
    assert {one.dtype for one in load_file(folder / "adapter" / "adapter_model.safetensors").values()} == {
        torch.bfloat16
    }
    assert not any("adapter" in path.name for path in (folder / "model").iterdir())
    alone, only = worked("third", **given, export=Export(adapters="only"))
    assert list(alone.export) == ["adapter"]
    assert not (only / "model").exists()
    manifest = json.loads((only / "adapter" / "manifest.json").read_text())
    assert alone.last.values["model_sha256"] == manifest["files"]["adapter_model.safetensors"]
