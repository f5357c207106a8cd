"""What one run looks like: its headline, its facts by kind, its curve or its trials in characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

import typer

from trainshed.cli.evaluation_page import evaluation_facts, evaluation_text
from trainshed.cli.figures import cause_lines, figure
from trainshed.cli.show import print_table, printable

if TYPE_CHECKING:
    from trainshed.record.data_manifest import SplitFacts
    from trainshed.record.metric_rows import MetricRow
    from trainshed.record.results import ExportFacts, Origin, Result, SweepResult, TrainResult
    from trainshed.record.run import Record
    from trainshed.spec.sweep.tune import TuneJob


def headline(record: Record) -> str:
    """The one thing to say of a run that ended; empty before.

    Raises:
        DamagedFile: its result.json is not what a run writes.
    """
    end = record.end
    if end is None or end.cause:
        return "" if end is None else end.cause or ""
    outcome = record.outcome
    return "" if outcome is None else _came_to(outcome)


def facts_of(record: Record) -> list[tuple[str, Any]]:
    """The facts that `platform show` prints of a finished run, by its kind. Raises as `headline`."""
    from trainshed.record.evaluation import EvaluationResult  # pydantic
    from trainshed.record.results import PrepareResult, ServeResult, SweepResult, TrainResult

    outcome = record.outcome
    if outcome is None:
        return []
    said: list[tuple[str, Any]] = [("headline", headline(record))]
    match outcome:
        case PrepareResult():
            splits = [(name, _split_text(split)) for name, split in outcome.manifest.splits.items()]
            return [*said, *splits, ("data", outcome.address)]
        case SweepResult(best=None):
            return said
        case SweepResult():
            assert outcome.best is not None
            settings = [("", f"{path} = {cell(value)}") for path, value in outcome.best.settings.items()]
            picture = record.storage.address(record.at("sweep.png"))
            return [*said, ("best trial", outcome.best.trial), *settings, ("picture", picture)]
        case TrainResult():
            return [*said, *_training_facts(record, outcome)]
        case EvaluationResult():
            return [*said, *evaluation_facts(record, outcome)]
        case ServeResult():
            model = f"{outcome.model} of {outcome.model_run}"
            return [*said, ("model", model), ("fingerprint", outcome.fingerprint)]
        case _:
            assert_never(outcome)


def draw(record: Record) -> None:
    """The loss curve of a training, or the trials of a sweep, in characters. Raises as `headline`."""
    from trainshed.record.results import SweepResult

    outcome = record.outcome
    if isinstance(outcome, SweepResult):
        _draw_trials(job_of(record), outcome)
    else:
        _draw_curve(record.metrics)


def job_of(record: Record) -> TuneJob:
    """The job of a sweep.

    Raises:
        DamagedFile: what job.json holds is none.
    """
    from pydantic import ValidationError

    from trainshed.errors import DamagedFile
    from trainshed.record.facts import said_of
    from trainshed.spec.load import job_from_data
    from trainshed.spec.sweep.tune import TuneJob

    try:
        job = job_from_data(record.job["job"])
    except ValidationError as error:
        raise DamagedFile(f"{record.storage.address(record.at('job.json'))}: job: {said_of(error)}") from None
    assert isinstance(job, TuneJob)
    return job


def _came_to(outcome: Result) -> str:
    from trainshed.record.evaluation import EvaluationResult
    from trainshed.record.results import PrepareResult, ServeResult, SweepResult, TrainResult

    match outcome:
        case PrepareResult():
            train = outcome.manifest.splits.get("train")
            return f"{train.tokens if train else 0:,} tokens{', unchanged' if outcome.reused else ''}"
        case SweepResult(best=None):
            return ""
        case SweepResult():
            assert outcome.best is not None
            return f"best {outcome.best.trial}: {outcome.metric} {digits(outcome.best.value)}"
        case TrainResult():
            loss = digits(outcome.metrics.get("validation_loss"))
            return f"validation loss {loss} {outcome.registered or ''}".rstrip()
        case EvaluationResult():
            return evaluation_text(outcome)
        case ServeResult():
            return outcome.url
        case _:
            assert_never(outcome)


def _split_text(split: SplitFacts) -> str:
    said = f"{split.samples:,} samples, {split.tokens:,} tokens"
    if split.unigram_entropy_nats is None:
        return said
    return f"{split.documents:,} documents, {said}, unigram entropy {split.unigram_entropy_nats:.3f} nats"


def _training_facts(record: Record, outcome: TrainResult) -> list[tuple[str, Any]]:
    from trainshed.record.facts import what_is_whole
    from trainshed.record.results import Lineage

    lineage = what_is_whole(lambda: record.lineage, None) or Lineage()
    trial = lineage.trial
    data = lineage.data
    began = lineage.weights
    entropy = outcome.unigram_entropy_nats
    tested = [name for name in outcome.metrics if name.startswith("test_")]
    return [
        ("unigram entropy", None if entropy is None else f"{entropy:.4f} nats per token"),
        *((name.replace("_", " "), digits(outcome.metrics[name])) for name in tested),
        ("trial", trial and f"{trial.run_id} {trial.trial}"),
        ("data", data and data.run_id),
        ("began with", began and _beginning(began)),
        ("checkpoint", outcome.checkpoint),
        *((f"{name} export", _export_text(facts)) for name, facts in outcome.export.items()),
        *((name, record.storage.address(record.at(name))) for name in outcome.folders),
        ("fingerprint", lineage.fingerprint),
        ("picture", record.storage.address(record.at("loss.png"))),
    ]


def _export_text(facts: ExportFacts) -> str:
    found = facts.agreement
    if found is None:
        return f"{facts.dtype or 'files of its own'}, not compared with what was trained"
    return (
        f"{facts.dtype or 'files of its own'}, as trained in {found.samples} held-out samples: {found.measure} "
        f"{found.difference:.2g} apart at most, {found.tolerance:.2g} allowed"
    )


def _beginning(origin: Origin) -> str:
    """A version, or a run and the step of its checkpoint."""
    from trainshed.record.results import InitOrigin  # pydantic comes with it

    if isinstance(origin, InitOrigin):
        return f"{origin.run_id} after step {origin.init_step}"
    return origin.version or origin.run_id


def _draw_trials(sweep: TuneJob, outcome: SweepResult) -> None:
    from trainshed.record.ranking import rank_of  # pydantic comes with it

    ranked = sorted(outcome.trials, key=lambda trial: rank_of(sweep, trial.state, trial.value))
    paths = list(dict.fromkeys(path for trial in outcome.trials for path in trial.settings))
    rows = []
    best = outcome.best.trial if outcome.best is not None else None
    for trial in ranked:
        mark = "*" if trial.trial == best else ""
        settings = [cell(trial.settings.get(path, "")) for path in paths]
        rows.append([mark, trial.trial, trial.state, f"{trial.step:g}", figure(trial), *settings])
    typer.echo("")
    print_table(["", "TRIAL", "STATE", "STEP", outcome.metric, *paths], rows, empty="")
    for line in cause_lines(ranked):
        typer.echo(printable(line))


def _draw_curve(rows: list[MetricRow]) -> None:
    learnt = [(row.step, loss) for row in rows if (loss := row.measured("train_loss")) is not None]
    held_out = [(row.step, loss) for row in rows if (loss := row.measured("validation_loss")) is not None]
    if len(learnt) < 2:
        return
    import plotext

    plotext.clear_figure()  # it remembers what one process drew before
    plotext.plot_size(80, 18)
    plotext.theme("clear")
    plotext.plot(*map(list, zip(*learnt, strict=True)), label="training loss")
    if held_out:
        plotext.scatter(*map(list, zip(*held_out, strict=True)), label="validation loss", marker="o")
    plotext.xlabel("optimizer step")
    typer.echo("\n" + plotext.build())


def digits(value: Any) -> str:
    """A metric by four digits after the point; `-` for what is no number."""
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def cell(value: Any) -> str:
    """A setting of a trial in a table: a number by four digits, a whole part of the training by its kind."""
    if isinstance(value, dict):
        return str(value.get("kind", value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
