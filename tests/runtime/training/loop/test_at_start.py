"""Validation before the first step is a row of step 0, taken once: it decides nothing, and no reader trips over it."""

import json
import shutil

import pytest
import torch

from job_texts import TUNE
from tiny_training import VOCAB, TinySamples, TinyTask, tiny_training
from trainshed.cli.run_page import _draw_curve
from trainshed.record.events import to_nobody
from trainshed.record.metric_rows import read_rows
from trainshed.record.ranking import figure_of
from trainshed.record.storage import Storage
from trainshed.runtime.plots import loss_plot
from trainshed.runtime.training.checkpoints.keeper import Keeper
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.loop.loop import train
from trainshed.runtime.training.loop.metric_log import MetricLog
from trainshed.runtime.training.loop.setup import make_engine
from trainshed.runtime.training.loop.state import Splits
from trainshed.runtime.training.loop.validation import validate
from trainshed.runtime.tuning.report.trial_results import came_to, trial_result
from trainshed.spec.load import job_from_data
from trainshed.spec.training.engines import DeepSpeed, Fsdp
from trainshed.spec.training.regularization import EarlyStopping, Regularization
from trainshed.spec.training.saving import Validation
from trials_on_disk import trial_on_disk

ALONE = World(0, 1, torch.device("cpu"))
POISON = VOCAB - 1
EVERY_TWO = Validation(every_steps=2, max_samples=8, at_start=True)

pytestmark = pytest.mark.usefixtures("group_of_one")


class Dies(BareHost):
    """Ends the process's training by an error, at its first sign of life or where it is asked how it goes."""

    def stepped(self, step):
        raise KeyboardInterrupt


def run(folder, training, *, host=None, samples=None, task=None):
    """The rows of metrics.jsonl when it has ended."""
    storage = Storage.open(folder)
    task = task or TinyTask()
    log = MetricLog(storage, "metrics.jsonl")
    keeper = Keeper(storage, ".", training.checkpoint, ALONE, to_nobody)
    engine = make_engine(training, task, ALONE)
    splits = Splits(samples or TinySamples(64), TinySamples(8))
    try:
        train(training, task, splits, host or BareHost(ALONE), engine, metric_log=log, keeper=keeper)
    except KeyboardInterrupt:
        keeper.close()
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def learnt(rows):
    """What does not hang on the clock."""
    names = ("step", "train_loss", "validation_loss", "grad_norm", "order_hash")
    return [{name: row[name] for name in names if name in row} for row in rows]


@pytest.mark.parametrize("engine", [None, Fsdp(), DeepSpeed(zero_stage=2)], ids=str)
def test_it_measures_the_model_as_it_is_and_changes_no_step(tmp_path, engine, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    more = {} if engine is None else {"engine": engine}
    training = tiny_training(steps=6, validation=EVERY_TWO, **more)
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    first, *rows = run(tmp_path / "with", training)
    fresh = make_engine(training, TinyTask(), ALONE)
    assert first["step"] == 0
    assert first["validation_loss"] == validate(training, TinyTask(), TinySamples(8), fresh, ALONE)["loss"]
    assert "train_loss" not in first
    without = training.model_copy(update={"validation": Validation(every_steps=2, max_samples=8)})
    assert learnt(rows) == learnt(run(tmp_path / "without", without))


def test_a_rollback_to_the_beginning_keeps_the_row(tmp_path):
    samples = TinySamples(64, poisoned=(5,), poison=POISON)
    training = tiny_training(steps=20, validation=EVERY_TWO)
    rows = run(tmp_path, training, samples=samples, task=TinyTask(poison=POISON))
    assert [row["step"] for row in rows] == list(range(21))


def test_a_training_that_ends_before_its_first_checkpoint_takes_it_again_and_later_it_does_not(tmp_path):
    training = tiny_training(steps=4, validation=EVERY_TWO)
    rows = run(tmp_path, training, host=Dies(ALONE))
    assert [row["step"] for row in rows] == [0]
    kept = rows[0]
    assert run(tmp_path, training)[0] == kept, "the checkpoint of step 0 was there, and the row with it"
    shutil.rmtree(tmp_path / "checkpoints")
    rows = run(tmp_path, training)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["time"] > kept["time"]


def test_it_does_not_decide_when_a_training_ends_nor_what_is_exported(tmp_path):
    policy = Regularization(early_stopping=EarlyStopping(patience=1, min_delta=100.0))
    rows = run(tmp_path, tiny_training(steps=20, validation=EVERY_TWO, regularization=policy))
    assert rows[-1]["step"] == 4, "the first figure is that of step 2, and step 4 is not better by 100"


def test_pictures_and_pages_show_it(tmp_path, capsys):
    run(tmp_path, tiny_training(steps=6, validation=EVERY_TWO))
    rows = read_rows(Storage.open(tmp_path), "metrics.jsonl")
    assert rows[0].step == 0
    assert rows[0].is_held_out
    assert loss_plot("a training", rows, unigram_entropy=None).startswith(b"\x89PNG")
    _draw_curve(rows)
    assert "optimizer step" in capsys.readouterr().out


def test_a_trial_of_a_sweep_counts_by_what_it_has_learnt(tmp_path):
    job = job_from_data(TUNE)
    best = job.train.model_copy(update={"regularization": Regularization(early_stopping=EarlyStopping())})
    trial = trial_on_disk(tmp_path, best, 0, [3.0, 4.0])
    rows = trial.storage.read(f"{trial.folder}/metrics.jsonl")
    trial.storage.write(f"{trial.folder}/metrics.jsonl", b'{"step": 0, "validation_loss": 1.0}\n' + rows)
    assert [row.step for row in trial.held_out()] == [5, 10]
    assert figure_of(trial.facts, trial.held_out()).step == 5
    assert trial_result(job, trial).history == ((5, 3.0), (10, 4.0))
    assert came_to(job, trial) == 3.0
    trial.storage.write(f"{trial.folder}/metrics.jsonl", b'{"step": 0, "validation_loss": 1.0}\n')
    assert trial.newest() is None
    assert came_to(job, trial) is None
