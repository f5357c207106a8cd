"""Small sweeps for tests that hand them to the command, and what is asked of them."""

import json

import psutil

import small_jobs
from small_jobs import write

TRAIN = {
    "model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 16},
    "data": "run://weeks",
    "optimizer": small_jobs.TRAIN["optimizer"],
    "workers": {"count": 1, "per_device_batch_size": 4},
    "global_batch_size": 4,
    "steps": 60,
    "validation": {"every_steps": 20, "max_samples": 8},
    "checkpoint": {"every_steps": 20},
    "self_test": False,
}
LONGER = {**TRAIN, "steps": 360, "validation": {"every_steps": 120, "max_samples": 8}}
SWEEP = {
    "kind": "tune",
    "name": "calm-sweep",
    "train": TRAIN,
    "space": {"optimizer.learning_rate": {"log_uniform": [0.001, 0.1]}},
    "search": {"kind": "random", "trials": 6, "concurrent": 1, "seed": 3},
    "stop_early": {"kind": "asha", "grace_steps": 20, "reduction": 2},
}


def result(platform, name):
    return platform.json("show", name)["result"]


def told(platform, name):
    """What each trial came to, and the steps it trained, each once."""
    folder = platform.folder(name)
    steps = {
        path.parent.name: [json.loads(line)["step"] for line in path.read_text().splitlines()]
        for path in folder.glob("trials/*/metrics.jsonl")
    }
    assert all(found == list(range(1, len(found) + 1)) for found in steps.values()), "a step stands twice"
    trials = result(platform, name)["trials"]
    return [(trial["trial"], trial["settings"], trial["history"], trial["state"]) for trial in trials]


def driver_of(platform):
    head = psutil.Process(platform.json("cluster", "up")["pid"])
    for child in head.children(recursive=True):
        try:
            if "trainshed.runtime submission.json" in " ".join(child.cmdline()):
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def begun(platform, folder, sweep):
    """A sweep that nobody follows: its run, and the folder of its trials."""
    run = platform.json("submit", write(folder, sweep), "--detach")["runs"][0]
    return run, platform.home / "runs" / run / "trials"


def ended(trials):
    return {path.parent.name: path.read_text() for path in trials.glob("*/ended.json")}
