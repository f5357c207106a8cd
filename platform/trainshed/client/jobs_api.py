"""Ray's Jobs REST interface: send a package, submit, ask, stop, read a job's log.

Knows the addresses and answers of Ray's dashboard (docs.ray.io, "Ray Jobs REST API", and the state API's log route).
Knows nothing of what a job does or prints. Every request made here may be repeated without harm, so each is tried
again, a few times, when the connection breaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from trainshed.client.package import Package
from trainshed.client.ray_answers import JobStatus, Node, job_status, node
from trainshed.errors import ClusterError, UsageError
from trainshed.patience import patience

ATTEMPTS = 3
RETRY_PAUSE_S = 0.2
# Ray waits up to 10 s for the agent that starts the job before it answers.
SUBMIT_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 120.0
# What Ray's dashboard takes in one request.
MAX_PACKAGE_MB = 100
# What a proxy in front of the cluster answers while the cluster is away.
_PASSING = frozenset({502, 503, 504})


class Unreachable(ClusterError):
    """The control plane does not answer, or answers that it cannot now."""


class UnknownJob(UsageError):
    """The cluster answers, and has no job of that id."""


class LogRefused(Unreachable):
    """The control plane answers, but does not reach the log: its node has gone, or is about to."""


class JobsClient:
    """One connection pool to one cluster's dashboard."""

    def __init__(self, url: str, token: str | None, timeout_s: float = 10.0) -> None:
        """`timeout_s`: for an answer, on a quiet machine."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy named in the environment cannot reach this machine's own loopback.
        loopback = urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
        self._timeout_s = patience(timeout_s).seconds
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=self._timeout_s, trust_env=not loopback)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def version(self) -> str:
        """Ray's version on the cluster."""
        answer = self._ask("GET", "/api/version")
        with self._as_of_ray():
            return str(answer.json()["ray_version"])

    def nodes(self) -> list[Node]:
        """The machines that are alive now."""
        answer = self._ask("GET", "/api/v0/nodes")
        with self._as_of_ray():
            rows = answer.json()["data"]["result"]["result"]
            return [node(row) for row in rows if row["state"] == "ALIVE"]

    def agent_answers(self, node: Node) -> bool:
        """Whether the agent of `node` has reported for work: the head's agent starts the jobs."""
        params = {"node_id": node.node_id, "glob": "no-such-log"}
        return self._send("GET", "/api/v0/logs", params=params).is_success

    def ready_head(self) -> Node | None:
        """The head, once its agent has reported for work: until then a submission ends in "No available agent"."""
        return next((one for one in self.nodes() if one.head and self.agent_answers(one)), None)

    def serve_messages(self, application: str) -> tuple[str, ...]:
        """What Serve says of an application and its deployments now; nothing where all is well, or it has none."""
        answer = self._ask("GET", "/api/serve/applications/")
        with self._as_of_ray():
            found = answer.json()["applications"].get(application)
            if found is None:
                return ()
            deployments = [str(one.get("message") or "") for one in found["deployments"].values()]
            return (*deployments, str(found.get("message") or ""))

    def upload(self, package: Package) -> bool:
        """Send `package` unless the cluster has it already; returns whether it was sent."""
        size_mb = len(package.content) / 1e6
        if size_mb > MAX_PACKAGE_MB:
            raise UsageError(
                f"package: {size_mb:.0f} MB zipped, but Ray takes at most {MAX_PACKAGE_MB} MB; "
                "keep data and model files out of the code directory and name them by path or URL"
            )
        path = "/api/packages/" + package.uri.replace("://", "/")
        if self._send("GET", path).is_success:  # Ray keeps what was asked for from being collected for 10 minutes
            return False
        self._ask("PUT", path, content=package.content, timeout=patience(UPLOAD_TIMEOUT_S).seconds)
        return True

    def submit(
        self,
        submission_id: str,
        entrypoint: str,
        runtime_env: Mapping[str, Any],
        metadata: Mapping[str, str],
    ) -> None:
        """Start a job under an id chosen here. Submitting the same id again changes nothing and is not an error."""
        body = {
            "submission_id": submission_id,
            "entrypoint": entrypoint,
            "runtime_env": dict(runtime_env),
            "metadata": dict(metadata),
        }
        answer = self._send("POST", "/api/jobs/", json=body, timeout=patience(SUBMIT_TIMEOUT_S).seconds)
        if answer.is_error and self._knows(submission_id):
            return
        self._check(answer)

    def _has_log(self, node_id: str, name: str) -> bool:
        """Whether the node lists that file; True where it does not say."""
        answer = self._send("GET", "/api/v0/logs", params={"node_id": node_id, "glob": name})
        if not answer.is_success:
            return True
        with self._as_of_ray():
            return any(name in names for names in answer.json()["data"]["result"].values())

    def _knows(self, submission_id: str) -> bool:
        return self._send("GET", f"/api/jobs/{quote(submission_id, safe='')}").is_success

    def status(self, submission_id: str) -> JobStatus:
        """What Ray knows of a job; UnknownJob if it knows none of that id."""
        answer = self._send("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            self.version()  # anything else that listens here now has no such page either
            raise UnknownJob(f"the cluster at {self.url} knows no job {submission_id!r}")
        self._check(answer)
        with self._as_of_ray():
            return job_status(answer.json())

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end; False if Ray had nothing to stop.

        Ray answers before the job has ended, and forgets the request while the job's supervisor has not yet started
        (PENDING): ask again until `status` is terminal.
        """
        answer = self._send("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownJob(f"the cluster at {self.url} knows no job {submission_id!r}")
        self._check(answer)
        with self._as_of_ray():
            return bool(answer.json()["stopped"])

    def list(self) -> tuple[JobStatus, ...]:
        """Every submitted job that the cluster remembers, the latest first."""
        answer = self._ask("GET", "/api/jobs/")
        with self._as_of_ray():
            jobs = [job_status(row) for row in answer.json() if row["type"] == "SUBMISSION"]
        return tuple(sorted(jobs, key=lambda job: job.started_at or 0.0, reverse=True))

    def log_tail(self, submission_id: str, lines: int, *, node_id: str | None = None) -> str:
        """The last `lines` lines of what the job's driver printed (all of them for -1); "" before it has begun.

        `node_id`, where the caller knows it from `status`, saves a request.
        """
        node_id = node_id or self.status(submission_id).node_id
        if node_id is None:
            return ""
        params = {"node_id": node_id, "filename": f"job-driver-{submission_id}.log", "lines": str(lines)}
        answer = self._send("GET", "/api/v0/logs/file", params=params)
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            if not self._has_log(node_id, params["filename"]):
                return ""
            raise LogRefused(f"the log of {submission_id} cannot be read: {_last_words(answer)}")
        return self._check(answer).content.decode("utf-8", errors="replace")

    def logs(self, submission_id: str, *, node_id: str | None = None) -> str:
        """All that the job's driver printed."""
        return self.log_tail(submission_id, -1, node_id=node_id)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self._check(self._send(method, path, **request))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        for pause_s in _pauses():
            try:
                answer = self._http.request(method, path, **request)
                break
            except httpx.TransportError as error:
                # A timeout has had its patience already; a broken connection costs nothing to try again.
                if pause_s is None or (isinstance(error, httpx.TimeoutException) and method == "GET"):
                    limit_s = float(request.get("timeout", self._timeout_s))
                    within = f" within {limit_s:.0f} s" if isinstance(error, httpx.TimeoutException) else ""
                    raise Unreachable(f"{self.url} does not answer{within}: {_cause(error)}") from error
                time.sleep(pause_s)
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise ClusterError(
                f"the cluster at {self.url} refused the token ({answer.text.strip()[:200]}); set RAY_AUTH_TOKEN to the "
                "cluster's token, or RAY_AUTH_TOKEN_PATH to the file that holds it"
            )
        return answer

    @contextmanager
    def _as_of_ray(self) -> Iterator[None]:
        """An answer of another shape is not Ray's: something else listens at that address."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ClusterError(f"what answers at {self.url} is no Ray dashboard ({type(error).__name__})") from error

    def _check(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        request = answer.request
        said = f"{request.method} {request.url.path}: {answer.status_code}: {_last_words(answer)}"
        passing = answer.status_code in _PASSING or (answer.is_server_error and request.method == "GET")
        if passing:
            raise Unreachable(f"the control plane at {self.url} is in trouble: {said}")
        raise ClusterError(f"the cluster at {self.url} refused the request: {said}")


def _pauses() -> Iterator[float | None]:
    """How long to wait after each attempt; None after the last."""
    yield from (RETRY_PAUSE_S * 2**attempt for attempt in range(ATTEMPTS - 1))
    yield None


def _cause(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _last_words(answer: httpx.Response) -> str:
    """The end of a traceback, which Ray sends as it is, is its cause."""
    lines = [line.strip() for line in answer.text.splitlines() if line.strip(" .")]
    return lines[-1][:500] if lines else answer.reason_phrase
