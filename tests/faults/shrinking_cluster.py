"""A training for one or two workers on a cluster of two machines, one of which goes and another of which comes.

python shrinking_cluster.py FOLDER RAY_FOLDER

FOLDER holds data/ and training.json; what the training leaves lies in FOLDER. Prints facts as JSON in the last line.
"""

import json
import os
import re
import sys
import threading
import time
import traceback
from pathlib import Path

FOLDER = Path(sys.argv[1])
os.environ.update(RAY_AUTH_MODE="disabled", OMP_NUM_THREADS="1", RAY_TMPDIR=sys.argv[2])

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from trainshed.record.events import describe  # noqa: E402
from trainshed.record.journal import read_lines  # noqa: E402
from trainshed.record.storage import Storage  # noqa: E402
from trainshed.runtime.training.ray_train.fit import fit  # noqa: E402
from trainshed.runtime.training.worker_spec import WorkerSpec  # noqa: E402
from trainshed.spec.training.train import Training  # noqa: E402

LIMIT_S = 240


def rows():
    return read_lines(Storage.open(FOLDER), "metrics.jsonl")


def step():
    return max((row["step"] for row in rows()[-1:]), default=0)


def until(condition, what):
    deadline = time.time() + LIMIT_S
    while not condition():
        if time.time() > deadline:
            raise TimeoutError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.1)


def resumed():
    return [note["step"] for note in read_lines(Storage.open(FOLDER), "notes.jsonl") if note["event"] == "resumed"]


def groups():
    """How many workers each group had so far."""
    text = (FOLDER / "logs" / "worker-0.log").read_text() if (FOLDER / "logs").exists() else ""
    return [int(line.split(" of ")[1].split()[0]) for line in text.splitlines() if "worker 0 of" in line]


def disturb(cluster, second, facts):
    """A machine goes away; later another one comes. Whatever goes wrong here, the training ends."""
    try:
        exchange(cluster, second, facts)
    finally:
        facts["enough"] = True


def exchange(cluster, second, facts):
    until(lambda: len(rows()) > 30, "30 steps of two workers")
    furthest, at = step(), time.time()
    cluster.remove_node(second, allow_graceful=False)
    deadline = at + LIMIT_S
    while not resumed():
        furthest = max(furthest, step())
        if time.time() > deadline:
            raise TimeoutError(f"no group without the lost machine within {LIMIT_S} s")
        time.sleep(0.1)
    facts["steps_lost"] = furthest - resumed()[0]
    until(lambda: step() > furthest, "a new step")
    facts["recovery_s"] = round(next(row for row in rows() if row["step"] > furthest)["time"] - at, 1)
    until(lambda: step() > furthest + 30, "30 steps of one worker")
    at = time.time()
    cluster.add_node(num_cpus=1)
    until(lambda: len(resumed()) == 2, "a group with the new machine")
    facts["grown_from_step"] = resumed()[1]
    facts["grown_after_s"] = round(time.time() - at, 1)
    grown = resumed()[1]
    until(lambda: step() > grown + 30, "30 steps of two workers again")


def main():
    """Prints what happened, also where it failed: Ray's processes are ended in any case."""
    training = Training.model_validate_json((FOLDER / "training.json").read_text())
    # The head is a machine of its own that trains nothing, as the driver's should be: it is not the one that is lost.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    code, facts = 1, {}
    try:
        cluster.add_node(num_cpus=1)
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        plan = WorkerSpec(training.model_dump(mode="json"), str(FOLDER), "data", ".", export=False)

        def hear(event):
            text = describe(event)
            print(f"{time.time():.1f} {text}", flush=True)
            if left := re.search(r"saved after step (\d+) and left", text):
                facts["last_step_before"] = int(left[1])

        def train():
            facts["step"] = fit(plan, training, sink=hear, stopping=lambda: "enough" in facts).metrics["step"]

        thread = threading.Thread(target=train)  # nodes can be added in the main thread only
        thread.start()
        disturb(cluster, second, facts)
        thread.join(LIMIT_S)
        facts["groups"] = groups()
        code = 0
    except Exception:
        traceback.print_exc()
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(facts), flush=True)
    os._exit(code)


if __name__ == "__main__":
    main()
