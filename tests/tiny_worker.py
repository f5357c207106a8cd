"""What each of two gloo workers does: trains the tiny model through an engine, case after case."""

from functools import partial

import torch
import torch.distributed as dist

import tiny_model
from engine_worker import begin, end
from trainshed.record.events import to_nobody
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.checkpoints.progress import Progress
from trainshed.runtime.training.host import World
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.optim.regularization import apply


def train_all(rank, workers, folder, cases):
    """One worker, from its start to its end; `cases` are trainings by name."""
    begin(rank, workers, folder / "rendezvous")
    for name, training in cases.items():
        run(name, training, World(rank, workers, torch.device("cpu")), folder)
    end()


def run(name, training, world, folder):
    """Losses of all steps, and of the later half again after going back; see `held_out` for what is at the end."""
    make_optimizer = partial(build_optimizer, training.optimizer)
    make_model = tiny_model.existing_model if name.startswith("existing") else tiny_model.make_model
    loss_of = tiny_model.preference_of if name.startswith("twice") else tiny_model.loss_of
    engine = engines.build(training, make_model, make_optimizer, torch.device("cpu"))
    steps = {"now": 0}
    regularizers = apply(training.regularization, engine.model, engine.optimizer, lambda: steps["now"])
    keeper = Keeper(Storage.open(folder), name, training.checkpoint, world, to_nobody)

    def losses_from(first):
        losses = []
        for step in range(first, training.steps):
            steps["now"] = step
            if step == training.steps // 2 and first == 0:
                keeper.save(engine, Progress(step=step), {})
            of_worker = {"worker": world.worker, "workers": world.workers, "loss_of": loss_of}
            total = tiny_model.engine_step(training, engine, regularizers, step, **of_worker)
            dist.all_reduce(total)
            losses.append(float(total) / training.global_batch_size)
        return losses

    losses = losses_from(0)
    result = {"losses": losses, **at_the_end(engine, regularizers, training)}
    back = keeper.resume(engine)
    result["again"] = losses_from(back.step)
    keeper.close()
    if world.worker == 0:
        torch.save(result, folder / f"{name}.pt")


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
