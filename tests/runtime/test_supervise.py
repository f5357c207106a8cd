"""The supervisor with small drivers that die in different ways."""

import json
import signal
import sys
import threading

import pytest

from tracked_run import TrackedRun
from tracker_readers import TensorBoardReader
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import PlannedRun, Submission, begin_runs
from trainshed.runtime import supervise
from trainshed.runtime.supervise import Supervisor
from trainshed.runtime.trackers.__main__ import build
from trainshed.runtime.trackers.story import Story
from trainshed.spec.training.trackers import TensorBoard
from waiting import wait_for

FINISH = """
from trainshed.record.facts import EndFacts
from trainshed.record.run import Record
from trainshed.record.storage import Storage
for run in ("a-1", "b-2"):
    Record(Storage.open({root!r}), run).finish(EndFacts(state="succeeded"))
"""
DIE_ONCE = "import os, sys, signal\nif '--attempt' not in sys.argv: os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture
def submitted(tmp_path):
    submission = Submission(
        submission_id="ts-a-1",
        storage=str(tmp_path),
        runs=tuple(PlannedRun(run_id=run, job={"name": run[0], "kind": "train"}, file="x") for run in ("a-1", "b-2")),
        created_at="2026-11-25T00:00:00.000+00:00",
        code={},
    )
    begin_runs(submission, Storage.open(tmp_path))
    (tmp_path / "submission.json").write_bytes(submission.to_json())
    return tmp_path


def supervisor(folder, program):
    program = program.replace("{root!r}", repr(str(folder)))
    return Supervisor(folder / "submission.json", [sys.executable, "-c", program], wait=lambda _: None)


def states(folder):
    return [(Record(Storage.open(folder), run).result or {}).get("state") for run in ("a-1", "b-2")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(supervise, "BACKOFF_S", (0.0,))


def test_a_driver_that_was_killed_is_started_again_and_told_why(submitted, capfd):
    told = "print('told', sys.argv[-4:])\n"
    assert supervisor(submitted, DIE_ONCE + told + FINISH).run() == 0
    assert states(submitted) == ["succeeded", "succeeded"]
    said = capfd.readouterr().out
    assert "the driver was killed by SIGKILL; starting it again in 0 s (1 of 8)" in said
    assert "'--attempt', '2', '--after', 'was killed by SIGKILL'" in said


def test_a_driver_that_ends_by_itself_is_not_started_again(submitted):
    fail = FINISH.replace('"succeeded"', '"failed", cause="bad"') + "raise SystemExit(1)"
    assert supervisor(submitted, fail).run() == 1
    assert states(submitted) == ["failed", "failed"]


def test_a_driver_that_dies_again_and_again_is_given_up_and_the_record_says_so(submitted, capfd):
    die = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert supervisor(submitted, die).run() == 1
    assert states(submitted) == ["failed", "skipped"]
    result = Record(Storage.open(submitted), "a-1").result
    assert result["cause"] == "the driver was killed by SIGSEGV, 9 times in a row"
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("@@platform ")]
    seqs = [json.loads(line.removeprefix("@@platform "))["seq"] for line in lines]
    assert seqs == sorted(seqs)
    assert seqs[0] > 9 * 10**9, "a reader drops what is numbered under what it has seen"


def test_after_a_stop_the_driver_is_not_started_again(submitted):
    one = supervisor(submitted, "import time; print('up', flush=True); time.sleep(600)")
    ended = []
    thread = threading.Thread(target=lambda: ended.append(one.run()))
    thread.start()
    wait_for(lambda: one._driver is not None)
    one.stop(signal.SIGTERM, None)
    thread.join(20)
    assert ended == [1]
    assert states(submitted) == ["stopped", "skipped"]


def test_trackers_learn_of_a_run_whose_driver_is_given_up(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'trainshed[tensorboard]'")
    run = TrackedRun(tmp_path, "a-1", report_to=["tensorboard"])
    submission = Submission(
        submission_id="ts-a-1",
        storage=str(tmp_path),
        runs=(PlannedRun(run_id="a-1", job=run.record.job["job"], file="x"),),
        created_at="2026-11-25T00:00:00.000+00:00",
        code={},
    )
    (tmp_path / "submission.json").write_bytes(submission.to_json())
    run.steps(1, 10)
    begun = build(TensorBoard(), run.record)
    Story(run.record, "tensorboard", begun, [].append).look()  # of the driver's time
    die = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert supervisor(tmp_path, die).run() == 1
    seen = TensorBoardReader(run).runs()["a-1"]
    assert (seen.state, len(seen.figures["train_loss"])) == ("failed", 10)


LEAVE = """
from pathlib import Path
for run in ("a-1", "b-2"):
    (Path({root!r}) / "runs" / run / "tune" / "experiment").mkdir(parents=True, exist_ok=True)
    (Path({root!r}) / "runs" / run / "tune" / "experiment" / "trainable.pkl").write_text("x")
"""


@pytest.mark.parametrize(
    ("end", "ended"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ["failed", "skipped"]),
        (
            FINISH.replace('"succeeded"', '"stopped", cause="asked"') + "import os; os._exit(143)",
            ["stopped", "stopped"],
        ),
        (FINISH, ["succeeded", "succeeded"]),
    ],
    ids=["killed until it is given up", "stopped at once, by SIGTERM", "ended"],
)
def test_ray_tunes_own_folder_is_gone_however_the_driver_ended(end, ended, submitted):
    supervisor(submitted, LEAVE + end).run()
    assert states(submitted) == ended
    assert list(submitted.rglob("tune")) == []
    assert (submitted / "runs" / "a-1" / "job.json").exists()


def test_it_loads_neither_ray_nor_torch():
    import subprocess

    program = (
        "import sys, trainshed.runtime.supervise; print([name for name in ('ray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
