"""Whether a run may still be alive: which cluster is asked, with which token, and what its answer means."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from client.cutting_proxy import CuttingProxy
from stranger import Stranger
from trainshed.cli.states import LOST, UNKNOWN, States
from trainshed.client import resume as client
from trainshed.client.address import find_address
from trainshed.client.alive import HANDING_OVER_S, Clusters, Sign
from trainshed.client.cluster_state import find
from trainshed.client.jobs_api import JobsClient
from trainshed.client.known_clusters import name_of, remember
from trainshed.errors import UsageError
from trainshed.record.cluster import KEY
from trainshed.record.facts import EndFacts
from trainshed.record.index import Index
from trainshed.record.run import Record
from trainshed.record.storage import Storage

NOW = datetime.now(UTC)
LONG_AGO = (NOW - timedelta(days=1)).isoformat()
TRAIN = {"kind": "train", "name": "model"}


@pytest.fixture
def listener() -> Iterator[Stranger]:
    with Stranger() as made:
        yield made


@pytest.fixture
def own() -> Iterator[Stranger]:
    """Where the local cluster of `home` listens."""
    with Stranger() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, own: Stranger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose local cluster is this very process, with a token of its own; another token in the environment."""
    home = tmp_path / "home"
    (home / "cluster").mkdir(parents=True)
    (home / "cluster" / "token").write_text("local-token")
    state = {
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "dashboard_url": own.url,
        "gcs_address": "127.0.0.1:1",
        "token_path": str(home / "cluster" / "token"),
        "temp_dir": "/tmp/ts-none",
        "serve_port": 1,
        "cpus": 3,
        "gpus": 0,
        "started_at": "2026-11-24T12:00:00+00:00",
        "ray_version": "2.60.0",
        "log": "ray.log",
    }
    (home / "cluster" / "state.json").write_text(json.dumps(state))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "remote-token")
    return home


def job_of(cluster: object, **facts: object) -> dict[str, Any]:
    return {"run_id": "model-1", "submission_id": "ts-1", "created_at": LONG_AGO, KEY: cluster, **facts}


REMOTE, LOCAL = "Bearer remote-token", "Bearer local-token"
# What no cluster can be called is as if nothing stood there: today's default is asked, which here is the local one.
NO_NAME = (
    "http://known:8265@{host}",
    "{own}@{host}",
    "file:///etc/passwd",
    "http://ho st",
    "\x1b[2Jhttp://x",
    "",
)


@pytest.mark.parametrize(
    ("stored", "vouched", "there", "at_home"),
    [
        ("{url}", None, set(), set()),
        ("{url}", "option", {REMOTE}, set()),
        ("{url}", "variable", {REMOTE}, set()),
        ("{url}", "home", {REMOTE}, set()),
        ("{url}/other/path", "home", set(), set()),
        ("{url}?x=1", "home", set(), set()),
        ("{url}/other/path", "variable", set(), set()),
        ("{own}", None, set(), {LOCAL}),
        ("{own}.{host}", None, set(), set()),
        ("{own}/other/path", None, set(), {LOCAL}),
        ("http://[bad", None, set(), set()),
        ("http://host:99999999", None, set(), set()),
        *((stored, None, set(), {LOCAL}) for stored in NO_NAME),
    ],
)
def test_a_token_goes_only_to_an_address_that_somebody_here_named(
    home: Path,
    listener: Stranger,
    own: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    stored: str,
    vouched: str | None,
    there: set[str],
    at_home: set[str],
) -> None:
    url = stored.format(url=listener.url, host=listener.url.removeprefix("http://"), own=own.url)
    if vouched == "variable":
        monkeypatch.setenv("PLATFORM_ADDRESS", listener.url)
    if vouched == "home":
        remember(home, name_of(listener.url, None), listener.url)
    clusters = Clusters(home, listener.url if vouched == "option" else None)
    answer = clusters.sign(job_of({"url": url, "local": None}), now=NOW)
    assert answer.sign is Sign.UNKNOWN, "a server that is no Ray knows nothing of any run"
    assert ({*listener.seen}, {*own.seen}) == (there, at_home)


@pytest.mark.parametrize(
    ("local", "sign", "why"),
    [
        ("this", Sign.UNKNOWN, "refused the request: GET /api/version"),
        ("earlier", Sign.OVER, "this home's local cluster, which has ended"),
        ("0123456789abcdef", Sign.UNKNOWN, "the local cluster of another home or machine"),
    ],
)
def test_a_local_cluster_is_told_by_which_one_it_is_and_not_by_its_address(
    home: Path, listener: Stranger, own: Stranger, local: str, sign: Sign, why: str
) -> None:
    if local == "this":
        found = find(home)
        assert found is not None
        local = found.identity
    if local == "earlier":
        local = "fedcba9876543210"
        remember(home, name_of(listener.url, local), listener.url)
    answer = Clusters(home, None).sign(job_of({"url": listener.url, "local": local}), now=NOW)
    assert answer.sign is sign
    assert why in answer.why
    assert listener.seen == [], "the address that storage gives it is not spoken to"
    assert {*own.seen} == ({LOCAL} if "refused" in why else set())


