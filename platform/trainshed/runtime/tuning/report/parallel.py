"""Parallel coordinates of a sweep: a line a trial, down through the axis of each setting to the metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from trainshed.record.trial_facts import TrialResult, TrialState
from trainshed.runtime.tuning.report.pictures import FAILED, GREY, WIDTH, png
from trainshed.runtime.tuning.report.scales import Scale, label_of, measured_of, scale_of, shown_range
from trainshed.spec.sweep.tune import TuneJob

UNSET = -0.08
"""Where a line passes an axis whose setting the trial does not have."""


def parallel_coordinates(job: TuneJob, trials: Sequence[TrialResult], best: TrialResult) -> bytes | None:
    """The axes lie flat, one under the other: long names have room. None where nothing was measured."""
    measured = measured_of(trials)
    if not measured:
        return None
    paths = list(job.space)
    values = [value for _, value in measured]
    low, high = shown_range(values, job.mode) or (min(values), max(values))
    metric = Scale(low, high, logarithmic=False)
    scales = [*(scale_of(job.space[path]) for path in paths), metric]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.85 * len(scales) + 0.5), layout="constrained")
    failed = [trial for trial in trials if trial.state == TrialState.FAILED]
    draw_failed(axis, failed, paths, scales)
    worst_first = sorted(measured, key=lambda one: one[1], reverse=job.mode == "min")
    dark = mpl.colormaps["Blues"]
    for rank, (trial, value) in enumerate(worst_first):
        chosen = trial.trial == best.trial
        places = [*_places(trial, paths, scales), min(1.0, max(0.0, _share(metric, value)))]
        color = FAILED if chosen else dark(0.2 + 0.7 * rank / max(1, len(worst_first) - 1))
        axis.plot(places, range(len(places)), color=color, linewidth=2.6 if chosen else 1.0, zorder=3 if chosen else 2)
    for row, (name, scale) in enumerate(zip([*paths, job.metric], scales, strict=True)):
        unset = row < len(paths) and any(name not in trial.settings for trial, _ in measured)
        _draw_axis(axis, row, name, scale, unset=unset)
    axis.set(xlim=(-0.12, 1.05), ylim=(len(scales) - 0.6, -0.55))
    axis.axis("off")
    dotted = "; dotted: failed" if failed else ""
    axis.set_title(f"red: the best, {best.trial}; darker: better{dotted}", fontsize=9, color=GREY)
    return png(figure)


def draw_failed(axis: Axes, failed: Sequence[TrialResult], paths: list[str], scales: list[Scale]) -> None:
    """A failed trial has settings and no figure: its line ends beside the metric's axis, where it says so."""
    for trial in failed:
        places = [*_places(trial, paths, scales), UNSET]
        axis.plot(
            places, range(len(places)), color=GREY, linewidth=1.0, linestyle=":", marker="x", markevery=[-1], zorder=1
        )
    if failed:
        last = len(paths)
        axis.text(UNSET, last + 0.13, "failed", ha="center", va="top", fontsize=8, color=GREY, bbox=_PLATE, zorder=5)


def _places(trial: TrialResult, paths: list[str], scales: list[Scale]) -> list[float]:
    settings = [trial.settings.get(path, math.nan) for path in paths]
    return list(map(_share, scales, settings))


def _share(scale: Scale, value: Any) -> float:
    """How far along its axis, from 0 to 1."""
    if isinstance(value, float) and math.isnan(value):
        return UNSET
    low = scale.low
    high = scale.high
    place = scale.place(value)
    if scale.logarithmic:
        low = math.log(low)
        high = math.log(high)
        place = math.log(place)
    return (place - low) / (high - low) if high > low else 0.5


def _draw_axis(axis: Axes, row: int, name: str, scale: Scale, *, unset: bool) -> None:
    axis.plot([0, 1], [row, row], color=GREY, linewidth=0.8, zorder=1)
    axis.text(0.5, row - 0.13, name, ha="center", va="bottom", fontsize=10, fontweight="bold", bbox=_PLATE, zorder=5)
    known = scale.options or ((scale.low, scale.high) if scale.high > scale.low else (scale.low,))
    for number, value in enumerate(known):
        place = _share(scale, value)
        text = scale.names[number] if scale.options else label_of(float(value))
        axis.plot(place, row, marker="|", color=GREY, markersize=9)
        axis.text(place, row + 0.13, text, ha=_side(place), va="top", fontsize=8, color=GREY, bbox=_PLATE, zorder=5)
    if unset:
        axis.text(UNSET, row + 0.13, "unset", ha="center", va="top", fontsize=8, color=GREY, bbox=_PLATE, zorder=5)


_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}


def _side(place: float) -> str:
    """Where a label is held, so that it does not leave the picture."""
    if place < 0.1:
        return "left"
    return "right" if place > 0.9 else "center"
