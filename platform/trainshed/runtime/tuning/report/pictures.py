"""Pictures of a sweep as PNGs: curves, importance, slices, all in one. The best trial has a strong colour.

They are as wide as a page and grow downwards, so that a telephone shows their words.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainshed.record.facts import is_measured
from trainshed.record.trial_facts import TrialResult, TrialState
from trainshed.runtime.tuning.report.scales import Scale, measured_of, scale_of, shown_range
from trainshed.spec.sweep.tune import TuneJob

STRONG = "#1f4e79"
PALE = "#9db4c8"
FAILED = "#b03a2e"
GREY = "#5d6d7e"
WIDTH = 8.0
DPI = 130
PANELS_IN_A_ROW = 2
SPREAD = 0.03


def curves(job: TuneJob, trials: Sequence[TrialResult], best: TrialResult) -> bytes:
    """The metric of every trial over its steps; dashed where it was ended early, crossed where it failed."""
    figure, axis = plt.subplots(figsize=(WIDTH, 5), layout="constrained")
    _draw_curves(axis, job, trials, best)
    return png(figure)


def importance_bars(found: dict[str, float]) -> bytes:
    """Share of each setting, the largest on top."""
    names = list(found)[::-1]
    shares = list(found.values())[::-1]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.9 + 0.45 * len(names)), layout="constrained")
    bars = axis.barh(names, shares, color=STRONG)
    axis.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=3)
    axis.set(xlabel="share of the differences between trials (fANOVA)", xlim=(0, min(1.1, max(shares) * 1.2 + 0.02)))
    return png(figure)


def slices(job: TuneJob, trials: Sequence[TrialResult], best: TrialResult) -> bytes | None:
    """The metric over each setting, one panel each; darker: later trials. None where nothing was measured."""
    if not measured_of(trials):
        return None
    rows = math.ceil(len(job.space) / PANELS_IN_A_ROW)
    across = min(len(job.space), PANELS_IN_A_ROW)
    figure, axes = plt.subplots(
        rows, across, figsize=(WIDTH, 3.3 * rows + 0.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, path in zip(axes.flat, job.space, strict=False):
        draw_slice(axis, job, path, trials, best)
    for axis in axes.flat[len(job.space) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel(job.metric)
    crosses = "; crosses at the edge: failed" if any(trial.state == TrialState.FAILED for trial in trials) else ""
    said = f"star: the best trial; darker: later trials; hollow: ended early{crosses}"
    figure.suptitle(said, fontsize=9, color=GREY)
    return png(figure)


def overview(title: str, job: TuneJob, trials: Sequence[TrialResult], best: TrialResult) -> bytes:
    """Curves and slices in one picture."""
    rows = math.ceil(len(job.space) / PANELS_IN_A_ROW)
    figure = plt.figure(figsize=(WIDTH, 4.6 + 3.3 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, PANELS_IN_A_ROW, height_ratios=[1.4, *[1.0] * rows])
    _draw_curves(figure.add_subplot(grid[0, :]), job, trials, best)
    for number, path in enumerate(job.space):
        axis = figure.add_subplot(grid[1 + number // PANELS_IN_A_ROW, number % PANELS_IN_A_ROW])
        draw_slice(axis, job, path, trials, best)
        axis.set_ylabel(job.metric)
    figure.suptitle(title)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The file, and the figure is let go."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    return buffer.getvalue()


def _draw_curves(axis: Axes, job: TuneJob, trials: Sequence[TrialResult], best: TrialResult) -> None:
    drawn = [trial for trial in trials if trial.history]
    for trial in drawn:
        steps, values = zip(*trial.history, strict=True)
        chosen = trial.trial == best.trial
        failed = trial.state == TrialState.FAILED
        color = FAILED if failed else PALE
        axis.plot(
            steps,
            values,
            color=STRONG if chosen else color,
            linewidth=2.4 if chosen else 1.0,
            linestyle="-" if trial.state == TrialState.ENDED else "--",
            marker="x" if failed else "o",
            markersize=3,
            zorder=3 if chosen else 2,
            label=f"best: {trial.trial}" if chosen else None,
        )
    shown = shown_range([trial.history[end][1] for trial in drawn for end in (0, -1)], job.mode)
    side = "above" if job.mode == "min" else "below"
    outside = sum(not _within(trial.history[-1][1], shown) for trial in drawn)
    left = f"; {outside} of {len(drawn)} trials end {side} the picture" if outside else ""
    axis.legend(loc="best", title=f"dashed: ended early; crosses: failed{left}", title_fontsize=8)
    axis.set(xlabel="optimizer step", ylabel=job.metric)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if shown is not None:
        axis.set_ylim(shown)


def draw_slice(axis: Axes, job: TuneJob, path: str, trials: Sequence[TrialResult], best: TrialResult) -> None:
    """Points outside of the picture stand as triangles at its worse edge, failed trials as crosses."""
    measured = measured_of(trials)
    lost = [trial for trial in trials if trial.state == TrialState.FAILED]
    failed = [trial.settings[path] for trial in lost if path in trial.settings]
    scale = scale_of(job.space[path])
    shown = shown_range([value for _, value in measured], job.mode)
    dark = mpl.colormaps["Blues"]
    beyond = "^" if job.mode == "min" else "v"
    for number, (trial, value) in enumerate(measured):
        if path not in trial.settings:
            continue
        inside = _within(value, shown)
        chosen = trial.trial == best.trial
        color = STRONG if chosen else dark(0.3 + 0.6 * number / max(1, len(measured) - 1))
        shape = "o" if inside else beyond
        face = color if trial.state == TrialState.ENDED else "white"
        axis.scatter(
            scale.place(trial.settings[path]) + (SPREAD * (number % 7 - 3) if scale.options else 0.0),
            value if shown is None else min(shown[1], max(shown[0], value)),
            s=170 if chosen else 26,
            marker="*" if chosen else shape,
            facecolors=FAILED if chosen else face,
            edgecolors="white" if chosen else color,
            zorder=4 if chosen else 3,
            clip_on=False,
        )
    if shown is not None:
        axis.set_ylim(shown)
    if failed:
        edge = 0.97 if job.mode == "min" else 0.03
        across = axis.get_xaxis_transform()  # the setting's own axis, and the height of the panel
        places = [scale.place(setting) for setting in failed]
        axis.scatter(places, [edge] * len(places), marker="x", s=30, color=FAILED, transform=across, zorder=2)
    _set_scale(axis, scale)
    there = sum(path in trial.settings for trial, _ in measured)
    axis.set_xlabel(path if there == len(measured) else f"{path} (set in {there} of {len(measured)} trials)")


def _set_scale(axis: Axes, scale: Scale) -> None:
    if scale.options:
        wrapped = [textwrap.fill(name, 14) for name in scale.names]
        axis.set_xticks(range(len(wrapped)), wrapped)
        if len(wrapped) > 4:
            axis.tick_params(axis="x", labelrotation=90)
        axis.set_xlim(-0.5, len(scale.options) - 0.5)
    elif scale.logarithmic:
        axis.set_xscale("log")
        axis.set_xlim(scale.low / (scale.high / scale.low) ** 0.04, scale.high * (scale.high / scale.low) ** 0.04)
    else:
        margin = 0.04 * (scale.high - scale.low)
        axis.set_xlim(scale.low - margin, scale.high + margin)
        axis.xaxis.set_major_locator(MaxNLocator(5))


def _within(value: float | None, shown: tuple[float, float] | None) -> bool:
    if value is None or not is_measured(value):
        return False
    return shown is None or shown[0] <= value <= shown[1]
