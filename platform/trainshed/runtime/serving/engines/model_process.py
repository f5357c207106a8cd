"""The process that holds the model of one replica: `python -m ...model_process DESCRIPTOR`.

It reads orders from the socket of that descriptor and writes what the model gives; see `messages`. It ends when the
socket's other end does, whatever way the replica went. Knows no HTTP, no Ray and no event loop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from trainshed.errors import PlatformError
from trainshed.runtime.importing import without_collector
from trainshed.runtime.serving.engines.messages import Cancel, Channel, Ended, Load, NotLoaded, Request, ToModel

if TYPE_CHECKING:
    from trainshed.runtime.serving.engines.batching import BatchedModel

_STANDS_BACK = 5
"""By how much the model is less urgent (Unix niceness) than the replica: where cores are few, what takes milliseconds
(`/health`, a stream's next piece) comes before the next pass."""

_PR_SET_PDEATHSIG = 1
"""prctl(2) of Linux: the signal that a process gets when the thread that started it ends."""


def main() -> NoReturn:
    """Loads the model that the first message names, and generates until there is nobody to generate for."""
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    _belong_to_the_replica()
    channel = Channel(end)
    ready: Future[BatchedModel] = Future()
    first = _order(channel)
    threading.Thread(target=_obey, args=(channel, ready), name="orders", daemon=True).start()
    match first:
        case Load():
            ready.set_result(_load(first, channel))
        case Request() | Cancel():
            _leave(f"the first message must be what to load, got {first!r}")
    cause = ready.result().join()
    with suppress(OSError):  # the replica is gone as well
        channel.send(Ended(cause))
    _leave(cause)


def _belong_to_the_replica() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the replica decides
    if sys.platform == "linux":  # also where no thread here gets to read the end of the socket
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def _stand_back() -> None:
    if sys.platform != "linux":
        os.nice(_STANDS_BACK)
        return
    least = os.getpriority(os.PRIO_PROCESS, 0) + _STANDS_BACK
    for thread in os.listdir("/proc/self/task"):  # here each thread has its own; new ones inherit it
        with suppress(ProcessLookupError):  # one that has helped to load, and has ended since
            os.setpriority(os.PRIO_PROCESS, int(thread), least)


def _load(wanted: Load, channel: Channel) -> BatchedModel:
    try:
        with without_collector():  # here, not above: torch takes seconds, and the replica's end is noticed meanwhile
            from trainshed.runtime.serving.engines.batching import BatchedModel

        model = BatchedModel(wanted.model_dir, wanted.settings, channel.send)
        _stand_back()  # not before: a rollout waits for it to load
        channel.send(model.loaded)
        return model
    except PlatformError as error:
        channel.send(NotLoaded(str(error)))
        _leave(str(error))
    except Exception as error:  # the replica says it; here is where
        traceback.print_exc()
        channel.send(NotLoaded(f"{type(error).__name__}: {error}"))
        _leave(str(error))


def _obey(channel: Channel, ready: Future[BatchedModel]) -> None:
    """Hands each order to the model, until there are no more. Ends the process in either case of an end."""
    try:
        while True:
            match order := _order(channel):
                case Request():
                    ready.result().add(order)
                case Cancel():
                    ready.result().cancel(order.number)
                case Load():
                    _leave("a second model cannot be loaded")
    except Exception:
        traceback.print_exc()
        _leave("an order could not be carried out")


def _order(channel: Channel) -> ToModel:
    try:
        order: ToModel = channel.receive()
    except EOFError:
        _leave("")
    return order


def _leave(why: str) -> NoReturn:
    """Ends the process at once, whatever its other threads do; `why` is empty where the replica wants it to."""
    with suppress(OSError, ValueError):  # who read them may be gone
        if why:
            print(f"the process of the model ends: {why}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1 if why else 0)


if __name__ == "__main__":
    main()
