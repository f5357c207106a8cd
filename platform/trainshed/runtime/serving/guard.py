"""Authentication and the body limit, decided before any of the application's code runs.

A pure ASGI layer: it sees every request, also those to paths that do not exist. Only reading `/health` needs no key.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainshed.runtime.serving.refusal import Refusal

_UNAUTHORIZED = Refusal(401, "give a valid API key: Authorization: Bearer KEY", code="invalid_api_key")


class Guard:
    """Lets a request through when it bears an accepted key and its body is not too long."""

    def __init__(self, app: ASGIApp, *, key_hashes: tuple[str, ...], open_access: bool, max_body_bytes: int) -> None:
        self._app = app
        self._key_hashes = key_hashes
        self._open_access = open_access
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection; anything but HTTP and the server's own lifespan is closed."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "only HTTP is served"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_health(scope) and not self._is_allowed(Headers(scope=scope).get("authorization", "")):
            await _UNAUTHORIZED.response({"WWW-Authenticate": "Bearer"})(scope, receive, send)
            return
        body = await self._body(scope, receive)
        if body is None:
            refusal = Refusal(413, f"the body is over {self._max_body_bytes} bytes", code="request_too_large")
            await refusal.response({"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _is_allowed(self, authorization: str) -> bool:
        if self._open_access:
            return True
        scheme, _, key = authorization.partition(" ")
        given = sha256(key.strip().encode()).hexdigest()
        matches = [hmac.compare_digest(given, accepted) for accepted in self._key_hashes]
        return scheme.lower() == "bearer" and any(matches)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None as soon as it is known to be too long."""
        announced = Headers(scope=scope).get("content-length", "0")
        digits = len(str(self._max_body_bytes))
        if not announced.isdecimal() or len(announced) > digits or int(announced) > self._max_body_bytes:
            return None
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_body_bytes:
                return None
        return bytes(body)


def _is_health(scope: Scope) -> bool:
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
    return path == "/health" and scope["method"] in ("GET", "HEAD")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then whatever the client does next (which is to leave)."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
