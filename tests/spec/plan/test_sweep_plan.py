"""The plan of a sweep: which trial is the largest, what is refused, and how many share a device."""

import pytest

from job_texts import TUNE, changed
from trainshed.errors import PlanError, SpecError
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import load_documents
from trainshed.spec.plan import plan_sweep
from trainshed.spec.plan.limits import CUDA_BYTES, usable
from trainshed.spec.training.models import DataSizes

SIZES = DataSizes(vocab_size=4096, context=256)
WORKERS = {"count": 1, "gpus": 1, "gpu_type": "L4", "per_device_batch_size": 2}
SPACE = {
    "model.layers": {"integer": [2, 12]},
    "model.width": {"choice": [256, 1024, 512]},
    "optimizer.kind": {"choice": ["sgd", "adamw"]},
    "optimizer.learning_rate": {"log_uniform": [0.0001, 0.01]},
}
SEARCH = {"kind": "random", "trials": 8, "concurrent": 8}


def job(**values):
    base = changed(TUNE, train__workers=WORKERS, space=SPACE, search=SEARCH)
    (loaded,) = load_documents([Document("job.yaml", 1, changed(base, **values))])
    return loaded.job


def planned(*, machine_bytes=None, **values):
    settled, found = plan_sweep(job(**values), SIZES, machine_bytes=machine_bytes)
    return settled, found.sweep


def test_the_largest_trial_has_the_end_or_choice_of_every_path_that_moves_memory():
    _, sweep = planned()
    assert sweep.settings == {"model.layers": 12, "model.width": 1024, "optimizer.kind": "adamw"}
    _, smaller = planned(space={**SPACE, "model.width": {"choice": [256, 512]}})
    assert smaller.needed < sweep.needed


def test_data_of_longer_samples_makes_the_largest_trial():
    over = job(space={"data": {"choice": ["run://text", "run://long"]}, **SPACE})
    of_each = {"run://text": SIZES, "run://long": DataSizes(vocab_size=4096, context=1024)}
    _, found = plan_sweep(over, SIZES, of_each=of_each)
    _, shorter = planned()
    assert found.sweep.settings["data"] == "run://long"
    assert found.sweep.needed > shorter.needed


def test_where_nothing_moves_memory_every_trial_needs_the_same():
    _, sweep = planned(space={"optimizer.learning_rate": {"log_uniform": [0.0001, 0.01]}})
    assert sweep.settings == {}


@pytest.mark.parametrize(
    ("space", "largest_trial"),
    [
        ({"workers.per_device_batch_size": {"choice": [1, 4, 2]}}, {"workers.per_device_batch_size": 4}),
        ({"precision": {"choice": ["bf16", "fp32"]}}, {"precision": "fp32"}),
        ({"regularization": {"choice": [{}, {"ema_decay": 0.99}]}}, {"regularization": {"ema_decay": 0.99}}),
        (
            {
                "optimizer.kind": {"choice": ["adamw", "sgd"]},
                "model.layers": {"integer": [1, 40], "when": {"optimizer.kind": "sgd"}},
            },
            {"optimizer.kind": "sgd", "model.layers": 40},
        ),
        (
            {
                "schedule.kind": {"choice": ["cosine", "linear"]},
                "model.layers": {"integer": [1, 40], "when": {"schedule.kind": "linear"}},
            },
            {"schedule.kind": "linear", "model.layers": 40},
        ),
        (
            {"model": {"choice": [{"kind": "gpt2", "layers": n, "heads": 2, "width": 64} for n in (1, 9, 3)]}},
            {"model": {"kind": "gpt2", "layers": 9, "heads": 2, "width": 64}},
        ),
        ({"model.layers": {"integer": [1, 10], "step": 4}}, {"model.layers": 9}),
    ],
    ids=str,
)
def test_batch_precision_averages_conditions_and_whole_variants_move_memory(space, largest_trial):
    assert planned(space=space)[1].settings == largest_trial


def test_a_trial_that_cannot_fit_is_refused_with_its_path_and_value():
    space = {**SPACE, "model.layers": {"integer": [2, 400]}}
    with pytest.raises(
        PlanError, match=r"a trial with model\.layers 400 and model\.width 1024 and .* needs .* L4 less"
    ):
        planned(space=space)
    with pytest.raises(PlanError, match=r"model\.layers 400 .* this machine's memory"):
        planned(space=space, train__workers={"count": 1, "per_device_batch_size": 2}, machine_bytes=16 * 10**9)


