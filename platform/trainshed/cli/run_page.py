"""What one run looks like: its headline, its facts by kind, its curve or its trials in characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trainshed.cli.figures import cause_lines, figure
from trainshed.cli.show import print_table

if TYPE_CHECKING:
    from trainshed.record.run import Record


def headline(kind: str, result: dict[str, Any]) -> str:
    """The one thing to say of a run that ended; empty before."""
    if result.get("cause"):
        return str(result["cause"])
    if not result:
        return ""
    match kind:
        case "prepare":
            return (
                f"{result['manifest']['splits']['train']['tokens']:,} tokens{', unchanged' if result['reused'] else ''}"
            )
        case "tune":
            return f"best {result['best']['trial']}: {result['metric']} {result['best']['value']:.4f}"
        case "train":
            return (
                f"validation loss {result['metrics']['validation_loss']:.4f} {result.get('registered') or ''}".rstrip()
            )
        case _:
            return str(result.get("url", ""))


def facts_of(record: Record, job: dict[str, Any], result: dict[str, Any]) -> list[tuple[str, Any]]:
    """What `platform show` says of a run that succeeded, by its kind; empty for others."""
    from trainshed.record.run import USABLE  # pyarrow comes with it; a record that was opened has brought it

    if result.get("state") not in USABLE:
        return []
    said = [("headline", headline(job["kind"], result))]
    match job["kind"]:
        case "prepare":
            splits = result["manifest"]["splits"].items()
            return [*said, *((name, _split_text(split)) for name, split in splits), ("data", result["address"])]
        case "tune" if result["best"] is not None:
            settings = [("", f"{path} = {cell(value)}") for path, value in result["best"]["settings"].items()]
            picture = record.storage.address(record.at("sweep.png"))
            return [*said, ("best trial", result["best"]["trial"]), *settings, ("picture", picture)]
        case "tune":
            return said
        case "train":
            return [*said, *_training_facts(record, result)]
        case _:
            model = f"{result['model']} of {result['model_run']}"
            return [*said, ("model", model), ("fingerprint", result["fingerprint"])]


def draw(record: Record) -> None:
    """The loss curve of a training, or the trials of a sweep, in characters."""
    result = record.result or {}
    if "trials" in result:
        _draw_trials(record.job["job"], result)
    elif len(record.metrics) > 1:
        _draw_curve(record.metrics)


def _split_text(split: dict[str, Any]) -> str:
    said = f"{split['samples']:,} samples, {split['tokens']:,} tokens"
    if "unigram_entropy_nats" not in split:
        return said
    return f"{split['documents']:,} documents, {said}, unigram entropy {split['unigram_entropy_nats']:.3f} nats"


def _training_facts(record: Record, result: dict[str, Any]) -> list[tuple[str, Any]]:
    lineage = record.lineage or {}
    trial, data = lineage.get("trial"), lineage.get("data")
    entropy, metrics = result["unigram_entropy_nats"], result["metrics"]
    measured = [(name.replace("_", " "), f"{metrics[name]:.4f}") for name in metrics if name.startswith("test_")]
    return [
        ("unigram entropy", entropy and f"{entropy:.4f} nats per token"),
        *measured,
        ("trial", trial and f"{trial['run_id']} {trial['trial']}"),
        ("data", data and data["run_id"]),
        ("checkpoint", result["checkpoint"]),
        ("model", record.storage.address(result["model"])),
        ("fingerprint", lineage.get("fingerprint")),
        ("picture", record.storage.address(record.at("loss.png"))),
    ]


def _draw_trials(job: dict[str, Any], result: dict[str, Any]) -> None:
    from trainshed.record.ranking import rank_of  # pydantic comes with it
    from trainshed.spec.load import job_from_data
    from trainshed.spec.tune import TuneJob

    sweep = job_from_data(job)
    assert isinstance(sweep, TuneJob)
    ranked = sorted(result["trials"], key=lambda trial: rank_of(sweep, trial["state"], trial["value"]))
    paths = list(dict.fromkeys(path for trial in result["trials"] for path in trial["settings"]))
    rows, best = [], (result["best"] or {}).get("trial")
    for trial in ranked:
        mark = "*" if trial["trial"] == best else ""
        step = trial["history"][-1][0] if trial["history"] else 0
        settings = [cell(trial["settings"].get(path, "")) for path in paths]
        rows.append([mark, trial["trial"], trial["state"], step, figure(trial), *settings])
    typer.echo("")
    print_table(["", "TRIAL", "STATE", "STEP", result["metric"], *paths], rows, empty="")
    for line in cause_lines(ranked):
        typer.echo(line)


def _draw_curve(rows: list[dict[str, Any]]) -> None:
    import plotext

    plotext.plot_size(80, 18)
    plotext.theme("clear")
    plotext.plot([row["step"] for row in rows], [row["train_loss"] for row in rows], label="training loss")
    held_out = [(row["step"], row["validation_loss"]) for row in rows if "validation_loss" in row]
    if held_out:
        plotext.scatter(*map(list, zip(*held_out, strict=True)), label="validation loss", marker="o")
    plotext.xlabel("optimizer step")
    typer.echo("\n" + plotext.build())


def cell(value: Any) -> str:
    """A setting of a trial in a table: a number by four digits, a whole part of the training by its kind."""
    if isinstance(value, dict):
        return str(value.get("kind", value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
