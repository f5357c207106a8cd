"""The driver's side of trackers: starts a process for each, hears it, and never waits for one longer than it says.

Knows no library of a tracker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence

from trainshed.environment import home_folder
from trainshed.errors import UsageError
from trainshed.record.events import Sink, TrackerLeft, TrackerSilent, event_of
from trainshed.record.run import Record
from trainshed.record.secrets import find_tracker_secret
from trainshed.runtime.trackers.pipe import ENDED, EVENT_MARK
from trainshed.spec.training.trackers import Mlflow, Tracker, Wandb, is_installed_here, secrets_of

MLFLOW_SERVER = "MLFLOW_TRACKING_URI"
"""MLflow's own variable: the server where the job says none."""
STARTS = 4
"""Of one tracker's process in one run; a fault of its library is no endless loop."""
PAUSE_S = 5.0
ENDING_S = 30.0
"""So long a run that has ended waits for its trackers. What is not sent by then is in the Record."""
KILLED_S = 2.0
"""So long the last words of a process that was killed are waited for: one that it has started may hold them open."""
STOPPING_S = 1.5
"""The same where somebody stops the whole submission: Ray kills it 3 s later."""


def check_trackers(trackers: Sequence[Tracker], record: Record) -> None:
    """Whether this machine of the cluster can feed them; called before the first step.

    Raises:
        UsageError: a library, a secret or an address is missing, in one line.
    """
    for tracker in trackers:
        if not is_installed_here(tracker):
            raise UsageError(
                f"report_to: {tracker.kind} is not installed on the cluster; install trainshed[{tracker.extra}] there, "
                "or leave it out"
            )
        if fault := _misfit(tracker, folder=record.storage.is_local):
            raise UsageError(f"report_to: {fault}")
        for name in secrets_of(tracker).values():
            if find_tracker_secret(name, home_folder()) is None:
                place = home_folder() / "secrets" / name
                raise UsageError(
                    f"report_to: the secret {name} is not on the cluster; set it there, or write it to {place}"
                )


def _misfit(tracker: Tracker, *, folder: bool) -> str | None:
    """Why a tracker cannot be fed where the storage is, or is not, a folder."""
    match tracker:
        case Wandb(mode="offline") if not folder:
            return "wandb with mode offline writes files beside the run, and the storage is no folder; say mode: online"
        case Mlflow(tracking_uri=None) if not os.environ.get(MLFLOW_SERVER):
            return f"mlflow has no server; say tracking_uri, or set {MLFLOW_SERVER} on the cluster"
        case _:
            return None


class Following:
    """The processes that feed the trackers of one run."""

    def __init__(self, record: Record, trackers: Sequence[Tracker], sink: Sink) -> None:
        self._followers = [Follower(record, tracker, sink) for tracker in trackers]

    def end(self, wait_s: float = ENDING_S) -> None:
        """The run has its result: waits until the trackers have all of it, for so long at most."""
        until = time.monotonic() + wait_s
        for follower in self._followers:
            follower.say_ended()
        for follower in self._followers:
            follower.join(max(0.0, until - time.monotonic()), wait_s)


class Follower:
    """One process, started again where it dies, and the thread that hears it."""

    def __init__(self, record: Record, tracker: Tracker, sink: Sink) -> None:
        said = [record.storage.uri, record.run_id, tracker.model_dump_json(exclude_none=True)]
        self._command = [sys.executable, "-m", "trainshed.runtime.trackers", *said]
        self._kind = tracker.kind
        self._sink = sink
        self._lock = threading.RLock()  # a signal may end the run while its end is being told
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._done = False
        self._given_up = False
        self._cause = "it does not answer"
        self._thread = threading.Thread(target=self._run, name=f"follow-{tracker.kind}", daemon=True)
        self._thread.start()

    def say_ended(self) -> None:
        """The run has its result."""
        with self._lock:
            self._ended.set()
            self._tell()

    def join(self, wait_s: float, whole_s: float) -> None:
        """Waits for the rest to be sent; what takes longer is ended, and that is said."""
        self._thread.join(wait_s)
        if self._thread.is_alive():
            with self._lock:
                self._given_up = True
                if self._process is not None:
                    self._process.kill()
            self._thread.join(KILLED_S)
            self._cause = f"{self._cause} (waited {whole_s:.0f} s)"
        if not self._done:
            self._sink(TrackerLeft(tracker=self._kind, cause=self._cause))

    def _run(self) -> None:
        for start in range(STARTS):
            if start:
                self._ended.wait(PAUSE_S)
            if self._given_up:
                return
            code, last = self._once()
            self._done = code == 0
            if self._done or self._given_up:
                return
            self._cause = f"its process ended with {code}: {last}"
            self._sink(TrackerSilent(tracker=self._kind, cause=self._cause))

    def _once(self) -> tuple[int, str]:
        """One process to its end: its exit code, and the last line that it said."""
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with self._lock:
            self._process = process
            if self._ended.is_set():
                self._tell()
        said: deque[str] = deque(["nothing"], maxlen=1)
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(EVENT_MARK):
                self._pass_on(text.removeprefix(EVENT_MARK))
            elif text:
                said.append(text[:240])
        return process.wait(), said[0]

    def _pass_on(self, text: str) -> None:
        try:
            event = event_of(json.loads(text))
        except ValueError:  # a library has printed into the middle of it
            return
        if isinstance(event, TrackerSilent):
            self._cause = event.cause
        if event is not None:
            self._sink(event)

    def _tell(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(ENDED + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has died: whoever waits for it sees that
            return
