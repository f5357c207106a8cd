"""Settings that change in the middle of a training, and where they change in one of another length."""

import pytest

from job_texts import TRAIN, changed
from trainshed.errors import SpecError
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import job_from_data, load_documents
from trainshed.spec.training.points import Points

RATE, DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
CHANGES = [{"step": 4, "settings": {RATE: 0.01, DECAY: 0.2}}, {"step": 8, "settings": {RATE: 0.02, DECAY: 0.3}}]


def training(**values):
    return job_from_data(changed(TRAIN, **values)).training


def from_best(best, **values):
    document = {"kind": "train", "name": "final", "from_best": "run://sweep", **values}
    return job_from_data(document).resolve(best)


def test_a_training_is_its_stretches_each_with_the_settings_of_its_time():
    whole = training(changes=CHANGES)
    found = [
        (one.until, one.training.optimizer.learning_rate, one.training.optimizer.weight_decay)
        for one in whole.stretches
    ]
    assert found == [(4, 0.001, whole.optimizer.weight_decay), (8, 0.01, 0.2), (10, 0.02, 0.3)]
    assert {one.training.steps for one in whole.stretches} == {10}
    assert [one.training.self_test for one in whole.stretches] == [True, False, False]
    assert [one.until for one in training().stretches] == [10]


@pytest.mark.parametrize(
    ("steps", "at"),
    [(10, [4, 8]), (100, [40, 80]), (1000, [400, 800]), (5, [2, 4]), (3, [1, 2]), (2, [1]), (15, [6, 12])],
)
def test_changes_stand_at_the_same_parts_of_a_longer_or_shorter_training(steps, at):
    final = from_best(training(changes=CHANGES, schedule={"kind": "cosine"}), steps=steps)
    assert [change.step for change in final.changes] == at
    assert final.changes[-1].settings == {RATE: 0.02, DECAY: 0.3}


@pytest.mark.parametrize("steps", [1, 7, 100, 1000])
def test_a_schedule_that_a_sweep_wrote_out_as_points_has_its_shape_over_more_steps_and_fewer(steps):
    """It was followed in absolute steps: a cosine over 100 stood at rate 0 for the other 900."""
    cosine = training(steps=100, schedule={"kind": "cosine", "floor": 0.0})
    points = Points(points=tuple((step, cosine.schedule.factor(step, 100)) for step in range(100)))
    final = from_best(cosine.model_copy(update={"schedule": points}), steps=steps)
    wanted = [cosine.schedule.factor(step, steps) for step in range(steps)]
    assert [final.schedule.factor(step, steps) for step in range(steps)] == pytest.approx(wanted, abs=0.02)
    if steps == 1000:
        assert min(final.schedule.factor(step, steps) for step in range(100, 900)) > 0.02


def test_what_the_document_says_itself_does_not_change_later():
    best = training(changes=CHANGES)
    assert [change.settings for change in from_best(best, settings={RATE: 0.5}).changes] == [{DECAY: 0.2}, {DECAY: 0.3}]
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    assert from_best(best, settings={"optimizer": optimizer}).changes == ()
    assert len(from_best(best, settings={"model.layers": 1}).changes) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([CHANGES[1], CHANGES[0]], "their steps rise"),
        ([CHANGES[0], CHANGES[0]], "their steps rise"),
        ([{"step": 10, "settings": {RATE: 0.1}}], "10 is not under 10"),
        ([{"step": 2, "settings": {"model.layers": 1}}], "model.layers cannot change in the middle"),
        ([{"step": 2, "settings": {"optimizer.kind": "sgd"}}], "optimizer.kind cannot change in the middle"),
        ([{"step": 2, "settings": {"regularization.early_stopping.patience": 2}}], "cannot change in the middle"),
        ([{"step": 2, "settings": {"optimizer.rate": 1.0}}], "unknown path"),
        ([{"step": 2, "settings": {RATE: "fast"}}], "changes"),
        ([{"step": 2, "settings": {}}], "settings"),
        ([{"step": 0, "settings": {RATE: 0.1}}], "step"),
    ],
)
def test_changes_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SpecError) as caught:
        load_documents([Document("job.yaml", 1, changed(TRAIN, changes=changes))])
    assert said in str(caught.value)
