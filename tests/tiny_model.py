"""A model of a few hundred weights, its data, and plain torch's training of it: what engines are compared with."""

import torch
import torch.nn.functional as F

from trainshed.runtime.training.loop.order import share
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.engines import DeepSpeed
from trainshed.spec.training.models import Gpt2
from trainshed.spec.training.regularization import Regularization
from trainshed.spec.training.schedules import Cosine
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

TOKENS, WIDTH, TIME, CLASSES = 24, 12, 6, 5


class Tiny(torch.nn.Module):
    """An embedding, two layers of a matrix, a norm and a bias, a head, and one row that two workers cannot share."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)
        self.embed = torch.nn.Embedding(TOKENS, WIDTH)
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.LayerNorm(WIDTH))
            for _ in range(2)
        )
        self.head = torch.nn.Linear(WIDTH, CLASSES)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, tokens):
        hidden = self.embed(tokens)
        for layer in self.layers:
            hidden = hidden + self.dropout(layer(hidden))
        return self.scale * self.head(hidden.mean(dim=1))


def make_model():
    torch.manual_seed(0)
    return Tiny()


def existing_model():
    """With dropout, and in evaluation mode, as transformers' `from_pretrained` gives one."""
    torch.manual_seed(0)
    return Tiny(dropout=0.3).eval()


def batch(step, size):
    """Tokens, shape `(size, TIME)`, and one class for each sample."""
    generator = torch.Generator().manual_seed(step)
    return (
        torch.randint(TOKENS, (size, TIME), generator=generator),
        torch.randint(CLASSES, (size,), generator=generator),
    )


def training(optimizer, *, engine=None, regularization=None, steps=6):
    return Training(
        model=Gpt2(layers=1, heads=1, width=8),  # not made: the engine is given Tiny
        data="run://text",
        optimizer=optimizer,
        schedule=Cosine(warmup_steps=2),
        regularization=regularization or Regularization(),
        engine=engine or DeepSpeed(zero_stage=0),
        workers=Workers(count=2, per_device_batch_size=2),
        global_batch_size=8,
        steps=steps,
    )


def loss_of(forward, tokens, classes):
    """Summed over the samples."""
    return F.cross_entropy(forward(tokens=tokens).float(), classes, reduction="sum")


def preference_of(forward, tokens, classes):
    """Of two forward passes before one backward pass: how much rather a sample than its mirror has its class."""
    chosen, other = (F.log_softmax(forward(tokens=one).float(), -1) for one in (tokens, tokens.flip(1) // 2))
    ahead = (chosen - other).gather(1, classes[:, None])
    return F.softplus(-4 * ahead).sum()


def engine_step(training, engine, regularizers, step, *, worker=0, workers=1, loss_of=loss_of):
    """One step of one worker as the loop does it; the loss summed over this worker's samples."""
    tokens, classes = batch(step, training.global_batch_size)
    shares = share(torch.arange(training.global_batch_size).numpy(), worker=worker, workers=workers, per_device=2)
    scale = len(shares) * training.regularization.passes * workers / training.global_batch_size
    torch.manual_seed(1000 * step + worker)
    total = torch.zeros(1)
    for ids in shares:
        losses = []
        for context in regularizers.passes():
            with context:
                loss = loss_of(engine.forward, tokens[ids], classes[ids])
                engine.backward(loss * scale)
            losses.append(loss.detach())
        total += losses[0]
    engine.step(training.optimizer.learning_rate * training.schedule.factor(step, training.steps))
    return total


def plain_steps(plain, loss=loss_of):
    """Plain torch in one process, on whole batches; gives the model, optimizer and loss before each optimizer step."""
    model = make_model()
    optimizer = build_optimizer(plain.optimizer, model)
    for step in range(plain.steps):
        for group in optimizer.param_groups:
            factor = plain.schedule.factor(step, plain.steps)
            group["lr"] = plain.optimizer.learning_rate * factor * group["lr_scale"]
        optimizer.zero_grad()
        summed = loss(model, *batch(step, plain.global_batch_size))
        (summed / plain.global_batch_size).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), plain.regularization.max_grad_norm)
        yield model, optimizer, float(summed.detach()) / plain.global_batch_size
        optimizer.step()
