"""How many requests a replica answers at once and how many may wait; the next one is refused at once.

A pure ASGI layer behind the guard. Only what asks the model queues here: health, status and models answer whatever
waits. Serve's own limits stand above these, since Serve would let a health check wait like any other request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainshed.runtime.serving.refusal import BUSY_RETRY_S, Refusal

REFUSED_A_SECOND = 10
"""More than that are spread: to refuse takes time of a core, which the answers and `/health` are short of just then."""
LONGEST_RETRY_S = 8


class Gate:
    """Places for POST requests, given in the order in which they came. Those that find none are told when to come
    again: the more there are, the further apart, so that they do not all come back in the same second.
    """

    def __init__(self, app: ASGIApp, *, places: int, queue: int) -> None:
        self._app = app
        self._free = asyncio.Semaphore(places)
        self._places = places
        self._queue = queue
        self._refused: deque[float] = deque()
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; the place is held until its answer is sent, or its client has left."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._free.locked() and self.waiting >= self._queue:
            said = f"{self._places} requests are being answered and {self._queue} wait; ask again later"
            refusal = Refusal(503, said, code="overloaded", retry_after_s=self._retry_s())
            await refusal.response()(scope, receive, send)
            return
        body = await receive()  # the guard has it already, so what is received next is that the client leaves
        if not await self._place(receive):
            return
        try:
            await self._app(scope, _with_first(body, receive), send)
        finally:
            self._free.release()

    def _retry_s(self) -> int:
        now = time.monotonic()
        while self._refused and self._refused[0] < now - 1:
            self._refused.popleft()
        self._refused.append(now)
        spread = min(LONGEST_RETRY_S - BUSY_RETRY_S, (len(self._refused) - 1) // REFUSED_A_SECOND)
        return BUSY_RETRY_S + random.randint(0, spread)

    async def _place(self, receive: Receive) -> bool:
        """Waits for a place; False where the client leaves before there is one."""
        if not self._free.locked():
            return await self._free.acquire()
        self.waiting += 1
        place = asyncio.create_task(self._free.acquire())
        leaving = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({place, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return place.done()
        except BaseException:
            if place.done():
                self._free.release()
            raise
        finally:
            self.waiting -= 1
            await _ended(place, leaving)


async def gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _with_first(message: Message, receive: Receive) -> Receive:
    first = [message]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
