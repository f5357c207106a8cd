"""The layer around Serve's proxy, in front of applications that answer as Serve 2.60 does."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from ray.serve._private.http_util import convert_object_to_asgi_messages, retry_after_headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trainshed.runtime.serving.proxy_errors import ProxyErrors


def serve_that_says(*messages: Any) -> ASGIApp:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return answer


def ask(app: ASGIApp, path: str = "/tiny/v1/completions") -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(ProxyErrors(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await client.post(path)

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("status", "said", "headers", "code", "retry_after"),
    [
        (503, "Request dropped due to backpressure", retry_after_headers(2), "unavailable", "2"),
        (503, "Deployment is unavailable because it failed to deploy", None, "unavailable", "5"),
        (429, "Request dropped", retry_after_headers(1.5), "unavailable", "2"),
        (408, "Request 17 timed out after 5s.", None, "timeout", "5"),
        (404, "Path '/x' not found. Ping http://.../-/routes for available routes.", None, "not_found", None),
        (500, "Traceback\n  of Serve", None, None, None),
        (405, "Method Not Allowed", None, None, None),
    ],
)
def test_an_error_of_serve_becomes_one_that_clients_read(
    status: int, said: str, headers: Any, code: str | None, retry_after: str | None
) -> None:
    answer = ask(serve_that_says(*convert_object_to_asgi_messages(said, status, headers)))
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert "\n" not in error["message"]
    assert answer.headers.get("retry-after") == retry_after


def test_a_replica_that_died_before_it_answered_is_said() -> None:
    answer = ask(serve_that_says())
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "replica_stopped"
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(("status", "kind"), [(200, "text/event-stream"), (400, "application/json"), (499, None)])
def test_what_a_replica_answers_passes_unchanged(status: int, kind: str | None) -> None:
    headers = [[b"x-own", b"1"], *([[b"content-type", kind.encode()]] if kind else [])]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    pieces = [{"type": "http.response.body", "body": part, "more_body": part != b"3"} for part in (b"1", b"2", b"3")]
    answer = ask(serve_that_says(start, *pieces))
    if kind is not None:
        assert (answer.status_code, answer.content, answer.headers["x-own"]) == (status, b"123", "1")
    else:
        assert answer.json()["error"]["message"] == "123"


def test_pages_of_serve_itself_are_left_alone() -> None:
    answer = ask(serve_that_says(*convert_object_to_asgi_messages("draining", 503)), path="/-/healthz")
    assert (answer.status_code, answer.text) == (503, "draining")
