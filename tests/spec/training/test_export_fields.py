"""What a training may say of its export, and what of it makes no sense."""

import pytest
from pydantic import ValidationError

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import job_from_data, load_files
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.training.export import Export

EXISTING = {"kind": "pretrained", "name_or_path": "org/model"}
ADAPTED = changed(TRAIN, model=EXISTING, lora={"rank": 4})


def test_a_model_goes_out_merged_and_in_the_precision_of_its_files_if_nothing_is_said():
    assert job_from_data(TRAIN).export == Export(dtype="as_loaded", adapters="merged")


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (
            changed(TRAIN, export={"adapters": "both"}),
            "adapters: both writes adapters, and without lora there are none",
        ),
        (changed(TRAIN, model=EXISTING, export={"adapters": "only"}), "without lora there are none; add lora"),
        (changed(TRAIN, lora={"rank": 4}, export={"adapters": "only"}), "a fresh model's weights, which they fit"),
        (changed(ADAPTED, export={"adapters": "only"}, register="gpt"), "register: gpt would be adapters alone"),
        (
            changed(ADAPTED, export={"adapters": "both"}, task={"kind": "custom", "path": "a:B"}),
            "task custom writes its own export",
        ),
        (changed(TRAIN, export={"dtype": "int8"}), "as_loaded"),
        (
            changed(
                TUNE, train__model=EXISTING, train__lora={"rank": 4}, train__export={"adapters": "only"}, register="gpt"
            ),
            "register: gpt would be adapters alone, and no model; say train.export.adapters: both",
        ),
    ],
)
def test_what_cannot_go_out_is_refused(job, said):
    with pytest.raises(ValidationError, match=said):
        job_from_data(job)


@pytest.mark.parametrize("adapters", ["merged", "only", "both"])
def test_adapters_of_existing_weights_go_out_as_asked(adapters):
    job = job_from_data(changed(ADAPTED, export={"adapters": adapters, "dtype": "bf16"}))
    assert job.export.writes_model == (adapters != "only")
    assert job.export.writes_adapters == (adapters != "merged")
    assert job_from_data(job.model_dump(mode="json", by_alias=True)) == job


def test_a_training_of_the_best_trial_says_its_own_export():
    best = job_from_data(changed(ADAPTED, export={"adapters": "both"})).training
    own = TrainFromBest(kind="train", name="final", from_best="run://sweep")
    assert own.resolve(best).export.adapters == "both"
    asked = own.model_copy(update={"export": Export(dtype="fp32")})
    assert asked.resolve(best).export == Export(dtype="fp32", adapters="merged")


def test_a_sweep_does_not_search_how_its_model_goes_out(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TUNE, space={"export.dtype": {"choice": ["bf16", "fp32"]}})))
    with pytest.raises(SpecError, match="all trials of a sweep have the same export"):
        load_files([file])
