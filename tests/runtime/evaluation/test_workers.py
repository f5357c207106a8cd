"""What workers leave of an evaluation, in this process: figures of samples in order, answers, labels by name."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evaluable_on_disk import BERT, GPT2, TRAIN, classifier, data, decoder, model, rows_of
from paths import ROOT
from prepared_on_disk import BLOCK, prepared
from trainshed.errors import PlatformError
from trainshed.record.built_on import trained_by
from trainshed.record.storage import Storage
from trainshed.record.weights import of_run
from trainshed.runtime import tasks
from trainshed.runtime.evaluation.figures import measured
from trainshed.runtime.training.host import BareHost, World
from trainshed.runtime.training.scoring.evaluating import evaluate_worker
from trainshed.runtime.training.scoring.files import AnswerFiles, ScoreFiles
from trainshed.runtime.training.worker_spec import WorkerSpec
from trainshed.spec.evaluation.asked import Asked
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.evaluation.labels import label_numbers, labels_of
from trainshed.spec.evaluation.training import evaluated_as
from trainshed.spec.load import job_from_data
from trainshed.spec.training.engines import Fsdp

TASK = {"task": {"kind": "text_classification"}, "model": BERT}
SPLITS = {split: rows_of(split, 10) for split in ("train", "validation", "test")}


class Host(BareHost):
    """One worker; it counts the steps that it hears of, and may ask to end."""

    def __init__(self, stop_at=None):
        super().__init__(World(0, 1, torch.device("cpu")))
        self.steps, self._stop_at = [], stop_at

    def stepped(self, step):
        self.steps.append(step)

    def notice(self):
        return "stop" if self._stop_at is not None and self.steps[-1] >= self._stop_at else None


@pytest.fixture
def storage(tmp_path, group_of_one):
    return Storage.open(tmp_path)


def told(run, read, *, folder="runs/e", **asked):
    """The order to a worker that evaluates the export of `run` on the data of `read`."""
    reference = f"run://{run.run_id}"
    fields = {"kind": "evaluate", "name": "e", "model": reference, "data": f"run://{read.run_id}"}
    job = EvaluateJob.model_validate({**fields, "workers": {"per_device_batch_size": 4}})
    training = evaluated_as(job, trained_by(run), reference).model_copy(update={"steps": 100})
    order = Asked.model_validate({"model": reference, "split": "test", "samples": 10, "answers_at_once": 3, **asked})
    return WorkerSpec(
        training=training.model_dump(mode="json"),
        storage=run.storage.uri,
        data=read.outcome.data,
        folder=folder,
        export=False,
        work="evaluate",
        evaluation=order.model_dump(mode="json"),
        weights={reference: of_run(run).as_json()},
    )


def columns(storage, tmp_path, folder="runs/e", samples=10):
    return measured(ScoreFiles(storage, folder), "test", samples, tmp_path / "copy")


def test_a_sample_has_its_figures_whatever_the_batch(storage, tmp_path):
    read = data(storage, "moods", SPLITS)
    run = model(storage, "m", classifier, read, TASK)
    host = Host()
    evaluate_worker(told(run, read), host)
    found = columns(storage, tmp_path)
    assert found["labels"][:, 0].tolist() == [0, 1] * 5
    assert found["scores"].sum(1) == pytest.approx(np.ones(10), abs=1e-5)
    loss = -np.log(found["scores"][np.arange(10), found["labels"][:, 0].astype(int)])
    assert found["sums"] == pytest.approx(np.stack([loss, np.ones(10)], axis=1), abs=1e-5)
    assert host.steps[-1] == 10
    evaluate_worker(told(run, read, folder="runs/first", samples=3), Host())
    assert columns(storage, tmp_path, "runs/first", 3)["scores"] == pytest.approx(found["scores"][:3], abs=1e-6)


def test_labels_are_those_of_the_model_by_their_names(storage, tmp_path):
    """The data has the same labels in another order, and has fewer: the figures of a sample stay."""
    three = ("good", "so-so", "bad")
    read = data(storage, "moods", SPLITS)
    run = model(storage, "m", lambda vocab: classifier(vocab, three), read, TASK)
    evaluate_worker(told(run, read), Host())
    found = columns(storage, tmp_path)
    assert found["labels"][:, 0].tolist() == [2, 0] * 5
    assert found["scores"].shape == (10, 3)
    loss = -np.log(found["scores"][np.arange(10), found["labels"][:, 0].astype(int)])
    assert found["sums"][:, 0] == pytest.approx(loss, abs=1e-5)


def test_a_model_that_is_none_of_transformers_is_opened_from_its_export(storage, tmp_path):
    read = data(storage, "moods", SPLITS)
    lstm = {"task": {"kind": "lstm_classifier"}, "model": {"kind": "lstm", "width": 8, "hidden": 8}}
    facts = tasks.DataFacts.read(Path(storage.path(read.outcome.data)), read.outcome.manifest)
    networks = []

    def exported(_vocab):
        training = job_from_data({**TRAIN, "name": "m", "data": "run://moods", **lstm}).training
        task = tasks.build(training, facts)
        networks.append((task, task.make_model().eval()))
        return SimpleNamespace(save_pretrained=lambda folder: task.export(networks[0][1].state_dict(), folder))

    run = model(storage, "m", exported, read, lstm)
    torch.manual_seed(5)  # a fresh network would be another one
    evaluate_worker(told(run, read), Host())
    [(task, network)] = networks
    asked = task.predict(network, [{"text": row["text"]} for row in SPLITS["test"]])
    expected = [[one["scores"][name] for name in ("bad", "good")] for one in asked]
    assert columns(storage, tmp_path)["scores"] == pytest.approx(np.array(expected), abs=1e-5)


def test_packed_text_has_figures_for_each_block(storage, tmp_path):
    read = prepared(storage, "text", [1, 2, 3, 5, 8])
    run = model(storage, "m", decoder, read, {"model": GPT2})
    evaluate_worker(told(run, read, split="validation", samples=16), Host())
    found = measured(ScoreFiles(storage, "runs/e"), "validation", 16, tmp_path / "copy")
    assert found["sums"].shape == (16, 5)
    assert found["sums"][:, 1].tolist() == [BLOCK - 1] * 16


def test_labels_that_the_model_does_not_know_are_refused_on_the_cluster_too(storage):
    rows = {split: rows_of(split, 10, ("good", "ugly")) for split in SPLITS}
    read = data(storage, "strange", rows, labels=("good", "ugly"))
    run = model(storage, "m", classifier, read, TASK)
    with pytest.raises(PlatformError, match="its labels 'ugly' are none of the model's: bad, good"):
        evaluate_worker(told(run, read), Host())


def test_a_model_whose_files_have_changed_is_not_evaluated(storage):
    read = data(storage, "moods", SPLITS)
    run = model(storage, "m", classifier, read, TASK)
    order = told(run, read)
    place = run.at("model/model.safetensors")
    storage.write(place, storage.read(place)[:-1] + b"\x01")
    with pytest.raises(PlatformError, match=r"not the (file|one) that was exported"):
        evaluate_worker(order, Host())


def test_answers_are_in_the_order_of_the_samples_and_are_not_given_twice(storage, tmp_path):
    read = data(storage, "stories", SPLITS, has=("text", "target"))
    run = model(storage, "m", decoder, read, {"model": GPT2})
    order = told(run, read, answered=8, max_new_tokens=5)
    stopped = evaluate_worker(order, Host(stop_at=10 + 3))
    assert stopped.notice == "stop"
    first = AnswerFiles(storage, "runs/e").read()
    assert [one["prompt"] for one in first] == [row["text"] for row in SPLITS["test"][:3]]
    marked = [{**one, "said": "as it was"} for one in first]
    AnswerFiles(storage, "runs/e").write(0, marked)
    ended = evaluate_worker(order, Host())
    assert ended.notice is None
    answers = AnswerFiles(storage, "runs/e").read()
    assert [one["prompt"] for one in answers] == [row["text"] for row in SPLITS["test"][:8]]
    assert [one["truth"] for one in answers] == [row["target"] for row in SPLITS["test"][:8]]
    assert [one["said"] for one in answers[:3]] == ["as it was"] * 3
    assert "as it was" not in {one["said"] for one in answers[3:]}


def by_two(folder, order):
    """Has two processes evaluate together."""
    folder.mkdir()
    (folder / "order.json").write_text(json.dumps(dataclasses.asdict(order)))
    path = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    both = [
        subprocess.Popen(
            [sys.executable, ROOT / "tests" / "evaluating_worker.py", folder, str(rank)],
            env={**os.environ, "PYTHONPATH": path},
        )
        for rank in range(2)
    ]
    assert [one.wait(timeout=240) for one in both] == [0, 0]


def test_two_workers_come_to_what_one_does_whole_or_split(storage, tmp_path):
    """9 samples, 7 of them answered, 3 at once by each worker: neither number is one of both."""
    read = data(storage, "stories", SPLITS, has=("text", "target"))
    run = model(storage, "m", decoder, read, {"model": GPT2})
    fields = {"samples": 9, "max_new_tokens": 4}
    evaluate_worker(told(run, read, folder="runs/one", answered=7, **fields), Host())
    by_two(tmp_path / "whole", told(run, read, folder="runs/two", answered=7, **fields))
    split = told(run, read, folder="runs/split", **fields)
    split.training["engine"] = Fsdp().model_dump(mode="json")
    by_two(tmp_path / "split", split)
    one = columns(storage, tmp_path, "runs/one", 9)["sums"]
    assert columns(storage, tmp_path, "runs/two", 9)["sums"] == pytest.approx(one, rel=1e-5)
    assert columns(storage, tmp_path, "runs/split", 9)["sums"] == pytest.approx(one, rel=1e-5)
    assert AnswerFiles(storage, "runs/two").read() == AnswerFiles(storage, "runs/one").read()


def test_two_workers_go_on_with_the_answers_that_one_has_begun(storage, tmp_path):
    read = data(storage, "stories", SPLITS, has=("text", "target"))
    run = model(storage, "m", decoder, read, {"model": GPT2})
    fields = {"samples": 9, "max_new_tokens": 4, "answered": 8}
    evaluate_worker(told(run, read, folder="runs/one", **fields), Host())
    order = told(run, read, folder="runs/both", **fields)
    assert evaluate_worker(order, Host(stop_at=9 + 3)).notice == "stop"
    assert len(AnswerFiles(storage, "runs/both").read()) == 3
    by_two(tmp_path / "both", order)
    assert AnswerFiles(storage, "runs/both").read() == AnswerFiles(storage, "runs/one").read()


def test_a_file_of_answers_that_a_stranger_wrote_is_refused(storage):
    AnswerFiles(storage, "runs/e").write(0, [{"prompt": 1}])
    with pytest.raises(PlatformError, match=r"answers/000000.json: 0.prompt"):
        AnswerFiles(storage, "runs/e").read()


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {str(number): f"l{number}" for number in range(11)}}, tuple(f"l{n}" for n in range(11))),
        ({"labels": ["x", "y"]}, ("x", "y")),
        ({"id2label": {"zero": "a"}}, ()),
        ({"id2label": ["a"]}, ()),
        ({}, ()),
    ],
)
def test_labels_are_read_from_config_json(config, labels):
    assert labels_of(json.loads(json.dumps(config))) == labels


def test_many_unknown_labels_are_named_in_part():
    with pytest.raises(ValueError, match=r"its labels 'a', 'b', 'c' and 2 more are none of the model's: it has none"):
        label_numbers("abcde", ())
