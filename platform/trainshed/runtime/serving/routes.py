"""The paths of an endpoint, as an ASGI application over one engine.

Knows HTTP and the OpenAI API; knows neither Ray nor how a model runs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from openai.types import Model
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from trainshed.runtime.serving.answers import Answers, ChatAnswers, CompletionAnswers, Head, event, usage_of
from trainshed.runtime.serving.engines import EngineDeadError, EngineFullError, RequestError, Sampling, TextEngine
from trainshed.runtime.serving.guard import Guard
from trainshed.runtime.serving.pieces import Ask, Piece, answer
from trainshed.runtime.serving.questions import ChatQuestion, CompletionQuestion, Question, read_question
from trainshed.runtime.serving.refusal import Refusal
from trainshed.runtime.serving.settings import AppSettings

_OPENAI_COMPLETION_TOKENS = 16
"""What the OpenAI API generates for a completion that does not say max_tokens."""

_CLIENT_GONE = 499
"""What nginx logs for a client that left; nobody reads it."""


def build_asgi(engine: TextEngine, settings: AppSettings) -> ASGIApp:
    """The endpoint of one engine, behind its guard."""
    paths = _Paths(engine, settings)
    app = Starlette(
        routes=[
            Route("/health", paths.health, methods=["GET"]),
            Route("/v1/models", paths.models, methods=["GET"]),
            Route("/v1/lineage", paths.lineage, methods=["GET"]),
            Route("/v1/status", paths.status, methods=["GET"]),
            Route("/v1/completions", paths.complete, methods=["POST"]),
            Route("/v1/chat/completions", paths.chat, methods=["POST"]),
        ],
        exception_handlers={Refusal: _refused, HTTPException: _not_found, Exception: _broken},
    )
    return Guard(
        app,
        key_hashes=settings.key_hashes,
        open_access=settings.open_access,
        max_body_bytes=settings.max_body_bytes,
    )


@dataclass(frozen=True)
class _Paths:
    """One method for every path."""

    engine: TextEngine
    settings: AppSettings
    started: int = field(default_factory=lambda: int(time.time()))

    async def health(self, _request: Request) -> Response:
        self.engine.check()
        return JSONResponse({"status": "ok"})

    async def models(self, _request: Request) -> Response:
        model = Model(id=self.settings.model, created=self.started, object="model", owned_by="trainshed")
        lineage = {"endpoint": self.settings.name, "fingerprint": self.settings.fingerprint, **self.settings.lineage}
        return JSONResponse({"object": "list", "data": [{**model.model_dump(exclude_unset=True), "lineage": lineage}]})

    async def lineage(self, _request: Request) -> Response:
        return JSONResponse(dict(self.settings.lineage))

    async def status(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "model": self.settings.model,
                "running_requests": self.engine.running_requests,
                "generated_tokens": self.engine.generated_tokens,
                "context_window": self.engine.context_window,
                "max_tokens": self.settings.max_tokens,
                "chat": self.engine.has_chat_template,
            }
        )

    async def complete(self, request: Request) -> Response:
        question = read_question(CompletionQuestion, await request.body())
        given = [self.engine.encode(prompt) if isinstance(prompt, str) else prompt for prompt in question.prompts]
        tokens = question.max_tokens or min(_OPENAI_COMPLETION_TOKENS, self._room(given))
        return await self._answer(request, question, given, tokens, CompletionAnswers())

    async def chat(self, request: Request) -> Response:
        question = read_question(ChatQuestion, await request.body())
        messages = [{"role": turn.role, "content": turn.text} for turn in question.messages]
        try:
            given = [self.engine.encode_chat(messages)]
        except RequestError as error:
            raise _refusal_of(error) from error
        tokens = question.max_completion_tokens or question.max_tokens or self._room(given)
        return await self._answer(request, question, given, tokens, ChatAnswers())

    def _room(self, prompts: list[list[int]]) -> int:
        """Tokens that may be generated where the request does not say."""
        longest = max(len(prompt) for prompt in prompts)
        return max(1, min(self.settings.max_tokens, self.engine.context_window - longest))

    async def _answer(
        self, request: Request, question: Question, prompts: list[list[int]], max_tokens: int, answers: Answers
    ) -> Response:
        ask = self._ask(question, prompts, max_tokens)
        head = Head(f"{answers.prefix}-{uuid4().hex}", int(time.time()), self.settings.model, self.settings.fingerprint)
        pieces = answer(self.engine, ask)
        if not question.stream:
            found = await _unless_gone(request, _all(_refusing(pieces)))
            if found is None:
                return Response(status_code=_CLIENT_GONE)
            usage = usage_of(ask.prompt_tokens, sum(piece.tokens for piece in found))
            return JSONResponse(answers.whole(head, found, usage).model_dump(mode="json", exclude_unset=True))
        options = question.stream_options
        events = _events(pieces, answers, head, ask.prompt_tokens if options and options.include_usage else None)
        opened = await _first(events)
        return StreamingResponse(opened, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    def _ask(self, question: Question, prompts: list[list[int]], max_tokens: int) -> Ask:
        known = (self.settings.model, self.settings.name)
        if question.model not in known:
            message = f"no model {question.model!r} here; this endpoint serves {self.settings.model!r}"
            raise Refusal(404, message, parameter="model", code="model_not_found")
        if max_tokens > self.settings.max_tokens:
            message = f"max_tokens: {max_tokens} is over this endpoint's limit of {self.settings.max_tokens}"
            raise Refusal(400, message, parameter="max_tokens")
        if question.stream_options is not None and not question.stream:
            raise Refusal(400, "stream_options: only with stream: true", parameter="stream_options")
        sampling = Sampling(max_tokens=max_tokens, top_k=question.top_k or 0, seed=question.seed)
        for name in ("temperature", "top_p"):
            if (value := getattr(question, name)) is not None:
                sampling = replace(sampling, **{name: value})
        try:
            for prompt in prompts:
                self.engine.validate(prompt, sampling)
        except RequestError as error:
            raise _refusal_of(error) from error
        return Ask(tuple(tuple(prompt) for prompt in prompts), sampling, question.stops)


async def _all(pieces: AsyncGenerator[Piece, None]) -> list[Piece]:
    async with aclosing(pieces):
        return [piece async for piece in pieces]


async def _unless_gone(request: Request, work: Coroutine[Any, Any, list[Piece]]) -> list[Piece] | None:
    """What the work returns, or None as soon as the client has left: then the work is cancelled."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(
    pieces: AsyncGenerator[Piece, None], answers: Answers, head: Head, usage_for: int | None
) -> AsyncGenerator[str, None]:
    """Server-sent events; `usage_for` is the number of prompt tokens, where the usage was asked for."""
    opened: set[int] = set()
    generated = 0
    async with aclosing(_refusing(pieces)) as checked:
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


async def _first(events: AsyncGenerator[str, None]) -> AsyncIterator[str]:
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


async def _refusing(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The same pieces, with the engine's errors as refusals."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    except (RequestError, EngineFullError, EngineDeadError) as error:
        raise _refusal_of(error) from error


def _refusal_of(error: RequestError | EngineFullError | EngineDeadError) -> Refusal:
    match error:
        case RequestError():
            return Refusal(400, str(error), parameter=error.parameter)
        case EngineFullError():
            return Refusal(503, str(error), code="overloaded")
        case EngineDeadError():
            return Refusal(503, str(error), code="engine_stopped")


async def _refused(_request: Request, error: Any) -> Response:
    return error.response()  # type: ignore[no-any-return]


async def _not_found(request: Request, error: Any) -> Response:
    return Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}").response(error.headers)


async def _broken(_request: Request, error: Any) -> Response:
    return Refusal(500, f"internal error: {type(error).__name__}").response()
