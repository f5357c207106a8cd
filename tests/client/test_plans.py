"""`auto` is answered before a job is handed over; what was asked is kept."""

import json
import math
import struct

import pytest
import yaml

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from paths import ROOT
from submitting import checked, planned
from trainshed.client.pack import pack
from trainshed.client.plan import Planned
from trainshed.errors import PlanError, SpecError
from trainshed.record.cluster import ClusterName
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import begin_runs
from trainshed.spec.load import load_files

AUTO = {"engine": {"kind": "deepspeed", "zero_stage": "auto"}, "workers__per_device_batch_size": "auto"}
FROM_BEST = {
    "kind": "train",
    "name": "final",
    "from_best": "run://sweep",
    "workers": {"count": 2, "per_device_batch_size": "auto"},
}


@pytest.fixture
def made_plans(tmp_path):
    sweep = changed(TUNE, **{f"train__{key}": value for key, value in AUTO.items()})
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TRAIN, **AUTO), sweep, FROM_BEST))
    storage = Storage.open(tmp_path / "storage")
    return planned(load_files([file]), storage, machine_bytes=16 * 10**9), storage


def test_every_document_is_handed_over_with_numbers(made_plans):
    (settled, _), _ = made_plans
    for one in settled:
        said = one.job.model_dump_json().replace('"concurrent":"auto"', "")  # which the cluster answers
        assert "auto" not in said
    final = settled[3].job
    assert final.workers.per_device_batch_size == 4
    assert final.engine is None, "what the document leaves to the best trial stays with it"


def test_trials_that_run_side_by_side_share_the_machine(tmp_path):
    def limit(concurrent):
        file = tmp_path / "job.yaml"
        file.write_text(text(PREPARE, changed(TUNE, search__concurrent=concurrent)))
        return planned(load_files([file]), Storage.open(tmp_path), machine_bytes=16 * 10**9)[1][0].limit.bytes

    assert limit(2) < limit(1) / 2
    assert limit(1) >= limit("auto") > 0


def test_the_run_keeps_what_was_asked(made_plans):
    (settled, made), storage = made_plans
    submission = pack(Planned(settled, made), storage, ClusterName(url="http://127.0.0.1:8265")).submission
    begin_runs(submission, storage)
    prepare, train = (Record(storage, run.run_id).job for run in submission.runs[:2])
    assert "asked" not in prepare
    assert train["asked"]["engine"]["zero_stage"] == "auto"
    assert train["job"]["engine"]["zero_stage"] == made[0].chosen.layout.zero_stage
    assert train["job"]["workers"]["per_device_batch_size"] == 4
    assert yaml.safe_dump(train["job"])


@pytest.mark.parametrize("file", sorted(ROOT.glob("jobs/*.yaml")), ids=lambda file: file.name)
def test_every_job_file_we_ship_can_be_planned(file, tmp_path):
    settled, made = planned(load_files([file]), Storage.open(tmp_path))
    assert made
    assert all("auto" not in str(one.job.engine) for one in settled if hasattr(one.job, "engine"))


@pytest.mark.parametrize(
    ("name", "weights", "tokens"), [("sft-7b-lora", 7.6e9, 64 * 2048), ("pretrain-1b", 1.2e9, None)]
)
def test_a_gpu_sized_job_file_has_a_plan_with_figures(name, weights, tokens, tmp_path):
    (found,) = planned(load_files([ROOT / "jobs" / f"{name}.yaml"]), Storage.open(tmp_path))[1]
    assert found.cost.parameters == pytest.approx(weights, rel=0.2)
    assert tokens in (None, found.tokens_per_step), "an answer is read after its question"
    assert found.chosen in found.table
    assert found.chosen.states < found.limit.bytes


def settings(width):
    """A configuration of transformers whose weights the plan cannot count."""
    sizes = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {"kind": "config", "model_type": "mistral", "settings": sizes}


MAY_FIT = {
    "train": TRAIN,
    "tune": TUNE,
    "configuration": changed(TRAIN, model=settings(64)),
    "a sweep that changes it": changed(
        TUNE,
        train__model=settings(1_000_000),
        space={"model": {"choice": [settings(64), settings(32)]}},
    ),
}
CHARACTERS = {"kind": "characters"}
HUB_TOKENIZER = {"kind": "pretrained", "name_or_path": "org/model"}


def planned_with(tmp_path, train, *, tokenizer, memory=4 * 10**9):
    file = tmp_path / "job.yaml"
    file.write_text(text(changed(PREPARE, tokenizer=tokenizer), train))
    return planned(load_files([file]), Storage.open(tmp_path), machine_bytes=memory)


@pytest.mark.parametrize("tokenizer", [CHARACTERS, HUB_TOKENIZER], ids=["characters", "of the hub"])
@pytest.mark.parametrize(
    ("job", "said"),
    [
        (changed(TRAIN, model__width=1_000_000), "model: "),
        (changed(TRAIN, model__layers=2_000_000), "model: "),
        (changed(TRAIN, engine={"kind": "ddp"}, model__width=20_000), "model: "),
        (changed(TUNE, train__model__width=1_000_000), "sweep: "),
        (changed(TUNE, space={"model.width": {"choice": [32, 1_000_000]}}), "sweep: a trial with model.width 1000000"),
        (changed(TRAIN, model=settings(1_000_000)), "model: "),
        (changed(TUNE, train__model=settings(1_000_000)), "sweep: "),
    ],
    ids=["width", "layers", "ddp", "of a sweep", "of one trial", "configuration", "configuration of a sweep"],
)
def test_what_is_too_large_for_any_vocabulary_is_refused(tokenizer, job, said, tmp_path):
    with pytest.raises(PlanError) as caught:
        planned_with(tmp_path, job, tokenizer=tokenizer)
    assert str(caught.value).startswith(said)
    assert "counted with the smallest vocabulary and the fewest weights that there can be" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("tokenizer", [CHARACTERS, HUB_TOKENIZER], ids=["characters", "of the hub"])
