"""`GET /NAME/health` answered by Serve's proxy, with what a replica said at most a few seconds ago.

A replica that works for 160 clients answers a probe when its turn comes, and a probe that waits is a probe that fails.
The proxy asks the replica once a second for as long as somebody asks the proxy, and answers from what it heard.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRESH_S = 5.0
"""An answer older than that is not given any more: the probe waits for the replica itself."""
_ASK_EVERY_S = 1.0
_ASKED_WITHIN_S = 120.0
"""The proxy stops asking when nobody has asked it for so long."""
_HEALTH = re.compile(r"/[^/]+/health")


class KnownHealth:
    """Answers probes from memory where that is fresh; `Cache-Control: no-cache` reaches the replica always.

    Only a healthy answer is kept, so that an endpoint that fails, or is gone, is asked again by every probe.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._known: dict[str, _Known] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection; anything but a probe of an endpoint passes."""
        if not _is_probe(scope):
            await self._app(scope, receive, send)
            return
        path = str(scope["path"])
        known = self._known.get(path)
        if known is None or not known.is_fresh:
            known = await self._ask(scope)
            if not known.is_healthy:
                await known.send_to(scope, send)
                return
            known = self._keep(path, known, scope)
        known.asked_at = time.monotonic()
        await known.send_to(scope, send)

    def _keep(self, path: str, found: _Known, scope: Scope) -> _Known:
        """One memory for each path, kept fresh by one task."""
        if before := self._known.get(path):
            before.renew(found)
            return before
        self._known[path] = found
        found.keeper = asyncio.create_task(self._keep_asking(path, found, dict(scope)))
        return found

    async def _keep_asking(self, path: str, known: _Known, scope: Scope) -> None:
        try:
            while time.monotonic() - known.asked_at < _ASKED_WITHIN_S:
                await asyncio.sleep(_ASK_EVERY_S)
                found = await self._ask(scope)
                if not found.is_healthy:
                    return
                known.renew(found)
        finally:
            del self._known[path]

    async def _ask(self, scope: Scope) -> _Known:
        """The replica's own answer, to a question that belongs to no client: nobody can hang up on it."""
        found = _Known()
        own = {**scope, "method": "GET", "headers": [(b"host", b"localhost")], "query_string": b"", "state": {}}
        await self._app(own, _no_body(), found.hear)
        return found


@dataclass
class _Known:
    """One whole answer of an endpoint."""

    heard_at: float = field(default_factory=time.monotonic)
    """When it was asked for, which is before the replica looked."""
    asked_at: float = field(default_factory=time.monotonic)
    status: int = 503
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    keeper: asyncio.Task[None] | None = None

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.heard_at < FRESH_S

    @property
    def is_healthy(self) -> bool:
        return self.status == 200

    async def hear(self, message: Message) -> None:
        """Takes one message of the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.body += bytes(message.get("body", b""))

    def renew(self, found: _Known) -> None:
        """Takes over what was heard later."""
        self.heard_at, self.headers, self.body = found.heard_at, found.headers, found.body

    async def send_to(self, scope: Scope, send: Send) -> None:
        """Sends it, with its age in seconds."""
        headers = MutableHeaders(raw=list(self.headers))
        headers["age"] = str(int(time.monotonic() - self.heard_at))
        await send({"type": "http.response.start", "status": self.status, "headers": headers.raw})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.body})


def _is_probe(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not _HEALTH.fullmatch(scope["path"]):
        return False
    return "no-cache" not in Headers(scope=scope).get("cache-control", "").lower()


def _no_body() -> Receive:
    """An empty request whose client never leaves."""
    first: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if first:
            return first.pop()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    return receive
