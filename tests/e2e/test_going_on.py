"""A worker or driver that is killed, a run that is stopped and resumed: all equal one that nothing happened to."""

import json
import re
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

import small_jobs
from small_jobs import write
from waiting import wait_for

pytestmark = pytest.mark.slow

ONE = {
    **small_jobs.TRAIN,
    "name": "calm-alone",
    "data": "run://weeks",
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 4},
    "steps": 800,
    "validation": {"every_steps": 400, "max_samples": 8},
    "checkpoint": {"every_steps": 100},
}
TWO = {
    **ONE,
    "name": "calm",
    "engine": {"kind": "deepspeed", "zero_stage": 2},
    "workers": small_jobs.TRAIN["workers"],
    "steps": 400,
    "validation": {"every_steps": 200, "max_samples": 8},
    "checkpoint": {"every_steps": 50},
}


@pytest.fixture(scope="module")
def calm(platform, weeks):
    """The folder of the job files; in the storage lies a training of two workers that nothing happened to."""
    platform.run("submit", write(weeks, TWO))
    return weeks


def story(platform, run):
    """What must be equal: every step's loss and the samples it saw."""
    shown = platform.json("show", run)
    return [(row["step"], row["train_loss"], row["order_hash"]) for row in shown["metrics"]]


def weights(platform, run):
    return platform.json("show", run)["lineage"]["model_sha256"]


def assert_equal(platform, run, calm, steps=TWO["steps"]):
    assert story(platform, run) == story(platform, calm)
    assert weights(platform, run) == weights(platform, calm)
    assert [step for step, *_ in story(platform, calm)] == list(range(1, steps + 1))


def steps_done(folder):
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def workers(folder):
    log = folder / "logs" / "driver.log"
    found = wait_for(lambda: re.findall(r"worker\(s\) stand after .* s, processes (.*)", log.read_text()))
    return [psutil.Process(int(pid)) for pid in found[-1].split(", ")]


@contextmanager
def slowed(process):
    """Within it a process works a fifth of the time, and never pauses for long enough to be taken for a silent one."""
    over = threading.Event()

    def pause():
        with suppress(psutil.NoSuchProcess):  # it ends when it is told to
            while not over.is_set():
                process.suspend()
                time.sleep(0.4)
                process.resume()
                time.sleep(0.1)

    thread = threading.Thread(target=pause)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.faults  # make test has the one of a sweep, whose driver is started again in the same way
def test_a_killed_driver_is_started_again_and_no_worker_of_the_old_one_writes_on(platform, calm):
    following = platform.start("submit", write(calm, {**TWO, "name": "orphaned"}))
    folder = wait_for(lambda: platform.newest("orphaned"))
    wait_for(lambda: steps_done(folder) > 120)
    before = workers(folder)
    head = psutil.Process(platform.json("cluster", "up")["pid"])
    (driver,) = [
        one for one in head.children(recursive=True) if "trainshed.runtime submission.json" in " ".join(one.cmdline())
    ]
    driver.kill()
    _, alive = psutil.wait_procs(before, timeout=8)
    assert alive == [], "a worker outlived its driver"
    stdout, stderr = following.communicate(timeout=300)
    assert following.returncode == 0, stdout + stderr
    assert "the driver was killed by SIGKILL: orphaned goes on" in stdout
    seqs = [json.loads(line)["seq"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert seqs == sorted(set(seqs)), "a follower drops a number that it has seen"
    assert_equal(platform, "orphaned", "calm")


@pytest.mark.faults  # make test has one worker that is killed, and checkpoints of every engine
def test_a_killed_worker_is_replaced_and_the_training_ends_as_if_nothing_had_happened(platform, calm):
    following = platform.start("submit", write(calm, {**TWO, "name": "hurt"}))
    folder = wait_for(lambda: platform.newest("hurt"))
    wait_for(lambda: steps_done(folder) > 60)
    workers(folder)[0].kill()
    stdout, stderr = following.communicate(timeout=300)
    assert following.returncode == 0, stdout + stderr
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    assert [note["step"] >= 50 for note in notes if note["event"] == "resumed"] == [True]
    assert_equal(platform, "hurt", "calm")
    # Ray Train takes a checkpoint on only after every worker of the group has reported it.
    reported = json.loads((folder / "checkpoints/checkpoint_manager_snapshot.json").read_text())
    assert reported["latest_checkpoint_result"]["checkpoint_dir_name"].strip("/") == "step-0000400"
    assert 2 <= len(reported["checkpoint_results"]) <= 8


def test_a_run_that_loses_its_follower_is_stopped_and_loses_a_worker_goes_on_with_what_follows_it(platform, weeks):
    platform.run("submit", write(weeks, ONE))
    after = {**ONE, "name": "after", "schedule": {"kind": "constant"}, "steps": 2}
    file = write(weeks, {**ONE, "name": "paused"}, after)
    following = platform.start("submit", file, stdin=subprocess.DEVNULL)
    folder = wait_for(lambda: platform.newest("paused"))
    wait_for(lambda: steps_done(folder) > 0, every_s=0.05)
    run = folder.name
    with slowed(workers(folder)[0]):  # on a busy machine a command starts in the time of all its steps
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=60)
        assert (following.returncode, "goes on" in said) == (130, True)
        stopped = platform.run("stop", run)
    result = platform.json("show", run)["result"]
    assert result["state"] == "stopped"
    assert result["step"] == steps_done(folder)
    assert result["checkpoint"] == f"checkpoints/step-{result['step']:07d}"
    assert f"stopped after step {result['step']}, saved in {result['checkpoint']}" in stopped.stderr
    assert platform.json("show", "after")["state"] == "skipped"
    assert "keeps its model, data and maths" in platform.run("resume", run, "--set", "model.layers=2", code=2).stderr
    resumed = platform.start("resume", run)
    wait_for(lambda: resumed.poll() is not None or steps_done(folder) > result["step"] + 100)
    assert resumed.poll() is None, (result, resumed.communicate())
    workers(folder)[0].kill()
    stdout, stderr = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, stdout + stderr
    assert "has succeeded" in platform.run("resume", run, code=2).stderr
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    at_stop, at_kill = [note["step"] for note in notes if note["event"] == "resumed"]
    assert (at_stop, at_kill >= at_stop) == (result["step"], True)
    assert platform.json("show", "after")["state"] == "succeeded"
    assert_equal(platform, "paused", "calm-alone", ONE["steps"])
