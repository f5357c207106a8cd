"""The report of a sweep: whatever trials came to, it is written, says it, and its job file is the best trial's."""

import io
import math

import pytest
from PIL import Image

from job_texts import PREPARE, TUNE, changed, text
from trainshed.record.results import Used
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import TrialResult, TrialState
from trainshed.runtime.tuning.report import write_report
from trainshed.runtime.tuning.report.importance import importances
from trainshed.runtime.tuning.report.parallel import UNSET, draw_failed
from trainshed.runtime.tuning.report.pictures import draw_slice, plt
from trainshed.runtime.tuning.report.scales import scale_of, shown_range
from trainshed.runtime.tuning.report.trial_results import best_of
from trainshed.spec.document.override import override
from trainshed.spec.load import job_from_data, load_files
from trainshed.spec.sweep.space import draw
from trainshed.spec.sweep.space_check import pick_at_random

SPACE = {
    "optimizer.learning_rate": {"log_uniform": [0.0001, 0.1]},
    "optimizer.weight_decay": {"uniform": [0.0, 0.3]},
    "schedule": {"choice": [{"kind": "cosine", "warmup_steps": 2}, {"kind": "constant"}]},
    "schedule.floor": {"uniform": [0.0, 0.5], "when": {"schedule.kind": ["cosine"]}},
}
LEARNING_RATE = {"optimizer.learning_rate": SPACE["optimizer.learning_rate"]}
FAILURE = "KeyError: <script>alert(1)</script>"


def job(**values):
    return job_from_data(changed(TUNE, **{"space": SPACE, **values}))


def stories(sweep, count, *, failed=()):
    """Trials whose metric hangs on the learning rate alone."""
    import random

    made = []
    for number in range(count):
        settings, _ = draw(sweep.space, sweep.train, pick_at_random(random.Random(number)))
        value = 2.0 + abs(math.log10(settings["optimizer.learning_rate"] / 0.01))
        bad = number in failed
        state = "stopped early" if number % 3 == 2 else "ended"
        state = "failed" if bad else state
        made.append(
            TrialResult(
                trial=f"trial-{number:05d}",
                settings=settings,
                history=() if bad else ((5, value + 1), (10, value)),
                value=None if bad else value,
                state=state,
                cause=FAILURE if bad else None,
                kind="code" if bad else None,
                by="asha" if state == "stopped early" else None,
                device_s=60.0,
            )
        )
    return made


def written(folder, sweep, trials, **facts):
    record = Record(Storage.open(folder), "sweep-1")
    best = best_of(sweep, trials)
    training = override(sweep.train, best.settings)
    facts = {"spent": Used(hours=0.5, device_hours=1.0), "limit": None, **facts}
    write_report(record, sweep, trials, best, training, **facts)
    return folder / "runs" / "sweep-1", best, training


@pytest.mark.parametrize("count", [1, 4, 60])
def test_a_report_is_written_for_few_trials_and_for_many(tmp_path, count):
    sweep = job()
    folder, best, _ = written(tmp_path, sweep, stories(sweep, count))
    page = (folder / "report.html").read_text()
    for name in ("curves", "parallel", "slices"):
        width, height = Image.open(io.BytesIO((folder / "report" / f"{name}.png").read_bytes())).size
        assert min(width, height) > 300
    assert (folder / "report" / "importance.png").exists() == (count > 4)
    assert ("are needed" in page) == (count <= 4)
    assert all(f"trial-{number:05d}" in page for number in range(count))
    assert f"<b>{best.trial}</b>" in page
    assert "http://" not in page
    assert "https://" not in page


def test_what_a_trial_says_is_shown_and_not_run(tmp_path):
    sweep = job(budget={"money": 9.0, "price": 3.0, "currency": "USD", "price_from": "profile <mine>"})
    folder, _, _ = written(
        tmp_path, sweep, stories(sweep, 5, failed=(1, 2)), limit="budget.money: 9 is spent", refused="3 draws <so>"
    )
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert "2 &times; code: KeyError: &lt;script&gt;" in page
    assert "budget.money: 9 is spent" in page
    assert "Left out: 3 draws &lt;so&gt;." in page
    assert " ".join(page.split()).count("3.00 USD at 3 for a device-hour (profile &lt;mine&gt;).") == 1


def test_the_best_settings_are_a_job_file_that_can_be_submitted(tmp_path):
    sweep = job()
    folder, _, training = written(tmp_path, sweep, stories(sweep, 9))
    file = tmp_path / "both.yaml"
    file.write_text(text(PREPARE) + "---\n" + (folder / "best.yaml").read_text())
    loaded = load_files([file])[1].job
    assert loaded.training == training
    assert loaded.name == "sweep-best"


