"""The Record: one run's directory. `record.index` finds runs again by id or name.

    runs/<run_id>/job.json  events.jsonl  metrics.jsonl  logs/  checkpoints/  model/  result.json  lineage.json
                  stop.json, where somebody wants it to end

A run's state is what its files say: no result.json means waiting or running; result.json is written once, last.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import JsonValue

from trainshed.errors import DamagedFile, UsageError
from trainshed.record.evaluation import EvaluationResult
from trainshed.record.facts import EndFacts, JobFacts, RunEnd, parse_facts, passed_over, read_facts
from trainshed.record.journal import read_lines
from trainshed.record.metric_rows import MetricRow, read_rows
from trainshed.record.results import (
    RESULTS,
    EndpointLineage,
    Lineage,
    Result,
    SweepResult,
)
from trainshed.record.storage import Storage

STOP = "stop.json"
RunState = RunEnd | Literal["waiting", "running", "damaged"]
ENDED: tuple[RunEnd, ...] = get_args(RunEnd)
HANDED = ("cluster", "handed_over_at")
"""What job.json says of the newest submission beside its id: where to, and when, where that is not `created_at`."""
USABLE: tuple[RunEnd, ...] = ("succeeded", "budget_reached")
"""What later documents can stand on: a sweep that reached its budget has kept the best so far."""
TUNE = "tune"
"""Ray Tune's own folder while a sweep runs: a sweep goes on from its trials' files, so none of it is kept."""
DAMAGED = "damaged"
"""The state of a run whose result.json is not what a run writes."""


def now() -> str:
    """The time as it is written in every file: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run_id(name: str) -> str:
    """A fresh id that sorts by time within a name: two submissions of one name never share a directory."""
    return f"{name}-{datetime.now(UTC):%y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def _came_to_something(kind: type[Result], found: dict[str, JsonValue]) -> bool:
    """Whether a run that failed has a result all the same: trials of a sweep, figures of a model that did not pass."""
    return (kind is SweepResult and "trials" in found) or (kind is EvaluationResult and "metrics" in found)


@dataclass(frozen=True)
class Record:
    """One run's directory."""

    storage: Storage
    run_id: str

    def at(self, inner: str = "") -> str:
        """The path of a file of this run, relative to the storage root."""
        return f"runs/{self.run_id}/{inner}" if inner else f"runs/{self.run_id}"

    @property
    def job(self) -> dict[str, Any]:
        """job.json: the resolved job with run_id, submission_id, created_at, number and code; `facts` gives its types.

        Raises:
            UsageError: there is no such run.
            DamagedFile: it is not what a submission writes.
        """
        return self._job()[0]

    @property
    def facts(self) -> JobFacts:
        """job.json as far as every kind of run has it. Raises as `job`."""
        return self._job()[1]

    @property
    def result(self) -> dict[str, JsonValue] | None:
        """result.json, or None while the run has not ended.

        Raises:
            DamagedFile: it is not what a run writes.
        """
        found = self.storage.read_json(self.at("result.json"))
        if found is not None:
            parse_facts(found, EndFacts, self.storage.address(self.at("result.json")))
        return found  # type: ignore[no-any-return]

    @property
    def end(self) -> EndFacts | None:
        """How the run ended; None while it has not. Raises as `result`."""
        found = self.result
        return None if found is None else EndFacts.model_validate(found)

    @property
    def outcome(self) -> Result | None:
        """What the run came to, by its kind; None where it has come to nothing that can be built on.

        Raises:
            DamagedFile: result.json does not say that.
        """
        found = self.result
        kind = RESULTS.get(self.facts.job.kind)
        if found is None or kind is None:
            return None
        if found["state"] not in USABLE and not _came_to_something(kind, found):
            return None
        return parse_facts(found, kind, self.storage.address(self.at("result.json")))

    @property
    def lineage(self) -> Lineage | None:
        """lineage.json of a training or a sweep, or None where the run made nothing.

        Raises:
            DamagedFile: it is not what a run writes.
        """
        return read_facts(self.storage, self.at("lineage.json"), Lineage)

    @property
    def endpoint_lineage(self) -> EndpointLineage | None:
        """The same of an endpoint. Raises as `lineage`."""
        return read_facts(self.storage, self.at("lineage.json"), EndpointLineage)

    @property
    def events(self) -> list[dict[str, JsonValue]]:
        """Every event so far."""
        return read_lines(self.storage, self.at("events.jsonl"))

    @property
    def metrics(self) -> list[MetricRow]:
        """Every row of metrics so far, one for each optimizer step that was kept."""
        return read_rows(self.storage, self.at("metrics.jsonl"))

    @property
    def state(self) -> RunState:
        """Where the run is; damaged where result.json is not what a run writes."""
        try:
            end = self.end
        except DamagedFile as error:
            passed_over(error)
            return "damaged"
        if end is not None:
            return end.state
        return "running" if self.storage.exists(self.at("events.jsonl")) else "waiting"

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody wants this run to save and end."""
        return self.storage.exists(self.at(STOP))

    def ask_to_stop(self) -> None:
        """Leaves word for the run that it should save and end; its driver looks once a second."""
        self.storage.write_json(self.at(STOP), {"asked_at": now()})

    def reopen(self, submission_id: str, job: dict[str, JsonValue], **handed: Any) -> None:
        """An ended or lost run goes on under another submission; what ended it stays in job.json.

        `handed`: to which cluster it goes now, and when.
        """
        facts = self.job
        before = {"submission_id": facts["submission_id"], "result": self.result, "job": facts["job"]}
        before |= {key: facts[key] for key in handed if key in facts}
        anew = {**handed, "submission_id": submission_id, "job": job}
        self.storage.delete(self.at(STOP))
        self.storage.write_json(self.at("job.json"), {**facts, **anew, "before": [*facts.get("before", []), before]})
        self.storage.delete(self.at("result.json"))

    def close_again(self) -> None:
        """Takes back what `reopen` did: the cluster never got the submission."""
        facts = self.job
        *earlier, before = facts["before"]
        kept = {key: facts[key] for key in facts if key not in HANDED}
        again = {key: before[key] for key in ("submission_id", "job", *HANDED) if key in before}
        self.storage.write_json(self.at("job.json"), {**kept, **again, "before": earlier})
        if before["result"] is not None:
            self.storage.write_json(self.at("result.json"), before["result"])

    def begin(self, job: dict[str, JsonValue], **facts: Any) -> None:
        """Writes job.json; called again when the job is resolved further."""
        self.storage.write_json(self.at("job.json"), {"run_id": self.run_id, **facts, "job": job})

    def finish(self, end: EndFacts, result: Result | None = None) -> None:
        """Writes result.json: the run has ended so, and with a result where it came to something."""
        said = {"state": end.state, "ended_at": now(), **end.as_json(), **({} if result is None else result.as_json())}
        self.storage.write_json(self.at("result.json"), said)

    def _job(self) -> tuple[dict[str, Any], JobFacts]:
        path = self.at("job.json")
        found = self.storage.read_json(path)
        if found is None:
            raise UsageError(f"no run {self.run_id!r} in {self.storage.uri}; `platform runs` lists them")
        return found, parse_facts(found, JobFacts, self.storage.address(path))
