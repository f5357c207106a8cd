"""What `platform sweeps` shows of trials that stand in a Record, while the sweep runs and after it."""

import io
import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from job_texts import TRAIN, TUNE, changed
from trainshed.cli.follow import JsonView, describe
from trainshed.cli.main import app
from trainshed.cli.sweeps import picture
from trainshed.cli.trial_table import Trials
from trainshed.client.known_clusters import name_of, remember
from trainshed.errors import UsageError
from trainshed.record.events import Line, event_of
from trainshed.record.facts import EndFacts
from trainshed.record.results import SweepResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import BestTrial, TrialEnd
from trainshed.record.trials import TrialFiles, begun
from trainshed.runtime.tuning.report.trial_results import trial_result
from trainshed.spec.load import job_from_data

RISING = changed(TUNE, metric="validation_accuracy", search__trials=3, budget={"hours": 2.0})


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A sweep with a trial that ended, one that failed and one that runs."""
    monkeypatch.setenv("PLATFORM_STORAGE", str(tmp_path))
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv("PLATFORM_ADDRESS", "http://127.0.0.1:9")  # one that does not answer just now is not gone
    record = Record(Storage.open(tmp_path), "sweep-261125-000000-abcd")
    record.begin(RISING, submission_id="ts-1", created_at="2026-11-25T00:00:00.000+00:00", number=0)
    record.storage.write(record.at("events.jsonl"), b"{}")
    training = job_from_data(TUNE).train
    for number, accuracies in enumerate([[0.2, 0.4], [0.9], [0.3, 0.6]]):
        trial = TrialFiles(record.storage, record.at(), number)
        trial.begin({"optimizer.learning_rate": 0.001 * (number + 1), "schedule": {"kind": "cosine"}}, training)
        rows = [
            {"step": 5 * n, "validation_accuracy": value, "validation_loss": 1.0}
            for n, value in enumerate(accuracies, 1)
        ]
        record.storage.write(f"{trial.folder}/metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
        if number < 2:
            ended = {"state": "failed", "cause": "KeyError: oops"} if number else {"state": "ended"}
            trial.end(TrialEnd(**ended, device_s=60.0))
    return record


def shown(*arguments):
    done = CliRunner().invoke(app, ["sweeps", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_trials_stand_in_the_order_of_the_metric_and_failed_ones_last(record):
    lines = shown("show", "sweep").splitlines()
    assert "unknown, 2 of 3 trials done, best 0.6000" in lines[0]
    assert "(limits: hours 2)" in lines[0]
    assert lines[2].split() == ["*", "trial-00002", "running", "10", "0.6000", "0.003", "cosine"]
    assert lines[3].split()[-1] == "1.0", "device-minutes"
    assert lines[3].split()[:5] == ["trial-00000", "ended", "10", "0.4000", "0.001"]
    assert lines[4].split()[:4] == ["trial-00001", "failed", "5", "?"]
    assert lines[5] == "1 x ?: KeyError: oops"


@pytest.mark.parametrize("drawn", ["sweeps show", "platform show", "in a terminal"])
def test_a_long_cause_stands_beneath_the_table_and_does_not_widen_it(record, drawn):
    cause = "step 7: the loss is nan after 3 rollback(s); samples 1, 2, 3; " + "lower the learning rate " * 9
    before = len(max(shown("show", "sweep").splitlines(), key=len))
    for number in (1, 2):
        TrialFiles(record.storage, record.at(), number).end(
            TrialEnd(state="failed", kind="diverged", cause=cause, device_s=60.0)
        )
    stories = [trial_result(job_from_data(RISING), one) for one in begun(record.storage, record.at())]
    code = {"version": "1", "package_sha256": "aa", "git_commit": None}
    record.begin(**{**{key: record.job[key] for key in record.job if key != "run_id"}, "code": code})
    best = BestTrial(**stories[0].as_json(), training={})
    result = SweepResult(trials=stories, metric="validation_accuracy", goal="max", best=best)
    record.finish(EndFacts(state="succeeded"), result)
    if drawn == "in a terminal":
        console = Console(file=io.StringIO(), width=1000)
        console.print(picture(Trials(record)))
        lines = console.file.getvalue().splitlines()
    else:
        done = CliRunner().invoke(app, [*drawn.removeprefix("platform ").split(), "sweep"], catch_exceptions=False)
        lines = done.stdout.splitlines()
    (said,) = [line for line in lines if "the loss is nan" in line]
    assert said.startswith("2 x diverged: step 7: the loss is nan")
    table = [line for line in lines if "trial-0000" in line]
    assert sum("diverged" in line for line in table) == 2
    assert max(map(len, table)) <= before


def test_programs_read_trials_as_json(record):
    rows = json.loads(shown("show", "sweep", "--json"))
    assert [row["value"] for row in rows] == [0.6, 0.4, None]
    assert rows[0]["settings"]["schedule"] == {"kind": "cosine"}


def test_sweeps_are_listed_and_other_runs_are_refused(record):
    other = Record(record.storage, "model-261125-000001-abcd")
    other.begin(TRAIN, submission_id="ts-2", created_at="2026-11-25T00:00:01.000+00:00", number=0)
    assert [row["run_id"] for row in json.loads(shown("list", "--json"))] == [record.run_id]
    with pytest.raises(UsageError, match="is a train run; `platform show` draws it"):
        shown("show", "model")


def test_what_a_trial_says_is_no_markup_of_the_terminal(record):
    TrialFiles(record.storage, record.at(), 2).end(
        TrialEnd(state="failed", cause="OSError: [/data/x] is [red]", device_s=1.0)
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(picture(Trials(record)))
    assert "OSError: [/data/x] is [red]" in console.export_text()


def test_a_metric_that_is_no_number_is_never_the_best(record):
    newer = b'{"step": 15, "validation_loss": 1.0, "validation_accuracy": NaN}\n'
    path = record.at("trials/trial-00000/metrics.jsonl")
    record.storage.write(path, record.storage.read(path) + newer)
    lines = shown("show", "sweep").splitlines()
    assert "best 0.6000" in lines[0]
    assert lines[2].split()[:2] == ["*", "trial-00002"]


def test_trials_that_the_end_of_a_sweep_cut_off_do_not_run_any_more(record):
    record.finish(EndFacts(state="stopped"))
    assert "stopped, 2 of 3 trials done" in shown("show", "sweep").splitlines()[0]
    assert [row["state"] for row in json.loads(shown("show", "sweep", "--json"))] == ["ended", "cut off", "failed"]


def test_a_sweep_whose_cluster_has_ended_is_lost_in_every_list_and_one_that_does_not_answer_is_not(record, tmp_path):
    assert [row["state"] for row in json.loads(shown("list", "--json"))] == ["unknown"]
    ended = name_of("http://127.0.0.1:9", "0123456789abcdef")  # a local cluster that this home had
    remember(tmp_path, ended, ended.url)
    record.begin(**{**{key: record.job[key] for key in record.job if key != "run_id"}, "cluster": ended.model_dump()})
    assert [row["state"] for row in json.loads(shown("list", "--json"))] == ["lost"]
    runs = CliRunner().invoke(app, ["runs", "--json"], catch_exceptions=False)
    assert [row["state"] for row in json.loads(runs.stdout)] == ["lost"]
    assert "lost, 2 of 3 trials done" in shown("show", "sweep").splitlines()[0]
    assert [row["state"] for row in json.loads(shown("show", "sweep", "--json"))] == ["ended", "cut off", "failed"]


def refuse(name):
    raise AssertionError(f"{name} is no JSON")


def test_programs_never_read_a_number_that_is_none(record):
    newer = b'{"step": 15, "validation_loss": Infinity, "validation_accuracy": NaN}\n'
    record.storage.write(record.at("trials/trial-00002/metrics.jsonl"), newer)
    record.storage.write(record.at("metrics.jsonl"), newer)
    record.storage.write(record.at("events.jsonl"), b'{"event": "trial", "values": [-Infinity, 1.5]}\nhalf a li\n')
    rows = json.loads(shown("show", "sweep", "--json"), parse_constant=refuse)
    assert [row["value"] for row in rows] == [0.4, None, None]
    run = CliRunner().invoke(app, ["show", "sweep", "--json"], catch_exceptions=False)
    assert json.loads(run.stdout, parse_constant=refuse)["metrics"][0]["validation_loss"] is None
    lines = CliRunner().invoke(app, ["logs", "sweep", "--json"], catch_exceptions=False).stdout.splitlines()
    assert json.loads(lines[0], parse_constant=refuse)["values"] == [None, 1.5]
    assert lines[1] == "half a li"


def test_events_are_followed_as_json_that_every_program_reads(capsys):
    said = {"event": "trial", "trial": "trial-00000", "state": "running", "validation_loss": float("nan"), "step": 3}
    JsonView().show(Line(7, "2026-11-27", "sweep", event_of(said)))
    shown = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert shown == {"seq": 7, "time": "2026-11-27", "run": "sweep", **said, "validation_loss": None}


@pytest.mark.parametrize("metric", ["validation_loss", "train_loss", "validation_accuracy", "validation_cost"])
def test_a_trial_that_ended_is_told_with_the_metric_of_its_sweep(metric):
    said = {"event": "trial", "trial": "trial-00000", "state": "ended", "step": 3, "settings": {"a.rate": 0.01}}
    assert describe(event_of({**said, metric: 3.125})) == f"trial-00000 ended at step 3: {metric} 3.1250 (rate 0.01)"
    assert describe(event_of(said)) == "trial-00000 ended at step 3: no metric (rate 0.01)"


def test_what_a_sweep_has_cost_stands_beside_its_hours(record):
    job = {**RISING, "budget": {"money": 5.0, "price": 3.0, "currency": "USD"}}
    record.begin(job, submission_id="ts-1", created_at="2026-11-25T00:00:00.000+00:00", number=0)
    record.storage.write_json(record.at("spent.json"), {"wall_s": 60.0, "device_s": 1800.0})
    head = shown("show", "sweep").splitlines()[0]
    assert "1 min 0 s, 0.50 device-hours, 1.50 USD (limits: money 5)" in head


def test_trials_that_have_ended_are_not_read_again(record):
    table = Trials(record)
    before = table.rows()
    for number in (0, 1):
        record.storage.write_json(record.at(f"trials/trial-{number:05d}/trial.json"), {"settings": {"seed": 1}})
    assert table.rows() == before
