"""The Record: one run's directory, and finding runs again by id or name.

    runs/<run_id>/job.json  events.jsonl  metrics.jsonl  logs/  checkpoints/  model/  result.json  lineage.json
                  stop.json, where somebody wants it to end

A run's state is what its files say: no result.json means waiting or running; result.json is written once, last.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainshed.errors import UsageError
from trainshed.record.journal import read_lines
from trainshed.record.storage import Storage

STOP = "stop.json"
ENDED = ("succeeded", "failed", "stopped", "skipped", "budget_reached")
HANDED = ("cluster", "handed_over_at")
"""What job.json says of the newest submission beside its id: where to, and when, where that is not `created_at`."""
USABLE = ("succeeded", "budget_reached")
"""What later documents can stand on: a sweep that reached its budget has kept the best so far."""


def now() -> str:
    """The time as it is written in every file: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run_id(name: str) -> str:
    """A fresh id that sorts by time within a name: two submissions of one name never share a directory."""
    return f"{name}-{datetime.now(UTC):%y%m%d-%H%M%S}-{secrets.token_hex(4)}"


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
        """job.json: the resolved job with run_id, submission_id, created_at, number and code."""
        found = self.storage.read_json(self.at("job.json"))
        if found is None:
            raise UsageError(f"no run {self.run_id!r} in {self.storage.uri}; `platform runs` lists them")
        return dict(found)

    @property
    def result(self) -> dict[str, Any] | None:
        """result.json, or None while the run has not ended."""
        found = self.storage.read_json(self.at("result.json"))
        return None if found is None else dict(found)

    @property
    def lineage(self) -> dict[str, Any] | None:
        """lineage.json, or None where the run made nothing."""
        return self.storage.read_json(self.at("lineage.json")) or None

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event so far."""
        return read_lines(self.storage, self.at("events.jsonl"))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Every row of metrics so far, one for each optimizer step that was kept."""
        return read_lines(self.storage, self.at("metrics.jsonl"))

    @property
    def state(self) -> str:
        """waiting, running, succeeded, failed, stopped, skipped or budget_reached."""
        if (result := self.result) is not None:
            return str(result["state"])
        return "running" if self.storage.exists(self.at("events.jsonl")) else "waiting"

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody wants this run to save and end."""
        return self.storage.exists(self.at(STOP))

    def ask_to_stop(self) -> None:
        """Leaves word for the run that it should save and end; its driver looks once a second."""
        self.storage.write_json(self.at(STOP), {"asked_at": now()})

    def reopen(self, submission_id: str, job: dict[str, Any], **handed: Any) -> None:
        """An ended or lost run goes on under another submission; what ended it stays in job.json.

        `handed`: to which cluster it goes now, and when.
        """
        facts = self.job
        before = {"submission_id": facts["submission_id"], "result": self.result, "job": facts["job"]}
        before |= {key: facts[key] for key in handed if key in facts}
        now = {**handed, "submission_id": submission_id, "job": job}
        self.storage.delete(self.at(STOP))
        self.storage.write_json(self.at("job.json"), {**facts, **now, "before": [*facts.get("before", []), before]})
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

    def begin(self, job: dict[str, Any], **facts: Any) -> None:
        """Writes job.json; called again when the job is resolved further."""
        self.storage.write_json(self.at("job.json"), {"run_id": self.run_id, **facts, "job": job})

    def finish(self, state: str, **facts: Any) -> None:
        """Writes result.json: the run has ended."""
        self.storage.write_json(self.at("result.json"), {"state": state, "ended_at": now(), **facts})


def all_runs(storage: Storage) -> list[Record]:
    """Every run, newest first."""
    found = [Record(storage, name) for name in storage.names("runs")]
    dated = [(str(job["created_at"]), int(job["number"]), run) for run, job in _with_jobs(found)]
    return [run for _, _, run in sorted(dated, key=lambda row: row[:2], reverse=True)]


def find_run(storage: Storage, target: str) -> Record:
    """The run with this id, or the newest run of this name.

    Raises:
        UsageError: there is neither.
    """
    if storage.exists(f"runs/{target}/job.json"):
        return Record(storage, target)
    for run in all_runs(storage):
        if run.job["job"]["name"] == target:
            return run
    raise UsageError(f"no run {target!r} in {storage.uri}; `platform runs` lists them")


def find_finished(storage: Storage, target: str, kind: str) -> Record:
    """What `run://TARGET` means: the run of that id, or the newest run of that name and kind that can be built on.

    Raises:
        UsageError: there is none, or it is of another kind, or none of them succeeded.
    """
    name = target.removeprefix("run://")
    named = [run for run in all_runs(storage) if run.run_id == name or run.job["job"]["name"] == name]
    if not named:
        raise UsageError(f"run://{name} is neither an earlier document here nor a run in {storage.uri}")
    fitting = [run for run in named if run.job["job"]["kind"] == kind]
    if not fitting:
        raise UsageError(f"run://{name} is a {named[0].job['job']['kind']} run; a {kind} run is needed here")
    for run in fitting:
        if _can_be_built_on(run, kind):
            return run
    missing = "has a best trial" if kind == "tune" else "has succeeded"
    raise UsageError(
        f"run://{name}: no run of that name {missing}; the newest, {fitting[0].run_id}, is {fitting[0].state}"
    )


def _can_be_built_on(run: Record, kind: str) -> bool:
    """A sweep that could not register its model has a best trial all the same; one whose budget was too small, none."""
    return bool((run.result or {}).get("best")) if kind == "tune" else run.state in USABLE


def _with_jobs(runs: list[Record]) -> Iterator[tuple[Record, dict[str, Any]]]:
    for run in runs:
        job = run.storage.read_json(run.at("job.json"))
        if job is not None:
            yield run, job
