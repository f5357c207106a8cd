"""Job files: every fault at once, each with file, line, key and what to do."""

import pytest
from pydantic import TypeAdapter

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from paths import ROOT
from trainshed.cluster.profile import Profile
from trainshed.errors import SpecError
from trainshed.spec.document.part import SAID_OF_PATTERNS
from trainshed.spec.job import JobDocument
from trainshed.spec.load import load_files, outside_references
from trainshed.spec.sweep.space import value_at


def load(tmp_path, content, *sets):
    file = tmp_path / "job.yaml"
    file.write_text(content)
    return load_files([file], sets)


def line_of(words, content):
    return 1 + [line.strip() for line in content.splitlines()].index(words)


def faults(tmp_path, content, *sets):
    with pytest.raises(SpecError) as caught:
        load(tmp_path, content, *sets)
    return [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]


@pytest.mark.parametrize("file", sorted(ROOT.glob("jobs/*.yaml")), ids=lambda file: file.name)
def test_every_job_file_we_ship_loads(file):
    loaded = load_files([file])
    assert loaded
    assert outside_references(loaded) == []


def test_all_faults_are_found_at_once_with_their_lines(tmp_path):
    content = text(PREPARE, changed(TRAIN, optimizer__learning_rat=1, steps="many"))
    assert faults(tmp_path, content) == [
        f"job.yaml:{line_of('learning_rat: 1', content)}: optimizer.learning_rat: unknown key; "
        "did you mean 'learning_rate'?",
        f'job.yaml:{line_of("steps: many", content)}: steps: expected a whole number, got "many"',
    ]


def test_numbers_may_be_written_as_people_write_them(tmp_path):
    job = load(tmp_path, text(TRAIN).replace("learning_rate: 0.001", "learning_rate: 1e-3"))[0].job
    assert job.optimizer.learning_rate == 0.001


def test_set_changes_the_document_it_names(tmp_path):
    loaded = load(tmp_path, text(PREPARE, TRAIN), "model.steps=25", "train.schedule.kind=linear")
    assert loaded[1].job.steps == 25
    assert loaded[1].job.schedule.kind == "linear"
    assert loaded[1].job.schedule.warmup_steps == 2


