"""Evaluations that cannot be: one clear line with file, line and key, exit code 2, before anything is handed over."""

import re

import pytest
import yaml

from cli.calling import call
from evaluable_on_disk import BERT, GPT2, classifier, data, decoder, evaluation, model, rows_of
from trainshed.record.storage import Storage

LABELS = ("bad", "good")
EVALUATE = {
    "kind": "evaluate",
    "name": "moods-eval",
    "model": "moods@1",
    "data": "run://moods",
    "workers": {"count": 1, "per_device_batch_size": 4},
}
SERVE = {"kind": "serve", "name": "served", "model": "moods@1", "auth": {"keys": ["PLATFORM_API_KEY"]}}
OTHER_WORDS = ["zebra quartz jump vex", "fjord nymph waltz"] * 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A storage with data of several kinds, a classifier and a decoder with versions, and evaluations that ended."""
    home = tmp_path_factory.mktemp("home")
    storage = Storage.open(home / "storage")
    splits = {split: rows_of(split, 12) for split in ("train", "validation", "test")}
    moods = data(storage, "moods", splits)
    data(storage, "untested", {"train": splits["train"], "validation": splits["validation"]})
    data(storage, "empty", {**splits, "test": []})
    strange = {split: rows_of(split, 12, ("good", "ugly")) for split in splits}
    data(storage, "strange", strange, labels=("good", "ugly"))
    data(storage, "foreign", splits, words=OTHER_WORDS)
    stories = data(storage, "stories", splits, has=("text", "target"))
    task = {"task": {"kind": "text_classification"}, "model": BERT}
    moods_model = model(storage, "moods-model", classifier, moods, task, version_of="moods")
    model(storage, "stories-model", decoder, stories, {"model": GPT2}, version_of="stories")
    custom = {"task": {"kind": "custom", "path": "mine:Task"}, "model": GPT2}
    model(storage, "mine", decoder, stories, custom, version_of="mine")
    evaluation(storage, "old-gate", moods_model, "moods@1", passed=True)
    evaluation(storage, "old-gate", moods_model, "moods@1", passed=False, day=2)
    evaluation(storage, "good-gate", moods_model, "moods@1", passed=False)
    evaluation(storage, "good-gate", moods_model, "moods@1", passed=True, day=2)
    evaluation(storage, "no-gate", moods_model, "moods@1", passed=None)
    return home


@pytest.fixture
def platform(made, monkeypatch, capsys):
    """The command in this process, with that storage."""
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLATFORM_HOME", str(made))
    monkeypatch.setenv("PLATFORM_STORAGE", str(made / "storage"))
    return lambda *arguments: call(capsys, *arguments)


WRONG = {
    "a split that is not there": (
        {"data": "run://untested", "split": "test"},
        "split: run://untested has no samples in its test split; it has some in train, validation",
    ),
    "an empty evaluation set": ({"data": "run://empty"}, "split: run://empty has no samples in its test split"),
    "labels the model does not know": (
        {"data": "run://strange"},
        "data: moods@1: its labels 'ugly' are none of the model's: bad, good",
    ),
    "another tokenizer": ({"data": "run://foreign"}, "data: moods@1: it has another tokenizer than the data"),
    "data of another kind": ({"data": "run://stories"}, "data: moods@1: task: text_classification needs samples with"),
    "data that is not there": ({"data": "run://nowhere"}, "data: run://nowhere is neither an earlier document"),
    "data that is a model": ({"data": "run://moods-model"}, "data: run://moods-model is a train run; a prepare run"),
    "a model that is not there": ({"model": "nothing@1"}, "model: no model 'nothing' is registered"),
    "a version that is not there": ({"model": "moods@7"}, "model: moods@7: no such version or alias"),
    "a model that is data": ({"model": "run://moods"}, "model: run://moods is a prepare run; a train run is needed"),
    "no reference to a model": ({"model": "moods"}, 'model: got "moods"; say NAME@VERSION, NAME@latest or run://NAME'),
    "a model of a custom task": ({"model": "mine@1"}, "model: mine@1: task custom has a meter of its own"),
    "a gate on a metric that is not reported": (
        {"require": {"acuracy": ">= 0.9"}},
        "require.acuracy: this evaluation reports no acuracy; did you mean 'accuracy'?",
    ),
    "a gate on a metric of another task": ({"require": {"perplexity": "< 9"}}, "reports no perplexity; known here:"),
    "a gate on answers that are not generated": (
        {
            "model": "stories@1",
            "data": "run://stories",
            "answers": {"max_samples": 0},
            "require": {"exact_match": "> 0"},
        },
        "require.exact_match: this evaluation reports no exact_match",
    ),
    "a gate with a sign that is none": (
        {"require": {"accuracy": "=> 0.9"}},
        "require.accuracy: got '=> 0.9'; say a sign",
    ),
    "a gate without a sign": ({"require": {"accuracy": "0.9"}}, "require.accuracy: got '0.9'; say a sign and a number"),
    "a gate that is a number": ({"require": {"accuracy": 0.9}}, "require.accuracy: expected text, got 0.9"),
    "a gate that no figure reaches": (
        {"require": {"accuracy": "> 1e999"}},
        "require.accuracy: got '> 1e999', which no",
    ),
    "a gate without a metric": ({"require": {}}, "require: a gate needs a metric with its bound"),
    "a gate that is a list": ({"require": ["accuracy"]}, "require: expected a mapping"),
    "an against that is not there": (
        {"require": {"accuracy": "> 0", "against": "moods@production"}},
        "require.against: moods@production: no such version or alias; versions of moods: 1",
    ),
    "an against of a name that is not there": (
        {"require": {"accuracy": "> 0", "against": "nothing@1"}},
        "require.against: no model 'nothing' is registered",
    ),
    "an against of another task": (
        {"require": {"accuracy": "> 0", "against": "stories@1"}},
        "require.against: moods@1 has learnt text_classification, this one causal_lm; compare like with like",
    ),
    "within nothing": ({"require": {"accuracy": "> 0", "within": 0.1}}, "within: it is the distance to another model"),
    "a negative distance": (
        {"require": {"accuracy": "> 0", "against": "moods@1", "within": -1}},
        "require.within: input should be greater than or equal to 0, got -1",
    ),
    "a name without a gate": ({"model": "run://moods-model", "register": "moods"}, "register: nothing decides whether"),
    "an alias without a gate": ({"promote": "production"}, "promote: nothing decides whether the model has passed"),
    "an alias of a run": (
        {"model": "run://moods-model", "require": {"loss": "< 9"}, "promote": "production"},
        "promote: an alias is of a version; say register: NAME too",
    ),
    "a version registered again": (
        {"register": "moods", "require": {"loss": "< 9"}},
        "register: moods@1 is registered already; leave it out",
    ),
    "the alias latest": (
        {"promote": "latest", "require": {"loss": "< 9"}},
        "promote: got 'latest', which is always the",
    ),
    "an alias that is no name": (
        {"promote": "../up", "require": {"loss": "< 9"}},
        'promote: got "../up"; an alias has',
    ),
    "a share over 1": ({"leakage": {"max_share": 1.5}}, "leakage.max_share: input should be less than or equal to 1"),
    "no run of tokens": ({"leakage": {"ngram": 1}}, "leakage.ngram: input should be greater than or equal to 2, got 1"),
    "no samples": ({"max_samples": 0}, "max_samples: input should be greater than or equal to 1, got 0"),
    "a certainty": ({"intervals": {"confidence": 1.0}}, "intervals.confidence: input should be less than 1, got 1"),
    "few resamples": (
        {"intervals": {"resamples": 3}},
        "intervals.resamples: input should be greater than or equal to 100",
    ),
    "a split of another name": ({"split": "tset"}, "split: got \"tset\"; did you mean 'test'?"),
    "an unknown key": ({"requires": {"loss": "< 1"}}, "requires: unknown key; did you mean 'require'?"),
    "a range of workers": (
        {"workers": {"count": [1, 2]}},
        "workers.count: an evaluation has a fixed number of workers",
    ),
    "a batch by the plan": (
        {"workers": {"per_device_batch_size": "auto"}},
        "workers.per_device_batch_size: auto is for",
    ),
    "half precision on a CPU": ({"precision": "fp16"}, "precision fp16 needs workers.gpus above 0, got 0"),
    "an engine that trains": (
        {"engine": {"kind": "deepspeed"}},
        "engine: unknown kind 'deepspeed'; known here: ddp, fsdp",
    ),
    "answers of a split model": (
        {"model": "stories@1", "data": "run://stories", "engine": {"kind": "fsdp"}},
        "engine: under fsdp no worker has the whole model, and no answers are generated",
    ),
}


def refused(platform, tmp_path, *documents):
    file = tmp_path / "job.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    done = platform("submit", str(file))
    assert done.code == 2, done.err + done.out
    assert "Traceback" not in done.err
    [line] = done.err.strip().splitlines()
    assert re.match(rf"(error: )?{re.escape(str(file))}:\d+: ", line), line
    return line


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_evaluation_is_refused_in_one_line(case, platform, tmp_path):
    fields, said = WRONG[case]
    assert said in refused(platform, tmp_path, {**EVALUATE, **fields})


@pytest.mark.parametrize("text", ["require: {accuracy: >= 0.9}", "require:\n  accuracy: >= 0.9\n"])
def test_a_gate_without_quotes_is_no_yaml_or_no_gate(text, platform, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(EVALUATE) + text)
    done = platform("check", str(file))
    assert done.code == 2
    assert re.match(rf"(error: )?{re.escape(str(file))}:\d+: ", done.err)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"require": {"accuracy": ">= 0.9", "calibration_error": "< 0.1", "against": "moods@1", "within": 0.01}},
        {"model": "run://moods-model", "register": "better", "promote": "production", "require": {"macro_f1": "> 0.5"}},
        {"data": "run://untested"},
        {"model": "stories@1", "data": "run://stories", "require": {"exact_match": "> 0", "perplexity": "< 50"}},
        {"workers": {"count": 2, "per_device_batch_size": 4}, "engine": {"kind": "fsdp"}},
    ],
)
def test_a_right_evaluation_passes_the_check(fields, platform, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**EVALUATE, **fields}))
    done = platform("check", str(file))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gate": "run://nothing"}, "gate: run://nothing is neither an earlier document here nor a run"),
        ({"gate": "run://moods"}, "gate: run://moods is a prepare run; an evaluate run is needed here"),
        ({"gate": "run://old-gate"}, "gate: run://old-gate: moods@1 has failed it in old-gate-261122"),
        ({"gate": "run://no-gate"}, "gate: run://no-gate: no-gate-261121-000002-abcdef01 has no gate"),
        ({"gate": "run://good-gate", "model": "stories@1"}, "no evaluation of that name is of stories@1"),
        ({"gate": "good-gate"}, 'gate: got "good-gate"; say run://NAME'),
    ],
)
def test_an_endpoint_behind_a_gate_refuses_a_model_that_has_not_passed_it(fields, said, platform, tmp_path):
    assert said in refused(platform, tmp_path, {**SERVE, **fields})


def test_an_endpoint_behind_a_gate_of_the_same_file_serves_what_it_evaluates(platform, tmp_path):
    judged = {**EVALUATE, "require": {"accuracy": "> 0"}}
    said = refused(platform, tmp_path, judged, {**SERVE, "gate": "run://moods-eval", "model": "stories@1"})
    assert "gate: run://moods-eval evaluates moods@1, and stories@1 is served" in said
    file = tmp_path / "right.yaml"
    file.write_text(yaml.safe_dump(judged) + "---\n" + yaml.safe_dump({**SERVE, "gate": "run://moods-eval"}))
    assert platform("check", str(file)).code == 0
    file.write_text(yaml.safe_dump({**SERVE, "gate": "run://good-gate"}))
    assert platform("check", str(file)).code == 0


def test_what_an_evaluation_registers_and_promotes_is_there_for_later_documents(platform, tmp_path):
    judged = {**EVALUATE, "model": "run://moods-model", "register": "next", "promote": "live"}
    judged["require"] = {"accuracy": "> 0"}
    file = tmp_path / "job.yaml"
    for reference in ("next@latest", "next@live"):
        file.write_text(yaml.safe_dump(judged) + "---\n" + yaml.safe_dump({**SERVE, "model": reference}))
        assert platform("check", str(file)).code == 0
    assert "model: no model 'next' is registered" in refused(platform, tmp_path, {**SERVE, "model": "next@live"})