@pytest.mark.parametrize("cluster", [None, "http://x", 7, {}, {"url": 3}, {"url": "http://x", "more": 1}, ["http://x"]])
def test_a_run_that_names_no_cluster_is_never_called_lost_by_itself(tmp_path: Path, cluster: object) -> None:
    answer = Clusters(tmp_path, None).sign(job_of(cluster), now=NOW)
    assert answer.sign is Sign.UNKNOWN
    with pytest.raises(UsageError, match="does not say where it ran; give --address"):
        Clusters(tmp_path, None).of(job_of(cluster))


def test_what_may_be_alive_is_not_resumed_and_not_stopped_elsewhere(tmp_path: Path) -> None:
    record = Record(Storage.open(tmp_path), "model-1")
    cluster = {"url": "http://head:8265"}
    record.begin({**TRAIN}, submission_id="ts-1", created_at=LONG_AGO, number=0, cluster=cluster)
    clusters = Clusters(tmp_path, None)
    answer = clusters.sign(record.job, now=NOW)
    with pytest.raises(UsageError, match=r"model-1 may still be running.* http://head:8265 is an address that only"):
        client.prepare(record, UNKNOWN, [], Index(record.storage), why=answer.why)
    with pytest.raises(UsageError, match="an address that only the storage names; give --address"):
        clusters.of(record.job)


def test_a_password_in_an_address_stays_in_the_home(tmp_path: Path) -> None:
    address = find_address(tmp_path, "https://me:secret@head/ray/")
    assert address is not None
    assert address.name.url == "https://head/ray"
    remember(tmp_path, address.name, address.url)
    assert Clusters(tmp_path, None).of(job_of(address.name.model_dump())).url == "https://me:secret@head/ray"
    (file,) = (tmp_path / "clusters").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def elsewhere(running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another home without a cluster of its own, which has handed work to the running one before."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    monkeypatch.setenv("PLATFORM_HOME", str(home))
    monkeypatch.setenv("RAY_AUTH_TOKEN", running.local.token)
    url = running.local.dashboard_url
    remember(home, name_of(url, None), url)
    return home


@pytest.mark.slow
def test_only_its_own_cluster_calls_a_run_alive_or_lost(
    running, jobs: JobsClient, run_script, ended, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = running.local.dashboard_url
    named = {"url": url, "local": None}
    alive = job_of(named, submission_id=run_script(jobs, "import time; time.sleep(600)"))
    just_now = (NOW - timedelta(seconds=HANDING_OVER_S - 60)).isoformat()
    silent = "http://127.0.0.1:9"
    remember(elsewhere, name_of(silent, None), silent)
    for words, job, explicit, default, sign in [
        ("alive on its own, today's is silent", alive, None, silent, Sign.ALIVE),
        ("alive on its own, there is none today", alive, None, None, Sign.ALIVE),
        ("the user names its own", alive, url, silent, Sign.ALIVE),
        ("the user names another, which is silent", alive, silent, None, Sign.ALIVE),
        ("its own is silent, today's does not know it", job_of({"url": silent}), None, url, Sign.UNKNOWN),
        ("its own does not know it", job_of(named), None, silent, Sign.OVER),
        ("its own does not know it yet", job_of(named, created_at=just_now), None, None, Sign.UNKNOWN),
        ("nobody can say since when", job_of(named, created_at="yesterday"), None, None, Sign.UNKNOWN),
        ("it was resumed just now", job_of(named, handed_over_at=just_now), None, None, Sign.UNKNOWN),
        ("its own is silent, the user names another", job_of({"url": silent}), url, None, Sign.OVER),
        ("it names none, today's does not know it", job_of(None), None, url, Sign.UNKNOWN),
        ("it names none, the user names one", job_of(None), url, None, Sign.OVER),
    ]:
        if default is None:
            monkeypatch.delenv("PLATFORM_ADDRESS", raising=False)
        else:
            monkeypatch.setenv("PLATFORM_ADDRESS", default)
        answer = Clusters(elsewhere, explicit).sign(job, now=NOW)
        assert answer.sign is sign, f"{words}: {answer.why}"
    jobs.stop(alive["submission_id"])
    assert ended(jobs, alive["submission_id"]).terminal
    assert Clusters(elsewhere, None).sign(alive, now=NOW).sign is Sign.OVER


@pytest.mark.slow
def test_a_run_that_ends_while_its_cluster_is_asked_is_not_lost(
    running, jobs: JobsClient, run_script, ended, elsewhere: Path, tmp_path: Path
) -> None:
    submission = run_script(jobs, "")
    ended(jobs, submission)
    record = Record(Storage.open(tmp_path), "sweep-1")
    port = int(running.local.dashboard_url.rsplit(":", 1)[1])
    with CuttingProxy(port, [10**9], on_connection=lambda: record.finish(EndFacts(state="succeeded"))) as proxy:
        remember(elsewhere, name_of(proxy.url, None), proxy.url)
        record.begin(TRAIN, submission_id=submission, created_at=LONG_AGO, number=0, cluster={"url": proxy.url})
        record.storage.write(record.at("events.jsonl"), b"{}")
        assert States(None).of(record) == "succeeded", "its result was written before the cluster answered"
    record.storage.delete(record.at("result.json"))
    with CuttingProxy(port, [10**9]) as proxy:
        remember(elsewhere, name_of(proxy.url, None), proxy.url)
        record.begin(TRAIN, submission_id=submission, created_at=LONG_AGO, number=0, cluster={"url": proxy.url})
        assert States(None).of(record) == LOST
