"""What Ray Tune sees of trials, as events of the run and as ended.json of each trial."""

from __future__ import annotations

from typing import Any

import ray.tune
from ray.tune.experiment import Trial

from trainshed.errors import FailureKind
from trainshed.record.events import TrialMoved, WorkerKilled, describe
from trainshed.record.facts import is_measured
from trainshed.record.metric_rows import MetricRow
from trainshed.record.ranking import Rank, figure_of, rank_of
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import EndedBy, TrialEnd, TrialState
from trainshed.record.trials import TrialFiles, number_of
from trainshed.runtime.cause import cause_of
from trainshed.runtime.report import Reporter
from trainshed.runtime.tuning.scheduling.stoppers import Ceilings, Spent
from trainshed.spec.document.override import override
from trainshed.spec.sweep.tune import TuneJob


class Watcher(ray.tune.Callback):  # type: ignore[misc]
    """Hears of every report and every end."""

    def __init__(self, job: TuneJob, reporter: Reporter, spent: Spent) -> None:
        self._job = job
        self._reporter = reporter
        self._spent = spent
        self._storage: Storage = reporter.record.storage
        self._sweep = reporter.record.at()
        self._done: set[int] = set()
        self._best: tuple[Rank, int] | None = None
        self._code_errors: list[str] = []
        self._hung: dict[int, WorkerKilled] = {}
        self.ceilings: Ceilings | None = None
        """The end of the whole sweep; trials that it cuts off have not ended."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks with its own state, which nobody reads."""
        return {}

    def too_many_errors(self) -> str | None:
        """Whether so many trials had an error of the code that others would too; in words."""
        limit = self._job.failures.code_errors
        if len(self._code_errors) < limit:
            return None
        return (
            f"{limit} trials failed by an error of the code or the job (failures.code_errors): {self._code_errors[-1]}"
        )

    def hung(self, number: int, event: WorkerKilled) -> None:
        """A trial made no step any more, and its process was killed."""
        self._hung[number] = event
        self._reporter(event)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial holds its resources."""
        if self._files(trial).ended is None:
            self._spent.begins(_number(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ARG002
        """Tune has a word for a trial that it starts or ends, and none for one that it pauses."""
        for trial in trials:
            if trial.status not in (Trial.RUNNING, Trial.TERMINATED):
                self._spent.waits(_number(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        """A trial took its held-out figures."""
        files = self._files(trial)
        metric = self._job.metric
        if files.ended is not None or metric not in result:
            return  # it is told again
        self._event(files, TrialState.RUNNING, MetricRow.of(result))
        self._progress(what=f"{files.name} step {result['step']}: {result[metric]:.4g}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """A trial ended: at its last step, early, by a failure of its own; or the sweep ended before it."""
        files = self._files(trial)
        result = trial.last_result or {}
        held = self._spent.ends(files.number)
        before = files.ended
        if before is None:
            if self.ceilings is not None and self.ceilings.why is not None:
                return  # it can go on, where the sweep is resumed
            whole = int(result.get("step", 0)) >= self._job.steps_of_a_trial
            rule = EndedBy(self._job.stop_early.kind)
            early = TrialEnd(state=TrialState.EARLY, by=rule, device_s=held)
            files.end(TrialEnd(state=TrialState.ENDED, device_s=held) if whole else early)
        elif before.device_s is None:
            files.end(before.model_copy(update={"device_s": held}))
        self._over(files, result, told_again=before is not None and before.device_s is not None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        """Called when a trial's process was lost more often than is allowed."""
        files = self._files(trial)
        error = trial.get_error()
        killed = self._hung.get(files.number)
        last_cause = _words_of(error) if killed is None else describe(killed)
        last = f"; the last time: {last_cause}" if last_cause is not None else ""
        cause = f"it was lost too often{last}"
        try:
            if files.facts is None:  # it was lost before it began
                settings = dict(trial.config["settings"])
                files.begin(settings, override(self._job.train, settings, file="space"))
            held = self._spent.ends(files.number)
            files.end(TrialEnd(state=TrialState.FAILED, kind=FailureKind.LOST, cause=cause, device_s=held))
        except OSError as write_error:  # a full disk of one trial is not the end of the others
            self._reporter.log(f"{files.name}: {cause}; that could not be written either: {write_error}")
        self._over(files, trial.last_result or {}, told_again=False)

    def _over(self, files: TrialFiles, result: dict[str, Any], *, told_again: bool) -> None:
        ended = files.ended or TrialEnd(state=TrialState.FAILED)  # its end could not be written
        self._done.add(files.number)
        if ended.failure is FailureKind.CODE:
            self._code_errors.append(str(ended.cause))
        counts = figure_of(files.facts, files.held_out())
        if counts is None and "step" in result:
            counts = MetricRow.of(result)
        if not told_again:
            cause = {"cause": ended.cause} if ended.cause is not None else {}
            self._event(files, ended.state, counts, **cause)
        value = None if counts is None else counts.figure(self._job.metric)
        self._keep_the_best(files, ended.state, value)
        self._progress()

    def _keep_the_best(self, files: TrialFiles, state: str, value: float | None) -> None:
        """Only the best trial's last checkpoint is of use once trials have ended; a population's are, to the end."""
        if self._job.is_population:
            return
        rank = rank_of(self._job, state, value)
        if state == TrialState.FAILED or not is_measured(value) or (self._best is not None and rank >= self._best[0]):
            files.drop_state()
            return
        if self._best is not None:
            TrialFiles(self._storage, self._sweep, self._best[1]).drop_state()
        self._best = (rank, files.number)

    def _files(self, trial: Any) -> TrialFiles:
        return TrialFiles(self._storage, self._sweep, _number(trial))

    def _event(self, files: TrialFiles, state: str, row: MetricRow | None, **more: Any) -> None:
        figures = {} if row is None else row.values
        values = {key: figures[key] for key in ("step", self._job.metric) if key in figures}
        facts = files.facts
        settings = {} if facts is None else facts.settings
        said = {"trial": files.name, "state": state, "settings": settings, **values, **more}
        self._reporter(TrialMoved.model_validate(said))

    def _progress(self, **fields: Any) -> None:
        self._reporter.progress("tune", len(self._done), self._job.trials, **fields)


def _words_of(error: Any) -> str | None:
    """Ray Tune has the error itself, or where that does not travel its traceback as text."""
    if isinstance(error, BaseException):
        return cause_of(error)
    lines = str(error or "").strip().splitlines()
    return lines[-1] if lines else None


def _number(trial: Any) -> int:
    return number_of(str(trial))
