"""A task of one's own whose training step is a sleep, so that what is left to time is a sweep's own doings."""

# ruff: noqa: ARG002 - the methods are those of the protocol

import time

import numpy as np
import torch
from safetensors.torch import save_file

SLEEP_S = 2.0


class Sleeping:
    """One weight that learns nothing; each optimizer step of one sample sleeps for 2 s."""

    unit = "sample"

    def __init__(self, training, facts):
        self.value = training.optimizer.learning_rate

    def make_model(self):
        return torch.nn.Linear(1, 1)

    def batch(self, rows, *, keys):
        return {"input": torch.ones(len(keys), 1)}

    def weight(self, batch):
        return float(len(batch["input"]))

    def loss(self, forward, batch, *, label_smoothing):
        time.sleep(SLEEP_S)
        return forward(**batch).sum() * 0 + self.value

    def meter(self):
        return Given(self.value)

    def export(self, state, folder):
        save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "model.safetensors")

    def examine(self, folder, samples):
        return {}

    def predict(self, model, rows):
        with torch.no_grad():
            return [{"value": float(model(torch.ones(1, 1)))} for _ in rows]


class Given:
    """The held-out loss is the learning rate itself."""

    def __init__(self, value):
        self.value = value
        self.sums = torch.zeros(1, dtype=torch.float64)
        self.rows: list[np.ndarray] = []

    def add(self, forward, batch):
        self.sums += len(batch["input"])

    def metrics(self):
        return {"loss": self.value}
