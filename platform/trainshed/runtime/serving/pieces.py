"""The answers to the prompts of one request, as pieces of text in the order they become known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from trainshed.runtime.serving.engines import Finish, Sampling, TextEngine
from trainshed.runtime.serving.text import TextStream


@dataclass(frozen=True)
class Ask:
    """One request: its prompts as tokens, and how to continue each."""

    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    stops: tuple[str, ...] = ()
    whole: bool = False
    """Whether nobody reads a piece before the last one is there."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt) for prompt in self.prompts)


@dataclass(frozen=True)
class Piece:
    """A bit of the answer to prompt number `index`; the last one of an answer says how it finished."""

    index: int
    text: str
    tokens: int
    finish: Finish | None = None


async def answer(engine: TextEngine, ask: Ask) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers, as they come. Closing it cancels what is not finished."""
    pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
    tasks = [asyncio.create_task(_collect(engine, ask, index, pieces)) for index in range(len(ask.prompts))]
    unfinished = len(tasks)
    try:
        while unfinished:
            piece = await pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            unfinished -= piece.finish is not None
            yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _collect(engine: TextEngine, ask: Ask, index: int, pieces: asyncio.Queue[Piece | BaseException]) -> None:
    """Puts the pieces of one answer, or what kept it from being completed, on the queue that all share."""
    try:
        async with aclosing(_one(engine, ask, index)) as own:
            async for piece in own:
                pieces.put_nowait(piece)
    except Exception as error:  # raised again, by the reader of the queue
        pieces.put_nowait(error)


async def _one(engine: TextEngine, ask: Ask, index: int) -> AsyncGenerator[Piece, None]:
    stream = TextStream(engine.decode, ask.stops)
    async with aclosing(engine.generate(ask.prompts[index], ask.sampling, whole=ask.whole and not ask.stops)) as steps:
        async for step in steps:
            text = stream.push(step.tokens)
            if step.finish is not None:
                text += stream.close()
            finish: Finish | None = "stop" if stream.stopped else step.finish
            yield Piece(index, text, len(step.tokens), finish)
            if finish is not None:
                return
