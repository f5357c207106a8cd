"""What each of two gloo workers does: trains the tiny model through an engine, once for each case, one after another.

python tiny_worker.py FOLDER RANK WORLD
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

FOLDER, RANK, WORLD = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

import tiny_model  # noqa: E402
from trainshed.record.events import to_nobody  # noqa: E402
from trainshed.record.storage import Storage  # noqa: E402
from trainshed.runtime.training import engines  # noqa: E402
from trainshed.runtime.training.checkpoints.keeper import Keeper  # noqa: E402
from trainshed.runtime.training.checkpoints.progress import Progress  # noqa: E402
from trainshed.runtime.training.host import World  # noqa: E402
from trainshed.runtime.training.optim.optimizers import build_optimizer  # noqa: E402
from trainshed.runtime.training.optim.regularization import apply  # noqa: E402
from trainshed.spec.training.train import Training  # noqa: E402


def run(name, training):
    """Losses of all steps, and of the later half again after going back; see `held_out` for what is at the end."""
    make_optimizer = partial(build_optimizer, training.optimizer)
    make_model = tiny_model.existing_model if name.startswith("existing") else tiny_model.make_model
    loss_of = tiny_model.preference_of if name.startswith("twice") else tiny_model.loss_of
    engine = engines.build(training, make_model, make_optimizer, torch.device("cpu"))
    steps = {"now": 0}
    regularizers = apply(training.regularization, engine.model, engine.optimizer, lambda: steps["now"])
    world = World(RANK, WORLD, torch.device("cpu"))
    keeper = Keeper(Storage.open(FOLDER), name, training.checkpoint, world, to_nobody)

    def losses_from(first):
        losses = []
        for step in range(first, training.steps):
            steps["now"] = step
            if step == training.steps // 2 and first == 0:
                keeper.save(engine, Progress(step=step), {})
            of_worker = {"worker": RANK, "workers": WORLD, "loss_of": loss_of}
            total = tiny_model.engine_step(training, engine, regularizers, step, **of_worker)
            dist.all_reduce(total)
            losses.append(float(total) / training.global_batch_size)
        return losses

    losses = losses_from(0)
    result = {"losses": losses, **at_the_end(engine, regularizers, training)}
    back = keeper.resume(engine)
    result["again"] = losses_from(back.step)
    keeper.close()
    if RANK == 0:
        torch.save(result, FOLDER / f"{name}.pt")


def at_the_end(engine, regularizers, training):
    """Weights, and losses without training: raw, averaged, and for the loss raw again."""
    engine.train(on=False)
    held_out, raw = [evaluated(engine, training)], exported(engine)
    with regularizers.averaged(engine.refresh):
        held_out.append(evaluated(engine, training))
        averaged = exported(engine)
    held_out.append(evaluated(engine, training))
    engine.train(on=True)
    return {"held_out": held_out, "raw": raw, "averaged": averaged}


def exported(engine):
    state = engine.export()
    return None if state is None else {name: weight.clone() for name, weight in state.items()}


def evaluated(engine, training):
    with torch.no_grad():
        return float(tiny_model.loss_of(engine.forward, *tiny_model.batch(0, training.global_batch_size)))


def main():
    dist.init_process_group("gloo", init_method=f"file://{FOLDER}/rendezvous", rank=RANK, world_size=WORLD)
    for name, document in json.loads((FOLDER / "cases.json").read_text()).items():
        run(name, Training.model_validate_json(json.dumps(document)))


if __name__ == "__main__":
    main()
    dist.barrier()
    os._exit(0)  # gloo's threads do not outlive a peer that is gone: the interpreter's own end may abort
