"""A real Ray cluster under a home of its own, for the tests that need one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from trainshed.client.cluster_state import LocalCluster
from trainshed.client.jobs_api import JobsClient
from trainshed.client.local_cluster import down, up
from trainshed.client.package import package_files
from trainshed.client.ray_answers import JobStatus

WaitFor = Callable[[Callable[[], object], str], None]
RunScript = Callable[..., str]
ENVIRONMENT = ("PLATFORM_HOME", "PLATFORM_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Running:
    home: Path
    local: LocalCluster


@pytest.fixture(autouse=True)
def _no_address_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    local, started = up(home, say=print)
    assert started
    yield Running(home, local)
    down(home, say=print)


@pytest.fixture
def jobs(running: Running) -> Iterator[JobsClient]:
    with JobsClient(running.local.dashboard_url, running.local.token) as client:
        yield client


@pytest.fixture
def run_script() -> RunScript:
    """Submit a Python script as a job; returns its submission id."""

    def run(jobs: JobsClient, script: str, **runtime_env: object) -> str:
        submission_id = f"test-{uuid4().hex[:12]}"
        package = package_files({"script.py": script.encode()})
        jobs.upload(package)
        jobs.submit(submission_id, "python script.py", {"working_dir": package.uri, **runtime_env}, {})
        return submission_id

    return run


@pytest.fixture
def wait_for() -> WaitFor:
    def wait(condition: Callable[[], object], what: str) -> None:
        give_up_at = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < give_up_at, f"waited 60 s in vain until {what}"
            time.sleep(0.05)

    return wait


@pytest.fixture
def ended(wait_for: WaitFor) -> Callable[[JobsClient, str], JobStatus]:
    """Wait until a job is over."""

    def wait(jobs: JobsClient, submission_id: str) -> JobStatus:
        wait_for(lambda: jobs.status(submission_id).terminal, f"{submission_id} ends")
        return jobs.status(submission_id)

    return wait
