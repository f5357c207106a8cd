"""The guard as a bare ASGI layer, in front of an application that says what it received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from trainshed.runtime.serving.guard import Guard

KEY = "a-key-of-some-length"
BEARER = {"Authorization": f"Bearer {KEY}"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def guarded(**changes: Any) -> Guard:
    settings = {"key_hashes": (sha256(b"other").hexdigest(), sha256(KEY.encode()).hexdigest()), "open_access": False}
    return Guard(echo, **{**settings, "max_body_bytes": 100, **changes})


def ask(guard: Guard, method: str, path: str, **how: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(guard, root_path=how.pop("root_path", ""))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await client.request(method, path, **how)

    return asyncio.run(once())


def test_an_accepted_key_lets_the_body_through() -> None:
    answer = ask(guarded(), "POST", "/v1/completions", headers=BEARER, content=b"hello")
    assert (answer.status_code, answer.content) == (200, b"hello")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY} {KEY}", f"Bearer {KEY[:-1]}"],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", "/nowhere", "/health/", "/v1/health", "//health"])
def test_any_other_header_gets_401_on_every_path(header: str | None, path: str) -> None:
    answer = ask(guarded(), "POST", path, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 401), ("PUT", 401)])
def test_only_reading_health_needs_no_key(method: str, status: int) -> None:
    assert ask(guarded(), method, "/health").status_code == status


@pytest.mark.parametrize(("path", "status"), [("/app/health", 200), ("/app/app/health", 401), ("/app/v1/models", 401)])
def test_health_is_found_below_the_prefix_of_the_application(path: str, status: int) -> None:
    assert ask(guarded(), "GET", path, root_path="/app").status_code == status


def test_open_access_asks_for_no_key() -> None:
    assert ask(guarded(key_hashes=(), open_access=True), "GET", "/v1/models").status_code == 200


def test_no_hashes_without_open_access_lets_nobody_in() -> None:
    assert ask(guarded(key_hashes=()), "GET", "/v1/models", headers=BEARER).status_code == 401


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
def test_a_body_over_the_limit_gets_413(size: int, status: int) -> None:
    assert ask(guarded(), "POST", "/", headers=BEARER, content=b"x" * size).status_code == status


def test_a_length_of_thousands_of_digits_gets_413() -> None:
    headers = {**BEARER, "Content-Length": "9" * 5000}
    assert ask(guarded(), "POST", "/", headers=headers, content=b"x").status_code == 413


@pytest.mark.parametrize(("chunks", "status"), [(5, 200), (6, 413)])
def test_a_body_of_unannounced_length_is_cut_off_at_the_limit(chunks: int, status: int) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield b"x" * 20

    answer = ask(guarded(), "POST", "/", headers=BEARER, content=stream())
    assert answer.status_code == status
    assert len(answer.content) == 100 if status == 200 else answer.json()["error"]["code"] == "request_too_large"


def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read of a websocket")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guarded()({"type": "websocket", "path": "/health", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
