"""What storage names stays in the storage, in its own folder, and what it says is of its type, whoever wrote it."""

import json

import pytest

from job_texts import TUNE
from results_on_disk import finished
from trainshed.errors import DamagedFile, UsageError
from trainshed.record.checkpoints import all_checkpoints, by_loss, fault_of, path_of, prune
from trainshed.record.endpoints import all_endpoints, get_endpoint, put_endpoint
from trainshed.record.facts import EndpointFacts, VersionFacts
from trainshed.record.index import all_runs, find_finished, find_run
from trainshed.record.journal import read_lines, read_steps
from trainshed.record.registry import all_versions, register, resolve
from trainshed.record.run import Record, now
from trainshed.record.storage import Storage
from trainshed.record.submission import TakeDown
from trainshed.record.trial_facts import TrialEnd
from trainshed.record.trials import TrialFiles, begun, number_of
from trainshed.spec.load import job_from_data

RUN = "model-261125-000000-0000abcd"
AWAY = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "..",
    "a/b",
    "a\x00b",
    "x$(touch${IFS}y)",
    "x;y",
    "x y",
    "-x",
    "",
    "x" * 300,
]
"""Names that are a path, a command, an option, nothing, or too long."""
TYPES = [5, None, [], {}, ["x"], True]


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path / "storage")


def checkpoint(storage, step, /, **changes):
    path = path_of(f"runs/{RUN}", step)
    part = f"worker-00000-{step:04d}abcd.safetensors"
    storage.write(f"{path}/{part}", b"x")
    facts = {
        "step": step,
        "metrics": {"validation_loss": 9.0 - step},
        "files": {part: {"sha256": "ab" * 32, "bytes": 1}},
    }
    storage.write_json(f"{path}/manifest.json", {**facts, **changes})
    return path


@pytest.mark.parametrize("relative", ["../x", "runs/../../x", "a/..", "..", "a\0b"])
def test_nothing_outside_of_a_storage_has_a_path_in_it(storage, relative):
    for act in (storage.path, storage.exists, storage.read, storage.read_json, storage.names, storage.delete):
        with pytest.raises(DamagedFile, match="outside of the storage"):
            act(relative)


def manifests():
    for name in AWAY:
        yield {"files": {name: {"sha256": "ab" * 32}}}
    for value in TYPES:
        yield {"files": value} if value != {} else {"step": value}
        yield {"step": value} if value is not True else {"metrics": value}
    yield {"files": {"worker-00000-ab.safetensors": {"sha256": "../x"}}}
    yield {"step": 7}


@pytest.mark.parametrize("changes", manifests(), ids=repr)
def test_a_checkpoint_whose_manifest_is_not_of_its_making_is_none(storage, changes):
    """It is passed over, and the one before it is what a training goes on from; its folder is none of the newest's."""
    checkpoint(storage, 1)
    checkpoint(storage, 2, **changes)
    assert [one.step for one in all_checkpoints(storage, f"runs/{RUN}")] == [1]
    assert prune(storage, f"runs/{RUN}", last=1, best=0, metric="validation_loss") == []


def test_folders_that_are_no_checkpoints_end_no_training(storage):
    checkpoint(storage, 1)
    for name in ("step-", "step-x", "step-²", "step-0000000000000000001", ".DS_Store", "step-1"):
        storage.write(f"runs/{RUN}/checkpoints/{name}/part", b"x")
    storage.write(f"runs/{RUN}/checkpoints/step-0000009", b"a file")
    assert prune(storage, f"runs/{RUN}", last=1, best=1, metric="validation_loss") == []
    (whole,) = all_checkpoints(storage, f"runs/{RUN}")
    assert "its hash is" in fault_of(whole, whole.files[0])


def test_a_metric_that_is_no_number_is_not_the_lowest(storage):
    checkpoint(storage, 1)
    for step, value in enumerate(["0.1", None, [0.1], float("nan"), True], 2):
        checkpoint(storage, step, metrics={"validation_loss": value})
    assert [one.step for one in by_loss(all_checkpoints(storage, f"runs/{RUN}"), "validation_loss")] == [1]


@pytest.mark.parametrize("name", [*AWAY, "trial-1", "trial-00001x", "trial-²", "trial--0001", "trial-00000000000001"])
def test_a_trial_is_known_by_its_number_alone(name):
    with pytest.raises(DamagedFile):
        number_of(name)


def test_a_sweep_that_goes_on_begins_a_damaged_trial_anew(storage):
    training = job_from_data(TUNE).train
    for number in range(3):
        TrialFiles(storage, f"runs/{RUN}", number).begin({"seed": number}, training)
    broken = TrialFiles(storage, f"runs/{RUN}", 1)
    broken.end(TrialEnd(state="ended", device_s=1.0))
    storage.write(f"{broken.folder}/trial.json", b'{"settings": {"seed"')
    storage.write(f"{broken.folder}/ended.json", b"[]")
    assert [trial.number for trial in begun(storage, f"runs/{RUN}")] == [0, 2]
    assert broken.ended is None
    broken.begin({"seed": 7}, training)
    assert [trial.facts.settings for trial in begun(storage, f"runs/{RUN}")] == [
        {"seed": 0},
        {"seed": 7},
        {"seed": 2},
    ]


