"""The replica's side of the process that holds its model: starts it, speaks with it, notices when it ends.

Two threads do so: one starts the process and reads, one writes. So nothing that a caller does here waits for the
model. Knows requests by their numbers; knows neither torch nor what tokens mean.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import assert_never

import trainshed
from trainshed.errors import PlatformError
from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.serving.engines.engine import EngineDeadError, EngineSettings, Step
from trainshed.runtime.serving.engines.messages import (
    Cancel,
    Channel,
    Ended,
    Failed,
    FromModel,
    Load,
    Loaded,
    NotLoaded,
    Outputs,
    Released,
    Request,
    ToModel,
)

_MODULE = "trainshed.runtime.serving.engines.model_process"
_STOP_S = 5.0
"""A process that should end has so long, until it is killed."""

Given = Step | Failed | Ended
"""What a request gets: steps up to the one that finishes it, or what kept it from being finished."""


@dataclass(frozen=True)
class _Taker:
    """The receiver of a request's steps: `take` is called on `loop`, or by the reading thread where there is none."""

    take: Callable[[Given], None]
    loop: asyncio.AbstractEventLoop | None


class ModelLink:
    """One process that loads the model of a directory, and the requests that it holds."""

    def __init__(self, model_dir: Path, settings: EngineSettings) -> None:
        """Starts it and returns; `loaded` waits for it."""
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._orders: SimpleQueue[ToModel | None] = SimpleQueue()
        self._orders.put(Load(model_dir, settings))
        self._loaded: Future[Loaded] = Future()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._changing = threading.Lock()
        self._takers: dict[int, _Taker] = {}
        self._held: set[int] = set()
        self._cause: str | None = None
        self.generated_tokens = 0
        threading.Thread(target=self._live, args=(theirs,), name="model-reads", daemon=True).start()
        threading.Thread(target=self._write, name="model-writes", daemon=True).start()

    def loaded(self) -> Loaded:
        """Waits until the model is there.

        Raises:
            PlatformError: it cannot be served, or its process ended before it was loaded.
        """
        return self._loaded.result()

    @property
    def open_requests(self) -> int:
        """Requests that somebody waits for."""
        return len(self._takers)

    @property
    def held_requests(self) -> int:
        """Requests that the process holds: also one that is cancelled, until the model lets go of it."""
        return len(self._held)

    def ask(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        take: Callable[[Given], None],
        *,
        whole: bool,
        loop: asyncio.AbstractEventLoop | None,
    ) -> int:
        """Hands a request over and returns its number; `take` gets what it is given, on `loop`.

        Raises:
            EngineDeadError: the process has ended.
        """
        number = next(self._numbers)
        with self._changing:
            self._check()
            self._takers[number] = _Taker(take, loop)
            self._held.add(number)
            self._orders.put(Request(number, tuple(prompt), sampling, whole))
        return number

    def leave(self, number: int) -> None:
        """Forgets a request, and cancels it where it has not finished."""
        with self._changing:
            self._takers.pop(number, None)
            if number in self._held and self._cause is None:
                self._orders.put(Cancel(number))

    def check(self) -> None:
        """Raises EngineDeadError, with its cause, when the process has ended or is about to."""
        with self._changing:
            self._check()

    def stop(self) -> None:
        """Ends the process, within seconds; requests that it still holds fail."""
        self._end("it was stopped")
        self._channel.close()
        if self._process is not None:
            _ended(self._process)

    def _check(self) -> None:
        if self._cause is not None:
            raise EngineDeadError(f"the engine has stopped: {self._cause}")

    def _live(self, theirs: socket.socket) -> None:
        """The life of the process. Linux ties its life to the thread that started it, so that thread also reads."""
        try:
            with theirs:
                self._process = process = _start(theirs)
        except OSError as error:
            self._end(f"its process cannot be started: {error}")
            return
        try:
            while True:
                self._hear(self._channel.receive())
        except EOFError:
            self._end(_death(_ended(process)))
        except Exception as error:  # nobody else would say so
            self._channel.close()
            self._end(f"its process cannot be understood: {type(error).__name__}: {error}")

    def _write(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._channel.send(order)
            except OSError:  # its process has ended; the reader says so
                return

    def _hear(self, said: FromModel) -> None:
        match said:
            case Loaded():
                self._loaded.set_result(said)
            case NotLoaded():
                self._loaded.set_exception(PlatformError(said.why))
            case Outputs():
                self.generated_tokens = said.generated_tokens
                self._hand_out([(output.number, output.step) for output in said.outputs])
            case Failed():
                self._hand_out([(said.number, said)])
            case Released():
                self.generated_tokens = said.generated_tokens
                self._held.discard(said.number)
            case Ended():
                self._end(said.cause)
            case _:
                assert_never(said)

    def _hand_out(self, given: Sequence[tuple[int, Given]]) -> None:
        """To those who still wait, with one call for each event loop."""
        calls: dict[asyncio.AbstractEventLoop | None, list[tuple[Callable[[Given], None], Given]]] = {}
        for number, what in given:
            if not isinstance(what, Step) or what.finish is not None:
                self._held.discard(number)
            if taker := self._takers.get(number):
                calls.setdefault(taker.loop, []).append((taker.take, what))
        for loop, own in calls.items():
            if loop is None:
                _take(own)
            else:
                with suppress(RuntimeError):  # it has been closed: nobody waits
                    loop.call_soon_threadsafe(_take, own)

    def _end(self, cause: str) -> None:
        """Fails every request that is open, and every one that comes."""
        with self._changing:
            if self._cause is not None:
                return
            self._cause = cause
            left = list(self._takers)
        self._orders.put(None)
        self._hand_out([(number, Ended(cause)) for number in left])
        self._held.clear()
        if not self._loaded.done():
            self._loaded.set_exception(PlatformError(f"the model cannot be loaded: {cause}"))


def _take(given: Sequence[tuple[Callable[[Given], None], Given]]) -> None:
    for take, what in given:
        take(what)


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """The process, with the code, the devices and the output of this one."""
    code = str(Path(trainshed.__path__[0]).parent)
    paths = [code, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process that has closed its end of the socket, or been asked to."""
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code}"
    killed = f"its process was killed by {signal.Signals(-code).name}"
    return f"{killed}; the machine may be out of memory" if -code == signal.SIGKILL else killed
