"""Every verb about a run whose cluster nobody here can vouch for: what it says, and that it speaks to no stranger."""

import json

import pytest
from typer.testing import CliRunner

from job_texts import TUNE
from stranger import Stranger
from trainshed.cli.main import app
from trainshed.errors import UsageError
from trainshed.record.run import Record
from trainshed.record.storage import Storage

STATES = {
    "an address that only storage names": ("unknown", "an address that only the storage names"),
    "a local cluster of somebody else": ("unknown", "the local cluster of another home or machine"),
    "none, as former versions did": ("unknown", "the run does not say where it was"),
}


@pytest.fixture
def stranger():
    with Stranger() as made:
        yield made


@pytest.fixture(params=STATES)
def case(request, tmp_path, monkeypatch, stranger):
    """A sweep that began and has no result, and its name in `STATES`."""
    for name, value in {"PLATFORM_STORAGE": tmp_path, "PLATFORM_HOME": tmp_path, "RAY_AUTH_TOKEN": "secret"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    cluster = {
        "an address that only storage names": {"url": stranger.url, "local": None},
        "a local cluster of somebody else": {"url": stranger.url, "local": "0123456789abcdef"},
        "none, as former versions did": None,
    }[request.param]
    record = Record(Storage.open(tmp_path), "sweep-261125-000000-abcd")
    facts = {"submission_id": "ts-1", "created_at": "2026-11-25T00:00:00.000+00:00", "number": 0, "file": "job.yaml"}
    code = {"version": "1", "package_sha256": "0" * 64, "git_commit": None}
    record.begin(TUNE, **facts, code=code, cluster=cluster)
    record.storage.write(record.at("events.jsonl"), b"{}\n")
    return request.param


def told(*arguments):
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_each_verb_calls_it_unknown_and_asks_no_stranger(case, stranger):
    state, why = STATES[case]
    assert [one["state"] for one in told("runs", "--json")] == [state]
    assert [one["state"] for one in told("sweeps", "list", "--json")] == [state]
    assert told("show", "sweep", "--json")["state"] == state
    shown = CliRunner().invoke(app, ["show", "sweep"], catch_exceptions=False).stdout
    assert why in shown
    assert "unknown, 0 of" in CliRunner().invoke(app, ["sweeps", "show", "sweep"], catch_exceptions=False).stdout
    with pytest.raises(UsageError, match="may still be running, and two drivers would write into one run"):
        CliRunner().invoke(app, ["resume", "sweep"], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"give --address|call it there"):
        CliRunner().invoke(app, ["stop", "sweep"], catch_exceptions=False)
    assert stranger.seen == []
