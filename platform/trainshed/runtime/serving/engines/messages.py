"""What a replica and the process of its model tell each other: a closed set of messages over one socket.

A message is a frozen class, pickled, behind its length. Unpickling runs what the bytes say, so this is for the one
socket that a replica makes for the process that it starts: it has no name, and nobody else holds an end of it. Knows
neither torch nor the event loop.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainshed.runtime.generation.rules import Sampling
from trainshed.runtime.serving.engines.engine import EngineSettings, Step

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True)
class Load:
    """The first message: which model to load, and how much of the machine it may take."""

    model_dir: Path
    settings: EngineSettings


@dataclass(frozen=True)
class Request:
    """A prompt to continue. With `whole` nothing is said of it before its end."""

    number: int
    prompt: tuple[int, ...]
    sampling: Sampling
    whole: bool


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for this request any more."""

    number: int


ToModel = Load | Request | Cancel
"""What the replica says. That it closes the socket, or is gone, is the order to end."""


@dataclass(frozen=True)
class Loaded:
    """The model can be asked, and this is what the replica must know of it."""

    context_window: int
    vocabulary: int
    end_tokens: tuple[int, ...]
    tokenizer: Any
    """transformers' own, whose class needs no torch."""


@dataclass(frozen=True)
class NotLoaded:
    """The model cannot be served; the last message."""

    why: str


@dataclass(frozen=True)
class Output:
    """What one request got; all that it gets at once where it was asked for as a whole."""

    number: int
    step: Step


@dataclass(frozen=True)
class Outputs:
    """What one forward pass gave, and the tokens that all requests have been given so far."""

    outputs: tuple[Output, ...]
    generated_tokens: int


@dataclass(frozen=True)
class Failed:
    """The engine failed on this request."""

    number: int
    error: str


@dataclass(frozen=True)
class Released:
    """A cancelled request that holds no memory of the model any more."""

    number: int
    generated_tokens: int


@dataclass(frozen=True)
class Ended:
    """The model generates no more; the last message."""

    cause: str


FromModel = Loaded | NotLoaded | Outputs | Failed | Released | Ended
"""What the process of the model says. Where it dies before its last message, the socket's end says that."""


class Channel:
    """One end of the socket. One thread receives; any thread may send."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = end.makefile("rb")
        self._sending = threading.Lock()

    def send(self, message: ToModel | FromModel) -> None:
        """Waits while the other end is behind with its reading.

        Raises:
            OSError: the other end is closed.
        """
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> Any:
        """The next message; which ones can come, its reader knows.

        Raises:
            EOFError: the other end is closed.
        """
        [length] = _LENGTH.unpack(self._read(_LENGTH.size))
        return pickle.loads(self._read(length))  # noqa: S301 - from our own process, over a socket without a name

    def close(self) -> None:
        """Both ends see it: a reader that waits gets EOFError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end was first
            return

    def _read(self, length: int) -> bytes:
        try:
            data = self._reader.read(length)
        except OSError as error:
            raise EOFError from error
        if len(data) < length:
            raise EOFError
        return data
