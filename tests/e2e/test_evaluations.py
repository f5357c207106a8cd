"""Models are evaluated on a real cluster, through the command alone: figures, answers, gates that pass or fail."""

import json
import random
from pathlib import Path

import pytest

from small_jobs import write

pytestmark = pytest.mark.slow

WORKERS = {"count": 1, "per_device_batch_size": 16}
GOOD, BAD = ("lovely", "great", "fine", "sunny"), ("awful", "dull", "poor", "grey")
MOODS = {
    "kind": "prepare",
    "name": "moods",
    "source": {"kind": "jsonl", "path": "moods.jsonl"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 320},
    "examples": {"text": "text", "label": "label", "max_tokens": 24},
    "split": {"validation": 0.15, "test": 0.25},
}
MOODS_MODEL = {
    "kind": "train",
    "name": "moods-model",
    "task": {"kind": "text_classification"},
    "data": "run://moods",
    "model": {"kind": "bert", "layers": 1, "heads": 2, "width": 32, "dropout": 0.0},
    "optimizer": {"kind": "adamw", "learning_rate": 0.005},
    "workers": WORKERS,
    "global_batch_size": 16,
    "steps": 60,
    "engine": {"kind": "ddp"},
}
MOODS_EVAL = {
    "kind": "evaluate",
    "name": "moods-eval",
    "model": "run://moods-model",
    "data": "run://moods",
    "workers": {"count": 2, "per_device_batch_size": 8},
    "intervals": {"resamples": 200},
    "require": {"accuracy": ">= 0.8", "loss": "< 0.9"},
    "register": "moods",
    "promote": "production",
}
LETTERS = {
    "kind": "prepare",
    "name": "letters",
    "source": {"kind": "jsonl", "path": "letters.jsonl"},
    "format": "prompt_completion",
    "tokenizer": {"kind": "characters"},
    "examples": {"max_tokens": 12, "max_target_tokens": 8},
    "split": {"validation": 0.2},
}
LETTERS_MODEL = {
    "kind": "train",
    "name": "letters-model",
    "data": "run://letters",
    "model": {"kind": "llama", "layers": 1, "heads": 2, "width": 48},
    "optimizer": {"kind": "adamw", "learning_rate": 0.01},
    "workers": WORKERS,
    "global_batch_size": 16,
    "steps": 80,
    "engine": {"kind": "ddp"},
    "register": {"name": "letters", "gate": "run://letters-eval"},
}


def moods(folder, name="moods"):
    """Sentences whose words say the label; a few words of each stand in none of the other."""
    drawn = random.Random(0)
    rows = []
    for number in range(240):
        label = drawn.choice(("good", "bad"))
        words = [drawn.choice(GOOD if label == "good" else BAD) for _ in range(3)]
        said = label if drawn.random() > 0.1 else drawn.choice(("good", "bad"))  # some are mistaken
        rows.append({"text": f"day {number} in town was {' and '.join(words)}", "label": said})
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def letters(folder):
    """Prompts whose last letter says the answer."""
    rows = [
        {"prompt": f"{number:03d}{letter}:", "completion": {"a": "yes", "b": "no"}[letter]}
        for number in range(150)
        for letter in "ab"
    ]
    (folder / "letters.jsonl").write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("evaluations")
    moods(made)
    letters(made)
    return made


@pytest.fixture(scope="module")
def classified(platform, folder):
    """What the command printed of a classifier that is prepared, trained, evaluated, registered and promoted."""
    return platform.run("submit", write(folder, MOODS, MOODS_MODEL, MOODS_EVAL))


def test_a_classifier_that_passes_its_gate_is_registered_and_gets_its_alias(platform, classified):
    for words in ("moods-model", "accuracy", " to ", "passed its gate", "registered moods@1"):
        assert words in classified.stdout
    shown = platform.json("show", "moods-eval")
    result = shown["result"]
    assert shown["state"] == "succeeded"
    assert (result["verdict"]["passed"], result["registered"], result["promoted"]) == (
        True,
        "moods@1",
        "moods@production",
    )
    assert result["split"] == "test"
    assert {"loss", "accuracy", "macro_f1", "roc_auc", "calibration_error"} <= set(result["metrics"])
    low, high = result["metrics"]["accuracy"]["interval"]
    assert low <= result["metrics"]["accuracy"]["value"] <= high
    [version] = [one for one in platform.json("models") if one["name"] == "moods"]
    assert version["aliases"] == ["production"]
    assert version["metrics"]["accuracy"] == result["metrics"]["accuracy"]["value"]
    assert version["evaluations"][0]["verdict"]["passed"]
    assert "moods-eval passed" in platform.run("models").stdout
    assert "of the test split" in platform.run("show", "moods-eval").stdout


