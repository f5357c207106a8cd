"""Real processes, no Ray: which of them end with a cluster and which do not."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from trainshed.client.processes import alive, end_cluster
from trainshed.environment import CLUSTER_DIR

SLEEP = "import time; time.sleep(300)"
# A child in a session of its own, whose parent is then gone: what a job may leave behind.
ORPHAN = (
    "import subprocess, sys;"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdout=subprocess.DEVNULL, start_new_session=True);"
    "print(child.pid)"
)

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, **options: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", code], **options))  # type: ignore[call-overload]
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def _created(process: subprocess.Popen[bytes]) -> float:
    return psutil.Process(process.pid).create_time()


def test_a_process_is_known_by_pid_and_creation_time(start: Start) -> None:
    process = start(SLEEP)
    created = _created(process)
    assert alive(process.pid, created) is not None
    assert alive(process.pid, created + 1) is None
    process.kill()
    assert process.wait() != 0
    assert alive(process.pid, created) is None


def test_a_zombie_is_not_alive(start: Start, wait_for: Callable[[Callable[[], object], str], None]) -> None:
    process = start(SLEEP)
    created = _created(process)
    process.kill()
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it is a zombie")
    assert alive(process.pid, created) is None


def test_an_orphan_that_carries_the_mark_ends_and_its_neighbours_live(start: Start, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ts-a", tmp_path / "ts-ab"
    made = subprocess.check_output([sys.executable, "-c", ORPHAN], env={**os.environ, CLUSTER_DIR: str(ours)})
    orphan = psutil.Process(int(made))
    orphan_created = orphan.create_time()
    neighbour = start(SLEEP, env={**os.environ, CLUSTER_DIR: str(theirs)})
    stranger = start(SLEEP)
    end_cluster(None, ours, grace_s=5)
    assert alive(orphan.pid, orphan_created) is None
    assert neighbour.poll() is None
    assert stranger.poll() is None


def test_a_process_that_writes_a_log_of_the_cluster_ends_and_one_that_reads_it_lives(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "ts-a").mkdir()
    with (tmp_path / "ts-a" / "worker.out").open("wb") as log:
        writer = start(SLEEP, stdout=log)
    with (tmp_path / "ts-a" / "worker.out").open("rb") as log:
        reader = start(SLEEP, stdin=log)
    end_cluster(None, tmp_path / "ts-a", grace_s=5)
    assert not psutil.pid_exists(writer.pid)
    assert reader.poll() is None


def test_a_tree_that_ignores_the_polite_signal_ends_all_the_same(start: Start, tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {deaf + SLEEP!r}]);"
    root = start(f"{deaf}{child}print('ready', flush=True);{SLEEP}", stdout=subprocess.PIPE, start_new_session=True)
    assert root.stdout is not None
    assert root.stdout.readline() == b"ready\n"
    children = psutil.Process(root.pid).children()
    created = [child.create_time() for child in children]
    assert len(children) == 1
    end_cluster(psutil.Process(root.pid), tmp_path / "ts-none", grace_s=0.3)
    assert not psutil.pid_exists(root.pid)
    assert alive(children[0].pid, created[0]) is None
