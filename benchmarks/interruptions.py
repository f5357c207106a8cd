"""E3: a training of existing weights with dropout is killed, stopped or given notice at 20 random steps, and goes on.

    .venv/bin/python benchmarks/interruptions.py [--times 20]

Two workers, each engine in turn. Killed, the training goes back to the newest checkpoint; stopped or given notice of a
machine that goes, it saves first. On the same workers all later losses, gradient norms and validation losses must be
equal to the bit to those of a training that nothing happened to; on one worker to 1e-5, without dropout, whose draws
belong to workers. Writes E3.json, the share of the 20 that are equal, and E3-one.json, the largest relative difference
on one worker.
"""

import argparse
import itertools
import random
import sys
import tempfile
from pathlib import Path

from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from engine_worker import work_through
from forking import run_workers
from runtime.training.engines import test_engine_contract as contract

KINDS = ("kill", "stop", "leave")
COLUMNS = ("train_loss", "grad_norm", "validation_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    draw = random.Random(5)
    engines = itertools.cycle(contract.ENGINES)
    plan = [(number, next(engines), KINDS[number % 3], draw.randrange(1, 12)) for number in range(options.times)]
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        place = Path(scratch)
        equal = same_workers(place, plan)
        apart = one_worker(place, plan[: len(contract.ENGINES)])
    command = f"python benchmarks/interruptions.py --times {options.times}"
    what = "killed, stopped or given notice at random steps, existing weights with dropout: bit-equal later, of "
    write_result("E3", f"{what}{options.times}", ">= 100 %", [equal / options.times], command=command, pairs=[])
    what = "the same without dropout, continued on one worker: losses, relative"
    write_result("E3-one", what, "<= 1e-5", apart, command=command, pairs=[])


def same_workers(place: Path, plan: list) -> int:
    """How many of them are equal to the bit, on two workers."""
    runs = []
    for name, settings in contract.ENGINES.items():
        contract.existing(place / f"calm-{name}")
        runs.append((place / f"calm-{name}", settings, None))
    for number, name, kind, step in plan:
        folder = place / f"{number}"
        contract.existing(folder)
        runs += [(folder, contract.ENGINES[name], (kind, step)), (folder, contract.ENGINES[name], None)]
    run_workers(work_through, 2, place / "rendezvous", runs, logs=place, limit_s=1200)
    equal = 0
    for number, name, kind, step in plan:
        found, calm = (contract.rows_of(folder) for folder in (place / f"{number}", place / f"calm-{name}"))
        pairs = zip(found, calm, strict=True)
        same = all(row[one] == other[one] for row, other in pairs for one in COLUMNS if one in other)
        print(f"{name}, {kind} after step {step}: {'equal' if same else 'differs'}", flush=True)
        equal += same
    return equal


def one_worker(place: Path, plan: list) -> list[float]:
    """Largest differences of a training that begins on two workers and ends on one, each engine once."""
    two, one, expected = [], [], {}
    for number, name, kind, step in plan:
        folder = place / f"moved-{number}"
        training = contract.existing(folder, dropout=0.0)
        expected[folder] = contract.plain_torch_losses(folder, training)
        two.append((folder, contract.ENGINES[name], (kind, step)))
        one.append((folder, {**contract.ENGINES[name], "workers.count": 1}, None))
    run_workers(work_through, 2, place / "rendezvous-two", two, logs=place, limit_s=1200)
    run_workers(work_through, 1, place / "rendezvous-one", one, logs=place, limit_s=1200)
    return [
        max(abs(a - b) / b for a, b in zip(contract.train_losses(contract.rows_of(folder)), losses, strict=True))
        for folder, losses in expected.items()
    ]


if __name__ == "__main__":
    main()
