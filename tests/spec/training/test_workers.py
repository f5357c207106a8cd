"""How many workers, and between which bounds."""

import pytest

from trainshed.errors import SpecError
from trainshed.spec.document.yaml_tree import parse
from trainshed.spec.load import load_documents

JOB = """\
kind: train
name: model
model: {{kind: gpt2, layers: 1, heads: 2, width: 32}}
data: run://days
optimizer: {{kind: adamw, learning_rate: 0.001}}
workers: {workers}
global_batch_size: 8
steps: 10
"""


def workers(text):
    (loaded,) = load_documents(parse(JOB.format(workers=text), "job.yaml"))
    return loaded.job


def faults(text):
    with pytest.raises(SpecError) as caught:
        workers(text)
    return str(caught.value)


def test_a_number_is_both_bounds():
    job = workers("{count: 2, per_device_batch_size: 1}")
    assert (job.workers.min_count, job.workers.max_count, job.accumulation) == (2, 2, 4)


def test_a_range_says_fewest_and_most():
    job = workers("{count: [1, 2], per_device_batch_size: 2}")
    assert (job.workers.min_count, job.workers.max_count) == (1, 2)
    assert job.accumulation == 2


def test_every_count_of_a_range_must_divide_the_batch():
    said = faults("{count: [1, 4], per_device_batch_size: 1}")
    assert "= 3 (3 x 1), got 8" in said
    assert said.count("\n") == 0


@pytest.mark.parametrize("count", ["[2, 1]", "[2, 2]"])
def test_a_range_goes_up(count):
    assert "a range is [fewest, most] with fewest under most" in faults(f"{{count: {count}, per_device_batch_size: 1}}")


@pytest.mark.parametrize("count", ["0", "two", "[1, 2, 3]", "[0, 2]"])
def test_what_is_no_count_is_refused_in_one_line(count):
    said = faults(f"{{count: {count}, per_device_batch_size: 1}}")
    assert said.startswith("job.yaml:6: workers.count")
    assert said.count("\n") == 0


def test_spares_need_workers_without_gpus():
    assert "spares are for workers without GPUs" in faults("{count: 1, gpus: 1, spares: true}")
