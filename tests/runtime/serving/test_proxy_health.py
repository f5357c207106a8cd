"""Probes that Serve's proxy answers from memory, in front of an application that may be slow, sick or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from trainshed.runtime.serving import proxy_health
from trainshed.runtime.serving.proxy_health import KnownHealth

WAIT_S = 10.0


class Replicas:
    """An application whose answers to probes wait while `free` is not set."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.status = 200
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((scope["method"], scope["path"]))
        await self.free.wait()
        await JSONResponse({"status": self.status}, self.status)(scope, receive, send)

    async def wait_for_questions(self, number: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.asked) < number:
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_health, "_ASK_EVERY_S", 0.05)


def probing(test: Callable[[Replicas, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        replicas = Replicas()
        transport = httpx.ASGITransport(KnownHealth(replicas))
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            await test(replicas, client)

    asyncio.run(run())


def test_a_probe_does_not_wait_for_a_replica_that_answered_a_moment_ago() -> None:
    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        assert (await client.get("/tiny/health")).json() == {"status": 200}
        replicas.free.clear()
        await replicas.wait_for_questions(2)  # the proxy's own, which waits now
        for _ in range(20):
            answer = await asyncio.wait_for(client.get("/tiny/health"), WAIT_S)
            assert (answer.status_code, answer.json(), answer.headers["age"]) == (200, {"status": 200}, "0")
        head = await client.head("/tiny/health")
        assert (head.status_code, head.content) == (200, b"")
        assert len(replicas.asked) == 2

    probing(test)


def test_a_probe_waits_for_a_replica_that_said_nothing_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_health, "FRESH_S", 0.2)

    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        await client.get("/tiny/health")
        replicas.free.clear()
        await asyncio.sleep(0.4)
        waiting = asyncio.create_task(client.get("/tiny/health"))
        assert not (await asyncio.wait({waiting}, timeout=0.3))[0]
        replicas.free.set()
        assert (await asyncio.wait_for(waiting, WAIT_S)).status_code == 200

    probing(test)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_sick_or_deleted_endpoint_is_said_within_one_round_and_never_remembered(status: int) -> None:
    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        await client.get("/tiny/health")
        replicas.status = status
        async with asyncio.timeout(WAIT_S):
            while (await client.get("/tiny/health")).status_code == 200:
                await asyncio.sleep(0.01)
        asked = len(replicas.asked)
        for _ in range(3):
            assert (await client.get("/tiny/health")).status_code == status
        assert len(replicas.asked) == asked + 3
        replicas.status = 200
        assert (await client.get("/tiny/health")).status_code == 200

    probing(test)


def test_who_asks_for_no_cache_reaches_the_replica() -> None:
    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        await client.get("/tiny/health")
        replicas.status = 503
        answer = await client.get("/tiny/health", headers={"Cache-Control": "no-cache"})
        assert answer.status_code == 503

    probing(test)


@pytest.mark.parametrize("path", ["/tiny/v1/models", "/health", "/-/healthz", "/tiny/v1/health", "/tiny/health/"])
def test_nothing_but_a_probe_is_remembered(path: str) -> None:
    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        for _ in range(3):
            assert "age" not in (await client.get(path)).headers
        assert replicas.asked == [("GET", path)] * 3
        assert "age" not in (await client.post("/tiny/health")).headers

    probing(test)


def test_endpoints_do_not_answer_for_each_other() -> None:
    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        await client.get("/tiny/health")
        replicas.status = 503
        assert (await client.get("/other/health")).status_code == 503

    probing(test)


def test_the_proxy_stops_asking_when_nobody_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_health, "_ASKED_WITHIN_S", 0.2)

    async def test(replicas: Replicas, client: httpx.AsyncClient) -> None:
        await client.get("/tiny/health")
        await asyncio.sleep(0.6)
        asked = len(replicas.asked)
        await asyncio.sleep(0.3)
        assert len(replicas.asked) == asked
        assert asked > 2

    probing(test)