def test_damaged_lines_of_a_journal_are_left_out_and_said_once(storage, caplog):
    content = (
        b'{"step": 1}\nnot JSON\n[1]\n5\n{"step": "2"}\n{"loss": 1}\n\xff\xfe\n' + b"[" * 9999 + b'\n{"step": 3}\n{"st'
    )
    storage.write("metrics.jsonl", content)
    assert [row["step"] for row in read_steps(storage, "metrics.jsonl")] == [1, 3]
    assert [record.message for record in caplog.records] == [
        f"{storage.address('metrics.jsonl')}: 5 of 9 lines are damaged, they are left out"
    ]
    storage.write("half.jsonl", b'{"step": 1}\n{"st')
    assert (read_lines(storage, "half.jsonl"), len(caplog.records)) == ([{"step": 1}], 1)


@pytest.mark.parametrize("name", AWAY)
def test_no_name_of_a_run_model_or_endpoint_leaves_its_folder(storage, name):
    register(storage, VERSION)
    for look in (find_run, get_endpoint, resolve):
        with pytest.raises(UsageError):
            look(storage, name)
    for reference in (f"{name}@1", f"gpt@{name or '-'}"):
        with pytest.raises(UsageError):
            resolve(storage, reference)
    with pytest.raises(UsageError):
        find_finished(storage, f"run://{name}", "train")
    with pytest.raises(ValueError, match="name"):
        TakeDown(name=name, storage="/x")


ENDPOINT = {"url": "http://127.0.0.1:8000/gpt", "model": "gpt@1", "model_run": RUN, "run_id": RUN, "auth": ["MY_KEY"]}
WHOLE = EndpointFacts(name="whole", deployed_at="2026-01-01T00:00:00+00:00", **ENDPOINT)
VERSION = VersionFacts(
    name="gpt",
    created_at="2026-01-01T00:00:00+00:00",
    run_id=RUN,
    model=f"runs/{RUN}/model",
    fingerprint="ab" * 32,
    metrics={},
)
URLS = ["file:///etc/passwd", "http://", "http://a b", "http://u:p@host/x", "http://h/x?q=$(y)", "http://h/$(y)", "x"]


@pytest.mark.parametrize(
    "changes",
    [
        *({"url": url} for url in [*URLS, "http://h:99999/x", "http://h:0/x", "http://h/x#y", "http://h/x\n"]),
        *({key: name} for key in ("model", "run_id", "model_run") for name in AWAY),
        *({"auth": keys} for keys in ([], ["../x"], ["MY_KEY", "AWS_SECRET_ACCESS_KEY"], "MY_KEY", [5], None)),
        *({key: value} for key in ("url", "model", "run_id", "auth") for value in TYPES),
    ],
    ids=repr,
)
def test_an_endpoint_that_no_deployment_wrote_is_none(storage, changes):
    put_endpoint(storage, WHOLE)
    storage.write_json("endpoints/gpt.json", {**ENDPOINT, "name": "gpt", "deployed_at": now(), **changes})
    assert [one.name for one in all_endpoints(storage)] == ["whole"]
    with pytest.raises(DamagedFile, match=r"endpoints/gpt\.json"):
        get_endpoint(storage, "gpt")


def test_a_file_that_says_it_is_another_is_not_believed(storage):
    put_endpoint(storage, WHOLE)
    storage.write("endpoints/other.json", storage.read("endpoints/whole.json"))
    register(storage, VERSION)
    storage.write("models/other/versions/1.json", storage.read("models/gpt/versions/1.json"))
    assert [one.name for one in all_endpoints(storage)] == ["whole"]
    assert [str(one) for one in all_versions(storage)] == ["gpt@1"]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(("prepare", {"data": name}) for name in [*AWAY, "data/../x", "data/x/y", "/data/x", 5, None]),
        *(("prepare", {"manifest": value}) for value in [*TYPES[:3], {"splits": []}, {"splits": {}, "labels": 5}]),
        *(("train", {"model": name}) for name in [*AWAY, f"runs/{RUN}/../x", 5]),
        *(("tune", {"best": value}) for value in [5, [], {"trial": "../x"}, {"trial": "trial-00000", "settings": 5}]),
        *(("serve", {"url": url}) for url in URLS),
    ],
    ids=repr,
)
def test_a_result_that_is_not_of_its_kind_is_built_on_by_nobody(storage, kind, changes):
    whole = {
        "prepare": {"data": "data/ab", "manifest": {"splits": {}}},
        "train": {"metrics": {}, "model": f"runs/{RUN}/model"},
        "tune": {"best": {"trial": "trial-00000", "settings": {}, "training": {}}, "trials": []},
        "serve": {"url": "http://h/x", "model": "gpt@1", "model_run": RUN, "fingerprint": "ab" * 8},
    }
    record = Record(storage, RUN)
    head = {"submission_id": "ts-1", "created_at": "2026-01-01T00:00:00+00:00", "number": 0}
    record.begin({"kind": kind, "name": "model"}, **head)
    finished(record, "succeeded", **whole[kind])
    assert find_finished(storage, "run://model", kind) == record
    finished(record, "succeeded", **{**whole[kind], **changes})
    with pytest.raises(DamagedFile, match=r"result\.json"):
        find_finished(storage, "run://model", kind)
    assert all_runs(storage) == [record], "it is listed all the same"


def test_deep_json_is_damaged_and_no_error_of_ours(storage):
    storage.write(f"runs/{RUN}/job.json", b"[" * 100_000)
    assert all_runs(storage) == []
    storage.write(f"runs/{RUN}/job.json", json.dumps({"number": 1}).encode().replace(b"1", b"9" * 6000))
    assert all_runs(storage) == []
