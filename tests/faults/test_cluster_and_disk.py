"""What takes the whole cluster or the disk from a training: what it had done stays, and it goes on."""

import os
import subprocess

import pytest

from faults.conftest import TRAIN, Run, ended, platform_at
from small_jobs import prepare, write
from waiting import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

STEPS = 1500


@pytest.fixture(scope="module")
def undisturbed(start):
    run = start("undisturbed", steps=STEPS, wait=False)
    assert ended(run)["state"] == "succeeded"
    return run


def training(platform, folder, name):
    """A training under way, in a storage where the data is first made."""
    file = write(folder, prepare("days", block_size=32), {**TRAIN, "name": name, "steps": STEPS})
    run = Run(platform, platform.json("submit", file, "--detach")["runs"][1])
    wait_for(lambda: run.step > 100, every_s=0.05)
    return run


@pytest.fixture
def platform_of_its_own(tmp_path_factory):
    """Makes platforms with a home each; their clusters end with the test, however it ends."""
    made = []

    def make(storage=None):
        made.append(platform_at(tmp_path_factory.mktemp("home"), storage))
        return made[-1]

    yield make
    for one in made:
        one.run("cluster", "down")


@pytest.mark.parametrize("process", ["gcs/gcs_server", "raylet/raylet"])
def test_a_cluster_that_dies_loses_no_checkpoint_and_the_run_goes_on_on_the_next(
    process, undisturbed, folder, platform_of_its_own
):
    platform = platform_of_its_own()
    run = training(platform, folder, f"orphan-of-{process.partition('/')[0]}")
    run.process(f"/src/ray/{process} --").kill()
    wait_for(lambda: platform.json("show", run.run_id)["state"] == "lost", every_s=1.0)
    done = run.step
    platform.run("resume", run.run_id)
    assert run.result["state"] == "succeeded"
    assert 0 <= done - run.notes("resumed")[0]["step"] <= 40
    assert run.losses() == undisturbed.losses()


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for little."""
    where = tmp_path / "disk"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", where], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def fill(file):
    """Until there is no room for another byte."""
    with file.open("ab", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 4096)
        except OSError:
            pass


def test_a_disk_that_is_full_for_a_while_costs_checkpoints_and_nothing_else(
    undisturbed, folder, small_disk, platform_of_its_own
):
    platform = platform_of_its_own(small_disk)
    run = training(platform, folder, "crammed")
    worker = run.workers()[0]
    fill(small_disk / "filler")
    assert os.statvfs(small_disk).f_bavail == 0
    spent = sum(worker.cpu_times()[:2])
    wait_for(lambda: sum(worker.cpu_times()[:2]) > spent + 5)  # it trains on, though nothing can be written
    (small_disk / "filler").unlink()
    assert ended(run)["state"] == "succeeded"
    assert run.notes("checkpoint_failed")[0]["cause"].endswith("No space left on device")
    assert not run.notes("resumed"), "a worker died of it"
    assert run.losses() == undisturbed.losses()