def test_figures_are_those_of_the_training_on_the_same_split(platform, classified):
    """One worker trained in one process; two workers evaluated the export in others."""
    metrics = platform.json("show", "moods-eval")["result"]["metrics"]
    trained = platform.json("show", "moods-model")["result"]["metrics"]
    for name in ("loss", "accuracy", "macro_f1", "roc_auc"):
        assert metrics[name]["value"] == pytest.approx(trained[f"test_{name}"], abs=1e-5)


def test_the_report_is_one_page_with_its_pictures(platform, classified):
    run = platform.folder("moods-eval")
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert {path.name for path in (run / "report").iterdir()} == {"confusion.png", "calibration.png", "roc.png"}
    assert not (run / "scores").exists()


def test_a_gate_that_fails_ends_with_1_says_why_and_registers_nothing(platform, classified, folder):
    strict = {**MOODS_EVAL, "name": "moods-strict", "model": "moods@1", "promote": "best"}
    strict["require"] = {"accuracy": "> 1", "against": "moods@production", "within": 0.01}
    strict.pop("register")
    failed = platform.run("submit", write(folder, strict), code=1)
    assert "accuracy is" in failed.stdout
    assert "and must be > 1" in failed.stdout
    shown = platform.json("show", "moods-strict")
    assert shown["state"] == "failed"
    assert "moods@1 has not passed: accuracy is" in shown["result"]["cause"]
    own = shown["result"]["metrics"]["accuracy"]
    assert (own["other"], own["difference"]) == (own["value"], [0.0, 0.0])  # the same model, of the same draws
    [version] = [one for one in platform.json("models") if one["name"] == "moods"]
    assert version["aliases"] == ["production"]
    refused = platform.run("alias", "moods@1", "best", code=1)
    assert "moods@1 has failed the gate of evaluation moods-strict" in refused.stderr
    assert "accuracy is" in refused.stderr


def test_an_endpoint_behind_a_gate_refuses_a_model_that_has_not_passed(platform, classified, folder):
    serve = {"kind": "serve", "name": "moods-served", "model": "moods@1", "auth": {"keys": ["PLATFORM_API_KEY"]}}
    refused = platform.run("submit", write(folder, {**serve, "gate": "run://moods-strict"}), code=2)
    assert "gate: run://moods-strict: moods@1 has failed it" in refused.stderr
    platform.run("check", write(folder, {**serve, "gate": "run://moods-eval"}))


def test_a_decoder_answers_and_its_answers_are_judged(platform, folder):
    evaluation = {
        "kind": "evaluate",
        "name": "letters-eval",
        "model": "run://letters-model",
        "data": "run://letters",
        "intervals": {"resamples": 200},
        "answers": {"max_samples": 40, "batch_size": 7},
        "require": {"exact_match": ">= 0.9"},
    }
    passed = platform.run("submit", write(folder, LETTERS, LETTERS_MODEL, evaluation))
    result = platform.json("show", "letters-eval")["result"]
    assert (result["split"], result["answered"]) == ("validation", 40)
    assert result["metrics"]["exact_match"]["value"] >= 0.9
    assert result["metrics"]["answer_f1"]["interval"] is not None
    assert "exact_match" in passed.stdout
    assert "letters-model becomes a version of letters once run://letters-eval has let it pass" in passed.stdout
    assert platform.json("show", "letters-model")["result"].get("registered") is None
    assert result["registered"] == "letters@1"
    answers = [
        json.loads(line) for line in (platform.folder("letters-eval") / "answers.jsonl").read_text().splitlines()
    ]
    assert len(answers) == 40
    assert all(one["truth"] == {"a": "yes", "b": "no"}[one["prompt"].strip(":")[-1]] for one in answers)
    # What it was trained on stands in the training split as a whole.
    leaking = {**evaluation, "name": "letters-leak", "model": "letters@1", "split": "train", "max_samples": 30}
    leaking["leakage"] = {"ngram": 4, "max_share": 0.1}
    leaking.pop("require")
    failed = platform.run("submit", write(folder, leaking), code=1)
    assert "100.0% of the evaluated samples share a run of 4 tokens with the training set" in failed.stdout
    assert Path(platform.folder("letters-leak") / "report.html").exists()
