"""A training that begins with a model of our own: found once, counted from its files, refused where it cannot fit."""

import json

import pytest

from counting_storage import counting
from job_texts import PREPARE, TRAIN, TUNE, changed
from prepared_on_disk import prepared
from submitting import checked, faults, loaded
from trained_on_disk import bert, gpt2, llama, qwen3, trained
from trainshed.client import resume
from trainshed.client.bind import bind
from trainshed.client.bound import FoundWeights, PlannedModel
from trainshed.client.pack import pack
from trainshed.client.plan import plan
from trainshed.errors import SpecError
from trainshed.record.cluster import ClusterName
from trainshed.record.index import Index
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import Submission, begin_runs
from trainshed.record.weights import keep, kept, of_version


def begins(reference, **more):
    """A training on the data `text` that begins with this."""
    return changed(TRAIN, model={"kind": "pretrained", "name_or_path": reference}, **more)


@pytest.fixture
def storage(tmp_path):
    """Data, a GPT-2 that was trained on it and registered twice, the second time with other weights."""
    storage = Storage.open(tmp_path / "storage")
    data = prepared(storage, "text", 1)
    for day in (1, 2):
        trained(storage, "first", gpt2, data, day=day, version_of="small")
    return storage


@pytest.mark.parametrize(
    ("reference", "version", "day"),
    [
        ("small@1", "small@1", 1),
        ("small@latest", "small@2", 2),
        ("run://first", None, 2),
        ("run://first-261121-000001-abcdef01", None, 1),
    ],
)
def test_a_reference_is_bound_once_and_travels_with_the_submission(storage, tmp_path, reference, version, day):
    made = plan(checked(loaded(tmp_path, begins(reference)), storage))
    packed = pack(made, storage, ClusterName(url="http://127.0.0.1:8265"))
    submission = Submission.from_json(packed.submission.to_json())
    begin_runs(submission, storage)
    record = Record(storage, submission.runs[0].run_id)
    trained(storage, "first", gpt2, Index(storage).run("text"), day=3, version_of="small")  # a newer one is no matter
    origin = kept(record)[reference]
    assert (origin.version, origin.run_id) == (version, f"first-26112{day}-000001-abcdef01")
    assert origin.model_sha256 == Record(storage, origin.run_id).lineage.model_sha256
    assert record.job["job"]["model"]["name_or_path"] == reference, "the job stays as it was asked"


@pytest.mark.parametrize("make", [gpt2, llama, qwen3])
def test_the_plan_counts_the_weights_of_the_export(tmp_path, make):
    there = Storage.open(tmp_path / "storage")
    data = prepared(there, "text", 1)
    trained(there, "first", make, data)
    storage, _ = counting(tmp_path / "storage")
    assert not storage.is_local, "as on an object store: no folder of it is this machine's"
    bound = checked(loaded(tmp_path, begins("run://first")), storage)
    model = make(data.outcome.manifest.vocab_size)
    there.delete("runs")
    (own,) = plan(bound).plans
    assert own.cost.parameters == sum(one.numel() for one in model.parameters())
    assert own.cost.layers is not None
    assert (own.cost.layers[0].width, own.cost.layers[0].count) == (16, 1)


def test_a_plan_counts_the_adapters_on_an_export(storage, tmp_path):
    job = begins("small@1", lora={"rank": 4, "target_modules": ["c_attn"]})
    (own,) = plan(checked(loaded(tmp_path, job), storage)).plans
    assert own.cost.trainable == 4 * (16 + 48)


def test_a_document_of_the_same_submission_may_be_meant(storage, tmp_path):
    jobs = (
        changed(TRAIN, name="model", register="fresh"),
        changed(begins("run://model"), name="on"),
        changed(begins("fresh@latest"), name="further"),
    )
    bound = checked(loaded(tmp_path, *jobs), storage)
    first, *others = bound.jobs
    assert [one.weights for one in others] == [PlannedModel(first.loaded)] * 2
    planned = plan(bound)
    assert [own.cost.parameters for own in planned.plans] == [planned.plans[0].cost.parameters] * 3
    assert planned.weights == {"model": {}, "on": {}, "further": {}}, "the cluster finds what is yet to be made"


