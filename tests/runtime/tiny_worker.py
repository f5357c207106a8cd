"""What each of two gloo workers does: trains the tiny model through an engine, once for each case, one after another.

python tiny_worker.py FOLDER RANK WORLD
"""

import json
import os
import sys
from pathlib import Path

FOLDER, RANK, WORLD = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.environ.update(OMP_NUM_THREADS="1", LOCAL_RANK=str(RANK))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

import tiny_model  # noqa: E402
from trainshed.runtime.training import engines  # noqa: E402
from trainshed.runtime.training.optimizers import build_optimizer  # noqa: E402
from trainshed.runtime.training.order import share  # noqa: E402
from trainshed.runtime.training.regularize import apply  # noqa: E402
from trainshed.spec.train import Training  # noqa: E402


def run(name, training):
    """Losses of the steps, and of the last batch without training under raw, averaged and again raw weights."""
    made = []

    def make_optimizer(model):
        made.extend((model, build_optimizer(training.optimizer, model)))
        return made[1]

    engine = engines.build(training, tiny_model.make_model, make_optimizer, torch.device("cpu"))
    steps = {"now": 0}
    regularizers = apply(training.regularization, *made, lambda: steps["now"])
    losses = []
    for step in range(training.steps):
        steps["now"] = step
        torch.manual_seed(1000 * step + RANK)
        losses.append(one_step(training, engine, regularizers, step))
    engine.train(on=False)
    held_out = [evaluated(engine, training)]
    raw = exported(engine)
    with regularizers.averaged(engine.refresh):
        held_out.append(evaluated(engine, training))
        averaged = exported(engine)
    held_out.append(evaluated(engine, training))
    if RANK == 0:
        torch.save({"losses": losses, "held_out": held_out, "raw": raw, "averaged": averaged}, FOLDER / f"{name}.pt")


def one_step(training, engine, regularizers, step):
    tokens, classes = tiny_model.batch(step, training.global_batch_size)
    shares = share(torch.arange(training.global_batch_size).numpy(), worker=RANK, workers=WORLD, per_device=2)
    scale = len(shares) * training.regularization.passes * WORLD / training.global_batch_size
    total = torch.zeros(1)
    for ids in shares:
        for number, context in enumerate(regularizers.passes()):
            with context:
                loss = tiny_model.loss_of(engine.forward, tokens[ids], classes[ids])
                engine.backward(loss * scale)
            total += loss.detach() if number == 0 else 0.0
    engine.step(training.optimizer.learning_rate * training.schedule.factor(step, training.steps))
    dist.all_reduce(total)
    return float(total) / training.global_batch_size


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
