"""Pictures of a sweep as PNGs: curves, importance, parallel coordinates, slices. The best trial has a strong colour."""

from __future__ import annotations

import io
import math
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainshed.runtime.tuning.report.importance import label_of
from trainshed.spec.space import Integer, LogUniform, Range
from trainshed.spec.tune import TuneJob

STRONG, PALE, FAILED = "#1f4e79", "#9db4c8", "#b03a2e"
PANELS_IN_A_ROW = 3


def curves(job: TuneJob, trials: list[dict[str, Any]], best: dict[str, Any]) -> bytes:
    """The metric of every trial over its steps; dashed where it was ended early, crossed where it failed."""
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for trial in trials:
        if not trial["history"]:
            continue
        steps, values = zip(*trial["history"], strict=True)
        chosen = trial["trial"] == best["trial"]
        axis.plot(
            steps,
            values,
            color=STRONG if chosen else FAILED if trial["state"] == "failed" else PALE,
            linewidth=2.4 if chosen else 1.0,
            linestyle="-" if trial["state"] == "ended" else "--",
            marker="x" if trial["state"] == "failed" else "o",
            markersize=3,
            zorder=3 if chosen else 2,
            label=f"best: {trial['trial']}" if chosen else None,
        )
    axis.set(xlabel="optimizer step", ylabel=job.metric)
    axis.legend(loc="best", title="dashed: ended early", title_fontsize=8)
    return _png(figure)


def importance_bars(found: dict[str, float]) -> bytes:
    """Share of each setting, the largest on top."""
    names, shares = list(found)[::-1], list(found.values())[::-1]
    figure, axis = plt.subplots(figsize=(8, 0.8 + 0.45 * len(names)), layout="constrained")
    bars = axis.barh(names, shares, color=STRONG)
    axis.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=3)
    axis.set(xlabel="share of the differences between trials (fANOVA)", xlim=(0, min(1.1, max(shares) * 1.2 + 0.02)))
    return _png(figure)


def parallel_coordinates(job: TuneJob, trials: list[dict[str, Any]], best: dict[str, Any]) -> bytes | None:
    """One line a trial through all of its settings to the metric; None where nothing was measured."""
    measured = [trial for trial in trials if trial["value"] is not None and math.isfinite(trial["value"])]
    if not measured:
        return None
    paths = list(job.space)
    places = [_places(job.space[path], [trial["settings"].get(path) for trial in measured]) for path in paths]
    values = [trial["value"] for trial in measured]
    places.append(_scaled(values))
    figure, axis = plt.subplots(figsize=(max(6.0, 2.1 * (len(paths) + 1)), 4.8), layout="constrained")
    order = sorted(range(len(measured)), key=lambda n: measured[n]["trial"] == best["trial"])
    for number in order:
        chosen = measured[number]["trial"] == best["trial"]
        line = [column[number] for column in places]
        axis.plot(range(len(line)), line, color=STRONG if chosen else PALE, linewidth=2.4 if chosen else 1.0)
    for column, path in enumerate([*paths, job.metric]):
        axis.axvline(column, color="#5d6d7e", linewidth=0.8)
        shown = [trial["settings"].get(path) for trial in measured] if path in job.space else values
        _ends(axis, column, shown, places[column])
    names = [path.replace(".", ".\n", 1) for path in [*paths, job.metric]]
    axis.set(xticks=range(len(names)), xticklabels=names, yticks=[], ylim=(-0.12, 1.12))
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)
    return _png(figure)


def slices(job: TuneJob, trials: list[dict[str, Any]], best: dict[str, Any]) -> bytes | None:
    """The metric over each setting, one panel each; darker: later trials. None where nothing was measured."""
    measured = [trial for trial in trials if trial["value"] is not None]
    if not measured:
        return None
    rows = math.ceil(len(job.space) / PANELS_IN_A_ROW)
    across = min(len(job.space), PANELS_IN_A_ROW)
    figure, axes = plt.subplots(
        rows, across, figsize=(3.6 * across + 0.6, 3.2 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, path in zip(axes.flat, job.space, strict=False):
        there = [(n, trial) for n, trial in enumerate(measured) if path in trial["settings"]]
        values = [trial["settings"][path] for _, trial in there]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        shown = values if numeric else [label_of(value) for value in values]
        axis.scatter(
            shown,
            [trial["value"] for _, trial in there],
            c=[n for n, _ in there],
            cmap="Blues",
            vmin=-max(1, len(measured)) / 2,
            vmax=len(measured),
            edgecolors=[FAILED if trial["trial"] == best["trial"] else "#5d6d7e" for _, trial in there],
            linewidths=[1.8 if trial["trial"] == best["trial"] else 0.5 for _, trial in there],
        )
        if isinstance(job.space[path], LogUniform):
            axis.set_xscale("log")
        axis.set_xlabel(path)
    for axis in axes.flat[len(job.space) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel(job.metric)
    return _png(figure)


def _places(values: Range, settings: list[Any]) -> list[float]:
    """Where each stands on an axis from 0 to 1; what a trial does not have is below it."""
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in settings if one is not None)
    if not numeric:
        labels = sorted({label_of(one) for one in settings if one is not None})
        return [-0.08 if one is None else labels.index(label_of(one)) / max(1, len(labels) - 1) for one in settings]
    logarithmic = isinstance(values, LogUniform) or (isinstance(values, Integer) and values.log)
    numbers = [math.nan if one is None else math.log(one) if logarithmic else float(one) for one in settings]
    return [-0.08 if math.isnan(one) else one for one in _scaled(numbers)]


def _scaled(numbers: list[float]) -> list[float]:
    known = [one for one in numbers if not math.isnan(one)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return [(one - low) / (high - low) if high > low else 0.5 if not math.isnan(one) else one for one in numbers]


def _ends(axis: Axes, column: int, shown: list[Any], places: list[float]) -> None:
    """The values at the ends of an axis, every label of a choice."""
    marks = {round(place, 3): label_of(value) for value, place in zip(shown, places, strict=True) if value is not None}
    numeric = all(isinstance(value, int | float) for value in shown if value is not None)
    wanted = [min(marks), max(marks)] if numeric and marks else list(marks)
    for place in dict.fromkeys(wanted):
        axis.annotate(marks[place], (column, place), xytext=(4, 2), textcoords="offset points", fontsize=8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()
