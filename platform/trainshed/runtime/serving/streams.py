"""One request's answer on its way to the client: collected whole, or as server-sent events; errors as refusals.

Knows pieces of text and that a client may leave; knows neither paths nor how a model runs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any

from starlette.requests import Request

from trainshed.runtime.serving.answers import Answers, Head, event, usage_of
from trainshed.runtime.serving.engines import EngineDeadError, EngineFullError, RequestError
from trainshed.runtime.serving.gate import gone
from trainshed.runtime.serving.pieces import Piece
from trainshed.runtime.serving.refusal import BUSY_RETRY_S, REPLICA_RETRY_S, Refusal


async def collected(pieces: AsyncGenerator[Piece, None]) -> list[Piece]:
    """All items of a stream, once the last one has come."""
    async with aclosing(pieces):
        return [piece async for piece in pieces]


async def unless_gone(request: Request, work: Coroutine[Any, Any, list[Piece]]) -> list[Piece] | None:
    """What the work returns, or None as soon as the client has left: then the work is cancelled."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(gone(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def events_of(
    pieces: AsyncGenerator[Piece, None], answers: Answers, head: Head, usage_for: int | None
) -> AsyncGenerator[str, None]:
    """Server-sent events; `usage_for` is the number of prompt tokens, where the usage was asked for."""
    opened: set[int] = set()
    generated = 0
    async with aclosing(refusing(pieces)) as checked:
        async for piece in checked:
            if piece.index not in opened and (opening := answers.opening(head, piece.index)):
                yield event(opening)
            opened.add(piece.index)
            generated += piece.tokens
            if piece.text or piece.finish:
                yield event(answers.chunk(head, piece))
    if usage_for is not None:
        yield event(answers.usage_chunk(head, usage_of(usage_for, generated)))
    yield "data: [DONE]\n\n"


async def opened_stream(events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """The same events, once the first is there: until then a request can still be refused with a status."""
    first = await anext(events)

    async def all_events() -> AsyncGenerator[str, None]:
        async with aclosing(events):
            yield first
            try:
                async for following in events:
                    yield following
            except Refusal as refusal:
                yield f"data: {json.dumps(refusal.body)}\n\n"

    return all_events()


async def refusing(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The same pieces, with the engine's errors as refusals."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    except (RequestError, EngineFullError, EngineDeadError) as error:
        raise refusal_of(error) from error


def refusal_of(error: RequestError | EngineFullError | EngineDeadError) -> Refusal:
    """What a client is told of it, and when to ask again where that may help."""
    match error:
        case RequestError():
            return Refusal(400, str(error), parameter=error.parameter)
        case EngineFullError():
            return Refusal(503, str(error), code="overloaded", retry_after_s=BUSY_RETRY_S)
        case EngineDeadError():
            return Refusal(503, str(error), code="engine_stopped", retry_after_s=REPLICA_RETRY_S)
