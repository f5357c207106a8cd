"""A worker that is killed, a job that fails, one that is stopped, two of one name: each run ends as it says."""

import json
import os
import pty
import signal

import psutil
import pytest
import yaml

from waiting import wait_for

pytestmark = pytest.mark.slow

PREPARE = {
    "kind": "prepare",
    "name": "days",
    "source": {"kind": "jsonl", "path": "days.jsonl"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "pack": {"block_size": 16},
    "split": {"validation": 0.2},
}
TRAIN = {
    "kind": "train",
    "name": "days-model",
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 32, "dropout": 0.1},
    "data": "run://days",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "schedule": {"kind": "cosine", "warmup_steps": 5},
    "engine": {"kind": "deepspeed", "zero_stage": 2},
    "workers": {"count": 2, "per_device_batch_size": 2},
    "global_batch_size": 8,
    "steps": 400,
    "validation": {"every_steps": 100, "max_samples": 8},
    "checkpoint": {"every_steps": 50},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    rows = [
        {"text": f"On day {n} the {'cat' if n % 2 else 'dog'} sat {n % 7} hours in the sun. " * 8} for n in range(60)
    ]
    (folder / "days.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "broken.jsonl").write_text('{"text": "fine"}\n{"txt": "no text"}\n')
    return folder


@pytest.fixture(scope="module")
def data(platform, folder):
    platform.run("submit", write(folder, PREPARE))


def write(folder, *documents):
    file = folder / f"{'-'.join(one['name'] for one in documents)}.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    return file


def workers_of(platform):
    """The processes that train now."""
    head = psutil.Process(platform.json("cluster", "up")["pid"])
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
    if name not in [run["name"] for run in platform.json("runs")]:
        return False
    metrics = platform.folder(name) / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def losses(platform, run):
    return [(row["step"], row["train_loss"]) for row in platform.json("show", run)["metrics"]]


def test_a_killed_worker_costs_no_step_and_changes_no_loss(platform, folder, data):
    platform.run("submit", write(folder, {**TRAIN, "name": "undisturbed"}))
    following = platform.start("submit", write(folder, {**TRAIN, "name": "disturbed"}))
    wait_for(lambda: "disturbed" in [run["name"] for run in platform.json("runs")])
    metrics = platform.folder("disturbed") / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 120)
    victim = workers_of(platform)[0]
    victim.send_signal(signal.SIGKILL)
    stdout, stderr = following.communicate(timeout=300)
    assert following.returncode == 0, stdout + stderr
    log = platform.run("logs", "disturbed", "--worker", "0").stdout
    assert "resumed after step" in log
    assert losses(platform, "disturbed") == losses(platform, "undisturbed")
    assert [step for step, _ in losses(platform, "disturbed")] == list(range(1, 401))
    hashes = [platform.json("show", run)["lineage"]["model_sha256"] for run in ("disturbed", "undisturbed")]
    assert hashes[0] == hashes[1]
    # Ray Train takes a checkpoint on only after every worker of the group has reported it.
    reported = json.loads((platform.folder("disturbed") / "checkpoints/checkpoint_manager_snapshot.json").read_text())
    assert reported["latest_checkpoint_result"]["checkpoint_dir_name"].strip("/") == "step-0000400"
    assert 2 <= len(reported["checkpoint_results"]) <= 8


def test_a_sweep_of_two_worker_trials(platform, folder, data):
    train = {key: value for key, value in TRAIN.items() if key not in ("kind", "name")}
    sweep = {
        "kind": "tune",
        "name": "wide",
        "train": {**train, "steps": 6, "validation": {"every_steps": 3, "max_samples": 4}},
        "space": {"model.dropout": {"choice": [0.0]}, "optimizer.learning_rate": {"log_uniform": [0.001, 0.01]}},
        "search": {"kind": "random", "trials": 2, "concurrent": 1},
    }
    platform.run("submit", write(folder, sweep))
    trials = platform.json("show", "wide")["result"]["trials"]
    assert [[step for step, _ in trial["history"]] for trial in trials] == [[3, 6], [3, 6]]
    logs = platform.folder("wide") / "trials" / "trial-00000" / "logs"
    assert {path.name for path in logs.iterdir()} == {"worker-0.log", "worker-1.log"}


def test_a_job_that_fails_says_why_in_one_line_and_skips_what_follows(platform, folder):
    broken = {**PREPARE, "name": "broken", "source": {"kind": "jsonl", "path": "broken.jsonl"}}
    done = platform.run("submit", write(folder, broken, {**TRAIN, "name": "never", "data": "run://broken"}), code=1)
    cause = platform.json("show", "broken")["result"]["cause"]
    assert "broken.jsonl:2: no field 'text'" in cause
    assert "\n" not in cause
    assert cause in done.stdout
    assert f"full log: {platform.folder('broken')}/logs" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "Traceback" in platform.run("logs", "broken").stdout
    assert platform.json("show", "never")["state"] == "skipped"


def test_too_little_data_is_found_before_workers_start(platform, folder, data):
    job = {**TRAIN, "name": "hungry", "global_batch_size": 4096}
    done = platform.run("submit", write(folder, job), code=1)
    assert "less than one global_batch_size of 4096" in done.stdout


def test_a_stopped_run_is_stopped_and_its_followers_are_skipped(platform, folder, data):
    job = {**TRAIN, "name": "endless", "steps": 100_000}
    runs = platform.json("submit", write(folder, job, {**PREPARE, "name": "after"}), "--detach")["runs"]
    wait_for(lambda: trains(platform, "endless"))
    platform.run("stop", runs[0])
    assert platform.json("show", runs[0])["state"] == "stopped"
    assert platform.json("show", runs[1])["state"] == "skipped"
    wait_for(lambda: not workers_of(platform))
    assert "has already ended (stopped)" in platform.run("stop", runs[0], code=2).stderr


def test_two_submissions_of_one_name_are_two_runs(platform, folder, data):
    file = write(
        folder,
        {
            **TRAIN,
            "name": "twin",
            "steps": 3,
            "schedule": {"kind": "constant"},
            "workers": {"count": 1},
            "global_batch_size": 8,
        },
    )
    first, second = (platform.json("submit", file, "--detach")["runs"][0] for _ in range(2))
    assert first != second
    for run in (first, second):
        wait_for(lambda run=run: platform.json("show", run)["state"] == "succeeded")
        assert [step for step, _ in losses(platform, run)] == [1, 2, 3]
    assert losses(platform, first) == losses(platform, second)


def test_an_interrupted_follower_leaves_the_job_running(platform, folder, data):
    following = platform.start("submit", write(folder, {**TRAIN, "name": "left", "steps": 100_000}))
    wait_for(lambda: trains(platform, "left"))
    os.kill(following.pid, signal.SIGINT)
    _, stderr = following.communicate(timeout=30)
    assert following.returncode == 130
    assert "goes on" in stderr
    assert platform.json("show", "left")["state"] == "running"
    platform.run("stop", "left")


def test_an_interrupted_follower_at_a_terminal_asks_and_stops(platform, folder, data):
    ours, theirs = pty.openpty()
    job = {**TRAIN, "name": "asked", "steps": 100_000}
    following = platform.start("submit", write(folder, job), stdin=theirs)
    wait_for(lambda: trains(platform, "asked"))
    os.kill(following.pid, signal.SIGINT)
    os.write(ours, b"s\n")
    _, stderr = following.communicate(timeout=60)
    assert following.returncode == 130
    assert "[d]etach and leave the job running, or [s]top it?" in stderr
    result = platform.json("show", "asked")["result"]
    assert result["state"] == "stopped"
    assert f"stopped after step {result['step']}, saved in checkpoints/step-{result['step']:07d}" in stderr


def test_more_workers_than_the_cluster_has_is_refused_at_once(platform, folder, data):
    job = {**TRAIN, "workers": {"count": 64, "per_device_batch_size": 1}, "global_batch_size": 64}
    done = platform.run("submit", write(folder, job), code=4)
    assert "64 workers ask for 64 CPUs" in done.stderr
