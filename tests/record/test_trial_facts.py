"""What the files of a trial say: what decides is of this version, and the words of others are kept."""

import pytest

from job_texts import TUNE
from trainshed.errors import DamagedFile, FailureKind
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import EndedBy, TakenOver, TrialEnd, TrialFacts, TrialState
from trainshed.record.trials import TrialFiles
from trainshed.spec.load import job_from_data
from trainshed.spec.sweep.tune import TuneJob


@pytest.fixture
def storage(tmp_path):
    return Storage.open(tmp_path)


@pytest.fixture
def training():
    return job_from_data(TUNE).train


def test_what_a_member_takes_over_is_written_under_the_key_that_it_always_had():
    taken = TakenOver(source="trial-00001", step=5, settings={})
    assert taken.as_json() == {"from": "trial-00001", "step": 5, "settings": {}}
    assert TakenOver.model_validate(taken.as_json()) == taken


def test_every_rule_that_ends_trials_early_is_known_by_name():
    rules = {rule.model_fields["kind"].default for rule in of_a_union(TuneJob.model_fields["stop_early"])}
    assert rules <= set(EndedBy)
    assert len(rules) > 3


def of_a_union(field):
    return field.annotation.__args__


@pytest.mark.parametrize(
    ("said", "state", "failure", "by"),
    [
        ({"state": "ended"}, TrialState.ENDED, None, None),
        ({"state": "failed", "kind": "memory"}, TrialState.FAILED, FailureKind.MEMORY, None),
        ({"state": "failed"}, TrialState.FAILED, FailureKind.UNKNOWN, None),
        ({"state": "failed", "kind": "struck by lightning"}, TrialState.FAILED, FailureKind.UNKNOWN, None),
        ({"state": "stopped early", "by": "asha"}, TrialState.EARLY, None, EndedBy.ASHA),
        ({"state": "stopped early", "by": "budget.hours: 2 hours are over"}, TrialState.EARLY, None, "budget"),
        ({"state": "of a later version", "by": "of another", "more": 1}, None, None, "of another"),
    ],
)
def test_how_a_trial_ended_reads_as_what_decides_and_unknown_words_are_kept(said, state, failure, by):
    end = TrialEnd.model_validate(said)
    assert (end.state if isinstance(end.state, TrialState) else None) is state
    assert end.failure is failure
    assert end.by is by if isinstance(by, EndedBy) else str(end.by or "").startswith(by or "")
    assert end.as_json() == said


def test_a_trial_that_goes_on_keeps_when_it_began_and_whatever_another_version_noted(storage, training):
    trial = TrialFiles(storage, "sweep", 0)
    trial.begin({"seed": 1}, training)
    began = trial.facts.began_at
    storage.write_json(f"{trial.folder}/trial.json", {**trial.facts.as_json(), "later": [1]})
    trial.begin({"seed": 2}, training)
    assert (trial.facts.began_at, trial.facts.settings, trial.facts.as_json()["later"]) == (began, {"seed": 2}, [1])
    assert trial.training == training
    assert set(trial.facts.as_json()) == {"began_at", "settings", "training", "later"}
    assert TrialFacts.model_validate(trial.facts.as_json()) == trial.facts


def test_a_trial_without_a_training_is_damaged(storage):
    trial = TrialFiles(storage, "sweep", 0)
    with pytest.raises(DamagedFile, match="it says no training"):
        _ = trial.training
