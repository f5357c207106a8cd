"""Pictures that lie in a run's directory: the loss of a training. PNG, without a screen."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from trainshed.record.checkpoints import METRIC
from trainshed.record.metric_rows import MetricRow


def loss_plot(title: str, rows: Sequence[MetricRow], *, unigram_entropy: float | None) -> bytes:
    """Training and validation loss over steps, with the learning rate below; a PNG."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6), height_ratios=(4, 1), sharex=True, layout="constrained")
    steps = [row.step for row in rows]
    top.plot(steps, [row.figure("train_loss") for row in rows], color="#9db4c8", linewidth=1, label="training")
    held_out = [(row.step, row.figure(METRIC)) for row in rows if row.is_held_out]
    if held_out:
        top.plot(*zip(*held_out, strict=True), color="#1f4e79", marker="o", markersize=4, label="validation")
    if unigram_entropy is not None:
        top.axhline(unigram_entropy, color="#b03a2e", linestyle="--", linewidth=1, label="unigram entropy")
    top.set(title=title, ylabel="loss" if unigram_entropy is None else "loss, nats per token")
    top.legend()
    bottom.plot(steps, [row.figure("learning_rate") for row in rows], color="#5d6d7e", linewidth=1)
    bottom.set(xlabel="optimizer step", ylabel="learning rate")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()
