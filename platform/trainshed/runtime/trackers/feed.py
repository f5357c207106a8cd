"""One run of ours, or one trial, into one run of a tracker: each step once, whatever happens to either side.

A step that a restart may do again is not sent to a tracker that cannot forget it: only steps up to the newest
checkpoint are, and all of them once the run has ended. A tracker that can forget shows every step at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainshed.record.checkpoints import all_checkpoints
from trainshed.record.facts import what_is_whole
from trainshed.record.metric_rows import MetricRow
from trainshed.record.storage import Storage
from trainshed.record.tracking import TrackedFacts, keep_tracked, read_tracked
from trainshed.runtime.trackers.tail import Tail, Window
from trainshed.runtime.trackers.tracker import Ending, ForgettingRun, Head, Tracker, TrackerRun

ROWS_AT_ONCE = 100


class Feed:
    """Feeds one run; opened at its first step or its end."""

    def __init__(self, storage: Storage, folder: str, kind: str, tracker: Tracker, head: Head) -> None:
        """`folder`: of the run or the trial, relative to the storage. `kind`: of the tracker."""
        self._storage = storage
        self._folder = folder
        self._kind = kind
        self._tail = Tail(storage, f"{folder}/metrics.jsonl")
        self._shown: list[tuple[int, object]] = []
        """Steps behind the tail's place that were sent, each with the time of its row, which no other doing has."""
        known = what_is_whole(lambda: read_tracked(storage, folder, kind), None)
        self.run: TrackerRun = tracker.open(head, known)
        self._forgetting = self.run if isinstance(self.run, ForgettingRun) else None
        self.is_new = known is None or known.run != self.run.id
        self._sent = self.run.stands
        self._ended_s = None if known is None or self.is_new else known.ended_s
        self._kept: TrackedFacts | None = None
        self._firm = min(self._sent, 0 if known is None or self.is_new else known.firm)
        if self._forgetting is not None and self._sent > self._firm:
            # What was sent beyond a checkpoint may have been done again, and nobody knows which doing was sent.
            self._sent = self._firm
            self._forgetting.take_back(self._sent)
        self._keep()
        self._skip_to(self._firm)

    @property
    def sent(self) -> int:
        """The last step that the tracker has."""
        return self._sent

    def send(self, *, ended: bool = False) -> None:
        """Sends what is new. `ended`: nobody writes the run any more.

        Raises:
            Unavailable: the tracker did not take all of it; what it took is known.
        """
        while True:
            settled = self._settled()  # before the rows are read: those up to it are not done again any more
            window = self._tail.read()
            if not window.rows and not self._shown:
                break
            if self._forgetting is not None:
                self._send_all(self._forgetting, window)
            else:
                self._send([row for row in window.rows if ended or row.step <= settled])
            if window.full and window.rows[-1].step <= self._sent:
                settled = max(settled, window.rows[-1].step)  # all of it is there, and memory has an end
            self._tail.done_with(settled)
            self._firm = max(self._firm, min(settled, self._sent))
            self._shown = [(step, time) for step, time in self._shown if step > settled]
            if not window.full or settled < window.rows[0].step:
                break
        self._keep()

    def end(self, ending: Ending, *, for_good: bool = True) -> None:
        """Says how it ended; not `for_good` where it goes on once its sweep is resumed. Raises as `send`."""
        self.run.end(ending)
        if for_good:
            self._ended_s = ending.time_s
            self._keep()

    def leave(self) -> None:
        """Closes what this process holds of the run."""
        self.run.leave()

    def _send_all(self, run: ForgettingRun, window: Window) -> None:
        """To a tracker that forgets: where rows have been done again, it forgets the first doing of them."""
        shown = [] if window.anew else self._shown
        same = 0
        while same < min(len(shown), len(window.rows)) and shown[same] == _mark(window.rows[same]):
            same += 1
        if window.anew or same < len(shown):
            back_to = window.rows[same].step - 1 if same < len(window.rows) else self._last(shown[:same])
            run.take_back(back_to)
            self._sent = back_to
            self._firm = min(self._firm, back_to)
            self._shown = shown[:same]
        self._send(window.rows[same:])

    def _last(self, shown: Sequence[tuple[int, object]]) -> int:
        return shown[-1][0] if shown else self._firm

    def _send(self, rows: Sequence[MetricRow]) -> None:
        new = [row for row in rows if row.step > self._sent]
        for first in range(0, len(new), ROWS_AT_ONCE):
            some = new[first : first + ROWS_AT_ONCE]
            self.run.log(some)
            self._sent = some[-1].step
            if self._forgetting is not None:
                self._shown += map(_mark, some)
            self._keep()

    def _settled(self) -> int:
        """The newest step that no restart does again."""
        newest = next(iter(all_checkpoints(self._storage, self._folder)), None)
        return newest.step if newest is not None else 0

    def _skip_to(self, step: int) -> None:
        """Moves the tail behind what the tracker has for good."""
        while True:
            window = self._tail.read()
            self._tail.done_with(step)
            if not window.full or not window.rows or window.rows[-1].step > step:
                return

    def _keep(self) -> None:
        facts = TrackedFacts(run=self.run.id, sent=self._sent, firm=self._firm, ended_s=self._ended_s)
        if facts != self._kept:
            keep_tracked(self._storage, self._folder, self._kind, facts)
            self._kept = facts


def _mark(row: MetricRow) -> tuple[int, object]:
    return row.step, row.values.get("time")
