"""The local cluster's life on this machine: up, found, killed, down."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from listeners import listeners_of, open_to_others
from trainshed.client import local_cluster
from trainshed.client.cluster_state import LocalCluster, find
from trainshed.client.jobs_api import JobsClient
from trainshed.client.local_cluster import down, up
from trainshed.environment import CLUSTER_DIR
from trainshed.errors import ClusterError

pytestmark = pytest.mark.slow

# A driver with a Ray worker, and a child in a session of its own that outlives both.
BUSY = """
import subprocess, sys, time
import ray
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
ray.init()
@ray.remote
class Worker:
    def pid(self):
        return 1
worker = Worker.remote()
ray.get(worker.pid.remote())
print("busy", flush=True)
time.sleep(300)
"""


@pytest.fixture
def second_home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "second"
    yield home
    down(home, say=print)


def _quiet(text: str) -> None:
    del text


def _processes_of(cluster: LocalCluster) -> set[psutil.Process]:
    """Found here by other means than the code under test: everything below the head's process."""
    head = psutil.Process(cluster.pid)
    return {head, *head.children(recursive=True)}


def _left_of(cluster: LocalCluster, seen: set[psutil.Process]) -> list[str]:
    """Processes seen before, or any on the machine with the cluster's mark or directory in its command line."""
    left = []
    for process in {*seen, *psutil.process_iter()}:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or not process.is_running():
                continue
            command = " ".join(process.cmdline())
            if process in seen or cluster.temp_dir in command or process.environ().get(CLUSTER_DIR) == cluster.temp_dir:
                left.append(f"{process.pid} {command}")
        except psutil.Error:
            continue
    return left


def _answers(cluster: LocalCluster) -> bool:
    with JobsClient(cluster.dashboard_url, cluster.token) as jobs:
        return jobs.version() == cluster.ray_version


def _be_busy(cluster: LocalCluster, run_script: Callable[..., str], wait_for: Callable[..., None]) -> None:
    with JobsClient(cluster.dashboard_url, cluster.token) as jobs:
        job = run_script(jobs, BUSY)
        wait_for(lambda: "busy" in jobs.logs(job), "the job has a worker")


def test_up_again_gives_the_same_cluster(running) -> None:
    again, started = up(running.home, say=_quiet)
    assert (again, started) == (running.local, False)
    assert find(running.home) == running.local


def test_what_it_leaves_in_its_home_is_readable_for_the_owner_alone(running) -> None:
    state = running.home / "cluster" / "state.json"
    for path in (state, Path(running.local.token_path)):
        assert path.stat().st_mode & 0o777 == 0o600
    assert Path(running.local.temp_dir, "ray").is_dir()
    assert Path(running.local.temp_dir).stat().st_mode & 0o777 == 0o700
    assert json.loads(state.read_text())["ray_version"] == "2.60.0"
    assert float((running.home / "cluster" / "start_took_s").read_text()) > 0, "the next start may take as long"


@pytest.mark.parametrize(("headers", "code"), [({}, 401), ({"Authorization": "Bearer " + "0" * 64}, 403)])
def test_who_lacks_the_token_is_refused(running, headers: dict[str, str], code: int) -> None:
    body = {"entrypoint": "true"}
    for method, path in (("POST", "/api/jobs/"), ("GET", "/api/jobs/"), ("GET", "/api/v0/nodes")):
        url = running.local.dashboard_url + path
        assert httpx.request(method, url, headers=headers, json=body, trust_env=False).status_code == code


def test_everything_listens_on_the_loopback_alone(running) -> None:
    found = list(listeners_of(running.home))
    assert len(found) >= 10
    assert open_to_others(found) == set()


def test_two_ups_at_once_give_one_cluster_and_down_ends_it_wholly_and_alone(
    running, second_home: Path, run_script: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    results: list[tuple[LocalCluster, bool]] = []
    threads = [threading.Thread(target=lambda: results.append(up(second_home, say=_quiet))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (one, started_one), (other, started_other) = results
    assert one == other
    assert {started_one, started_other} == {True, False}
    assert one.pid != running.local.pid
    _be_busy(one, run_script, wait_for)
    seen = _processes_of(one)
    assert down(second_home, say=_quiet)
    assert _left_of(one, seen) == []
    assert not Path(one.temp_dir).exists()
    assert find(second_home) is None
    assert not down(second_home, say=_quiet)
    assert _answers(running.local)


def test_after_the_death_of_its_head_nothing_of_a_cluster_survives_down(
    running, second_home: Path, run_script: Callable[..., str], wait_for: Callable[..., None]
) -> None:
    cluster, _ = up(second_home, say=_quiet)
    _be_busy(cluster, run_script, wait_for)
    seen = _processes_of(cluster)
    psutil.Process(cluster.pid).kill()
    wait_for(lambda: find(second_home) is None, "the head is dead")
    assert not down(second_home, say=_quiet)
    assert _left_of(cluster, seen) == []
    assert not Path(cluster.temp_dir).exists()
    assert _answers(running.local)


def test_a_cluster_that_is_not_ready_in_time_is_ended_and_named_by_its_log(second_home: Path) -> None:
    before = set(Path("/tmp").glob("ts-*"))
    with pytest.raises(ClusterError, match="not ready within 0 s, --start-timeout gives it longer") as caught:
        up(second_home, say=_quiet, start_timeout_s=0.2)
    assert str(second_home / "cluster" / "ray.log") in str(caught.value)
    assert not (second_home / "cluster" / "state.json").exists()
    assert set(Path("/tmp").glob("ts-*")) <= before
    assert not [process for process in psutil.process_iter() if str(second_home) in " ".join(_command(process))]


def test_a_head_that_cannot_start_says_why(second_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_gcs_server_request_timeout_seconds", "not-a-number")  # Ray is killed by it, without a word
    with pytest.raises(ClusterError, match="ended while starting, killed by SIGSEGV: its log names no error"):
        up(second_home, say=_quiet, start_timeout_s=600)
    assert not (second_home / "cluster" / "state.json").exists()


def test_a_head_that_ends_as_late_as_rays_own_deadline_is_started_again(
    second_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_server_request_timeout_seconds", "not-a-number")
    monkeypatch.setattr(local_cluster, "_RAYS_DEADLINE_S", 0.0)  # any end may have been that
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:  # it began, it was started again, and it would be once more
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        up(second_home, say=say, start_timeout_s=600)
    assert said[0] == "starting a local Ray cluster"
    assert all("killed by SIGSEGV" in line and "starting it again" in line for line in said[1:])


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
