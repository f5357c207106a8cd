"""The life of an endpoint on a Ray cluster: start Serve, run an application, prove that it answers, take it away.

Every failure of Ray becomes one line that says what happened to the replica.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import httpx
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from trainshed.environment import reachable_serve_host, serve_host
from trainshed.errors import ClusterError, PlatformError
from trainshed.patience import Wait
from trainshed.record.replica_cause import replica_cause
from trainshed.runtime.serving.app import build_application
from trainshed.runtime.serving.proxy import PROXY_VARIABLES
from trainshed.runtime.serving.settings import AppSettings

START_S = 180.0
"""What a serve job's `start_timeout_s` is where it says nothing."""

_POLL_S = 0.2
_ANSWER_S = 10.0
"""Of the proxy to a question that costs nothing; it is asked again, until the start has taken too long."""
_PROBE_TOKENS = 4


def start_serve(http_port: int, start_timeout_s: float = START_S) -> None:
    """Starts Serve's controller and its HTTP proxy, where they do not run yet.

    Raises:
        ClusterError: Serve cannot start, or already listens on another port.
    """
    wait = Wait(start_timeout_s)
    try:
        with contextlib.suppress(TimeoutError):  # Serve waits for its proxy for a minute, and leaves it to start on
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": serve_host(), "port": http_port},
                controller_options={"runtime_env": {"env_vars": PROXY_VARIABLES}},
            )
    except (RayError, RayServeException, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray Serve did not start on port {http_port}: {_one_line(str(error))}") from error
    if (port := _get_global_client().http_config.port) != http_port:
        raise ClusterError(
            f"Ray Serve listens on port {port} of this cluster, not on {http_port}: it keeps the port that it was "
            "first started with; set PLATFORM_SERVE_PORT to that one"
        )
    _await_proxy(f"http://{reachable_serve_host()}:{http_port}", wait)


def run_application(settings: AppSettings, http_port: int, start_timeout_s: float = START_S) -> str:
    """Runs the endpoint, or replaces the one of that name, and waits until its replicas are ready.

    Returns the base URL, `http://HOST:PORT/NAME`.

    Raises:
        PlatformError: a replica failed (with its cause), or none was ready in time. A replaced endpoint goes on
            serving its former version.
    """
    start_serve(http_port, start_timeout_s)
    target = serve.RunTarget(
        target=build_application(settings), name=settings.name, route_prefix=f"/{settings.name}", logging_config=None
    )
    try:
        serve.run_many([target], wait_for_applications_running=False)
    except (RayError, RayServeException, RuntimeError, ValueError) as error:
        raise PlatformError(f"endpoint {settings.name}: Ray Serve refuses it: {_one_line(str(error))}") from error
    _await_running(settings.name, Wait(start_timeout_s))
    return f"http://{reachable_serve_host()}:{http_port}/{settings.name}"


def probe(url: str, key: str | None, *, start_timeout_s: float = START_S) -> str:
    """Asks the endpoint for a few tokens over HTTP, as a client would; returns the text.

    Raises:
        PlatformError: it did not answer with a completion in time.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    wait = Wait(start_timeout_s)
    with httpx.Client(base_url=url, headers=headers, timeout=wait.limit.seconds, trust_env=False) as client:
        while True:
            try:
                models = client.get("/v1/models", timeout=_ANSWER_S)
                if models.status_code != 404 or wait.over:
                    break
            except httpx.TransportError as error:
                if wait.over:
                    raise PlatformError(f"{url}: no answer within {wait}, see start_timeout_s: {error}") from error
            time.sleep(_POLL_S)
        model = _answered(models)["data"][0]["id"]
        question = {"model": model, "prompt": "The", "max_tokens": _PROBE_TOKENS, "temperature": 0}
        try:
            answer = client.post("/v1/completions", json=question)
        except httpx.TransportError as error:
            raise PlatformError(f"{url}: no completion within {wait}, see start_timeout_s: {error}") from error
        return str(_answered(answer)["choices"][0]["text"])


def delete_application(name: str) -> None:
    """Takes the endpoint away; nothing happens where there is none.

    Raises:
        PlatformError: its replicas did not stop.
    """
    try:
        serve.delete(name)
    except (RayError, RayServeException, TimeoutError) as error:
        raise PlatformError(f"endpoint {name}: could not be deleted: {_one_line(str(error))}") from error


def _await_proxy(url: str, wait: Wait) -> None:
    while True:
        try:
            httpx.get(f"{url}/-/healthz", timeout=5, trust_env=False)  # 503 until there is a first application
            return
        except httpx.TransportError as error:
            found = str(error)
        if wait.over:
            raise ClusterError(f"Ray Serve's proxy did not answer at {url} within {wait}, see start_timeout_s: {found}")
        time.sleep(_POLL_S)


def _await_running(name: str, wait: Wait) -> None:
    while True:
        try:
            application = serve.status().applications.get(name)
        except RayError as error:
            raise ClusterError(f"endpoint {name}: Ray does not say how it is: {_one_line(str(error))}") from error
        match application.status if application else None:
            case ApplicationStatus.RUNNING:
                return
            case ApplicationStatus.DEPLOY_FAILED | ApplicationStatus.UNHEALTHY:
                raise PlatformError(f"endpoint {name}: its replica failed: {_cause(application)}")
            case status if wait.over:
                state = f"{status.value}: {_cause(application)}" if status else "unknown to Serve"
                raise PlatformError(f"endpoint {name}: not ready within {wait}, see start_timeout_s: {state}")
        time.sleep(_POLL_S)


def _cause(application: ApplicationStatusOverview) -> str:
    messages = [deployment.message for deployment in application.deployments.values()]
    return replica_cause([*messages, application.message]) or "Serve gives no reason"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _answered(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        return dict(response.json())
    raise PlatformError(f"{response.request.url}: {response.status_code} {_one_line(response.text)}")
