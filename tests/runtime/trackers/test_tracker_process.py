"""The process that feeds a tracker: it outlives nobody, delays nobody, and says once what it cannot send."""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from counting_storage import counting
from tracked_run import TrackedRun
from tracker_readers import MlflowReader, MlflowServer, TensorBoardReader
from trainshed.errors import UsageError
from trainshed.record.events import TrackerAnswers, TrackerBegan, TrackerLeft, TrackerSilent
from trainshed.record.run import Record
from trainshed.runtime.trackers.following import Following, check_trackers
from trainshed.spec.training.trackers import REPORT_TO, Mlflow, Wandb, trackers
from waiting import wait_for

pytestmark = pytest.mark.slow

DRIVER = """
import json, sys, time
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.trackers.following import Following
from trainshed.spec.training.trackers import REPORT_TO, trackers
record = Record(Storage.open(sys.argv[1]), sys.argv[2])
Following(record, trackers(REPORT_TO.validate_json(sys.argv[3])), lambda event: print(event, flush=True))
time.sleep(600)
"""
"""Only what a driver does for trackers."""


def asked(reader):
    return trackers(REPORT_TO.validate_json(json.dumps([reader.settings()])))


@contextmanager
def driver(reader):
    """It is killed, as by nobody who asks."""
    record = reader.run.record
    words = [record.storage.uri, record.run_id, json.dumps([reader.settings()])]
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *words])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def child_of(process):
    return wait_for(lambda: psutil.Process(process.pid).children(), limit_s=60)[0]


def feeders():
    """The processes of this one that feed trackers."""
    return [one for one in psutil.Process().children() if "trainshed.runtime.trackers" in one.cmdline()]


def sent(reader):
    path = reader.run.record.at(f"trackers/{reader.kind}.json")
    return (reader.run.storage.read_json(path) or {}).get("sent", 0)


def steps_seen(reader):
    (found,) = reader.runs().values()
    return [step for step, _ in found.figures.get("train_loss", [])]


def kinds(events):
    return [type(event) for event in events]


def test_a_run_is_shown_from_its_beginning_to_its_end(reader):
    run = reader.run
    events = []
    following = Following(run.record, asked(reader), events.append)
    run.steps(1, 10)
    run.checkpoint(10)
    wait_for(lambda: sent(reader) == 10)
    run.steps(11, 20)
    run.end()
    following.end()
    assert steps_seen(reader) == list(range(1, 21))
    assert kinds(events) == [TrackerBegan]
    (found,) = reader.runs().values()
    assert found.state == "finished"


@pytest.mark.faults
def test_a_driver_that_is_killed_three_times_leaves_one_run_with_each_step_once(reader):
    run = reader.run
    for first in (1, 11, 21):
        with driver(reader) as process:
            child = child_of(process)
            run.steps(first, first + 12)
            run.checkpoint(first + 9)
            wait_for(lambda first=first: sent(reader) >= first + 9)
        wait_for(lambda child=child: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, limit_s=10)
    following = Following(run.record, asked(reader), [].append)
    run.steps(31, 40)
    run.end()
    following.end()
    (found,) = reader.runs().values()
    expected = [(row.step, pytest.approx(row.values["train_loss"])) for row in run.record.metrics]
    assert found.figures["train_loss"] == expected
    assert len(expected) == 40


@pytest.mark.faults
def test_a_process_that_is_killed_is_started_again_and_each_step_stands_once(reader):
    run = reader.run
    events = []
    run.steps(1, 10)
    run.checkpoint(10)
    following = Following(run.record, asked(reader), events.append)
    wait_for(lambda: sent(reader) == 10)
    (child,) = feeders()
    child.kill()
    run.steps(11, 20)
    run.checkpoint(20)
    wait_for(lambda: sent(reader) == 20)
    run.end()
    following.end()
    assert steps_seen(reader) == list(range(1, 21))
    assert kinds(events) == [TrackerBegan, TrackerSilent]
    assert "its process ended with -9" in events[1].cause