def test_the_setting_that_matters_is_the_most_important():
    sweep = job()
    found, why_not = importances(sweep, stories(sweep, 60))
    assert why_not == ""
    assert next(iter(found)) == "optimizer.learning_rate"
    assert found["optimizer.learning_rate"] > 0.6
    assert "schedule.floor" not in found, "not every trial has it"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_number_is_reported_and_is_not_the_best(tmp_path, value):
    sweep = job()
    trials = stories(sweep, 9)
    (first, _), (last, _) = trials[0].history
    trials[0] = trials[0].model_copy(update={"value": value, "history": ((first, 3.0), (last, value))})
    folder, best, _ = written(tmp_path, sweep, trials)
    assert best.trial != "trial-00000"
    assert f"<td>{value:.4f}</td>" in (folder / "report.html").read_text()


def test_a_whole_number_and_its_float_are_the_same_choice(tmp_path):
    sweep = job(space={"optimizer.weight_decay": {"choice": [0, 0.1]}, **LEARNING_RATE})
    trials = stories(job(), 9)
    for number, trial in enumerate(trials):
        settings = {
            "optimizer.weight_decay": 0.0 if number % 2 else 0.1,
            "optimizer.learning_rate": trial.settings["optimizer.learning_rate"],
        }
        trials[number] = trial.model_copy(update={"settings": settings})
    folder, _, _ = written(tmp_path, sweep, trials)
    assert (folder / "report" / "importance.png").exists()


def test_what_was_stopped_is_said_with_its_step_and_its_reason(tmp_path):
    sweep = job()
    trials = stories(sweep, 9)
    trials[2] = trials[2].model_copy(update={"history": trials[2].history[:1]})
    trials[5] = trials[5].model_copy(update={"state": TrialState.CUT, "by": "budget.hours: 2 hours are over"})
    page = (written(tmp_path, sweep, trials)[0] / "report.html").read_text()
    assert "trial-00002 at step 5, validation_loss" in page
    assert "too far behind the others that came as far (asha)" in page
    assert "trial-00005 at step 10, validation_loss" in page
    assert "budget.hours: 2 hours are over" in page
    assert "left out 5 of 90 optimizer steps" in page


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_picture_leaves_out_what_would_press_the_others_into_a_line(mode, sign):
    near = [sign * value for value in (2.0, 2.5, 3.0, 3.5)]
    assert shown_range(near, mode) is None
    low, high = shown_range([*near, sign * 80.0, math.nan], mode)
    assert all(low < value < high for value in near)
    assert high - low < 2.0


def test_parts_of_one_kind_are_told_apart_by_their_fields():
    options = [{"kind": "cosine", "warmup_steps": 2}, {"kind": "cosine", "warmup_steps": 5}, {"kind": "constant"}]
    scale = scale_of(job(space={"schedule": {"choice": options}}).space["schedule"])
    assert scale.names == ["cosine warmup_steps 2", "cosine warmup_steps 5", "constant"]
    assert scale.name({"kind": "cosine", "warmup_steps": 5}) == "cosine warmup_steps 5"


@pytest.mark.parametrize("mode", ["minimize", "maximize"])
def test_failed_trials_stand_in_slices_and_in_parallel_coordinates_with_their_settings(mode):
    sweep = job(goal=mode)
    trials = stories(sweep, 8, failed=(1, 4))
    best, path = best_of(sweep, trials), "optimizer.learning_rate"
    rates = sorted(trials[number].settings[path] for number in (1, 4))
    figure, (left, right) = plt.subplots(1, 2)
    draw_slice(left, sweep, path, trials, best)
    crosses = left.collections[-1].get_offsets()
    assert sorted(crosses[:, 0]) == pytest.approx(rates)
    assert set(crosses[:, 1]) == {0.97 if mode == "minimize" else 0.03}, "at the worse edge"
    assert len(left.collections) == 1 + 6, "one for each trial with a figure"
    scales = [scale_of(sweep.space[one]) for one in SPACE]
    draw_failed(right, [trials[1], trials[4]], list(SPACE), scales)
    assert [line.get_xdata()[-1] for line in right.lines] == [UNSET, UNSET], "off the axis of the metric"
    assert all(0 <= line.get_xdata()[0] <= 1 for line in right.lines)
    assert [one.get_text() for one in right.texts] == ["failed"]
    plt.close(figure)
