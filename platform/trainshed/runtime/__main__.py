"""The driver: reads the submission, begins a Record for each document, and does them in order.

    python -m trainshed.runtime submission.json [--attempt N --after CAUSE]
    python -m trainshed.runtime --take-down take-down.json

Whatever ends a document is in its result.json with a cause in one line; the documents after it are skipped. A driver
that is started again (`supervise`), or under another submission (`platform resume`), takes what has succeeded as done
and goes on with the document that was running.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import assert_never

import ray
from pydantic import JsonValue

from trainshed.errors import BudgetReached, PlatformError
from trainshed.record.bound import bind, runs_of
from trainshed.record.built_on import best_trial, prepared, samples_of
from trainshed.record.evaluation import EvaluationResult
from trainshed.record.events import Begin, End
from trainshed.record.facts import EndFacts, RunEnd, TrialOrigin
from trainshed.record.index import find_finished
from trainshed.record.results import PrepareResult, Result, SweepResult, TrainResult
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.record.submission import PlannedRun, Submission, TakeDown, begin_runs
from trainshed.record.weights import keep, kept, weights_of
from trainshed.runtime.beginnings import beginnings_of, find_weights
from trainshed.runtime.cause import cause_of
from trainshed.runtime.report import Reporter, Voice, quiet_libraries
from trainshed.runtime.trackers.following import ENDING_S, STOPPING_S, Following, check_trackers
from trainshed.runtime.training.stopped import Stopped
from trainshed.spec.data.prepare import PrepareJob, PretrainedTokenizer, SharedTokenizer
from trainshed.spec.evaluation.evaluate import EvaluateJob
from trainshed.spec.job import Job, references
from trainshed.spec.load import job_from_data
from trainshed.spec.serving.serve import ServeJob
from trainshed.spec.sweep.constraints import recorded
from trainshed.spec.sweep.epochs import sweep_with_steps, with_steps
from trainshed.spec.sweep.from_best import TrainFromBest
from trainshed.spec.sweep.tune import TuneJob
from trainshed.spec.training.reference import ReferenceJob
from trainshed.spec.training.trackers import trackers
from trainshed.spec.training.train import Training, TrainJob


def main(arguments: list[str]) -> int:
    """Runs the command line above; the exit code."""
    quiet_libraries()
    ray.init(log_to_driver=False, logging_level="WARNING")
    if arguments[0] == "--take-down":
        from trainshed.runtime.serving.deploy import delete_endpoint  # serve is heavy, and seldom wanted

        order = TakeDown.from_json(Path(arguments[1]).read_bytes())
        delete_endpoint(Storage.open(order.storage), order.name)
        return 0
    driver = Driver(Submission.from_json(Path(arguments[0]).read_bytes()), *_attempt(arguments))
    signal.signal(signal.SIGTERM, driver.stop)  # after ray.init, which sets a handler of its own
    return driver.run()


class Driver:
    """Does the documents of one submission in order."""

    def __init__(self, submission: Submission, attempt: int = 1, after: str | None = None) -> None:
        self.submission = submission
        self.storage = Storage.open(submission.storage)
        self.voice = Voice(attempt)
        self.after = after
        self.done: dict[str, Record] = {}
        self.running: Reporter | None = None
        self.following: Following | None = None

    def run(self) -> int:
        """Everything; 0 where every document succeeded."""
        begin_runs(self.submission, self.storage)
        for planned in self.submission.runs:
            record = Record(self.storage, planned.run_id)
            if record.state == "succeeded":
                self.done[str(planned.job["name"])] = record
                continue
            end = record.end
            state = self._one(planned) if end is None else end.state
            if state != "succeeded":
                self._skip_rest(f"{planned.job['name']} before it {state}")
                return BudgetReached.exit_code if state == "budget_reached" else 1
        return 0

    def stop(self, _number: int, _frame: FrameType | None) -> None:
        """SIGTERM: says so in every Record and is gone. Ray swallows what a handler raises, and kills after 3 s."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray and the supervisor both send it
        if self.running is not None:
            cause = "stopped by `platform stop`, or the cluster went down"
            self._end(self.running, EndFacts(state="stopped", cause=cause), wait_s=STOPPING_S)
        self._skip_rest("the submission was stopped")
        os._exit(128 + signal.SIGTERM)

    def _skip_rest(self, cause: str) -> None:
        for planned in self.submission.runs:
            record = Record(self.storage, planned.run_id)
            if record.result is None:
                record.finish(EndFacts(state="skipped", cause=cause))
                self.voice.say(planned.run_id, End(state="skipped", cause=cause))

    def _one(self, planned: PlannedRun) -> RunEnd:
        """One document to its end; the state it ended in."""
        record = Record(self.storage, planned.run_id)
        again = record.state == "running"
        reporter = self.running = Reporter(record, self.voice)
        job = job_from_data(planned.job)
        reporter(Begin(kind=job.kind, name=job.name, again=again))
        if again:
            cause = f"the driver {self.after}" if self.after else f"resumed by {self.submission.submission_id}"
            reporter.log(f"{cause}: {job.name} goes on")
        self.after = None
        try:
            result = self._do(job, reporter)
        except Stopped as stopped:
            cause = str(stopped)
            saved = stopped.checkpoint
            return self._end(reporter, EndFacts(state="stopped", cause=cause, checkpoint=saved, step=stopped.step))
        except Exception as error:
            reporter.log(traceback.format_exc().rstrip(), detail=True)
            log_path = self.storage.address(record.at("logs"))
            return self._end(reporter, EndFacts(state="failed", cause=cause_of(error), log=log_path))
        end = _end_of(result)
        if end.state == "succeeded":
            self.done[job.name] = record
        return self._end(reporter, end, result)

    def _do(self, job: Job, reporter: Reporter) -> Result:
        """Imports inside: each kind has libraries of its own, which take seconds, and a job waits for its own only."""
        match job:
            case PrepareJob():
                from trainshed.runtime.data.prepare import prepare

                return prepare(self._with_tokenizer(job, reporter.record), reporter)
            case ReferenceJob():
                return self._reference(job, reporter)
            case TuneJob():
                self._follow(job, reporter)
                from trainshed.runtime.tuning.data import bound
                from trainshed.runtime.tuning.sweep import sweep

                earlier = [self._find(target, "tune") for target in job.learns_from]
                data = bound(job, reporter.record, lambda target: self._find(target, "prepare"))
                weights = beginnings_of(job.weights, job.train, reporter.record, self.done)
                if job.train.epochs is not None:
                    job = sweep_with_steps(job, samples_of(data[job.train.data]))
                    _resolve(reporter.record, job)
                return sweep(job, reporter, data=data, earlier=earlier, weights=weights, code=self.submission.code)
            case TrainJob():
                return self._train(job, reporter, trial=reporter.record.facts.trial)
            case TrainFromBest():
                swept = self._find(job.from_best, "tune")
                best = best_trial(swept)
                training = Training.model_validate_json(json.dumps(best.training), strict=True)
                full = job.resolve(training, recorded(swept.job["job"]))
                if (meant := kept(swept).get(full.begins_with or "")) is not None:
                    keep(reporter.record, {full.begins_with or "": meant})  # what the trial meant, whatever came later
                trial = TrialOrigin(run_id=swept.run_id, trial=best.trial, settings=best.settings)
                _resolve(reporter.record, full, trial=trial.as_json())
                return self._train(full, reporter, trial=trial)
            case EvaluateJob():
                return self._evaluate(job, reporter)
            case ServeJob():
                from trainshed.runtime.serving.deploy import deploy

                return deploy(job, reporter, trained=self.done)
            case _:
                assert_never(job)

    def _train(self, job: TrainJob, reporter: Reporter, *, trial: TrialOrigin | None) -> TrainResult:
        self._follow(job, reporter)
        from trainshed.runtime.training.ray_train.spares import Spares  # Ray Train, which other kinds do without

        data = self._data(job.data, reporter.record)
        if job.epochs is not None:
            job = with_steps(job, samples_of(data))
            _resolve(reporter.record, job)
        weights = beginnings_of(filter(None, [job.begins_with]), job, reporter.record, self.done)
        standby = Spares()
        standby.make_ahead(job.workers)  # before what this process itself must load for it
        from trainshed.runtime.training.run import train_job

        code = self.submission.code
        return train_job(job, reporter, data=data, weights=weights, code=code, trial=trial, standby=standby)

    def _reference(self, job: ReferenceJob, reporter: Reporter) -> PrepareResult:
        from trainshed.runtime.training.ray_train.spares import Spares

        data = self._data(job.data, reporter.record)
        begins = filter(None, [job.model.reference])
        weights = beginnings_of(begins, job.training, reporter.record, self.done)
        standby = Spares()
        standby.make_ahead(job.workers)
        from trainshed.runtime.training.reference import reference_job

        return reference_job(job, reporter, data=data, weights=weights, standby=standby)

    def _evaluate(self, job: EvaluateJob, reporter: Reporter) -> EvaluationResult:
        from trainshed.runtime.training.ray_train.spares import Spares

        data = self._data(job.data, reporter.record)
        asked = [reference.target for reference in references(job) if reference.begins == "model"]
        weights = weights_of(reporter.record, asked, lambda one: find_weights(one, self.storage, self.done))
        standby = Spares()
        standby.make_ahead(job.workers)
        from trainshed.runtime.evaluation.run import evaluate_job

        return evaluate_job(job, reporter, data=data, weights=weights, standby=standby)

    def _follow(self, job: TrainJob | TuneJob, reporter: Reporter) -> None:
        """Trackers see the run from here on. Raises UsageError where one cannot."""
        asked = trackers(job.report_to)
        check_trackers(asked, reporter.record)
        self.following = Following(reporter.record, asked, reporter)

    def _data(self, target: str, record: Record) -> Record:
        """The prepare run that a training reads, and read when it began."""
        runs = runs_of(record, [target], lambda reference: self._find(reference, "prepare"))
        bind(record, runs)
        return runs[target]

    def _with_tokenizer(self, job: PrepareJob, record: Record) -> PrepareJob:
        """The job with the folder of the tokenizer that other data has, where it names that."""
        if not isinstance(job.tokenizer, SharedTokenizer):
            return job
        place = self.storage.address(f"{prepared(self._data(job.tokenizer.data, record)).data}/tokenizer")
        return job.model_copy(update={"tokenizer": PretrainedTokenizer(name_or_path=place)})

    def _find(self, target: str, kind: str) -> Record:
        """`run://NAME`: a document of this submission first, then the newest one in storage."""
        return self.done.get(target.removeprefix("run://")) or find_finished(self.storage, target, kind)

    def _end(
        self, reporter: Reporter, end: EndFacts, result: Result | None = None, *, wait_s: float = ENDING_S
    ) -> RunEnd:
        reporter.record.finish(end, result)
        self.running = None
        if self.following is not None:
            self.following.end(wait_s)
            self.following = None
        said = end.as_json() | ({} if result is None else result.as_json())
        told = {key: said[key] for key in ("cause", "log", "url", "model", "registered", "reused") if key in said}
        reporter(End.model_validate({"state": end.state, **told}))
        reporter.close()
        return end.state


