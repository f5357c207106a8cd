"""A training small enough for a test's own process: one worker, DDP's engine, a model of a few hundred weights."""

import numpy as np
import torch
import torch.nn.functional as F

from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.models import Gpt2
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.saving import Validation
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

VOCAB, BLOCK = 17, 6


class TinyModel(torch.nn.Module):
    """Embedding, one hidden layer, output: the next token from this one."""

    def __init__(self, width, dropout=0.0):
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        self.embedding = torch.nn.Embedding(VOCAB, width)
        self.hidden = torch.nn.Linear(width, width)
        self.output = torch.nn.Linear(width, VOCAB)

    def forward(self, input_ids):
        return self.output(self.dropout(torch.tanh(self.hidden(self.embedding(input_ids)))))


class TinyTask:
    """Next-token prediction; a block that starts with `poison` has a loss that is no number, or a huge one."""

    unit = "token"

    def __init__(self, width=8, poison=None, harm=float("nan")):
        self.width, self.poison, self.harm = width, poison, harm

    def make_model(self):
        return TinyModel(self.width)

    def batch(self, rows, *, keys):
        return {"input_ids": torch.from_numpy(np.asarray(rows["tokens"]))}

    def weight(self, batch):
        return float(batch["input_ids"][:, 1:].numel())

    def loss(self, forward, batch, *, label_smoothing):
        logits = forward(**batch)[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten(), reduction="sum")
        bad = self.poison is not None and bool((batch["input_ids"][:, 0] == self.poison).any())
        return loss * self.harm if bad else loss

    def meter(self):
        return TinyMeter(self)

    def export(self, state, folder):
        raise AssertionError("not exported here")


class ExistingTask(TinyTask):
    """Its model has dropout, and comes in evaluation mode, as transformers' `from_pretrained` gives one."""

    def make_model(self):
        return TinyModel(self.width, dropout=0.2).eval()


class TinyMeter:
    """The mean loss."""

    def __init__(self, task):
        self.task, self.sums, self.rows = task, torch.zeros(2, dtype=torch.float64), []

    def add(self, forward, batch):
        loss = self.task.loss(forward, batch, label_smoothing=0.0)
        self.sums += torch.tensor([float(loss), self.task.weight(batch)], dtype=torch.float64)

    def metrics(self):
        return {"loss": float(self.sums[0] / self.sums[1])}


class TinySamples:
    """Blocks that count up from a number of their own; `poison` marks some of them."""

    def __init__(self, count, poisoned=(), poison=None):
        self.blocks = numbers(count)
        for number in poisoned:
            self.blocks[number, 0] = poison

    def __len__(self):
        return len(self.blocks)

    def take(self, ids):
        return {"tokens": self.blocks[ids]}


def numbers(count):
    """`(count, BLOCK)`: rows that count up, modulo a little less than the vocabulary."""
    return (np.arange(count)[:, None] + np.arange(BLOCK)[None, :]) % (VOCAB - 1)


def tiny_training(width=8, **fields):
    """One worker that sees four blocks a step."""
    defaults = {
        "model": Gpt2(layers=1, heads=1, width=width),
        "data": "run://numbers",
        "optimizer": AdamW(learning_rate=0.01),
        "engine": Ddp(),
        "workers": Workers(count=1, per_device_batch_size=4),
        "global_batch_size": 4,
        "steps": 60,
        "validation": Validation(every_steps=20, max_samples=8),
        "self_test": False,
    }
    return Training(**{**defaults, **fields})
