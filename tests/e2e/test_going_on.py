"""A driver that is killed, a run that is stopped and resumed: the training equals one that nothing happened to."""

import json
import re

import psutil
import pytest
import yaml

from waiting import wait_for

pytestmark = pytest.mark.slow

PREPARE = {
    "kind": "prepare",
    "name": "nights",
    "source": {"kind": "jsonl", "path": "nights.jsonl"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "pack": {"block_size": 16},
    "split": {"validation": 0.2},
}
TRAIN = {
    "kind": "train",
    "name": "calm",
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 32, "dropout": 0.1},
    "data": "run://nights",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "workers": {"count": 2, "per_device_batch_size": 2},
    "global_batch_size": 8,
    "steps": 800,
    "validation": {"every_steps": 400, "max_samples": 8},
    "checkpoint": {"every_steps": 50},
}


@pytest.fixture(scope="module")
def calm(platform, tmp_path_factory):
    """The folder of the job files; in the storage lies a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("job")
    rows = [{"text": f"In night {n} the {'owl' if n % 2 else 'bat'} flew {n % 7} miles. " * 9} for n in range(60)]
    (folder / "nights.jsonl").write_text("\n".join(map(json.dumps, rows)))
    platform.run("submit", write(folder, PREPARE, TRAIN))
    return folder


def write(folder, *documents):
    file = folder / f"{'-'.join(one['name'] for one in documents)}.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    return file


def story(platform, run):
    """What must be equal: every step's loss and the samples it saw."""
    shown = platform.json("show", run)
    return [(row["step"], row["train_loss"], row["order_hash"]) for row in shown["metrics"]]


def weights(platform, run):
    return platform.json("show", run)["lineage"]["model_sha256"]


def steps_done(folder):
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def workers(folder):
    said = (folder / "logs" / "driver.log").read_text()
    pids = re.findall(r"worker\(s\) stand after .* s, processes (.*)", said)[-1]
    return [psutil.Process(int(pid)) for pid in pids.split(", ")]


def test_a_killed_driver_is_started_again_and_no_worker_of_the_old_one_writes_on(platform, calm):
    following = platform.start("submit", write(calm, {**TRAIN, "name": "orphaned"}))
    wait_for(lambda: "orphaned" in [run["name"] for run in platform.json("runs")])
    folder = platform.folder("orphaned")
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
    assert story(platform, "orphaned") == story(platform, "calm")
    assert weights(platform, "orphaned") == weights(platform, "calm")


def test_a_stopped_run_has_saved_and_goes_on_where_it_was_with_what_follows_it(platform, calm):
    after = {**TRAIN, "name": "after", "steps": 2, "workers": {"count": 1, "per_device_batch_size": 2}}
    run, _ = platform.json("submit", write(calm, {**TRAIN, "name": "paused"}, after), "--detach")["runs"]
    folder = platform.home / "runs" / run
    wait_for(lambda: steps_done(folder) > 60)
    stopped = platform.run("stop", run)
    result = platform.json("show", run)["result"]
    assert result["state"] == "stopped"
    assert result["step"] == steps_done(folder)
    assert result["checkpoint"] == f"checkpoints/step-{result['step']:07d}"
    assert f"stopped after step {result['step']}, saved in {result['checkpoint']}" in stopped.stderr
    assert platform.json("show", "after")["state"] == "skipped"
    assert "keeps its model, data and maths" in platform.run("resume", run, "--set", "model.layers=2", code=2).stderr
    platform.run("resume", run)
    assert "has succeeded" in platform.run("resume", run, code=2).stderr
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    assert [note["step"] for note in notes if note["event"] == "resumed"] == [result["step"]]
    assert platform.json("show", "after")["state"] == "succeeded"
    assert story(platform, "paused") == story(platform, "calm")
    assert weights(platform, "paused") == weights(platform, "calm")
