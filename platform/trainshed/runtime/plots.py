"""Pictures that lie in a run's directory: the loss of a training, the trials of a sweep. PNG, without a screen."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure


def loss_plot(title: str, rows: list[dict[str, Any]], *, unigram_entropy: float | None) -> bytes:
    """Training and validation loss over steps, with the learning rate below; a PNG."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6), height_ratios=(4, 1), sharex=True, layout="constrained")
    steps = [row["step"] for row in rows]
    top.plot(steps, [row["train_loss"] for row in rows], color="#9db4c8", linewidth=1, label="training")
    held_out = [(row["step"], row["validation_loss"]) for row in rows if "validation_loss" in row]
    if held_out:
        top.plot(*zip(*held_out, strict=True), color="#1f4e79", marker="o", markersize=4, label="validation")
    if unigram_entropy is not None:
        top.axhline(unigram_entropy, color="#b03a2e", linestyle="--", linewidth=1, label="unigram entropy")
    top.set(title=title, ylabel="loss" if unigram_entropy is None else "loss, nats per token")
    top.legend()
    bottom.plot(steps, [row["learning_rate"] for row in rows], color="#5d6d7e", linewidth=1)
    bottom.set(xlabel="optimizer step", ylabel="learning rate")
    return _png(figure)


def sweep_plot(title: str, trials: list[dict[str, Any]], *, metric: str) -> bytes:
    """The metric of every trial over its steps, and its last value over each searched setting; a PNG."""
    paths = sorted({path for trial in trials for path in trial["settings"]})
    figure, axes = plt.subplots(1, 1 + len(paths), figsize=(5 + 3.2 * len(paths), 4), sharey=True, layout="constrained")
    curves, *scatters = axes if len(paths) else [axes]
    ended = [trial for trial in trials if trial["history"]]
    best = min(ended, key=lambda trial: trial["history"][-1][1], default=None)
    for trial in ended:
        style = {"color": "#1f4e79", "linewidth": 2.5} if trial is best else {"color": "#9db4c8", "linewidth": 1}
        curves.plot(*zip(*trial["history"], strict=True), marker="o", markersize=3, **style)
    curves.set(title=title, xlabel="optimizer step", ylabel=metric)
    for axis, path in zip(scatters, paths, strict=True):
        values = [trial["settings"].get(path) for trial in ended]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        shown = values if numeric else [str(value) for value in values]
        colors = ["#1f4e79" if trial is best else "#9db4c8" for trial in ended]
        axis.scatter(shown, [trial["history"][-1][1] for trial in ended], c=colors)
        if numeric and values and min(values) > 0 and max(values) / min(values) > 20:
            axis.set_xscale("log")
        elif numeric:
            axis.locator_params(axis="x", nbins=4)
        axis.set(xlabel=path)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()
