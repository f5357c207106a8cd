"""U3: what ASHA, Optuna and PBT need to come to what random search comes to with its whole budget.

    .venv/bin/python benchmarks/search_cost.py [--case shakespeare] [--seeds 10] [--trials 27] [--data ../shared/data]

For each seed five sweeps of the same small model and space through `platform submit`: random search of 27 whole trials,
and the four others. Cost is counted in optimizer steps, not in seconds: a look at the held-out loss every 10 steps is
one event of a trial. The ratio of a seed is the steps until a sweep had as low a loss as random search ever had, over
all steps of random search; a sweep that ended without it counts as never. The figure is the median over the seeds.
U3 (and U3-SST2 for the other case) is TPE with ASHA, as jobs/shakespeare-sweep.yaml has it; the others have files of
their own.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from own_cluster import OwnCluster
from results import write_result
from sweep_cases import EVERY, STEPS, Case, cases, data_option

SPACE = {
    "optimizer.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "optimizer.weight_decay": {"uniform": [0.0, 0.5]},
    "schedule.floor": {"uniform": [0.0, 0.5]},
    "regularization.max_grad_norm": {"log_uniform": [0.1, 10.0]},
}
GRACE = STEPS // 6
OTHERS = ("asha", "tpe", "tpe-asha", "pbt")


def sweeps(case: Case, trials: int, seed: int) -> dict[str, dict]:
    """The documents by strategy; those that end trials early get more of them, a population half as many."""
    asha = {"kind": "asha", "grace_steps": GRACE, "reduction": 3}
    pbt = {"kind": "pbt", "interval_steps": GRACE}
    chosen = {
        "random": ("random", trials, {"kind": "none"}),
        "asha": ("random", 3 * trials, asha),
        "tpe": ("tpe", trials, {"kind": "none"}),
        "tpe-asha": ("tpe", 2 * trials, asha),
        "pbt": ("random", trials // 2, pbt),
    }
    return {
        strategy: {
            "kind": "tune",
            "name": f"{case.name}-{strategy}-{seed}",
            "train": case.train,
            "space": SPACE,
            "search": {"kind": kind, "trials": count, "concurrent": 2, "seed": seed},
            "stop_early": stop,
        }
        for strategy, (kind, count, stop) in chosen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["shakespeare", "sst2"], default="shakespeare")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=27)
    data_option(parser)
    options = parser.parse_args()
    case = cases(options.data.resolve())[options.case]
    command = f"python benchmarks/search_cost.py --case {case.name} --seeds {options.seeds} --trials {options.trials}"
    ratios: dict[str, list[float]] = {name: [] for name in OTHERS}
    with OwnCluster() as cluster:
        cluster.submit(case.prepare)
        for seed in range(options.seeds):
            asked = sweeps(case, options.trials, seed)
            runs = dict(zip(asked, cluster.submit_all(*asked.values()), strict=True))
            looks = {name: held_out(cluster.folder(run)) for name, run in runs.items()}
            target, cost = min(looks["random"]), len(looks["random"])
            for name in OTHERS:
                ratios[name].append(reached(looks[name], target) / cost)
            shown = ", ".join(f"{name} {ratios[name][-1]:.2f} ({min(looks[name]):.4f})" for name in OTHERS)
            print(f"seed {seed}: random {target:.4f} in {cost * EVERY} steps; reached at, best: {shown}", flush=True)
            keep(case, ratios, command)


def held_out(folder: Path) -> list[float]:
    """Every look at a held-out loss of a sweep, in the order of time."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    rows = [row for row in events if row["event"] == "trial" and row["state"] == "running"]
    values = [row["validation_loss"] for row in rows]
    return [value if value is not None and math.isfinite(value) else math.inf for value in values]


def reached(looks: list[float], target: float) -> float:
    """How many looks until one is as low as the target."""
    return next((count for count, value in enumerate(looks, 1) if value <= target), math.inf)


def keep(case: Case, ratios: dict[str, list[float]], command: str) -> None:
    for strategy in OTHERS:
        values = ratios[strategy]
        ends = sum(value <= 1.1 for value in values)
        met = len(values) >= 10 and statistics.median(values) <= 0.5 and ends >= 0.8 * len(values)
        name = (
            "U3" + ("" if case.name == "shakespeare" else "-SST2") + ("" if strategy == "tpe-asha" else f"-{strategy}")
        )
        within = f"<= 1.1 in {ends} of {len(values)} seeds"
        what = f"{case.name}: steps of {strategy} until it has random search's best / all of random's; {within}"
        write_result(name, what, "<= 0.5", values, command=command, pairs=[], met=met)


if __name__ == "__main__":
    main()
