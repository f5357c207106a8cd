"""The three trackers with their readers; one that is not installed is skipped, with the reason."""

import importlib.util
import os
import shutil

import pytest

from tracked_run import TrackedRun
from tracker_readers import MlflowReader, MlflowServer, TensorBoardReader, WandbReader

SERVER = "MLFLOW_COMMAND"
"""Where mlflow is installed in an environment of its own: the server of these tests."""


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    command = os.environ.get(SERVER) or shutil.which("mlflow")
    if command is None or importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed: pip install 'trainshed[mlflow]', and mlflow itself for its server")
    server = MlflowServer(command, tmp_path_factory.mktemp("mlflow")).start()
    yield server
    server.stop()


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def reader(request, tmp_path):
    """The reader of one tracker, with a training that reports to it."""
    run = TrackedRun(tmp_path)
    kind = request.param
    if kind == "mlflow":
        return MlflowReader(run, request.getfixturevalue("mlflow_server"))
    pytest.importorskip(kind, reason=f"{kind} is not installed: pip install 'trainshed[{kind}]'")
    return TensorBoardReader(run) if kind == "tensorboard" else WandbReader(run)
