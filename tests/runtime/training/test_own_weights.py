"""A training begins with the weights of another one's export, byte for byte, and says so."""

import json

import pytest
import torch
from safetensors.torch import load_file

from job_texts import TUNE, changed
from prepared_on_disk import prepared
from trained_on_disk import gpt2, llama, trained
from trainshed.errors import PlatformError, UsageError
from trainshed.record.facts import CodeFacts, EndFacts
from trainshed.record.journal import read_lines
from trainshed.record.metric_rows import MetricRow
from trainshed.record.registry import resolve
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.weights import kept, of_run, of_version, weights_of
from trainshed.runtime.beginnings import beginnings_of, find_weights
from trainshed.runtime.models.own import with_own_weights
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.ray_train.fit import Fitted
from trainshed.runtime.training.register import write_lineage
from trainshed.runtime.training.samples import check_beginning
from trainshed.runtime.training.worker import run_worker
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.load import job_from_data

TRAINING = job_from_data(
    changed(
        TUNE,
        train__model={"kind": "pretrained", "name_or_path": "small@1"},
        train__engine={"kind": "ddp"},
        train__workers={"count": 1, "per_device_batch_size": 4},
        train__global_batch_size=4,
        train__steps=2,
        train__optimizer={"kind": "adamw", "learning_rate": 1e-12},
        train__validation={"every_steps": 1},
        train__self_test=False,
    )
).train


@pytest.fixture
def alone(group_of_one):
    return BareHost(World(0, 1, torch.device("cpu")))


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


@pytest.fixture
def data(storage):
    return prepared(storage, "text", [1, 2, 3, 5, 8])


def spec(storage, data, folder="runs/second", **weights):
    said = {reference: origin.as_json() for reference, origin in weights.items()}
    training = TRAINING.model_dump(mode="json")
    return WorkerSpec(training, storage.uri, data.outcome.data, folder, export=True, weights=said)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_the_first_loss_is_that_of_the_export(storage, data, alone, make):
    first = trained(storage, "first", make, data, version_of="small")
    origin = of_version(resolve(storage, "small@1"))
    run_worker(spec(storage, data, **{"small@1": origin}), alone)
    model = make(data.outcome.manifest.vocab_size)
    model.load_state_dict(load_file(storage.path(first.at("model/model.safetensors"))), strict=False)
    model.tie_weights()
    row = read_lines(storage, "runs/second/metrics.jsonl")[0]
    held_out = torch.full((1, 8), 3)
    with torch.no_grad():
        loss = float(model.eval()(input_ids=held_out, labels=held_out).loss)
    assert row["validation_loss"] == pytest.approx(loss, rel=1e-6)
    assert "scratch" not in storage.read("runs/second/model/config.json").decode(), "a private copy leaves no trace"
    exported = load_file(storage.path("runs/second/model/model.safetensors"))
    there = load_file(storage.path(first.at("model/model.safetensors")))
    assert exported.keys() == there.keys()
    assert all(torch.allclose(exported[name], there[name], atol=1e-6) for name in there)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_not_the_one_that_was_exported_is_refused_before_it_is_loaded(storage, data, name):
    first = trained(storage, "first", gpt2, data, version_of="small")
    content = bytearray(storage.read(first.at(f"model/{name}")))
    content[-2] ^= 1
    storage.write(first.at(f"model/{name}"), bytes(content))
    weights = {"small@1": of_run(first).as_json()}
    with (
        pytest.raises(PlatformError, match=f"model/{name}: not the file that was exported"),
        with_own_weights(TRAINING, weights, storage),
    ):
        raise AssertionError("it was handed over")


