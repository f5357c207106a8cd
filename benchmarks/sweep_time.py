"""U1: what a sweep takes beside its trials: 60 trials that sleep for 2 s, two at once, ideally 60 s.

    .venv/bin/python benchmarks/sweep_time.py [--pairs 5] [--trials 60]

A: `platform submit` of a sweep whose trials are whole trainings (a custom task, one step of 2 s; metrics, log and files
of each trial are kept). B: bare Ray Tune on the same cluster with a function that sleeps and reports, with reused
actors; once also in its default, which makes an actor for each trial. From the first trial's start to the last one's
end, A B A B; the whole commands, with what comes before and after, are printed too. Writes U1.json (A / ideal) and
U1-tune.json (A / B with reused actors).
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from own_cluster import ClusterCpu, OwnCluster
from results import write_result
from sleeping_task import SLEEP_S

HERE = Path(__file__).parent
AT_ONCE = 2

PREPARE = {
    "kind": "prepare",
    "name": "few",
    "source": {"kind": "jsonl", "path": "few.jsonl"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "pack": {"block_size": 16},
    "split": {"validation": 0.2},
}
SWEEP = {
    "kind": "tune",
    "name": "sleepers",
    "train": {
        "task": {"kind": "custom", "path": "sleeping_task:Sleeping"},
        "model": {"kind": "gpt2", "layers": 1, "heads": 1, "width": 8},
        "data": "run://few",
        "optimizer": {"kind": "sgd", "learning_rate": 0.01},
        "engine": {"kind": "ddp"},
        "workers": {"count": 1, "per_device_batch_size": 1},
        "global_batch_size": 1,
        "steps": 1,
        "validation": {"every_steps": 1, "max_samples": 1},
    },
    "space": {"optimizer.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "search": {"kind": "random", "concurrent": AT_ONCE},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    ideal = options.trials * SLEEP_S / AT_ONCE
    pairs = []
    with OwnCluster() as cluster:
        shutil.copy(HERE / "sleeping_task.py", cluster.home)
        rows = [{"text": f"Line {number} says that {number * number} is its square. " * 9} for number in range(50)]
        (cluster.home / "few.jsonl").write_text("\n".join(map(json.dumps, rows)))
        cluster.submit(PREPARE)
        for number in range(options.pairs):
            a = through_platform(cluster, options.trials, seed=number)
            b = bare(cluster, options.trials, "--reuse")
            pairs.append((a, b))
            print(f"pair {number}: platform {show(a)} | tune {show(b)}", flush=True)
        fresh = bare(cluster, options.trials)
        print(f"tune with an actor for each trial: {show(fresh)}", flush=True)
    command = f"python benchmarks/sweep_time.py --pairs {options.pairs} --trials {options.trials}"
    default = statistics.median(a["span_s"] for a, _ in pairs) / fresh["span_s"]
    whole = statistics.median(a["whole_s"] / b["whole_s"] for a, b in pairs)
    sleeps = f"{options.trials} trials x {SLEEP_S:g} s, {AT_ONCE} at once"
    what = f"{sleeps}: first start to last end / {ideal:.0f} s"
    write_result("U1", what, "<= 1.20", [a["span_s"] / ideal for a, _ in pairs], command=command, pairs=pairs)
    what = f"{sleeps}: / bare Ray Tune, actors reused (its default: {default:.3f}; whole commands: {whole:.3f})"
    ratios = [a["span_s"] / b["span_s"] for a, b in pairs]
    write_result("U1-tune", what, "<= 1.03", ratios, command=command, pairs=pairs)


def through_platform(cluster: OwnCluster, trials: int, *, seed: int) -> dict:
    search = {**SWEEP["search"], "trials": trials, "seed": seed}
    start = time.time()
    with ClusterCpu(cluster.home) as cpu:
        run = cluster.submit({**SWEEP, "search": search})
    whole_s = time.time() - start
    began, ended = (
        [path.stat().st_mtime for path in cluster.folder(run).glob(f"trials/*/{name}.json")]
        for name in ("trial", "ended")
    )
    if len(ended) != trials:
        raise SystemExit(f"{len(ended)} of {trials} trials ended")
    return {"span_s": max(ended) - min(began), "whole_s": whole_s, "cpu_s": cpu.seconds}


def bare(cluster: OwnCluster, trials: int, *flags: str) -> dict:
    start = time.time()
    with ClusterCpu(cluster.home) as cpu:
        script = str(HERE / "bare_tune.py")
        printed = cluster.bare_job(sys.executable, script, str(trials), str(AT_ONCE), str(SLEEP_S), *flags)
    said = json.loads(next(line for line in printed.splitlines() if line.startswith('{"fit_s"')))
    return {"span_s": said["span_s"], "whole_s": time.time() - start, "cpu_s": cpu.seconds}


def show(one: dict) -> str:
    return f"{one['span_s']:5.1f} s ({one['whole_s']:5.1f} s in all, {one['cpu_s']:5.1f} CPU-s)"


if __name__ == "__main__":
    main()
