"""The process that feeds one tracker with one run.

    python -m trainshed.runtime.trackers STORAGE RUN_ID '{"kind": "mlflow", "tracking_uri": "http://mlflow:5000"}'

The driver starts it, and says over its standard input when the run has ended; where that closes without a word, the
driver is gone, and the next one starts another. By hand, it sends what a run that has ended could not send. Where a
secret goes is said by whoever starts it, and never by storage.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from typing import assert_never

from trainshed.environment import home_folder
from trainshed.errors import PlatformError
from trainshed.record.events import Event, TrackerAnswers, TrackerSilent, facts_of
from trainshed.record.run import Record
from trainshed.record.secrets import find_tracker_secret
from trainshed.record.storage import Storage
from trainshed.runtime.trackers.pipe import ENDED, EVENT_MARK
from trainshed.runtime.trackers.story import Story
from trainshed.runtime.trackers.tracker import Tracker, Unavailable, first_line
from trainshed.spec.training.trackers import REPORT_TO, Mlflow, TensorBoard, Wandb, secrets_of, trackers
from trainshed.spec.training.trackers import Tracker as Settings

POLL_S = 2.0
POLL_FAR_S = 15.0
"""Of storage that is no disk."""
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)
LEAVING_S = 3.0
"""So long a library may write what it holds; the driver after one that is gone is not so fast."""
ALONE_S = 60.0
"""So long a tracker that does not answer is asked after the driver's last word."""
WATCH_S = 0.5


class Word:
    """What the driver has said: nothing, that the run has ended, or that it is gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self.said = threading.Event()
        self.ended = False

    def listen(self) -> None:
        """Until the driver says something. A child that it forked may hold its end of the pipe: it is looked for."""
        while os.getppid() == self._parent:
            ready, _, _ = select.select([sys.stdin], [], [], WATCH_S)
            if ready:
                self.ended = sys.stdin.buffer.readline().strip() == ENDED
                break
        self.said.set()


def main(arguments: list[str]) -> int:
    """Runs the command line above; the exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the driver's to act on
    word = Word(os.getppid())
    storage, run_id, said = arguments
    record = Record(Storage.open(storage), run_id)
    (settings,) = trackers(REPORT_TO.validate_json(f"[{said}]"))
    for variable, name in secrets_of(settings).items():
        value = find_tracker_secret(name, home_folder())
        if value is not None:  # it was there when the driver looked; a server may do without
            os.environ[variable] = value
    threading.Thread(target=word.listen, daemon=True).start()
    return follow(record, settings, word)


def follow(record: Record, settings: Settings, word: Word) -> int:
    """Sends what is new until the run has ended and all of it is sent, or the driver is gone; the exit code."""
    poll = POLL_S if record.storage.is_local else POLL_FAR_S
    story: Story | None = None
    failures = 0
    silent_since = 0.0
    while True:
        said = word.said.is_set()
        try:
            over = record.end is not None
            if said and not word.ended and not over:
                return _leave(story)
            story = story or Story(record, settings.kind, build(settings, record), _say)
            story.look()
        except (Unavailable, OSError) as error:  # the tracker, or the storage of the Record
            now = time.monotonic()
            if failures == 0:
                silent_since = now
                _say(TrackerSilent(tracker=settings.kind, cause=first_line(error)))
            elif said and now - silent_since > ALONE_S:
                return 1
            pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
            failures += 1
            _wait(word, pause)
            continue
        if failures:
            _say(TrackerAnswers(tracker=settings.kind, seconds=round(time.monotonic() - silent_since, 1)))
        failures = 0
        if over:
            return _leave(story)
        _wait(word, poll)


def build(settings: Settings, record: Record) -> Tracker:
    """The tracker; its library is imported here, where it is there."""
    match settings:
        case TensorBoard():
            from trainshed.runtime.trackers.tensorboard import TensorBoardTracker

            return TensorBoardTracker(record.storage, record.at())
        case Mlflow():
            from trainshed.runtime.trackers.mlflow import MlflowTracker

            return MlflowTracker(settings)
        case Wandb():
            from trainshed.runtime.trackers.wandb import WandbTracker

            return WandbTracker(settings, record.storage, record.at())
        case _:
            assert_never(settings)


def _wait(word: Word, seconds: float) -> None:
    """Until the driver says something; once it has, for a moment."""
    if word.said.is_set():
        time.sleep(min(seconds, POLL_S))
    else:
        word.said.wait(seconds)


def _leave(story: Story | None) -> int:
    """Closes what is open; what does not let itself be closed is left."""
    threading.Timer(LEAVING_S, os._exit, (1,)).start()
    try:
        if story is not None:
            story.leave()
    except Unavailable:
        return 1
    return 0


def _say(event: Event) -> None:
    print(EVENT_MARK + json.dumps(facts_of(event)), flush=True)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except PlatformError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:  # the driver is gone
        code = 1
    os._exit(code)  # libraries of trackers wait at exit for threads of theirs
