"""Pictures of a classifier as PNGs: confusion matrix, calibration, ROC curves. As wide as a page, without a screen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainshed.runtime.evaluation.calibration import Reliability

Array = np.ndarray[Any, Any]
STRONG = "#1f4e79"
PALE = "#9db4c8"
GREY = "#5d6d7e"
WIDTH = 8.0
DPI = 130
WRITTEN_CLASSES = 12
"""Cells of a larger matrix have no numbers: nobody could read them."""
NAMED_CLASSES = 40
NAME_CHARACTERS = 18
CURVES = 8
"""Classes with a curve of their own; of more, those with the least area, which one wants to see."""


def confusion(labels: Sequence[str], truth: Array, said: Array) -> bytes:
    """Rows are classes, columns what the model said; colours are shares of a row, numbers are samples."""
    classes = len(labels)
    counts = np.bincount(truth * classes + said, minlength=classes**2).reshape(classes, classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(WIDTH, 2.6 + 0.55 * classes)
    figure, axis = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
    picture = axis.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if classes <= WRITTEN_CLASSES:
        _write_counts(axis, counts, shares)
    if classes <= NAMED_CLASSES:
        names = [_short(name) for name in labels]
        axis.set_xticks(range(classes), names, rotation=45, ha="right")
        axis.set_yticks(range(classes), names)
    axis.set(xlabel="what the model says", ylabel="what is true")
    figure.colorbar(picture, ax=axis, label="share of the true class", shrink=0.8)
    return _png(figure)


def calibration(found: Reliability) -> bytes:
    """How often labels of a confidence are right, and how many samples have it."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(WIDTH, 5.6), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    top.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    top.plot(found.confidence, found.accuracy, color=STRONG, marker="o", markersize=5, label="this model")
    top.set(ylabel="share that is right", ylim=(-0.02, 1.02), xlim=(0, 1))
    top.set_title(f"expected calibration error {found.error:.4f}", fontsize=11)
    top.legend(loc="upper left")
    bottom.bar(found.confidence, found.samples, width=0.02, color=PALE)
    bottom.set(xlabel="confidence: the probability of the label that it says", ylabel="samples")
    return _png(figure)


def roc(labels: Sequence[str], scores: Array, truth: Array) -> bytes | None:
    """A curve for each class against all others, for two classes that of the second; None where a class is missing."""
    from sklearn import metrics

    classes = len(labels)
    if len(np.unique(truth)) < classes:
        return None
    drawn = []
    for number in range(classes) if classes > 2 else (1,):
        wrong, right, _ = metrics.roc_curve(truth == number, scores[:, number])
        drawn.append((float(metrics.auc(wrong, right)), number, wrong, right))
    drawn.sort(key=lambda one: one[:2])
    figure, axis = plt.subplots(figsize=(WIDTH, 6), layout="constrained")
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, min(len(drawn), CURVES)))
    for colour, (area, number, wrong, right) in zip(colours, drawn, strict=False):
        axis.plot(wrong, right, color=colour, linewidth=2, label=f"{_short(labels[number])}: area {area:.3f}")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if len(drawn) > CURVES:
        axis.set_title(f"the {CURVES} of {classes} classes with the least area", fontsize=11)
    axis.legend(loc="lower right")
    return _png(figure)


def _write_counts(axis: Axes, counts: Array, shares: Array) -> None:
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "#1c2833"
        axis.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=9)


def _short(name: str) -> str:
    """A class as text: dollars would be mathematics to matplotlib, and a long name would have all the room."""
    plain = "".join(character if character.isprintable() else "?" for character in name).replace("$", r"\$")
    return plain if len(plain) <= NAME_CHARACTERS else f"{plain[: NAME_CHARACTERS - 1]}…"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    return buffer.getvalue()