def test_auto_is_as_many_as_fit_and_at_most_as_many_as_run_at_once():
    settled, sweep = planned(trials_per_device="auto")
    trials = settled.trials_per_device
    memory = 24 * 10**9
    assert 1 < trials < 8
    assert sweep.trials_per_device == trials
    assert sweep.needed <= usable(memory, 1 / trials)
    assert sweep.needed > usable(memory, 1 / (trials + 1))
    assert planned(trials_per_device="auto", search={**SEARCH, "concurrent": 2})[0].trials_per_device == 2
    assert planned()[0].trials_per_device == 1, "nobody shares who did not ask"


def test_memory_that_the_job_gives_is_what_is_shared_less_what_is_cudas():
    def trials(memory_bytes):
        workers = {"count": 1, "gpus": 1, "memory_gb": memory_bytes / 10**9, "per_device_batch_size": 2}
        return planned(train__workers=workers, trials_per_device="auto")[0].trials_per_device

    one = planned()[1].needed
    assert trials(2 * (one + CUDA_BYTES) + 1000) == 2
    assert trials(2 * one + CUDA_BYTES) == 1


def test_a_number_that_does_not_fit_is_refused_with_one_that_does():
    fits = planned(trials_per_device="auto")[0].trials_per_device
    assert planned(trials_per_device=fits)[0].trials_per_device == fits
    with pytest.raises(PlanError, match=f"{fits + 1} trials need .* GB each, L4 .* trials_per_device: {fits} would"):
        planned(trials_per_device=fits + 1)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train__workers__gpu_type": None}, "give workers.gpu_type or workers.memory_gb"),
        (
            {
                "space": {"seed": {"integer": [1, 3]}},
                "train__model": {"kind": "pretrained", "name_or_path": "some/model"},
            },
            "can be counted from the job",
        ),
        (
            {
                "space": {"seed": {"integer": [1, 3]}},
                "train__model": {"kind": "pretrained", "name_or_path": "some/model", "num_parameters": 10**8},
            },
            "can be counted from the job",
        ),
    ],
)
def test_auto_is_refused_where_the_plan_is_blind(values, said):
    with pytest.raises(PlanError, match=f"trials_per_device: auto .*{said}"):
        planned(trials_per_device="auto", **values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train__workers__count": 2}, "several workers keep whole devices"),
        ({"train__workers__gpus": 0.5}, "set train.workers.gpus: 1, got 0.5"),
        ({"train__workers__gpus": 2}, "set train.workers.gpus: 1, got 2"),
        ({"train__workers": {"count": 1, "per_device_batch_size": 2}}, "search.concurrent says how many"),
        ({"trials_per_device": 0}, "trials_per_device"),
    ],
)
def test_only_trials_of_one_worker_share_one_gpu(values, said):
    with pytest.raises(SpecError, match=said) as caught:
        job(**{"trials_per_device": 2, **values})
    assert len(caught.value.faults) == 1


def test_without_gpus_auto_is_one_and_the_machine_is_divided():
    workers = {"count": 1, "per_device_batch_size": 2}
    settled, sweep = planned(train__workers=workers, trials_per_device="auto", machine_bytes=16 * 10**9)
    assert settled.trials_per_device == sweep.trials_per_device == 1


def test_an_auto_batch_is_what_the_largest_trial_can_have():
    workers = {**WORKERS, "gpu_type": "T4", "per_device_batch_size": "auto"}
    space = {**SPACE, "model.layers": {"integer": [2, 4]}}
    values = {"train__workers": workers, "train__global_batch_size": 64}
    small = planned(space=space, **values)[0].train.workers.per_device_batch_size
    large = planned(**values)[0].train.workers.per_device_batch_size
    assert large < small
    with pytest.raises(PlanError, match=r"model\.width 8192 .* would fit"):
        planned(space={**SPACE, "model.width": {"choice": [256, 8192]}}, **values)


def test_a_part_of_a_gpu_leaves_a_reserve_and_what_is_cudas():
    memory = 80 * 10**9
    assert usable(memory, 1.0) == pytest.approx(0.92 * memory)
    assert usable(memory, 0.5) == pytest.approx(0.46 * memory)
    assert usable(8 * 10**9, 0.25) == 2 * 10**9 - CUDA_BYTES
    assert usable(10**9, 0.1) == 0
