"""What each of several gloo workers does: trains a case a little, and exports it as a run does."""

import json
from functools import partial

import numpy as np
import torch

from engine_worker import begin, end
from trainshed.record.storage import Storage
from trainshed.runtime.training import engines
from trainshed.runtime.training.export import Trained
from trainshed.runtime.training.host import World
from trainshed.runtime.training.loop.shares import batch_of
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.runtime.training.optim.regularization import apply

STEPS = 4


def export_all(rank, workers, folder, rendezvous, cases):
    """Every case, one after another: FOLDER/NAME.pt has weights, FOLDER/NAME the export, NAME.json how far it is."""
    begin(rank, workers, rendezvous)
    world = World(rank, workers, torch.device("cpu"))
    for name, case in cases.items():
        task = case.task
        torch.manual_seed(0)
        engine = engines.build(
            case.training,
            task.make_model,
            partial(build_optimizer, case.training.optimizer),
            world.device,
            make_in_parts=getattr(task, "make_in_parts", None),
        )
        regularizers = apply(case.training.regularization, engine.model, engine.optimizer, lambda: 0)
        for step in range(STEPS):
            ids = np.arange(4) + 8 * step + 4 * rank
            batch = batch_of(task, case.samples, ids, (0,), world)
            engine.backward(task.loss(engine.forward, batch, label_smoothing=0.0) / task.weight(batch))
            engine.step(case.training.optimizer.learning_rate)
        regularizers.swap(engine.refresh)
        made = Trained(case.training, task, case.facts, Splits(case.samples, case.samples), world)
        said = made.answers(engine)
        working = working_weights(engine)
        state = engine.export()
        assert (state is not None) == (rank == 0)
        if state is not None:
            torch.save({"exported": state, "working": working}, folder / f"{name}.pt")
            written = made.write(state, said, Storage.open(folder), name)
            (folder / f"{name}.json").write_text(json.dumps(written.export["model"].as_json()))
    end()


def working_weights(engine):
    """The whole weights that a pass computes with, each gathered by what DeepSpeed itself has for it."""
    import deepspeed

    found = {}
    for name, parameter in engine.model.named_parameters():
        if hasattr(parameter, "ds_id"):
            with deepspeed.zero.GatheredParameters([parameter]):
                found[name] = parameter.detach().clone()
        elif hasattr(parameter, "full_tensor"):
            found[name] = parameter.full_tensor().detach().clone()
        else:
            found[name] = parameter.detach().clone()
    return found