def _resolve(record: Record, job: TrainJob | TuneJob, **more: JsonValue) -> None:
    """Writes into job.json what the job has come to; what was asked stands beside it."""
    facts = record.job
    said = job.model_dump(mode="json", by_alias=True)
    resolved = {**({} if more else {"asked": facts["job"]}), **facts, **more, "job": said}
    record.begin(**{key: resolved[key] for key in resolved if key != "run_id"})


def _end_of(result: Result) -> EndFacts:
    """How a document ends that came to a result: a sweep may have failed, or reached its budget, all the same."""
    match result:
        case SweepResult(failure=str(cause)):
            return EndFacts(state="failed", cause=cause)
        case EvaluationResult(failure=str(cause)):
            return EndFacts(state="failed", cause=cause)
        case SweepResult(limit=str(cause)):
            return EndFacts(state="budget_reached", cause=cause)
        case _:
            return EndFacts(state="succeeded")


def _attempt(arguments: list[str]) -> tuple[int, str | None]:
    """Which start of this driver it is, and what ended the one before."""
    if "--attempt" not in arguments:
        return 1, None
    return int(arguments[arguments.index("--attempt") + 1]), arguments[arguments.index("--after") + 1]


if __name__ == "__main__":
    code = 1
    try:
        code = main(sys.argv[1:])
    except PlatformError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    # Ray's and DeepSpeed's exit hooks can hang after a failed run; everything is written by now.
    ray.shutdown()
    os._exit(code)