@pytest.mark.parametrize(
    ("document", "said", "meant"),
    [
        (changed(TUNE, name="budget"), "budget.hours=2.0", "budget.hours"),
        (changed(TUNE, name="budget"), "budget.budget.hours=2.0", "budget.hours"),
        (changed(TUNE, name="train"), "train.steps=99", "train.steps"),
        (changed(TUNE, name="train"), "train.search.trials=9", "search.trials"),
        (changed(TUNE, name="search"), "search.kind=tpe", "search.kind"),
        (changed(TRAIN, name="optimizer"), "optimizer.learning_rate=0.5", "optimizer.learning_rate"),
        (changed(TRAIN, name="model"), "model.width=64", "model.width"),
        (changed(TRAIN, name="model"), "model.model.width=64", "model.width"),
        (changed(TRAIN, name="workers"), "workers.steps=99", "steps"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_document_that_is_called_like_one_of_its_keys_is_set_at_that_key(tmp_path, document, said, meant, alone):
    documents = [document] if alone else [PREPARE, document]
    job = load(tmp_path, text(*documents), said)[-1].job
    assert str(value_at(job.model_dump(by_alias=True), meant)) == said.partition("=")[2]


def test_set_needs_no_name_where_there_is_one_document(tmp_path):
    assert load(tmp_path, text(TRAIN), "optimizer.learning_rate=0.5")[0].job.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("model.stepz=3", "unknown path; did you mean 'steps'?"),
        ("model.steps=-3", "input should be greater than or equal to 1, got -3"),
        ("model.steps", "expected path=value"),
        ("mode.steps=3", "which document? start the path with its name or kind; did you mean 'model'?"),
        ("model.steps.more=3", "steps is a single value and has nothing inside it"),
    ],
)
def test_a_wrong_set_is_one_line(tmp_path, given, said):
    found = faults(tmp_path, text(PREPARE, TRAIN), given)
    assert len(found) == 1
    assert found[0].startswith("--set")
    assert said in found[0]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_values_that_fit_only_together_are_set_whichever_comes_first(tmp_path, order):
    assert TRAIN["model"]["width"] % 3, "each of the two alone is refused"
    sets = ["train.model.width=63", "train.model.heads=3", "prepare.split.seed=5"][order]
    prepare, train = (one.job for one in load(tmp_path, text(PREPARE, TRAIN), *sets))
    assert (train.model.width, train.model.heads, prepare.split.seed) == (63, 3, 5)


def test_of_several_sets_the_one_at_fault_is_named(tmp_path):
    sets = ("train.model.width=63", "train.model.heads=4", "train.steps=-3", "prepare.split.seed=5")
    assert faults(tmp_path, text(PREPARE, TRAIN), *sets[2:]) == [
        "--set train.steps=-3: steps: input should be greater than or equal to 1, got -3"
    ]
    assert faults(tmp_path, text(PREPARE, TRAIN), *sets[:2], "train.steps=7", sets[3]) == [
        "--set train.model.width=63 --set train.model.heads=4: model: width must be a multiple of heads: "
        "63 is not a multiple of 4"
    ]


def test_every_end_of_a_range_is_tried_on_the_training(tmp_path):
    space = {"optimizer.learning_rate": {"uniform": [-1.0, 1.0]}, "schedule.kind": {"choice": ["cosine", "cosin"]}}
    found = faults(tmp_path, text(changed(TUNE, space=space)))
    assert len(found) == 2
    assert "space.optimizer.learning_rate: " in found[0]
    assert "did you mean 'cosine'?" in found[1]


def test_a_path_that_the_training_does_not_have_is_refused_with_the_nearest(tmp_path):
    content = text(changed(TUNE, space={"optimizer.lerning_rate": {"uniform": [0.1, 1.0]}}))
    line = line_of("optimizer.lerning_rate:", content)
    assert faults(tmp_path, content) == [
        f"job.yaml:{line}: space.optimizer.lerning_rate: unknown path; did you mean 'learning_rate'?"
    ]


def test_a_reference_to_a_later_document_is_refused(tmp_path):
    with pytest.raises(SpecError, match="run://text stands later in the file"):
        outside_references(load(tmp_path, text(TRAIN, PREPARE)))


def test_a_reference_to_a_document_of_the_wrong_kind_is_refused(tmp_path):
    with pytest.raises(SpecError, match="run://sweep is a tune job; a prepare job is needed here"):
        outside_references(load(tmp_path, text(PREPARE, TUNE, changed(TRAIN, data="run://sweep"))))


def test_training_from_a_sweep_takes_what_it_does_not_say_from_the_best_trial(tmp_path):
    document = {"kind": "train", "name": "final", "from_best": "run://sweep", "steps": 99}
    sweep, final = (one.job for one in load(tmp_path, text(PREPARE, TUNE, document))[1:])
    resolved = final.resolve(sweep.train)
    assert resolved.steps == 99
    assert resolved.model == sweep.train.model
    assert resolved.name == "final"


WIDER = {
    "kind": "train",
    "name": "final",
    "from_best": "run://sweep",
    "steps": 99,
    "settings": {"model.width": 128, "model.heads": 8, "schedule.warmup_steps": 50},
}
GROWING = changed(TUNE, train__model={**TUNE["train"]["model"], "mup_base_width": 32})


def test_training_from_a_sweep_takes_its_settings_over_the_best_trial_together_with_its_fields(tmp_path):
    sweep, final = (one.job for one in load(tmp_path, text(PREPARE, GROWING, WIDER))[1:])
    resolved = final.resolve(sweep.train)
    assert (resolved.model.width, resolved.model.heads, resolved.model.layers) == (128, 8, 2)
    assert (resolved.schedule.warmup_steps, resolved.steps) == (50, 99), "more warm-up than the sweep has steps"
    assert resolved.optimizer == sweep.train.optimizer


def test_set_reaches_what_a_training_from_a_sweep_leaves_to_the_best_trial(tmp_path):
    plain = {key: value for key, value in WIDER.items() if key != "settings"}
    sets = ("final.model.width=64", "final.model.heads=4", "final.steps=7")
    final = load(tmp_path, text(PREPARE, GROWING, plain), *sets)[2].job
    assert final.settings == {"model.width": 64, "model.heads": 4}
    assert final.steps == 7


@pytest.mark.parametrize(
    ("settings", "at", "said"),
    [
        ({"model.widht": 64}, "model.widht: 64", "settings.model.widht: unknown path; did you mean 'width'?"),
        ({"model.width": 65}, "model.width: 65", "settings.model.width: width must be a multiple of heads"),
        ({"precision": "bf16", "engine.zero_stage": 0}, "kind: train", "precision bf16 needs"),
        (
            {"model": {"kind": "gpt2", "layers": 1, "heads": 0, "width": 8}},
            "model:",
            "settings.model: input should be greater than or equal to 1, got 0",
        ),
        (
            {"model.width": 64},
            "settings:",
            "settings.model.heads: width / heads is 32 here and 16 in the sweep, and with mup_base_width heads keep "
            "their size; say model.heads: 4",
        ),
    ],
)
def test_a_setting_that_does_not_fit_the_sweep_is_one_line(tmp_path, settings, at, said):
    content = text(PREPARE, GROWING, {**WIDER, "settings": settings})
    last = max(number for number, line in enumerate(content.splitlines(), start=1) if line.strip() == at)
    found = faults(tmp_path, content)
    assert len(found) == 1
    assert found[0].startswith(f"job.yaml:{last}: {said}")


def test_fields_that_do_not_fit_the_sweep_beside_settings_are_one_line(tmp_path):
    content = text(PREPARE, GROWING, {**WIDER, "global_batch_size": 7})
    (found,) = faults(tmp_path, content)
    assert found.startswith(f"job.yaml:{line_of('kind: train', content)}: global_batch_size must be a multiple of")


def test_a_context_shorter_than_the_blocks_is_refused(tmp_path):
    found = faults(tmp_path, text(PREPARE, changed(TRAIN, model__context=32)))
    assert found[0].endswith("model.context: 32 is under the data's pack.block_size, 64; leave it out, or raise it")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workers__per_device_batch_size": 0}, "expected at least 1 or auto, got 0"),
        ({"workers__per_device_batch_size": "many"}, 'expected a whole number or auto, got "many"'),
        ({"engine": {"kind": "deepspeed", "zero_stage": "atuo"}}, "got \"atuo\"; did you mean 'auto'?"),
        (
            {"engine": {"kind": "deepspeed", "zero_stage": 2, "offload": {"parameters": "cpu"}}},
            "needs zero_stage 3, got 2",
        ),
        (
            {"engine": {"kind": "deepspeed", "zero_stage": 0, "offload": {"optimizer": "cpu"}}},
            "needs zero_stage 1 or more, got 0",
        ),
        ({"engine": {"kind": "deepspeed", "offload": {"optimizer": "nvme"}}}, "nvme_path is missing"),
        ({"precision": "fp16"}, "fp16 needs workers.gpus above 0"),
        (
            {"workers__gpus": 1, "precision": "fp16", "engine": {"kind": "fsdp"}},
            "precision fp16 does not go with engine.kind fsdp, which scales no loss; say bf16, or engine.kind: ddp",
        ),
        ({"workers__gpu_type": "H100"}, "gpu_type H100 needs gpus above 0"),
        (
            {"workers__gpu_type": "V100-32GB", "workers__gpus": 1, "precision": "bf16"},
            "bf16 is not in workers.gpu_type",
        ),
        (
            {"task": {"kind": "custom", "path": "mine:Task", "metrics": ["b l"]}},
            'task.metrics.0: got "b l"; a metric\'s name is one word',
        ),
        ({"task": {"kind": "custom", "path": "mine.py"}}, 'task.path: got "mine.py"; say my_module:MyTask'),
        ({"workers__per_device_batch_size": "auto", "global_batch_size": 7}, "must be a multiple of workers.count x"),
    ],
)
def test_what_does_not_go_together_is_one_line(tmp_path, changes, said):
    found = faults(tmp_path, text(changed(TRAIN, **changes)))
    assert len(found) == 1
    assert said in found[0]


def patterns_of(schema):
    if isinstance(schema, dict):
        yield from ([schema["pattern"]] if isinstance(schema.get("pattern"), str) else [])
        schema = list(schema.values())
    if isinstance(schema, list):
        for one in schema:
            yield from patterns_of(one)


def test_a_fault_knows_what_to_say_of_every_pattern():
    found = set(patterns_of([TypeAdapter(kind).json_schema() for kind in (JobDocument, Profile)]))
    assert len(found) > 5
    assert found <= set(SAID_OF_PATTERNS)
