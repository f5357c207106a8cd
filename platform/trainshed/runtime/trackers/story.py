"""A whole run as a tracker is told it: a training is one run there, a sweep a run of its own and one for each trial."""

from __future__ import annotations

from trainshed.errors import DamagedFile
from trainshed.record.events import Sink, TrackerBegan
from trainshed.record.facts import EndFacts
from trainshed.record.results import SweepResult
from trainshed.record.run import Record
from trainshed.record.tracking import read_tracked
from trainshed.record.trial_facts import TrialFacts
from trainshed.record.trials import TrialFiles, number_of
from trainshed.runtime.trackers.feed import Feed
from trainshed.runtime.trackers.told import ending_of_run, ending_of_trial, head_of_run, head_of_trial
from trainshed.runtime.trackers.tracker import Tracker


class Story:
    """What one tracker knows of one run. `look` sends what is new, and can be called again after any error."""

    def __init__(self, record: Record, kind: str, tracker: Tracker, sink: Sink) -> None:
        self._record = record
        self._kind = kind
        self._tracker = tracker
        self._sink = sink
        self._own: Feed | None = None
        self._running: dict[str, Feed] = {}
        self._told: set[str] = set()
        """Trials of which the tracker knows all."""

    def look(self) -> None:
        """Sends what the run has come to since the last look.

        Raises:
            Unavailable: the tracker did not take all of it.
        """
        own = self._opened()
        end = self._record.end
        if self._record.facts.job.kind == "tune":
            self._look_at_trials(own, end)
        own.send(ended=end is not None)
        if end is not None:
            own.end(ending_of_run(self._record, end, step=own.sent))

    def leave(self) -> None:
        """Closes what this process holds; another goes on."""
        for feed in (*self._running.values(), *([self._own] if self._own is not None else [])):
            feed.leave()
        self._running = {}
        self._own = None
        self._tracker.close()

    def _opened(self) -> Feed:
        if self._own is None:
            record = self._record
            self._own = Feed(record.storage, record.at(), self._kind, self._tracker, head_of_run(record))
            if self._own.is_new:
                run = self._own.run
                self._sink(TrackerBegan(tracker=self._kind, tracker_run=run.id, where=run.where))
        return self._own

    def _look_at_trials(self, own: Feed, end: EndFacts | None) -> None:
        record = self._record
        best = self._best() if end is not None else None
        for name in record.storage.names(f"{record.at()}/trials"):
            if name in self._told and name != best:
                continue
            try:
                trial = TrialFiles(record.storage, record.at(), number_of(name))
                if name != best and self._is_known_to_have_ended(trial):
                    self._told.add(name)
                else:
                    self._look_at_trial(own, trial, end)
            except DamagedFile:  # no trial, or one that begins anew: the sweep says so
                continue

    def _look_at_trial(self, own: Feed, trial: TrialFiles, end: EndFacts | None) -> None:
        facts = trial.facts
        if facts is None:
            return
        feed = self._running.get(trial.name) or self._begun(own, trial, facts)
        ended = trial.ended
        feed.send(ended=ended is not None)  # one that was cut off with its sweep goes on where that is resumed
        if ended is None and end is None:
            return
        time = None if end is None else end.ended_at
        feed.end(ending_of_trial(facts, ended, step=feed.sent, time=time), for_good=ended is not None)
        feed.leave()
        del self._running[trial.name]
        self._told.add(trial.name)

    def _begun(self, own: Feed, trial: TrialFiles, facts: TrialFacts) -> Feed:
        head = head_of_trial(self._record, trial, facts, parent=own.run.id)
        feed = Feed(self._record.storage, trial.folder, self._kind, self._tracker, head)
        self._running[trial.name] = feed
        return feed

    def _best(self) -> str | None:
        """The best trial: where it was stopped early, it may have been trained to its end after all others."""
        outcome = self._record.outcome
        return outcome.best.trial if isinstance(outcome, SweepResult) and outcome.best is not None else None

    def _is_known_to_have_ended(self, trial: TrialFiles) -> bool:
        if trial.name in self._running:
            return False
        known = read_tracked(trial.storage, trial.folder, self._kind)
        return known is not None and known.ended_s is not None
