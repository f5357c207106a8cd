"""U3: what ASHA, Optuna and PBT need to come to what random search comes to with its whole budget.

    .venv/bin/python benchmarks/search_cost.py [--case shakespeare] [--seeds 10] [--trials 27] [--continue]
                                                 [--data ../shared/data]

For each seed five sweeps of the same small model through `platform submit`: random search of 27 whole trials over
learning rate x schedule x warm-up x weight decay x dropout, and the four others over the same space, with draws of
their own. A population changes settings in the middle of a training: it has the learning rate and the weight decay,
and the cosine schedule. ASHA is the one that early_stopping.py finds to keep the winner.
Cost is counted in optimizer steps, not in seconds: a look at the held-out loss every 10 steps is one event of a trial.
The ratio of a seed is the steps until a sweep had as low a loss as random search ever had, over all steps of random
search; a sweep that ended without it counts as never. The figure is the median over the seeds; with it stands in how
many seeds a sweep's best at the cost of random search is the lower one. U3 (and U3-SST2 for the other case) is Optuna's
Gaussian process with ASHA, as jobs/shakespeare-sweep.yaml has it; the others have files of their own.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from own_cluster import OwnCluster
from results import FOLDER, digits, write_result
from sweep_cases import ASHA, EVERY, SCHEDULES, STEPS, WITH_WARMUP, Case, cases, data_option

SPACE = {
    "optimizer.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "schedule": SCHEDULES,
    "schedule.warmup_steps": {"integer": [0, STEPS // 6], "when": WITH_WARMUP},
    "optimizer.weight_decay": {"uniform": [0.0, 0.5]},
    "model.dropout": {"uniform": [0.0, 0.3]},
}
OF_A_POPULATION = ("optimizer.learning_rate", "optimizer.weight_decay")
PBT = {"kind": "pbt", "interval_steps": STEPS // 6}
OWN_DRAWS = 1000
"""Added to the seed of the others: none is given the points that random search had."""
OTHERS = ("asha", "tpe-asha", "gp-asha", "pbt")


def sweeps(case: Case, trials: int, seed: int) -> dict[str, dict]:
    """The documents by strategy; those that end trials early get more of them, a population half as many."""
    chosen = {
        "random": ("random", trials, {"kind": "none"}),
        "asha": ("random", 2 * trials, ASHA),
        "tpe-asha": ("tpe", 2 * trials, ASHA),
        "gp-asha": ("gp", 2 * trials, ASHA),
        "pbt": ("random", trials // 2, PBT),
    }
    return {
        strategy: {
            "kind": "tune",
            "name": f"{case.name}-{strategy}-{seed}",
            "train": case.train,
            "space": {path: SPACE[path] for path in (OF_A_POPULATION if stop is PBT else SPACE)},
            "search": {
                "kind": kind,
                "trials": count,
                "concurrent": 2,
                "seed": seed if strategy == "random" else seed + OWN_DRAWS,
            },
            "stop_early": stop,
        }
        for strategy, (kind, count, stop) in chosen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["shakespeare", "sst2"], default="shakespeare")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=27)
    parser.add_argument("--continue", action="store_true", dest="goes_on", help="keep the seeds that results/ has")
    data_option(parser)
    options = parser.parse_args()
    case = cases(options.data.resolve())[options.case]
    command = f"python benchmarks/search_cost.py --case {case.name} --seeds {options.seeds} --trials {options.trials}"
    rows = {name: kept(case, name, command) if options.goes_on else [] for name in OTHERS}
    with OwnCluster() as cluster:
        cluster.submit(case.prepare)
        for seed in range(options.seeds):
            if all(any(row["seed"] == seed for row in rows[name]) for name in OTHERS):
                continue
            asked = sweeps(case, options.trials, seed)
            runs = dict(zip(asked, cluster.submit_all(*asked.values()), strict=True))
            looks = {name: held_out(cluster.folder(run)) for name, run in runs.items()}
            print(f"seed {seed}: random {min(looks['random']):.4f} in {len(looks['random']) * EVERY} steps", flush=True)
            for name in OTHERS:
                rows[name].append(compared(seed, looks[name], looks["random"]))
                keep(case, name, rows[name], command)


def compared(seed: int, looks: list[float], at_random: list[float]) -> dict:
    """One seed of one strategy beside random search; `reached` is a share of what random search cost."""
    target, cost = min(at_random), len(at_random)
    return {
        "seed": seed,
        "reached": digits(reached(looks, target) / cost),
        "best": min(looks),
        "random": target,
        "lower": min(looks[:cost]) < target,
    }


def held_out(folder: Path) -> list[float]:
    """Every look at a held-out loss of a sweep, in the order of time."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    rows = [row for row in events if row["event"] == "trial" and row["state"] == "running"]
    values = [row["validation_loss"] for row in rows]
    return [value if value is not None and math.isfinite(value) else math.inf for value in values]


def reached(looks: list[float], target: float) -> float:
    """How many looks until one is as low as the target."""
    return next((count for count, value in enumerate(looks, 1) if value <= target), math.inf)


def name_of(case: Case, strategy: str) -> str:
    """What the figure is called in results/."""
    of_case = "U3" if case.name == "shakespeare" else "U3-SST2"
    return of_case if strategy == "gp-asha" else f"{of_case}-{strategy}"


def kept(case: Case, strategy: str, command: str) -> list[dict]:
    """The seeds of an earlier run of the same command."""
    file = FOLDER / f"{name_of(case, strategy)}.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    return result.get("rows", []) if result.get("command") == command else []


def keep(case: Case, strategy: str, rows: list[dict], command: str) -> None:
    values = [math.inf if row["reached"] == "never" else row["reached"] for row in rows]
    ends = sum(value <= 1.1 for value in values)
    met = len(values) >= 10 and statistics.median(values) <= 0.5 and ends >= 0.8 * len(values)
    within = f"<= 1.1 in {ends} of {len(values)} seeds; at the same cost lower in {sum(row['lower'] for row in rows)}"
    what = f"{case.name}: steps of {strategy} until it has random search's best / all of random's; {within}"
    write_result(name_of(case, strategy), what, "<= 0.5", values, command=command, pairs=[], met=met, rows=rows)


if __name__ == "__main__":
    main()