@pytest.mark.parametrize("job", MAY_FIT)
def test_what_may_fit_an_unknown_vocabulary_is_handed_over(tokenizer, job, tmp_path):
    _, (made,) = planned_with(tmp_path, MAY_FIT[job], tokenizer=tokenizer)
    assert made.cost.parameters is None


# A folder with a model, as only its config.json and its headers say


def header(path, tensors):
    """A safetensors file of which only the header is there."""
    said = json.dumps({name: {"dtype": "F32", "shape": list(shape)} for name, shape in tensors.items()}).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said)


MISTRAL = {
    "model_type": "mistral", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512,
    "num_key_value_heads": 2, "intermediate_size": 96, "head_dim": 16, "max_position_embeddings": 128,
}  # fmt: skip
SHARDS = {
    "model-00001-of-00002.safetensors": {"model.embed_tokens.weight": (512, 64), "lm_head.weight": (512, 64)},
    "model-00002-of-00002.safetensors": {
        "model.norm.weight": (64,),
        **{f"model.layers.{n}.self_attn.{one}_proj.weight": (64, 64) for n in (0, 1) for one in "qo"},
        **{f"model.layers.{n}.self_attn.{one}_proj.weight": (32, 64) for n in (0, 1) for one in "kv"},
    },
}
WEIGHTS = sum(math.prod(shape) for tensors in SHARDS.values() for shape in tensors.values())


@pytest.fixture
def mistral(tmp_path):
    """A folder as Mistral publishes one: shards, an index, and all of it once more by its own names."""
    folder = tmp_path / "mistral"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MISTRAL))
    for name, tensors in SHARDS.items():
        header(folder / name, tensors)
    both = {name: shape for tensors in SHARDS.values() for name, shape in tensors.items()}
    header(folder / "consolidated.safetensors", {f"own.{name}": shape for name, shape in both.items()})
    index = {"metadata": {}, "weight_map": {name: file for file, held in SHARDS.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def further(folder, **values):
    return changed(TRAIN, model={"kind": "pretrained", "name_or_path": str(folder)}, **values)


def test_weights_beside_the_shards_are_not_counted_again(mistral, tmp_path):
    _, (made,) = planned_with(tmp_path, further(mistral), tokenizer=HUB_TOKENIZER)
    assert made.cost.parameters == WEIGHTS


@pytest.mark.parametrize("kind", ["mistral", "some_new_kind"])
def test_auto_is_answered_for_a_folder_with_its_config(kind, mistral, tmp_path):
    (mistral / "config.json").write_text(json.dumps({**MISTRAL, "model_type": kind}))
    settled, (made,) = planned_with(tmp_path, further(mistral, **AUTO), tokenizer=HUB_TOKENIZER, memory=8 * 10**9)
    assert settled[1].job.engine.zero_stage == 0
    assert settled[1].job.workers.per_device_batch_size == 4
    assert made.chosen.activations > 0


def test_auto_goes_by_the_activations_that_config_json_tells_of(mistral, tmp_path):
    roomy, tight = (
        planned_with(tmp_path, further(mistral, **AUTO, global_batch_size=256), tokenizer=HUB_TOKENIZER, memory=memory)
        for memory in (16 * 10**9, 10**8)
    )
    sizes = [settled[1].job.workers.per_device_batch_size for settled, _ in (roomy, tight)]
    assert sizes[0] == 128
    assert sizes[1] < 128


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", b"{", "config.json: cannot be read as JSON"),
        ("config.json", b"[]", "config.json: holds a JSON list"),
        ("config.json", {"num_hidden_layers": "x"}, "num_hidden_layers is 'x'"),
        ("config.json", {"num_hidden_layers": 10**9}, "a model has a whole number from 1 to 10,000"),
        ("config.json", {"text_config": {"hidden_size": -1}}, "text_config: hidden_size is '-1'"),
        ("config.json", None, "no config.json there"),
        ("model.safetensors.index.json", {"metadata": {}, "weight_map": {"a": "../../x"}}, "names '../../x'"),
        ("model.safetensors.index.json", {"metadata": {}, "weight_map": ["a"]}, "weight_map: "),
        ("model-00001-of-00002.safetensors", None, "is not there; 2 files belong to the model"),
        ("model-00001-of-00002.safetensors", b"", "no safetensors file"),
        ("model-00001-of-00002.safetensors", struct.pack("<Q", 2) + b"[]", "its header is a JSON list"),
        ("model-00001-of-00002.safetensors", struct.pack("<Q", 17) + b'{"a":{"shape":1}}', "tensor 'a': shape"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_one_line_at_its_key(file, content, said, mistral, tmp_path):
    (mistral / file).unlink()
    if content is not None:
        (mistral / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    job = tmp_path / "job.yaml"
    job.write_text(text(changed(PREPARE, tokenizer=HUB_TOKENIZER), further(mistral)))
    with pytest.raises(SpecError) as caught:
        checked(load_files([job]), Storage.open(tmp_path))
    (fault,) = str(caught.value).splitlines()
    assert fault.startswith(f"{job}:") or "job.yaml:" in fault
    assert "model.name_or_path: " in fault
    assert said in fault
