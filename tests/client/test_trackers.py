"""Trackers of a job that the local cluster will run: what this machine lacks for them is found before the queue."""

import stat
import sys

import pytest

from job_texts import PREPARE, TRAIN, TUNE, changed, text
from submitting import checked
from trainshed.client.address import Address
from trainshed.client.cluster_state import LocalCluster
from trainshed.client.local_needs import provide_secrets
from trainshed.errors import SpecError, UsageError
from trainshed.record.secrets import find_secret, find_tracker_secret
from trainshed.record.storage import Storage
from trainshed.spec.load import load_files

WANDB = [{"kind": "wandb", "project": "tests"}]


def jobs(folder, report_to, base=TRAIN):
    file = folder / "job.yaml"
    file.write_text(text(PREPARE, changed(base, report_to=report_to)))
    return load_files([file])


def faults(folder, report_to, *, local=True, base=TRAIN):
    try:
        checked(jobs(folder, report_to, base), Storage.open(folder / "storage"), local=local)
    except SpecError as error:
        return [str(fault).removeprefix(f"{folder / 'job.yaml'}:") for fault in error.faults]
    return []


@pytest.mark.parametrize("base", [TRAIN, TUNE], ids=["train", "tune"])
def test_a_library_that_this_machine_lacks_is_found_where_it_is_the_cluster(tmp_path, monkeypatch, base):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # Python's own word for a module that cannot be imported
    asked = ["mlflow"]
    (found,) = faults(tmp_path, asked, base=base)
    assert "report_to: mlflow is not installed on this machine, which is the cluster" in found
    assert "pip install 'trainshed[mlflow]'" in found
    assert int(found.split(":")[0]) > 1
    assert faults(tmp_path, asked, local=False, base=base) == [], "another cluster may have it"


@pytest.fixture
def address(tmp_path):
    local = LocalCluster(
        pid=1,
        pid_started=0.0,
        dashboard_url="http://127.0.0.1:1",
        gcs_address="127.0.0.1:2",
        token_path=str(tmp_path / "token"),
        temp_dir=str(tmp_path),
        serve_port=8000,
        cpus=2,
        gpus=0,
        started_at="2026-11-25T00:00:00+00:00",
        ray_version="2",
        log=str(tmp_path / "log"),
    )
    (tmp_path / "token").write_text("t")
    return Address(local.dashboard_url, "t", local)


def test_the_key_of_a_tracker_is_kept_for_the_local_cluster_alone(tmp_path, monkeypatch, address):
    monkeypatch.setenv("WANDB_API_KEY", "0a1b2c")
    home = tmp_path / "home"
    provide_secrets(jobs(tmp_path, WANDB), address, home, [].append)
    kept = home / "secrets" / "WANDB_API_KEY"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    monkeypatch.delenv("WANDB_API_KEY")
    assert find_tracker_secret("WANDB_API_KEY", home) == "0a1b2c"


def test_a_key_that_is_nowhere_is_one_line_before_the_queue(tmp_path, monkeypatch, address):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(SpecError, match=r"job.yaml:\d+: report_to: the secret WANDB_API_KEY is not set; export"):
        provide_secrets(jobs(tmp_path, WANDB), address, tmp_path / "home", [].append)
    provide_secrets(jobs(tmp_path, [{"kind": "wandb", "mode": "offline"}]), address, tmp_path / "home", [].append)


def test_neither_kind_of_secret_can_be_asked_for_as_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    for name in ("PLATFORM_API_KEY", "AWS_SECRET_ACCESS_KEY", "WANDB_../x", "PATH"):
        with pytest.raises(UsageError, match="no name of a tracker's secret"):
            find_tracker_secret(name, tmp_path)
    with pytest.raises(UsageError, match="is a variable of another program"):
        find_secret("WANDB_API_KEY", tmp_path)