def test_the_best_of_a_sweep_before_is_counted_and_compared_too(storage, tmp_path):
    best = {"kind": "train", "name": "best", "from_best": "run://sweep", "register": "best", "steps": 20}
    jobs = (changed(TUNE), best, changed(begins("run://best"), name="on"))
    plans = plan(checked(loaded(tmp_path, *jobs), storage)).plans
    assert plans[2].cost.parameters == plans[1].cost.parameters is not None
    wrong = changed(begins("best@latest"), name="on", task={"kind": "seq2seq_lm"})
    found = faults(tmp_path, storage, changed(TUNE), best, wrong)
    assert any("best@latest: a gpt2 cannot be trained for seq2seq_lm" in message for *_, message in found), found


def test_a_sweep_binds_its_own_model_and_those_that_it_searches(storage, tmp_path):
    space = {"model.name_or_path": {"choice": ["small@1", "small@2"]}, "optimizer.learning_rate": {"uniform": [1, 2]}}
    sweep = changed(TUNE, train__model={"kind": "pretrained", "name_or_path": "run://first"}, space=space)
    made = plan(checked(loaded(tmp_path, sweep), storage))
    found = {name: origin.run_id[6:12] for name, origin in made.weights["sweep"].items()}
    assert found == {"run://first": "261122", "small@1": "261121", "small@2": "261122"}
    assert made.loaded[0].job.train.model.name_or_path == "run://first"
    assert made.plans[0].cost.parameters


def test_a_sweep_over_models_that_are_yet_to_be_made_has_all_its_trials(storage, tmp_path):
    space = {"model.name_or_path": {"choice": ["run://model", "small@2"]}}
    train = {"kind": "pretrained", "name_or_path": "run://model"}
    sweep = changed(TUNE, train__model=train, space=space, search={"kind": "grid", "concurrent": 1})
    bound = checked(loaded(tmp_path, changed(TRAIN), sweep), storage)
    settled = plan(bound, machine_bytes=10**11).loaded[1].job
    assert (settled.trials, settled.train.model.name_or_path) == (2, "run://model")


def test_a_run_that_goes_on_begins_with_what_it_began_with(storage, tmp_path):
    made = plan(checked(loaded(tmp_path, begins("small@latest")), storage))
    submission = pack(made, storage, ClusterName(url="http://127.0.0.1:8265")).submission
    begin_runs(submission, storage)
    trained(storage, "first", gpt2, Index(storage).run("text"), day=3, version_of="small")
    record = Record(storage, submission.runs[0].run_id)
    again = resume.prepare(record, "failed", [], Index(storage))
    assert again.planned.weights["model"]["small@latest"].version == "small@2"


def test_what_is_not_there_is_refused_at_its_line(storage, tmp_path):
    said = faults(tmp_path, storage, begins("small@9"), changed(begins("other@latest"), name="b"))
    lines = (tmp_path / "job.yaml").read_text().splitlines()
    assert [key for _, key, _ in said] == ["model.name_or_path"] * 2
    assert [lines[line - 1].strip() for line, _, _ in said] == [
        "name_or_path: small@9",
        "name_or_path: other@latest",
    ]
    assert "versions of small: 1, 2" in said[0][2]
    assert "no model 'other' is registered" in said[1][2]


def test_an_export_that_is_gone_is_refused(storage, tmp_path):
    storage.delete("runs/first-261121-000001-abcdef01/model/manifest.json")
    ((_, key, message),) = faults(tmp_path, storage, begins("small@1"))
    assert key == "model.name_or_path"
    assert "model/manifest.json is not there; train first-261121-000001-abcdef01 again" in message


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("manifest.json", b'{"files": {"../../x.safetensors": "ab"}}', "'../../x.safetensors' is no file of a model"),
        ("manifest.json", b"[]", "names no files; train first-261121-000001-abcdef01 again"),
        ("model.safetensors", b"\xff" * 8, "no safetensors file: its header would have"),
        ("config.json", None, "config.json: cannot be read"),
    ],
)
def test_an_export_that_is_damaged_is_refused(storage, tmp_path, file, content, said):
    place = f"runs/first-261121-000001-abcdef01/model/{file}"
    storage.delete(place) if content is None else storage.write(place, content)
    ((_, key, message),) = faults(tmp_path, storage, begins("small@1"))
    assert key == "model.name_or_path"
    assert said in message


