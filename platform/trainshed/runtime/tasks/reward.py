"""The reward of answers: a function of the user's own, run apart from the training, each call with a time limit.

It gets a few variables of the environment and none of its secrets. A call that hangs is ended with its process; one
that raises, or gives no finite number, ends the training: a reward that nobody understands is nothing to learn from.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from trainshed.errors import PlatformError
from trainshed.patience import patience

START_S = 60.0
"""For a module that imports much, on a quiet machine."""
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
SHOWN = 60


@dataclass(frozen=True)
class Scored:
    """What a reward function is asked about."""

    prompt: str
    answer: str
    expected: str
    """What the data has as the answer; empty where it has none."""


class Reward:
    """`my_module:my_function`, called as `score(prompt=..., answer=..., expected=...)`."""

    def __init__(self, path: str, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None

    def of(self, asked: Sequence[Scored]) -> list[float]:
        """The reward of each answer, in their order.

        Raises:
            PlatformError: it raises, hangs, or gives no finite number; the message names the answer.
        """
        return [self._one(one) for one in asked]

    def close(self) -> None:
        """Ends its process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _one(self, asked: Scored) -> float:
        process = self._running()
        assert process.stdin is not None
        try:
            print(json.dumps(vars(asked)), file=process.stdin, flush=True)
            said = self._said(process, self._timeout_s)
        except BrokenPipeError:
            said = None
        if said is None:
            self.close()
            raise PlatformError(f"task.reward: the process of {self._path} has ended {_about(asked)}")
        if "fault" in said:
            self.close()
            raise PlatformError(f"task.reward: {self._path} {said['fault']} {_about(asked)}")
        return float(str(said["reward"]))

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            module, _, name = self._path.partition(":")
            command = [sys.executable, "-m", "trainshed.runtime.reward_server", module, name]
            inherited = {name: os.environ[name] for name in KEPT if name in os.environ}
            path = os.pathsep.join(one or os.getcwd() for one in sys.path)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**inherited, "PYTHONPATH": path},
                start_new_session=True,
            )
            said = self._said(self._process, START_S)
            if said is None or "fault" in said:
                self.close()
                why = "its process has ended" if said is None else said["fault"]
                raise PlatformError(f"task.reward: {self._path}: {why}")
        return self._process

    def _said(self, process: subprocess.Popen[str], limit_s: float) -> Mapping[str, object] | None:
        """The next line; None where the process has ended. Raises PlatformError where nothing comes in time."""
        assert process.stdout is not None
        if not _is_ready(process.stdout, patience(limit_s).seconds):
            self.close()
            raise PlatformError(
                f"task.reward: {self._path} has given nothing for {limit_s:g} s; make it faster, or raise "
                "task.reward_timeout_s"
            )
        line = process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _is_ready(stream: IO[str], limit_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(limit_s))


def _about(asked: Scored) -> str:
    return f"for the answer {_short(asked.answer)} to {_short(asked.prompt)}"


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...")
