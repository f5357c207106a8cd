"""What muP cannot go with is refused when the job is read, each with one line that says where and what to do."""

import pytest

from job_texts import TRAIN, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files
from trainshed.spec.training.models import Bert, Gpt2, Llama, growth

WIDE = {"kind": "llama", "layers": 2, "heads": 16, "width": 256, "mup_base_width": 64}
MUP = changed(TRAIN, model=WIDE)


def faults(tmp_path, *jobs):
    file = tmp_path / "job.yaml"
    file.write_text(text(*jobs))
    with pytest.raises(SpecError) as caught:
        load_files([file])
    return [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults]


def optimizer(kind, **more):
    return {"optimizer": {"kind": kind, "learning_rate": 0.001, **more}}


REFUSED = {
    "heads of another size than the base can have": (
        {"model": {**WIDE, "heads": 2}},
        "model: mup_base_width 64 is 0.25 of width 256, and heads 2 has no such share, it would be 0.5; "
        "heads must grow as the width does",
    ),
    "one key and value head for any width": ({"model": {**WIDE, "kv_heads": 1}}, "kv_heads 1 has no such share"),
    "an inner size that does not grow": (
        {"model": {**WIDE, "feed_forward": 702}},
        "feed_forward 702 has no such share, it would be 175.5",
    ),
    "gpt2": (
        {"model": {"kind": "gpt2", "layers": 1, "heads": 2, "width": 256, "mup_base_width": 64}},
        "heads 2 has no",
    ),
    "no base": (
        {"model": {**WIDE, "mup_base_width": 0}},
        "model.mup_base_width: input should be greater than or equal",
    ),
    "another family": (
        {"model": {"kind": "bert", "layers": 1, "heads": 2, "width": 32, "mup_base_width": 16}},
        "model.mup_base_width: unknown key",
    ),
    **{
        kind: (
            {**optimizer(kind), "engine": {"kind": "ddp"}},
            f"model.mup_base_width goes with optimizer adam, adamw or lion, got {kind}; say adamw",
        )
        for kind in ("sgd", "adagrad", "rmsprop", "adafactor", "muon")
    },
    "a penalty of adam's": (optimizer("adam", weight_decay=0.1), "optimizer.weight_decay of adam, 0.1, is a penalty"),
    "a penalty": ({"regularization": {"l2": 0.1}}, "regularization.l1 and l2 are penalties in the gradient"),
    "adapters": ({"lora": {"rank": 2}}, "mup_base_width is for fresh weights that are trained, and lora freezes them"),
    "a model of the user's": (
        {"task": {"kind": "custom", "path": "mine:Task"}},
        "model.mup_base_width: task custom makes its own model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mup_cannot_go_with_is_one_line_with_its_place(tmp_path, case):
    changes, said = REFUSED[case]
    found = faults(tmp_path, changed(MUP, **changes))
    assert len(found) == 1
    assert said in found[0]
    assert found[0].startswith("job.yaml:")
    assert int(found[0].split(":")[1]) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        optimizer("lion"),
        optimizer("adam"),
        {"model": {**WIDE, "kv_heads": 4, "feed_forward": 704}},
        {"model": {**WIDE, "heads": 4}},
        {"model": {**WIDE, "width": 32, "heads": 2}},
    ],
)
def test_what_goes_with_mup_loads(tmp_path, changes):
    file = tmp_path / "job.yaml"
    file.write_text(text(changed(MUP, **changes)))
    assert load_files([file])[0].job.model.mup_base_width == 64


def test_a_model_has_grown_by_its_width_over_that_of_its_base():
    assert growth(Llama(**WIDE)) == 4.0
    assert growth(Gpt2(layers=1, heads=2, width=24, mup_base_width=36)) == pytest.approx(2 / 3)
    assert growth(Gpt2(layers=1, heads=2, width=24)) == growth(Bert(layers=1, heads=2, width=24)) == 1.0