def test_a_manifest_that_was_written_for_other_weights_is_refused(storage, data):
    first = trained(storage, "first", gpt2, data, version_of="small")
    origin = of_version(resolve(storage, "small@1"))
    other = trained(storage, "other", gpt2, data, day=2)
    for name in ("manifest.json", "model.safetensors"):
        storage.write(first.at(f"model/{name}"), storage.read(other.at(f"model/{name}")))
    with (
        pytest.raises(PlatformError, match=f"names other weights than {first.run_id} has exported"),
        with_own_weights(TRAINING, {"small@1": origin.as_json()}, storage),
    ):
        raise AssertionError("it was handed over")


def test_what_is_loaded_is_a_private_copy_that_goes_away(storage, data):
    first = trained(storage, "first", gpt2, data, version_of="small")
    with with_own_weights(TRAINING, {"small@1": of_run(first).as_json()}, storage) as training:
        folder = training.model.folder
        assert folder is not None
        assert not folder.is_relative_to(storage.path(""))
        assert (folder / "model.safetensors").read_bytes() == storage.read(first.at("model/model.safetensors"))
    assert not folder.exists()


def test_a_training_that_begins_with_nothing_of_ours_is_left_as_it_is(storage):
    fresh = job_from_data(TUNE).train
    with with_own_weights(fresh, {}, storage) as training:
        assert training is fresh


def test_the_driver_means_a_document_of_its_own_submission_first_and_keeps_to_it(storage, data):
    trained(storage, "first", gpt2, data, day=1, version_of="small")
    own = trained(storage, "first", gpt2, data, day=2, version_of="small")
    own.finish(EndFacts(state="succeeded"), own.outcome.model_copy(update={"registered": "small@2"}))
    trained(storage, "first", gpt2, data, day=3, version_of="small")  # somebody else's, meanwhile
    record = Record(storage, "second")
    found = beginnings_of(["run://first", "small@latest", "small@1"], TRAINING, record, {"first": own})
    assert [found[name].run_id[:12] for name in found] == ["first-261122", "first-261122", "first-261121"]
    assert [found[name].version for name in found] == [None, "small@2", "small@1"]
    again = beginnings_of(["run://first", "small@latest"], TRAINING, record, {})
    assert [again[name].run_id[:12] for name in again] == ["first-261122", "first-261122"]
    assert find_weights("small@latest", storage, {}).version == "small@3"


def test_a_run_that_exported_nothing_is_no_beginning(storage, data):
    first = trained(storage, "first", gpt2, data)
    storage.delete(first.at("lineage.json"))
    with pytest.raises(UsageError, match=r"its model is not there any more; train it again"):
        weights_of(Record(storage, "second"), ["run://first"], lambda _: of_run(first))
    assert kept(Record(storage, "second")) == {}


def test_data_of_another_tokenizer_is_refused_before_a_worker_starts(storage, data):
    first = trained(storage, "first", gpt2, data)
    other = prepared(storage, "other", 1, text="an owl in an oak over and over again")
    weights = {"small@1": of_run(first)}
    assert check_beginning(TRAINING, weights, data.outcome, storage) == of_run(first)
    with pytest.raises(PlatformError, match=r"model.name_or_path: small@1: it has another tokenizer than the data"):
        check_beginning(TRAINING, weights, other.outcome, storage)


def test_the_lineage_says_what_the_weights_came_from(storage, data):
    first = trained(storage, "first", gpt2, data, version_of="small")
    origin = of_version(resolve(storage, "small@1"))
    job = job_from_data({"kind": "train", "name": "second", **json.loads(TRAINING.model_dump_json(by_alias=True))})
    fitted = Fitted(MetricRow.of({"step": 2, "model_sha256": "ab" * 32}), None, stopped=False)
    said = [
        write_lineage(job, Record(storage, "second"), fitted, data=data, weights=one, code=CodeFacts(), trial=None)
        for one in (origin, origin.model_copy(update={"version": "small@7"}), None)
    ]
    assert said[0].weights == origin
    assert (said[0].weights.version, said[0].weights.run_id) == ("small@1", first.run_id)
    assert len({one.fingerprint for one in said}) == 3, "it counts in the fingerprint"
    assert "weights" not in said[2].as_json()