@pytest.mark.parametrize(
    ("make", "task", "said"),
    [
        (bert, "causal_lm", "small@1: a bert cannot be trained for causal_lm; it is trained for masked_lm, "),
        (gpt2, "masked_lm", "small@1: a gpt2 cannot be trained for masked_lm; it is trained for causal_lm, dpo"),
        (llama, "seq2seq_lm", "small@1: a llama cannot be trained for seq2seq_lm"),
    ],
)
def test_another_architecture_than_the_task_can_train_is_refused(tmp_path, make, task, said):
    storage = Storage.open(tmp_path / "storage")
    trained(storage, "first", make, prepared(storage, "text", 1), version_of="small")
    found = faults(tmp_path, storage, begins("small@1", task={"kind": task}))
    assert any(key == "model.name_or_path" and message.startswith(said) for _, key, message in found), found


def test_the_model_of_a_document_before_must_be_of_the_tasks_kind_too(storage, tmp_path):
    data = changed(PREPARE, tokenizer__special_tokens=["mask"])
    jobs = (data, changed(TRAIN), begins("run://model", name="on", task={"kind": "masked_lm"}))
    found = faults(tmp_path, storage, *jobs)
    assert any("run://model: a gpt2 cannot be trained for masked_lm" in message for *_, message in found), found


def test_a_tokenizer_that_is_not_the_datas_is_refused(storage, tmp_path):
    prepared(storage, "other", 1, text="an owl in an oak over and over again")
    ((line, key, message),) = faults(tmp_path, storage, begins("small@1", data="run://other"))
    assert "name_or_path: small@1" in (tmp_path / "job.yaml").read_text().splitlines()[line - 1]
    assert key == "model.name_or_path"
    assert message.startswith(
        "small@1: it has another tokenizer than the data run://other; prepare it with `tokenizer: {"
    )
    assert "/runs/first-261121-000001-abcdef01/model}`" in message


def test_the_same_tokens_in_another_file_are_the_same_tokenizer(storage, tmp_path):
    data = Index(storage).run("text")
    place = f"{data.outcome.data}/tokenizer/tokenizer.json"
    storage.write(place, json.dumps(storage.read_json(place), indent=7).encode())
    result = storage.read_json(data.at("result.json"))
    result["manifest"]["tokenizer_files"]["tokenizer.json"] = "ab" * 32
    storage.write_json(data.at("result.json"), result)
    made = checked(loaded(tmp_path, begins("small@1")), storage)
    assert [one.loaded.job.model.name_or_path for one in made.jobs] == ["small@1"]


@pytest.mark.parametrize("hostile", [{"small@1": {"run_id": "../x", "model": "runs/a/model"}}, {"small@1": 3}, [1]])
def test_what_storage_says_of_the_weights_of_a_run_is_no_path(storage, hostile):
    record = Record(storage, "some-1")
    storage.write_json(record.at("weights.json"), hostile)
    with pytest.raises(Exception, match=r"weights\.json: "):
        kept(record)


@pytest.mark.parametrize("wrong", ["run://", "run://UPPER", "Small@1", "small@0", "small@"])
def test_a_name_that_is_nearly_one_is_refused_with_the_words_for_it(tmp_path, wrong):
    with pytest.raises(SpecError, match="say NAME@VERSION, NAME@latest or run://NAME for a model of your own"):
        loaded(tmp_path, begins(wrong))


def test_the_best_trial_of_a_sweep_brings_the_weights_that_it_began_with(storage, tmp_path):
    sweep = Record(storage, "sweep-261120-000005-abcdef01")
    train = begins("small@latest")
    training = {key: value for key, value in train.items() if key not in ("kind", "name")}
    created = {"submission_id": "ts-1", "created_at": "2026-11-20T00:00:05.000+00:00", "number": 0}
    sweep.begin(changed(TUNE, train=training), **created)
    best = {"trial": "trial-00001", "settings": {}, "training": training}
    storage.write_json(sweep.at("result.json"), {"state": "succeeded", "trials": [], "best": best})
    keep(sweep, {"small@latest": of_version(Index(storage).version("small@1"))})
    bound = bind(loaded(tmp_path, {"kind": "train", "name": "final", "from_best": "run://sweep"}), Index(storage))
    assert isinstance(bound.jobs[0].weights, FoundWeights)
    assert bound.jobs[0].weights.origin.version == "small@1"
