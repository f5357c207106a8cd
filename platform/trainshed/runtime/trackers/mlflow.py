"""MLflow: a run on its server, found again by a tag; a trial is a child of its sweep's run.

MLflow forgets no figure: steps come here once no restart does them again. A figure that is sent twice, with the same
time and step, stands there once. The last step that was sent is a tag, written in the same request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from trainshed.record.metric_rows import MetricRow
from trainshed.record.tracking import TrackedFacts
from trainshed.runtime.trackers.tracker import Ending, Head, Outcome, Setting, Unavailable, figures_of, first_line
from trainshed.spec.training.trackers import Mlflow

KEY_TAG = "trainshed.key"
SENT_TAG = "trainshed.sent"
PARENT_TAG = "mlflow.parentRunId"
CHANGED = "trainshed.changed."
"""A parameter cannot change there: what a resumed run has changed is a tag."""
REQUEST = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Whoever calls asks again, and later; MLflow's own retries would take minutes."""
FIGURES_AT_ONCE = 900
PARAMS_AT_ONCE = 100
"""MLflow takes 1000 figures, parameters and tags in a request, of which 100 parameters."""
LONGEST = {"param": 6000, "tag": 5000}
NOT_IN_A_NAME = re.compile(r"[^\w\-./ :]")
STATUS = {Outcome.FINISHED: "FINISHED", Outcome.FAILED: "FAILED", Outcome.KILLED: "KILLED"}


class MlflowTracker:
    """One experiment on one server."""

    def __init__(self, settings: Mlflow) -> None:
        os.environ.update(REQUEST)  # of this process, which does nothing else
        self._settings = settings
        self._uri = settings.tracking_uri or os.environ["MLFLOW_TRACKING_URI"]
        self._client = MlflowClient(tracking_uri=self._uri)

    def open(self, head: Head, known: TrackedFacts | None) -> MlflowRun:
        """The run that the Record names, or that has this head's key; else a new one."""
        with _answered():
            experiment = self._experiment()
            run = self._named(head, known) or self._found(head, experiment) or self._made(head, experiment)
            opened = MlflowRun(self._client, run, self._where(experiment, run))
            opened.begin(head)
            return opened

    def close(self) -> None:
        """Does nothing: every request was answered."""

    def _experiment(self) -> str:
        name = self._settings.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another run has made it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _named(self, head: Head, known: TrackedFacts | None) -> Run | None:
        if known is None:
            return None
        try:
            run = self._client.get_run(known.run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        ours = run.data.tags.get(KEY_TAG) == head.key and run.info.lifecycle_stage == "active"
        return run if ours else None

    def _found(self, head: Head, experiment: str) -> Run | None:
        found = self._client.search_runs(
            [experiment], f"tags.`{KEY_TAG}` = '{head.key}'", run_view_type=ViewType.ACTIVE_ONLY, max_results=1
        )
        return found[0] if found else None

    def _made(self, head: Head, experiment: str) -> Run:
        tags = {KEY_TAG: head.key, **({} if head.parent is None else {PARENT_TAG: head.parent})}
        return self._client.create_run(experiment, tags=tags, run_name=head.name)

    def _where(self, experiment: str, run: Run) -> str:
        return f"{self._uri.rstrip('/')}/#/experiments/{experiment}/runs/{run.info.run_id}"


class MlflowRun:
    """One run on the server."""

    def __init__(self, client: MlflowClient, run: Run, where: str) -> None:
        self._client = client
        self._run = run
        self.id = str(run.info.run_id)
        self.where = where
        self.stands = int(run.data.tags.get(SENT_TAG, "0"))

    def begin(self, head: Head) -> None:
        """Sends the parameters that are not there yet, and that it runs."""
        there = self._run.data.params
        asked = {_name(path): _text(value) for path, value in head.params.items()}
        changed = {f"{CHANGED}{path}": value for path, value in asked.items() if there.get(path, value) != value}
        missing = [Param(path, value) for path, value in asked.items() if path not in there]
        for first in range(0, len(missing), PARAMS_AT_ONCE):
            self._client.log_batch(self.id, params=missing[first : first + PARAMS_AT_ONCE], synchronous=True)
        self._client.log_batch(self.id, tags=_tags({**head.tags, **changed}), synchronous=True)
        if self._run.info.status != "RUNNING":
            self._client.update_run(self.id, status="RUNNING")

    def log(self, rows: Sequence[MetricRow]) -> None:
        """Sends the figures, and which step was the last."""
        held: list[Metric] = []
        last = None
        for row in rows:
            figures = [
                Metric(_name(name), value, _ms(row.measured("time")), row.step)
                for name, value in figures_of(row).items()
            ]
            if last is not None and len(held) + len(figures) > FIGURES_AT_ONCE:
                self._send(held, last)
                held = []
            held += figures
            last = row.step
        if last is not None:
            self._send(held, last)

    def end(self, ending: Ending) -> None:
        """Sends what came of the run, and its status."""
        figures = [
            Metric(_name(name), value, _ms(ending.time_s), ending.step) for name, value in ending.figures.items()
        ]
        with _answered():
            self._client.log_batch(self.id, metrics=figures, tags=_tags(ending.tags), synchronous=True)
            self._client.set_terminated(self.id, STATUS[ending.outcome], end_time=_ms(ending.time_s))

    def leave(self) -> None:
        """Does nothing: every request was answered."""

    def _send(self, figures: Sequence[Metric], last: int) -> None:
        with _answered():
            self._client.log_batch(self.id, metrics=figures, tags=_tags({SENT_TAG: str(last)}), synchronous=True)


@contextmanager
def _answered() -> Iterator[None]:
    """Makes the errors of MLflow, and of the network below it, ours."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise Unavailable(first_line(error)) from error


def _tags(said: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(_name(name), value[: LONGEST["tag"]]) for name, value in said.items()]


def _name(path: str) -> str:
    return NOT_IN_A_NAME.sub("_", path)[:250]


def _text(value: Setting) -> str:
    return str(value)[: LONGEST["param"]]


def _ms(time_s: float | None) -> int:
    return int((time_s or 0.0) * 1000)
