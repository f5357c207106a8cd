"""Runs, model versions and secrets in storage."""

import json
import threading

import pytest

from results_on_disk import finished
from trainshed.errors import UsageError
from trainshed.record.facts import EndFacts, VersionFacts
from trainshed.record.index import all_runs, find_finished, find_run
from trainshed.record.metric_rows import MetricRow
from trainshed.record.registry import aliases, all_versions, register, resolve, set_alias
from trainshed.record.run import Record, new_run_id, now
from trainshed.record.secrets import find_secret, keep_secret, need_secret
from trainshed.record.storage import Storage
from trainshed.record.trials import TrialFiles


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


def begun(storage, name, *, kind="prepare", created="2026-01-01T00:00:00+00:00", state=None):
    record = Record(storage, new_run_id(name))
    record.begin({"kind": kind, "name": name}, submission_id="ts-1", created_at=created, number=0)
    if state:
        finished(record, state, **({"data": "data/x", "manifest": {"splits": {}}} if kind == "prepare" else {}))
    return record


def version_of(run_id, name="gpt"):
    """What a registration says."""
    return VersionFacts(
        name=name,
        created_at=now(),
        run_id=run_id,
        model=f"runs/{run_id}/model",
        fingerprint="ab" * 32,
        metrics={"validation_loss": 1.0},
    )


def test_ids_of_one_name_differ():
    assert len({new_run_id("a") for _ in range(50)}) == 50


def test_a_run_is_waiting_until_it_speaks_and_ended_when_it_has_a_result(storage):
    record = begun(storage, "a")
    assert record.state == "waiting"
    storage.write(record.at("events.jsonl"), b"{}\n")
    assert record.state == "running"
    record.finish(EndFacts(state="failed", cause="x"))
    assert record.state == "failed"


def test_a_name_means_its_newest_run_and_an_id_means_itself(storage):
    old = begun(storage, "a", created="2026-01-01T00:00:00+00:00")
    new = begun(storage, "a", created="2026-01-02T00:00:00+00:00")
    assert find_run(storage, "a") == new
    assert find_run(storage, old.run_id) == old
    assert all_runs(storage) == [new, old]


def test_a_reference_means_the_newest_run_that_succeeded(storage):
    good = begun(storage, "a", created="2026-01-01T00:00:00+00:00", state="succeeded")
    begun(storage, "a", created="2026-01-02T00:00:00+00:00", state="failed")
    assert find_finished(storage, "run://a", "prepare") == good


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("failed", "prepare", "no run of that name has succeeded"),
        ("succeeded", "tune", "is a tune run; a prepare run is"),
    ],
)
def test_a_reference_that_cannot_be_used_says_why(storage, state, kind, said):
    begun(storage, "a", kind=kind, state=state)
    with pytest.raises(UsageError, match=said):
        find_finished(storage, "run://a", "prepare")


def test_versions_count_up_and_latest_is_the_last(storage):
    assert [str(register(storage, version_of(f"r{n}"))) for n in range(3)] == ["gpt@1", "gpt@2", "gpt@3"]
    assert resolve(storage, "gpt@latest").facts.run_id == "r2"
    assert resolve(storage, "gpt@1").facts.run_id == "r0"


def test_registrations_at_once_get_different_numbers(storage):
    """Of many names: the first registration of each makes the folder that the others list."""
    names = [f"gpt-{number}" for number in range(30)]
    together = threading.Barrier(10)

    def register_all(run_id):
        for name in names:
            together.wait(timeout=10)
            register(storage, version_of(run_id, name))

    threads = [threading.Thread(target=register_all, args=(str(n),)) for n in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        made = [version for version in all_versions(storage) if version.name == name]
        assert sorted(version.version for version in made) == list(range(1, 11))
        assert len({version.facts.run_id for version in made}) == 10


def test_an_alias_moves(storage):
    for number in range(2):
        register(storage, version_of(f"r{number}"))
    set_alias(storage, "gpt@1", "production")
    assert str(resolve(storage, "gpt@production")) == "gpt@1"
    set_alias(storage, "gpt@2", "production")
    assert str(resolve(storage, "gpt@production")) == "gpt@2"
    assert aliases(storage, "gpt") == {"production": 2}


@pytest.mark.parametrize("name", ["latest", "7", "Prod", "a b", "../x", "", "é"])
def test_an_alias_that_would_mislead_is_refused(storage, name):
    register(storage, version_of("r"))
    with pytest.raises(UsageError, match="alias"):
        set_alias(storage, "gpt@1", name)


@pytest.mark.parametrize(
    "reference", ["gpt@9", "gpt@staging", "none@1", "gpt@²", "gpt@../../x", "../models/gpt@1", "gpt@" + "9" * 6000]
)
def test_a_version_that_is_not_there_is_refused(storage, reference):
    register(storage, version_of("r"))
    with pytest.raises(UsageError):
        resolve(storage, reference)


def test_a_secret_comes_from_the_environment_or_an_owners_file(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="the secret MY_KEY is not set"):
        need_secret("MY_KEY", tmp_path)
    path = keep_secret("MY_KEY", "abc", tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert find_secret("MY_KEY", tmp_path) == "abc"
    monkeypatch.setenv("MY_KEY", "from the environment")
    assert find_secret("MY_KEY", tmp_path) == "from the environment"


@pytest.mark.parametrize("rows_since", [0, 10, 5000])
def test_the_newest_held_out_figures_are_found_however_far_back_they_stand(storage, rows_since):
    trial = TrialFiles(storage, "runs/sweep", 0)
    assert trial.newest() is None
    rows = [{"step": 1, "validation_loss": 3.0}, {"step": 2, "validation_loss": 2.0}]
    rows += [{"step": 3 + number, "train_loss": 1.0} for number in range(rows_since)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows) + '{"step": 9, "validation_loss": 1'
    storage.write(f"{trial.folder}/metrics.jsonl", text.encode())
    assert trial.newest() == trial.held_out()[-1] == MetricRow.of(rows[1])
