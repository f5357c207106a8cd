"""A TCP forwarder that breaks connections: after so many bytes each, and wholly while it is shut."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Forwards a loopback port to `target`; the n-th connection breaks after `budgets[n % len(budgets)]` bytes."""

    def __init__(
        self, target: int, budgets: Sequence[int], *, on_connection: Callable[[], object] = lambda: None
    ) -> None:
        self._target = target
        self._on_connection = on_connection
        self._budgets: Iterator[int] = itertools.cycle(budgets)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._shut = threading.Event()
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.cuts = 0
        self.refused = 0
        self._patience: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.close()
        self.shut()

    def shut(self) -> None:
        """Break every connection and refuse new ones."""
        self._shut.set()
        for side in list(self._open):
            _break(side)

    def break_off(self, budgets: Sequence[int]) -> None:
        """Break every connection; the next ones break after these budgets, those after them never."""
        self._budgets = itertools.chain(budgets, itertools.repeat(10**9))
        for side in list(self._open):
            _break(side)

    def reopen_after(self, refused: int) -> None:
        """Forward again once so many connections were refused in all."""
        self._patience = refused

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._shut.is_set():
                self.refused += 1
                client.close()
                if self.refused == self._patience:
                    self._shut.clear()
                continue
            self._on_connection()
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open |= {client, server}
            threading.Thread(target=self._copy, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, next(self._budgets)), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, budget: int | None) -> None:
        left = budget
        try:
            while data := source.recv(65536):
                if left is not None and len(data) > left:
                    sink.sendall(data[:left])
                    self.cuts += 1
                    break
                sink.sendall(data)
                left = None if left is None else left - len(data)
        except OSError:
            pass
        for side in (source, sink):
            _break(side)
            self._open.discard(side)


def _break(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
