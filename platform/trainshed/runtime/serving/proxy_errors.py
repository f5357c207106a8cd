"""What Serve's own proxy says when no replica could: the errors that clients of the OpenAI API can read.

Serve answers in plain text, or ends a request whose replica died with an empty 500. Answers of replicas pass
unchanged.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainshed.runtime.serving.refusal import REPLICA_RETRY_S, Refusal

_OWN_PATHS = "/-/"
"""Serve's own pages, for probes of the cluster."""
_AGAIN = (408, 429, 503)
_SHOWN_CHARACTERS = 300


class ProxyErrors:
    """Turns errors that are no JSON into JSON, with Retry-After where asking again helps."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection; anything but HTTP passes."""
        if scope["type"] != "http" or scope["path"].startswith(_OWN_PATHS):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        await self._app(scope, receive, answer)
        if answer.began:
            return
        await _refusal(scope, answer).response()(scope, receive, send)


class _Answer:
    """Sends what may be sent, and keeps an error that clients could not read."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.began = False
        self.status: int | None = None
        self.retry_after: str | None = None
        self.text = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self.began:
            headers = Headers(raw=[(bytes(name), bytes(value)) for name, value in message.get("headers", ())])
            if message["status"] < 400 or headers.get("content-type", "").startswith("application/json"):
                self.began = True
            else:
                self.status = message["status"]
                self.retry_after = headers.get("retry-after")
        if self.began:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self.text += bytes(message.get("body", b"")).decode(errors="replace")[:_SHOWN_CHARACTERS]


def _refusal(scope: Scope, answer: _Answer) -> Refusal:
    given = answer.retry_after or ""
    again = int(given) if given.isdecimal() else REPLICA_RETRY_S
    said = " ".join(answer.text.split())
    match answer.status:
        case None:
            message = "the replica that was to answer has stopped; ask again"
            return Refusal(503, message, code="replica_stopped", retry_after_s=again)
        case 404:
            return Refusal(404, f"{scope['method']} {scope['path']}: no endpoint has this path", code="not_found")
        case status if status in _AGAIN:
            code = "timeout" if status == 408 else "unavailable"
            return Refusal(status, said or "no replica can answer now", code=code, retry_after_s=again)
        case status:
            return Refusal(status, said or "the request failed before a replica saw it")
