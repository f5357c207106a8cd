"""`report_to`: a tracker by its name or with its settings, and what cannot stand there."""

import sys

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from trainshed.errors import SpecError
from trainshed.spec.load import load_files
from trainshed.spec.training.trackers import Mlflow, TensorBoard, Wandb, is_installed_here, secrets_of, trackers


def loaded(folder, report_to, base=TRAIN):
    file = folder / "job.yaml"
    file.write_text(text(PREPARE, changed(base, report_to=report_to)))
    return load_files([file])[1].job


def test_a_name_alone_has_the_settings_that_hold_where_nothing_is_said(tmp_path):
    job = loaded(tmp_path, ["tensorboard", {"kind": "mlflow", "tracking_uri": "http://mlflow:5000"}, "wandb"])
    mlflow = Mlflow(tracking_uri="http://mlflow:5000", experiment="trainshed")
    assert trackers(job.report_to) == (TensorBoard(), mlflow, Wandb(mode="online", project="trainshed"))
    assert loaded(tmp_path, ["mlflow"], TUNE).report_to == ("mlflow",)


def test_a_training_from_a_sweep_reports_where_it_says_itself(tmp_path):
    best = {"kind": "train", "name": "best", "from_best": "run://sweep", "report_to": ["tensorboard"]}
    file = tmp_path / "job.yaml"
    file.write_text(text(PREPARE, changed(TUNE, report_to=["wandb"]), best))
    sweep, job = (one.job for one in load_files([file])[1:])
    assert job.resolve(sweep.train).report_to == ("tensorboard",)


REFUSED = {
    "an unknown name": (["tensorbord"], "report_to.0: got \"tensorbord\"; did you mean 'tensorboard'?"),
    "an unknown kind": ([{"kind": "comet"}], "report_to.0: a tracker is tensorboard, mlflow or wandb, or one with"),
    "no list": ("mlflow", 'report_to: expected a list, got "mlflow"'),
    "the same one twice": (["wandb", {"kind": "wandb"}], "report_to: wandb stands there twice"),
    "an unknown key": ([{"kind": "mlflow", "uri": "http://a"}], "report_to.0.uri: unknown key"),
    "no server": ([{"kind": "mlflow", "tracking_uri": "mlflow:5000"}], "say the address of a server"),
    "a password in an address": (
        [{"kind": "mlflow", "tracking_uri": "http://me:pw@mlflow"}],
        "an address holds no name and no password",
    ),
    "a secret's value": ([{"kind": "wandb", "api_key": "0a1b2c"}], "not the name of a secret of W&B"),
    "a secret of another program": (
        [{"kind": "mlflow", "token": "AWS_SECRET_ACCESS_KEY"}],
        "not the name of a secret of MLflow",
    ),
    "the key of an endpoint": ([{"kind": "wandb", "api_key": "PLATFORM_API_KEY"}], "not the name of a secret of W&B"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_tracker_is_refused_in_one_line(tmp_path, case):
    report_to, said = REFUSED[case]
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, report_to)
    (fault,) = caught.value.faults
    assert said in str(fault)
    assert fault.line > 1


def test_a_secrets_value_is_not_repeated(tmp_path):
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, [{"kind": "wandb", "api_key": "0a1b2c3d4e"}])
    assert "0a1b2c3d4e" not in str(caught.value)


def test_secrets_are_asked_for_under_the_variables_of_the_trackers():
    assert secrets_of(Wandb(api_key="WANDB_TEAM_KEY")) == {"WANDB_API_KEY": "WANDB_TEAM_KEY"}
    assert secrets_of(Wandb(mode="offline")) == {}
    basic = Mlflow(username="MLFLOW_USER", password="MLFLOW_PASSWORD")
    assert secrets_of(basic) == {
        "MLFLOW_TRACKING_USERNAME": "MLFLOW_USER",
        "MLFLOW_TRACKING_PASSWORD": "MLFLOW_PASSWORD",
    }


def test_a_folder_of_a_trackers_name_is_not_its_library(tmp_path, monkeypatch):
    """W&B itself makes a folder `wandb` where it is called."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)  # another test may have imported it
    assert not is_installed_here(Wandb())
    (tmp_path / "wandb" / "__init__.py").touch()
    assert is_installed_here(Wandb())
