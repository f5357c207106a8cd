"""The paths of an endpoint, as an ASGI application over one engine.

Knows HTTP and the OpenAI API; knows neither Ray nor how a model runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import uuid4

from openai.types import Model
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from trainshed.runtime.serving.answers import Answers, ChatAnswers, CompletionAnswers, Head, usage_of
from trainshed.runtime.serving.engines import EngineDeadError, RequestError, Sampling, TextEngine
from trainshed.runtime.serving.gate import Gate
from trainshed.runtime.serving.guard import Guard
from trainshed.runtime.serving.pieces import Ask, answer
from trainshed.runtime.serving.questions import ChatQuestion, CompletionQuestion, Question, read_question
from trainshed.runtime.serving.refusal import Refusal
from trainshed.runtime.serving.settings import AppSettings
from trainshed.runtime.serving.streams import collected, events_of, opened_stream, refusal_of, refusing, unless_gone

_OPENAI_COMPLETION_TOKENS = 16
"""What the OpenAI API generates for a completion that does not say max_tokens."""

_READING_THREADS = 2
"""Prompts that are tokenized at the same time."""

_CLIENT_GONE = 499
"""What nginx logs for a client that left; nobody reads it."""

Read = TypeVar("Read")


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
        exception_handlers={
            Refusal: _refused,
            EngineDeadError: _refused_by_engine,
            HTTPException: _not_found,
            Exception: _broken,
        },
    )
    paths.gate = gate = Gate(app, places=settings.places, queue=settings.max_queued_requests)
    return Guard(
        gate,
        key_hashes=settings.key_hashes,
        open_access=settings.open_access,
        max_body_bytes=settings.max_body_bytes,
    )


@dataclass
class _Paths:
    """One method for every path. What takes long where a prompt is long is done beside the event loop."""

    engine: TextEngine
    settings: AppSettings
    started: int = field(default_factory=lambda: int(time.time()))
    gate: Gate | None = None
    """Set once, when the application is complete."""
    reading: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_READING_THREADS, "prompts"))

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
                "waiting_requests": self.gate.waiting if self.gate else 0,
                "generated_tokens": self.engine.generated_tokens,
                "context_window": self.engine.context_window,
                "max_tokens": self.settings.max_tokens,
                "chat": self.engine.has_chat_template,
                "special_tokens_in_texts": self.engine.special_tokens_in_texts,
            }
        )

    async def complete(self, request: Request) -> Response:
        body = await request.body()
        question, given = await self._beside(self._read_completion, body)
        tokens = question.max_tokens or min(_OPENAI_COMPLETION_TOKENS, self._room(given))
        return await self._answer(request, question, given, tokens, CompletionAnswers())

    async def chat(self, request: Request) -> Response:
        body = await request.body()
        question, given = await self._beside(self._read_chat, body)
        tokens = question.max_completion_tokens or question.max_tokens or self._room(given)
        return await self._answer(request, question, given, tokens, ChatAnswers())

    async def _beside(self, read: Callable[[bytes], Read], body: bytes) -> Read:
        """What `read` makes of the body, in a thread: health and streams go on meanwhile."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.reading, read, body)
        except RequestError as error:
            raise refusal_of(error) from error

    def _read_completion(self, body: bytes) -> tuple[CompletionQuestion, list[list[int]]]:
        question = read_question(CompletionQuestion, body)
        prompts = question.prompts
        return question, [self.engine.encode(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]

    def _read_chat(self, body: bytes) -> tuple[ChatQuestion, list[list[int]]]:
        question = read_question(ChatQuestion, body)
        return question, [self.engine.encode_chat([turn.rendered for turn in question.messages])]

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
            found = await unless_gone(request, collected(refusing(pieces)))
            if found is None:
                return Response(status_code=_CLIENT_GONE)
            usage = usage_of(ask.prompt_tokens, sum(piece.tokens for piece in found))
            return JSONResponse(answers.whole(head, found, usage).model_dump(mode="json", exclude_unset=True))
        options = question.stream_options
        events = events_of(pieces, answers, head, ask.prompt_tokens if options and options.include_usage else None)
        opened = await opened_stream(events)
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
        sampling = Sampling(max_tokens=max_tokens, top_k=max(0, question.top_k or 0), seed=question.seed)
        for name in ("temperature", "top_p"):
            if (value := getattr(question, name)) is not None:
                sampling = replace(sampling, **{name: value})
        try:
            for prompt in prompts:
                self.engine.validate(prompt, sampling)
        except RequestError as error:
            raise refusal_of(error) from error
        return Ask(tuple(tuple(prompt) for prompt in prompts), sampling, question.stops, whole=not question.stream)


async def _refused(_request: Request, error: Any) -> Response:
    return error.response()  # type: ignore[no-any-return]


async def _refused_by_engine(_request: Request, error: Any) -> Response:
    return refusal_of(error).response()


async def _not_found(request: Request, error: Any) -> Response:
    return Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}").response(error.headers)


async def _broken(_request: Request, error: Any) -> Response:
    return Refusal(500, f"internal error: {type(error).__name__}").response()
