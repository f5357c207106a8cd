"""A reward function of the user's own in a process by itself: a line of JSON in, a line of JSON out.

    python -m trainshed.runtime.reward_server my_module my_function

What the function prints goes to stderr, so that nothing but answers stands on stdout. Knows no torch and no model.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def main(module: str, name: str) -> None:
    """Answers until stdin ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        score = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module raises while it is imported
        _say(out, fault=f"{module} cannot be imported: {_line(error)}")
        return
    _say(out, ready=True)
    for line in sys.stdin:
        _say(out, **_scored(score, json.loads(line)))


def _scored(score: Any, asked: dict[str, str]) -> dict[str, Any]:
    try:
        found = score(**asked)
    except Exception as error:
        return {"fault": f"raised {_line(error)}"}
    if isinstance(found, bool) or not isinstance(found, int | float):
        try:  # numpy's and torch's numbers are numbers
            found = found.item()  # type: ignore[union-attr]
        except AttributeError:
            return {"fault": f"returned {found!r:.60}; a reward is a number"}
    if not isinstance(found, int | float):
        return {"fault": f"returned {found!r:.60}; a reward is a number"}
    if found != found or found in (float("inf"), float("-inf")):
        return {"fault": f"returned {float(found)}; a reward is a finite number"}
    return {"reward": float(found)}


def _say(out: Any, **said: Any) -> None:
    print(json.dumps(said), file=out, flush=True)


def _line(error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])
