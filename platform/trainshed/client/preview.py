"""Asks a process with tokenizers and templates for rows as they will be trained; the command itself imports neither."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from trainshed.client.uploads import is_relative, root_of
from trainshed.errors import PlatformError
from trainshed.spec.data.sources import places
from trainshed.spec.load import LoadedJob

MODULE = "trainshed.runtime.data.preview"


def preview_of_job(one: LoadedJob, rows: int) -> dict[str, Any]:
    """The first rows of a prepare document's files on this machine.

    Raises:
        PlatformError: they cannot be read.
    """
    job = one.job.model_dump(mode="json", by_alias=True)
    for key, place in places(one.job.source).items():  # type: ignore[union-attr]
        if is_relative(place):
            job["source"][key] = str(root_of(one) / place)
    return _asked({"job": job, "rows": rows})


def preview_of_data(storage: str, data: str, rows: int) -> dict[str, Any]:
    """The first training samples of prepared data.

    Raises:
        PlatformError: they cannot be read.
    """
    return _asked({"storage": storage, "data": data, "rows": rows})


def _asked(question: dict[str, Any]) -> dict[str, Any]:
    # -P: a module in the folder that the user stands in, which may be a stranger's, is not imported.
    done = subprocess.run(
        [sys.executable, "-P", "-m", MODULE], input=json.dumps(question), capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = [line for line in done.stderr.splitlines() if line.strip()]
        raise PlatformError(f"the rows cannot be shown: {last[-1] if last else 'no reason given'}")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "error" in answer:
        raise PlatformError(str(answer["error"]))
    return answer
