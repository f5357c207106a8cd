"""U5: does early stopping keep the winner? A grid is run whole, and then replayed in other orders.

    .venv/bin/python benchmarks/early_stopping.py [--case shakespeare] [--replays 200] [--data ../shared/data] [--again]

The grid: learning rate x schedule x warm-up x weight decay x dropout, 80 trainings of a small model through
`platform submit`, each to its end. Its curves are kept in results/grid-CASE.json and taken from there unless `--again`.
A replay draws an order of the 80 and hands their curves to Ray Tune's own scheduler, as a sweep with that `stop_early`
makes it, two trials at a time and all of one speed. The winner is the trial with the lowest loss of the whole grid.
Writes U5.json (ASHA) and U5-POLICY.json (U5-SST2... for the other case); what each policy costs is printed with it.
"""

import argparse
import heapq
import json
import random
import statistics

import numpy as np
from own_cluster import OwnCluster
from results import FOLDER, commit, machine, write_result
from sweep_cases import ASHA, SCHEDULES, STEPS, WITH_WARMUP, Case, cases, data_option

AT_ONCE = 2
EARLY = STEPS // 6
"""An earlier first rung than ASHA's here: cheaper, and it loses more."""
SPACE = {
    "optimizer.learning_rate": {"choice": [1e-3, 3e-3, 1e-2, 3e-2]},
    "schedule": SCHEDULES,
    "schedule.warmup_steps": {"choice": [0, STEPS // 6], "when": WITH_WARMUP},
    "optimizer.weight_decay": {"choice": [0.0, 0.3]},
    "model.dropout": {"choice": [0.0, 0.2]},
}
POLICIES = {
    "asha": ASHA,
    "asha-early": {"kind": "asha", "grace_steps": EARLY, "reduction": 3},
    "hyperband": {"kind": "hyperband", "grace_steps": EARLY // 2, "reduction": 3, "brackets": 2},
    "median": {"kind": "median", "grace_steps": ASHA["grace_steps"]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["shakespeare", "sst2"], default="shakespeare")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--again", action="store_true", help="run the grid again")
    data_option(parser)
    options = parser.parse_args()
    case = cases(options.data.resolve())[options.case]
    kept = FOLDER / "grids" / f"{case.name}.json"
    if options.again or not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(run_grid(case), indent=1) + "\n")
    trials = json.loads(kept.read_text())["trials"]
    show(trials)
    command = f"python benchmarks/early_stopping.py --case {case.name} --replays {options.replays}"
    for policy in POLICIES:
        found = [replay(case, trials, policy, seed) for seed in range(options.replays)]
        share = statistics.fmean(one["kept"] for one in found)
        cost = statistics.fmean(one["cost"] for one in found)
        regret = statistics.fmean(one["regret"] for one in found)
        name = "U5" + ("" if case.name == "shakespeare" else "-SST2") + ("" if policy == "asha" else f"-{policy}")
        what = (
            f"{case.name}, {len(found)} replays of {len(trials)} trials: {policy} keeps the winner; it takes "
            f"{cost:.0%} of the steps, its best is {regret:.4f} over the grid's best loss"
        )
        write_result(name, what, ">= 80 %", [share], command=command, pairs=[])
        print(f"    {what}")


def job(case: Case, policy: dict) -> dict:
    return {
        "kind": "tune",
        "name": f"{case.name}-grid",
        "train": case.train,
        "space": SPACE,
        "search": {"kind": "grid", "concurrent": AT_ONCE},
        "stop_early": policy,
    }


def run_grid(case: Case) -> dict:
    """Every trial's settings and held-out losses `[step, loss]`."""
    with OwnCluster() as cluster:
        run = cluster.submit_all(case.prepare, job(case, {"kind": "none"}))[-1]
        result = json.loads((cluster.folder(run) / "result.json").read_text())
    trials = [{"settings": one["settings"], "history": one["history"]} for one in result["trials"]]
    return {"case": case.name, "machine": machine(), "commit": commit(), "trials": trials}


def show(trials: list[dict]) -> None:
    ranked = sorted(trials, key=lambda trial: trial["history"][-1][1])
    print(f"{len(trials)} trials; loss from {ranked[0]['history'][-1][1]:.4f} to {ranked[-1]['history'][-1][1]:.4f}")
    for trial in ranked[:3]:
        print(f"    {trial['history'][-1][1]:.4f} {json.dumps(trial['settings'])}")
    for path in SPACE:
        values = {json.dumps(trial["settings"][path]) for trial in trials if path in trial["settings"]}
        means = {
            value: min(one["history"][-1][1] for one in trials if json.dumps(one["settings"].get(path)) == value)
            for value in sorted(values)
        }
        print(f"    best with {path}: " + ", ".join(f"{value}: {mean:.4f}" for value, mean in means.items()))


def replay(case: Case, trials: list[dict], policy: str, seed: int) -> dict:
    """One order of the trials under a policy: whether the winner ran to its end, at which cost and regret."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

    from trainshed.runtime.tuning.scheduling.schedulers import TIME, scheduler_of
    from trainshed.spec.sweep.tune import TuneJob

    asked = TuneJob.model_validate_json(json.dumps(job(case, POLICIES[policy])))
    scheduler = scheduler_of(asked)
    scheduler.set_search_properties(asked.metric, asked.mode)
    np.random.seed(seed)
    order = random.Random(seed).sample(range(len(trials)), len(trials))
    winner = min(range(len(trials)), key=lambda number: trials[number]["history"][-1][1])
    shown: dict[int, float] = {}
    whole: set[int] = set()
    looks = 0
    running: list[tuple[int, int, int, Trial]] = []  # time of the next look, number, which look, Ray's trial

    def start(number: int, at: int) -> None:
        ray_trial = Trial("replayed", stub=True, trial_id=f"{number:05d}")
        scheduler.on_trial_add(None, ray_trial)
        heapq.heappush(running, (at + 1, number, 0, ray_trial))

    for number in order[:AT_ONCE]:
        start(number, 0)
    waiting = order[AT_ONCE:]
    while running:
        at, number, look, ray_trial = heapq.heappop(running)
        step, loss = trials[number]["history"][look]
        shown[number] = loss
        looks += 1
        decision = scheduler.on_trial_result(None, ray_trial, {TIME: step, asked.metric: loss})
        last = look + 1 == len(trials[number]["history"])
        if last:
            whole.add(number)
        if last or decision == TrialScheduler.STOP:
            if waiting:
                start(waiting.pop(0), at)
        else:
            heapq.heappush(running, (at + 1, number, look + 1, ray_trial))
    everything = sum(len(trial["history"]) for trial in trials)
    best = trials[winner]["history"][-1][1]
    return {"kept": winner in whole, "cost": looks / everything, "regret": min(shown.values()) - best}


if __name__ == "__main__":
    main()
