"""A job that fails, one that is stopped at the terminal, two of one name: each run ends as it says."""

import json
import os
import pty
import signal

import psutil
import pytest

import small_jobs
from small_jobs import prepare, write
from waiting import wait_for

pytestmark = pytest.mark.slow

TRAIN = {
    **small_jobs.TRAIN,
    "name": "days-model",
    "data": "run://weeks",
    "steps": 100_000,
    "validation": {"every_steps": 1000, "max_samples": 8},
}


def test_a_submission_that_is_followed_is_json_from_the_first_line_to_the_last(weeks_said):
    events = [json.loads(line) for line in weeks_said[1].splitlines()]
    assert [events[0]["event"], events[1]["event"], events[-1]["event"]] == ["submitted", "begin", "job_end"]
    assert events[0]["runs"] == [events[1]["run"]]


def workers_of(head):
    """The processes that train now."""
    names = ("RayTrainWorker", "StandbyWorker")
    return [child for child in head.children(recursive=True) if any(name in title(child) for name in names)]


def title(process):
    """What the process calls itself; empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def trains(platform, name):
    """Whether the newest run of that name has done its first step."""
    folder = platform.newest(name)
    metrics = None if folder is None else folder / "metrics.jsonl"
    return metrics is not None and metrics.exists() and metrics.stat().st_size > 0


def test_a_job_that_fails_says_why_in_one_line_and_skips_what_follows(platform, weeks):
    (weeks / "broken.jsonl").write_text('{"text": "fine"}\n{"txt": "no text"}\n')
    broken = {**prepare("weeks"), "name": "broken", "source": {"kind": "jsonl", "path": "broken.jsonl"}}
    done = platform.run("submit", write(weeks, broken, {**TRAIN, "name": "never", "data": "run://broken"}), code=1)
    cause = platform.json("show", "broken")["result"]["cause"]
    assert "broken.jsonl:2: no field 'text'" in cause
    assert "\n" not in cause
    assert cause in done.stdout
    assert f"full log: {platform.folder('broken')}/logs" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "Traceback" in platform.run("logs", "broken").stdout
    assert platform.json("show", "never")["state"] == "skipped"


def test_too_little_data_is_found_before_workers_start(platform, weeks):
    job = {**TRAIN, "name": "hungry", "global_batch_size": 4096}
    done = platform.run("submit", write(weeks, job), code=1)
    assert "less than one global_batch_size of 4096" in done.stdout


def test_two_submissions_of_one_name_are_two_runs(platform, weeks):
    file = write(weeks, {**prepare("weeks"), "name": "twin"})
    first, second = (platform.json("submit", file, "--detach")["runs"][0] for _ in range(2))
    assert first != second
    for run in (first, second):
        wait_for(lambda run=run: platform.has_ended(run))
        assert platform.json("show", run)["state"] == "succeeded"
    results = [platform.json("show", run)["result"] for run in (first, second)]
    assert results[0]["data"] == results[1]["data"]
    assert platform.folder("twin").name == second, "a name is that of the newest"


def test_an_interrupted_follower_at_a_terminal_asks_and_stops(platform, weeks):
    ours, theirs = pty.openpty()
    file = write(weeks, {**TRAIN, "name": "asked"}, {**prepare("weeks"), "name": "follower"})
    following = platform.start("submit", file, stdin=theirs)
    wait_for(lambda: trains(platform, "asked"))
    os.kill(following.pid, signal.SIGINT)
    os.write(ours, b"s\n")
    _, stderr = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "[d]etach and leave the job running, or [s]top it?" in stderr
    result = platform.json("show", "asked")["result"]
    assert result["state"] == "stopped"
    assert f"stopped after step {result['step']}, saved in checkpoints/step-{result['step']:07d}" in stderr
    assert platform.json("show", "follower")["state"] == "skipped"
    assert "has already ended (stopped)" in platform.run("stop", "asked", code=2).stderr
    head = psutil.Process(platform.json("cluster", "up")["pid"])
    wait_for(lambda: not workers_of(head))


def test_more_workers_than_the_cluster_has_is_refused_at_once(platform, weeks):
    job = {**TRAIN, "workers": {"count": 64, "per_device_batch_size": 1}, "global_batch_size": 64}
    done = platform.run("submit", write(weeks, job), code=4)
    assert "64 workers ask for 64 CPUs" in done.stderr
