"""A real training, small enough for a grid of them: a byte of the standard library's source from those before it.

What the transfer of a learning rate over widths is shown on, by `tests/runtime/test_mup_transfer.py` for one seed and
by `benchmarks/transfer.py` for several. The loop is the one of every job, on one worker.
"""

import sysconfig
from functools import cache
from pathlib import Path

import numpy as np
import torch

from trainshed.runtime import tasks
from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.models import Gpt2
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.saving import Validation
from trainshed.spec.training.schedules import Linear
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

BASE, WIDTHS, HEAD_SIZE, LAYERS = 64, (64, 128, 256), 16, 2
VOCAB, BLOCK, BATCH, STEPS = 128, 32, 8, 120
TEXT_BYTES, HELD_OUT = 400_000, 128


class Facts(tasks.DataFacts):
    """Bytes need no tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=0, mask=None, cls=None, all=frozenset({0}))


class Bytes:
    """Blocks of text, a byte a token; what is not ASCII counts as the last of it."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __len__(self):
        return len(self.blocks)

    def take(self, ids):
        return {"tokens": self.blocks[ids].astype(np.int64)}


@cache
def splits():
    """The last blocks are held out."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)[:TEXT_BYTES]
    blocks = np.minimum(np.frombuffer(text, dtype=np.uint8), VOCAB - 1)
    blocks = blocks[: len(blocks) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return Splits(Bytes(blocks[:-HELD_OUT]), Bytes(blocks[-HELD_OUT:]))


def loss_at(width, rate, mup, seed=0):
    """The held-out loss in nats per byte after `STEPS` steps that begin at `rate` and end at 0; one thread."""
    torch.set_num_threads(1)
    training = Training(
        model=Gpt2(
            layers=LAYERS, heads=width // HEAD_SIZE, width=width, context=BLOCK, mup_base_width=BASE if mup else None
        ),
        data="run://bytes",
        optimizer=AdamW(learning_rate=rate, weight_decay=0.1, betas=(0.9, 0.95)),
        schedule=Linear(),
        engine=Ddp(),
        workers=Workers(count=1, per_device_batch_size=BATCH),
        global_batch_size=BATCH,
        steps=STEPS,
        seed=seed,
        validation=Validation(every_steps=STEPS, max_samples=HELD_OUT),
    )
    task, host = tasks.build(training, Facts(VOCAB, BLOCK, None)), BareHost(World(0, 1, torch.device("cpu")))
    ended = train(training, task, splits(), host, make_engine(training, task, host.world))
    return ended.last.values["validation_loss"]


def losses_by_rate(width, rates, *, mup, seed=0):
    """The held-out loss by learning rate."""
    return {rate: loss_at(width, rate, mup, seed) for rate in rates}


def best_rate(losses):
    """Where the loss is lowest: the vertex of the parabola through the best rate and its neighbours, in log rate.

    `losses` by rate, with rates a factor of 2 apart; at an end of them it is that end.
    """
    rates = sorted(losses)
    at = rates.index(min(rates, key=losses.get))
    if at in (0, len(rates) - 1):
        return rates[at]
    below, lowest, above = (losses[rate] for rate in rates[at - 1 : at + 2])
    return rates[at] * 2.0 ** ((below - above) / (2 * (below - 2 * lowest + above)))
