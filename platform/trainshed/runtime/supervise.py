"""The job's entry point: starts the driver, and starts it again when it dies of what is not its own doing.

    python -m trainshed.runtime.supervise submission.json

Imports no ray and no torch, so that what kills a driver has little to hit here. A driver that ended by itself has given
every document a result; one that left any without was killed, crashed, or lost Ray. The workers of a dead driver are
killed by Ray, and leave by themselves when their heartbeat finds nobody (`watch/heartbeat.py`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from trainshed.errors import PlatformError
from trainshed.record.events import End, Event
from trainshed.record.facts import EndFacts, RunEnd
from trainshed.record.run import TUNE, Record
from trainshed.record.storage import Storage
from trainshed.record.submission import Submission
from trainshed.record.tracking import is_tracked
from trainshed.runtime.report import Voice
from trainshed.runtime.trackers.following import ENDING_S, STOPPING_S, Following
from trainshed.spec.training.trackers import REPORT_TO, trackers

RESTARTS = 8
CALM_S = 600.0
"""A driver that lived for so long starts the count anew."""
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
PAUSE_S = 0.1


class Supervisor:
    """Keeps one driver of one submission running until every document has a result."""

    def __init__(self, file: Path, command: list[str], *, wait: Callable[[float], None] = time.sleep) -> None:
        self._submission = Submission.from_json(file.read_bytes())
        self._command = [*command, str(file)]
        self._wait = wait
        self._driver: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> int:
        """Runs the job to its end; returns its exit code."""
        code = self._until_all_have_a_result()
        self._leave_nothing_of_tunes()
        return code

    def _until_all_have_a_result(self) -> int:
        attempt = 1
        in_a_row = 0
        after = ""
        while True:
            began = time.monotonic()
            words = ["--attempt", str(attempt), "--after", after] if attempt > 1 else []
            self._driver = subprocess.Popen([*self._command, *words])
            code = self._wait_for(self._driver)
            left = self._without_result()
            if not left:
                return code if code >= 0 else 1
            after = manner(code)
            if self._stopped:
                return self._end(left, attempt + 1, "stopped", "stopped by `platform stop`, or the cluster went down")
            in_a_row = 1 if time.monotonic() - began > CALM_S else in_a_row + 1
            if in_a_row > RESTARTS:
                return self._end(left, attempt + 1, "failed", f"the driver {after}, {in_a_row} times in a row")
            pause = BACKOFF_S[min(in_a_row, len(BACKOFF_S)) - 1]
            print(f"the driver {after}; starting it again in {pause:g} s ({in_a_row} of {RESTARTS})", flush=True)
            self._pause(pause)
            attempt += 1

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """SIGTERM: the driver's to act on; it is not started again."""
        self._stopped = True
        if self._driver is not None and self._driver.poll() is None:
            self._driver.send_signal(signal.SIGTERM)

    def _wait_for(self, driver: subprocess.Popen[bytes]) -> int:
        if self._stopped:  # the signal came while it was being started
            driver.send_signal(signal.SIGTERM)
        return driver.wait()

    def _pause(self, seconds: float) -> None:
        """Waits, but not on after a stop: a signal handler does not end a sleep."""
        until = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until:
            self._wait(PAUSE_S)

    def _without_result(self) -> list[Record]:
        storage = Storage.open(self._submission.storage)
        records = [Record(storage, planned.run_id) for planned in self._submission.runs]
        return [record for record in records if record.result is None]

    def _leave_nothing_of_tunes(self) -> None:
        """A driver that was killed or told to stop leaves Ray Tune's own folder; it writes no more by now."""
        storage = Storage.open(self._submission.storage)
        for planned in self._submission.runs:
            try:
                storage.delete(Record(storage, planned.run_id).at(TUNE))
            except OSError as error:  # a few files too many are no failure of the job
                print(f"{planned.run_id}: Ray Tune's own folder stays: {error}", flush=True)

    def _end(self, left: list[Record], attempt: int, state: RunEnd, cause: str) -> int:
        """Gives the document that was running the state, and skips the rest."""
        voice = Voice(attempt)
        for number, record in enumerate(left):
            end = EndFacts(state=state, cause=cause)
            if number > 0:
                end = EndFacts(state="skipped", cause=f"the document before it {state}")
            record.finish(end)
            self._tell_trackers(record, voice)
            voice.say(record.run_id, End(state=end.state, cause=end.cause))
        return 1

    def _tell_trackers(self, record: Record, voice: Voice) -> None:
        """How a run ended whose driver cannot say it any more; trackers that never heard of it need not."""
        (planned,) = (one for one in self._submission.runs if one.run_id == record.run_id)
        asked = trackers(REPORT_TO.validate_json(json.dumps(planned.job.get("report_to", []))))
        known = [one for one in asked if is_tracked(record.storage, record.at(), one.kind)]

        def said(event: Event) -> None:
            voice.say(record.run_id, event)

        Following(record, known, said).end(STOPPING_S if self._stopped else ENDING_S)


def manner(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} before its documents did"


def main(arguments: list[str]) -> int:
    """Runs the command line above; the exit code."""
    supervisor = Supervisor(Path(arguments[0]), [sys.executable, "-m", "trainshed.runtime"])
    signal.signal(signal.SIGTERM, supervisor.stop)
    return supervisor.run()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PlatformError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
