"""A training that is registered only once an evaluation has let it pass: where that evaluation must stand."""

import pytest
import yaml

from job_texts import PREPARE, TRAIN, changed
from trainshed.errors import SpecError
from trainshed.spec.load import load_files, outside_references

GATED = changed(TRAIN, register={"name": "chat", "gate": "run://judge"})
JUDGE = {"kind": "evaluate", "name": "judge", "model": "run://model", "data": "run://text", "require": {"loss": "< 9"}}
SERVE = {"kind": "serve", "name": "served", "model": "chat@latest", "auth": {"keys": ["PLATFORM_API_KEY"]}}


def loaded(folder, *documents):
    file = folder / "job.yaml"
    file.write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in documents))
    return load_files([file])


def test_a_gated_training_is_a_version_for_documents_after_its_evaluation(tmp_path):
    made = loaded(tmp_path, PREPARE, GATED, JUDGE, SERVE)
    assert outside_references(made) == []
    assert (made[1].job.register_as.name, made[1].job.register_as.gate) == ("chat", "run://judge")
    again = loaded(tmp_path, *(one.job.model_dump(mode="json", by_alias=True) for one in made))
    assert [one.job for one in again] == [one.job for one in made]


def test_a_plain_name_registers_at_once_as_before(tmp_path):
    assert loaded(tmp_path, PREPARE, changed(TRAIN, register="chat"))[1].job.register_as == "chat"


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([GATED], "register.gate: run://judge is no evaluate document after this one; add one with model: run://model"),
        ([JUDGE, GATED], "register.gate: run://judge is no evaluate document after this one"),
        ([GATED, {**SERVE, "name": "judge", "model": "x@1"}], "run://judge is no evaluate document after this one"),
        ([GATED, {**JUDGE, "model": "chat@1"}], "register.gate: run://judge evaluates chat@1; say model: run://model"),
        ([GATED, {**JUDGE, "require": None}], "register.gate: run://judge lets every model pass; say require there"),
        ([GATED, {**JUDGE, "register": "other"}], "run://judge registers other, and this one chat; say one of them"),
        ([GATED, SERVE, JUDGE], "model: chat@latest is made by run://judge, which stands later; put it after that"),
        ([changed(GATED, register__gate="judge"), JUDGE], 'register.gate: got "judge"; say run://NAME'),
        ([changed(GATED, register__name="A B"), JUDGE], 'register.name: got "A B"; a name has lower case letters'),
        ([changed(GATED, register__gte="run://judge"), JUDGE], "register.gte: unknown key; did you mean 'gate'?"),
        ([changed(GATED, register={"name": "chat"}), JUDGE], "register.gate: missing"),
        ([changed(GATED, register="A B"), JUDGE], 'register: got "A B"; a name has lower case letters'),
        ([changed(GATED, register=["chat"]), JUDGE], "register: expected text"),
    ],
)
def test_a_gate_that_nothing_passes_is_refused(documents, said, tmp_path):
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, PREPARE, *documents)
    assert said in str(caught.value)