@pytest.mark.faults
def test_a_run_that_ends_while_its_process_is_down_is_sent_all_the_same(reader):
    run = reader.run
    run.steps(1, 10)
    run.checkpoint(10)
    following = Following(run.record, asked(reader), [].append)
    wait_for(lambda: sent(reader) == 10)
    (child,) = feeders()
    child.kill()
    run.steps(11, 20)
    run.end()
    following.end(120.0)
    assert steps_seen(reader) == list(range(1, 21))
    (found,) = reader.runs().values()
    assert found.state == "finished"


def test_a_server_that_is_away_is_said_once_and_gets_all_it_lacked_when_it_is_back(mlflow_server, tmp_path):
    server = MlflowServer(mlflow_server.command, tmp_path)
    run = TrackedRun(tmp_path)
    reader = MlflowReader(run, server)
    events = []
    following = Following(run.record, asked(reader), events.append)  # the server is not there yet
    run.steps(1, 10)
    run.checkpoint(10)
    wait_for(lambda: events)
    server.start()
    wait_for(lambda: sent(reader) == 10)
    server.stop()
    run.steps(11, 20)
    run.checkpoint(20)
    wait_for(lambda: kinds(events).count(TrackerSilent) == 2)
    run.steps(21, 30)
    run.checkpoint(30)
    server.start()
    try:
        wait_for(lambda: sent(reader) == 30)
        run.end()
        following.end()
        assert steps_seen(reader) == list(range(1, 31))
    finally:
        server.stop()
    assert kinds(events) == [TrackerSilent, TrackerBegan, TrackerAnswers, TrackerSilent, TrackerAnswers]


@pytest.fixture
def deaf():
    """A server that takes connections and never answers; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_tracker_that_never_answers_costs_a_run_its_wait_and_no_more(deaf, tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    run = TrackedRun(tmp_path)
    events = []
    began = time.monotonic()
    following = Following(run.record, [Mlflow(tracking_uri=deaf)], events.append)
    assert time.monotonic() - began < 1.0
    run.steps(1, 10)
    run.end()
    children = wait_for(feeders)
    began = time.monotonic()
    following.end(2.0)
    assert time.monotonic() - began < 4.0
    assert kinds(events) == [TrackerLeft]
    assert "waited 2 s" in events[0].cause
    assert not any(child.is_running() for child in children)


def test_what_a_run_that_has_ended_could_not_send_is_sent_by_hand(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    reader = TensorBoardReader(TrackedRun(tmp_path))
    reader.run.steps(1, 10)
    reader.run.end()
    command = [sys.executable, "-m", "trainshed.runtime.trackers", reader.run.storage.uri, reader.run.record.run_id]
    done = subprocess.run([*command, '"tensorboard"'], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert steps_seen(reader) == list(range(1, 11))


def test_a_library_that_is_not_there_is_one_line_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # Python's own word for a module that cannot be imported
    run = TrackedRun(tmp_path)
    with pytest.raises(UsageError, match=r"mlflow is not installed on the cluster; install trainshed\[mlflow\] there"):
        check_trackers([Mlflow(tracking_uri="http://mlflow:5000")], run.record)


def test_a_server_or_a_secret_that_is_not_there_is_one_line_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("trainshed.runtime.trackers.following.is_installed_here", lambda tracker: True)
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run = TrackedRun(tmp_path)
    with pytest.raises(UsageError, match="mlflow has no server; say tracking_uri"):
        check_trackers([Mlflow()], run.record)
    with pytest.raises(UsageError, match="the secret WANDB_API_KEY is not on the cluster"):
        check_trackers([Wandb()], run.record)
    (tmp_path / "home" / "secrets").mkdir(parents=True)
    (tmp_path / "home" / "secrets" / "WANDB_API_KEY").write_text("0a1b2c\n")
    check_trackers([Wandb()], run.record)
    far = Record(counting(tmp_path)[0], "far")
    with pytest.raises(UsageError, match="wandb with mode offline writes files beside the run"):
        check_trackers([Wandb(mode="offline")], far)
