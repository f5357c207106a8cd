"""T7, T9, P6, P7: promises that are kept to the bit or nearly, as figures. They are the test suites', counted.

    .venv/bin/python benchmarks/exactness.py

T7: the loss curve of every engine (ZeRO 0 to 3, DDP) on two workers against plain torch in one process, of fresh
weights and of existing ones with dropout. T9: cut at a step and resumed, on as many workers (must be bitwise; with
existing weights it is killed, and goes back to a checkpoint) and on others. P6: the saving process is killed 200 times.
P7: a byte of the newest checkpoint is flipped, 20 times at random places.
"""

import random
import shutil
import sys
import tempfile
from pathlib import Path

from results import write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from runtime.training.checkpoints import test_checkpoints as saving
from runtime.training.engines import test_engine_contract as contract

COMMAND = "python benchmarks/exactness.py"
FLIPS = 20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        curves_and_resumes(Path(scratch))
        flips(Path(scratch))
        saving.test_200_kills_during_a_save_leave_a_checkpoint_that_loads(Path(scratch) / "kills")
    what = "loads that succeed after 200 kills during a save, each load of the last complete checkpoint"
    write_result("P6", what, ">= 200", [float(saving.KILLS)], command=COMMAND, pairs=[])


def curves_and_resumes(scratch: Path) -> None:
    expected = contract.plain_torch_losses(contract.prepare(scratch / "plain"))
    curves, same_world = [], []
    for name, settings in contract.ENGINES.items():
        whole = contract.train_losses(contract.run(contract.prepare(scratch / f"whole-{name}"), settings))
        curves.append(worst(whole, expected))
        cut = contract.prepare(scratch / f"cut-{name}")
        contract.run(cut, settings, 5)
        same_world.append(worst(contract.train_losses(contract.run(cut, settings)), whole))
    with_dropout, killed = existing_weights(scratch)
    curves, same_world = curves + with_dropout, same_world + killed
    what = f"loss curve against plain torch, relative, 12 steps, {', '.join(contract.ENGINES)}, 2 workers; "
    what += "then the same with existing weights and dropout"
    write_result("T7", what, "<= 1e-5", curves, command=COMMAND, pairs=[])
    one, two = {**contract.ENGINES["zero-2"], "workers.count": 1}, contract.ENGINES["zero-2"]
    moved = []
    for first, second, workers in ((two, one, (2, 1)), (one, two, (1, 2))):
        folder = contract.prepare(scratch / f"moved-{workers[0]}")
        contract.run(folder, first, 5, workers=workers[0])
        moved.append(worst(contract.train_losses(contract.run(folder, second, workers=workers[1])), expected))
    if max(same_world) != 0.0:
        raise SystemExit(f"resuming on the same world is not bitwise: {max(same_world)}")
    what = "resumed on the same world: bitwise in every engine; after 2 -> 1 and 1 -> 2 workers, relative"
    write_result("T9", what, "<= 1e-5", moved, command=COMMAND, pairs=[])


def existing_weights(scratch: Path) -> tuple[list[float], list[float]]:
    """With dropout: each engine's curve against plain torch, and that of one killed after step 9 against the whole."""
    runs, trainings = [], {}
    for name, settings in contract.ENGINES.items():
        whole, killed = scratch / f"existing-{name}", scratch / f"existing-{name}-killed"
        trainings[name] = contract.existing(whole)
        shutil.copytree(whole, killed)
        runs += [(whole, settings, None), (killed, settings, 9), (killed, settings, None)]
    contract.run_through(scratch, runs)
    curves, same_world = [], []
    for name, training in trainings.items():
        folder = scratch / f"existing-{name}"
        losses = contract.train_losses(contract.rows_of(folder))
        curves.append(worst(losses, contract.plain_torch_losses(folder, training, workers=2)))
        same_world.append(
            worst(contract.train_losses(contract.rows_of(folder.with_name(f"{folder.name}-killed"))), losses)
        )
    return curves, same_world


def flips(scratch: Path) -> None:
    """Each time: two checkpoints, a byte of the newer one flipped; the older must be used, and it must be said."""
    rng, found = random.Random(0), 0
    engine = saving.engine_of(saving.tiny_training())
    for number in range(FLIPS):
        folder, said = scratch / f"flip-{number}", saving.Said()
        keeper = saving.keeper_in(folder)
        for step in (1, 2):
            keeper.save(engine, saving.Progress(step), {})
        keeper.close()
        newest = next(iter(saving.all_checkpoints(saving.Storage.open(folder), "run")))
        file = folder / newest.path / newest.files[0]
        content = bytearray(file.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        resumed = saving.keeper_in(folder, said).resume(engine)
        found += resumed == saving.Progress(1) and said[0][0] == "checkpoint_refused"
    what = f"flipped bytes of the newest checkpoint that are refused by hash and said, the one before used, of {FLIPS}"
    write_result("P7", what, ">= 100 %", [found / FLIPS], command=COMMAND, pairs=[])


def worst(losses: list, expected: list) -> float:
    return max(abs(a - b) / b for a, b in zip(losses, expected, strict=True))


if __name__ == "__main__":
    main()
