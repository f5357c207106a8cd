"""Files as a Ray Dataset of samples, in the order of the files."""

from __future__ import annotations

from typing import Any

import ray
import ray.data

from trainshed.runtime.data import builtin
from trainshed.runtime.data.bad_rows import BadRows
from trainshed.runtime.data.found import Found
from trainshed.runtime.data.reader import SampleReader
from trainshed.spec.prepare import PrepareJob
from trainshed.spec.rows import Row
from trainshed.spec.sources import Builtin

TASKS_PER_CPU = 4
"""Many small files are read by few tasks."""


def read(job: PrepareJob, found: Found, bad_rows: BadRows) -> ray.data.Dataset:
    """A dataset of samples; what can't be read is left with `bad_rows`."""
    reader = SampleReader(job, found, bad_rows)
    if isinstance(job.source, Builtin):
        made = [reader.sample(Row(row, row["origin"]), "") for row in builtin.rows(job.source)]
        return ray.data.from_items(made)
    files = [{"path": path, "number": number} for number, path in enumerate(found.files)]
    tasks = max(1, int(ray.cluster_resources().get("CPU", 1))) * TASKS_PER_CPU
    listed = ray.data.from_items(files, override_num_blocks=min(len(files), tasks))
    return listed.flat_map(_samples_of, fn_kwargs={"reader": reader})


def _samples_of(row: dict[str, Any], reader: SampleReader) -> list[dict[str, Any]]:
    return reader.samples(row)
