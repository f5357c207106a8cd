"""A running job's events, each exactly once and in order, over a connection that may break.

Knows that `seq` counts 1, 2, 3... within a submission, and nothing of what happened. It polls the end of the driver's
log: Ray's own tail is seconds late and its websocket ends silently.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from trainshed.client.jobs_api import JobsClient, LogRefused, Unreachable
from trainshed.client.ray_answers import JobStatus
from trainshed.record.events import JobEnd, Line, decode

# How far back to look, in turn; the whole log comes last.
_TAIL_LINES = (500, 20_000)
# A finished job whose node has gone keeps its state but not its log: after so many refusals it ends without.
_LOG_REFUSALS = 40
_SLOWER = 1.25
_SLOWEST = 4.0


def follow(
    jobs: JobsClient,
    submission_id: str,
    *,
    on_trouble: Callable[[str], None],
    poll_s: float = 0.25,
    patience_s: float = 600.0,
) -> Iterator[Line | JobEnd]:
    """Yield every event of the job, then what Ray says of its end.

    `poll_s` is the pause between looks while events come; it grows to four times that in silence.
    A control plane that does not answer is no failure of the job: `on_trouble` is told once when it goes and once when
    it is back. Raises Unreachable if it stays away longer than `patience_s`.
    """
    log = _EventLog(jobs, submission_id)
    outage = _Outage(on_trouble, patience_s)
    pause_s = poll_s
    while True:
        try:
            status = jobs.status(submission_id)
            events = log.new_events(status)
        except Unreachable as error:
            log.doubt_tail()
            outage.goes_on(error)
        else:
            outage.ends()
            yield from events
            # Four polls a second cost the cluster a tenth of a core: a silent job is asked less often.
            pause_s = poll_s if events else min(pause_s * _SLOWER, poll_s * _SLOWEST)
            if status.terminal:
                lost = " (the end of its log could not be read)" if log.given_up else ""
                yield JobEnd(status.state, status.cause + lost)
                return
        time.sleep(pause_s)


class _EventLog:
    """Reads the driver's log from its end, and further back where the end may hide something."""

    def __init__(self, jobs: JobsClient, submission_id: str) -> None:
        self._jobs = jobs
        self._submission_id = submission_id
        self._last_seq = 0
        self._doubtful = True
        self._refusals = 0

    def doubt_tail(self) -> None:
        """More may have been printed meanwhile than the tail holds."""
        self._doubtful = True

    @property
    def given_up(self) -> bool:
        """Whether the log was refused so often that it must have gone with its node."""
        return self._refusals >= _LOG_REFUSALS

    def new_events(self, status: JobStatus) -> list[Line]:
        """What was printed since the last call, by `seq`; Unreachable if the log cannot be read now."""
        try:
            text = self._text(status)
        except LogRefused:
            self._refusals += 1
            if status.terminal and self.given_up:
                return []
            raise
        self._doubtful = False
        self._refusals = 0
        fresh = {line.seq: line for line in decode(text) if line.seq > self._last_seq}
        self._last_seq = max(fresh, default=self._last_seq)
        return [fresh[seq] for seq in sorted(fresh)]

    def _text(self, status: JobStatus) -> str:
        if status.node_id is None:  # the driver has not started, or never did
            return ""
        for lines in _TAIL_LINES:
            tail = self._jobs.log_tail(self._submission_id, lines, node_id=status.node_id)
            if tail.count("\n") < lines - 1 or self._follows_on(tail, certain=self._doubtful or status.terminal):
                return tail
        return self._jobs.logs(self._submission_id, node_id=status.node_id)

    def _follows_on(self, tail: str, *, certain: bool) -> bool:
        """Whether no event can lie between the last one seen and `tail`. One without any may follow a lost one: that
        shows at the next event, so it only matters where there may be none or many were missed."""
        oldest = min((line.seq for line in decode(tail)), default=None)
        return not certain if oldest is None else oldest <= self._last_seq + 1


class _Outage:
    """Says once that the control plane went and once that it is back; loses patience in the end."""

    def __init__(self, on_trouble: Callable[[str], None], patience_s: float) -> None:
        self._on_trouble = on_trouble
        self._patience_s = patience_s
        self._since: float | None = None

    def goes_on(self, error: Unreachable) -> None:
        """Count time without an answer; raises `error`, with what to do, once it is too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._on_trouble(f"control plane unreachable, still trying for {self._patience_s:.0f} s ({error})")
        elif now - self._since > self._patience_s:
            raise Unreachable(
                f"{error}; gave up after {self._patience_s:.0f} s; the job may still be running: follow it again"
            ) from error

    def ends(self) -> None:
        """An answer came."""
        if self._since is not None:
            self._on_trouble(f"control plane reachable again after {time.monotonic() - self._since:.0f} s")
            self._since = None
