"""Files as a Ray Dataset of Arrow tables of samples, in the order of the files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import ray
import ray.data

from trainshed.runtime.data import builtin
from trainshed.runtime.data.bad_rows import BadRows
from trainshed.runtime.data.columns import names_of, tables
from trainshed.runtime.data.found import Found
from trainshed.runtime.data.reader import SampleReader
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.rows import BadRow, Row
from trainshed.spec.data.sources import Builtin

TASKS_PER_CPU = 4
"""Many small files are read by few tasks."""
BLOCK_BYTES = 32 << 20
"""Of samples in one task of Ray Data: a large file keeps all cores busy. To start one more worker takes as much CPU as
to tokenise some 4 MB.
"""


def set_up() -> None:
    """How every dataset of this process is done; a dataset keeps what stands there when it is made."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    context.raise_original_map_exception = True  # else what a task raised comes back without its class and its reason


def read(job: PrepareJob, found: Found, bad_rows: BadRows) -> ray.data.Dataset:
    """A dataset of samples; what can't be read is left with `bad_rows`."""
    reader = SampleReader(job, found, bad_rows)
    names = names_of(job.read_fields)
    if isinstance(job.source, Builtin):
        found_in = (reader.sample(Row(row, str(row["origin"])), "") for row in builtin.rows(job.source))
        made = (sample for sample in found_in if not isinstance(sample, BadRow))  # what we make ourselves has none
        return ray.data.from_arrow(list(tables(made, names)))
    files = [{"path": path, "number": number} for number, path in enumerate(found.files)]
    tasks = max(1, int(ray.cluster_resources().get("CPU", 1))) * TASKS_PER_CPU
    listed = ray.data.from_items(files, override_num_blocks=min(len(files), tasks))
    kwargs = {"reader": reader, "names": names}
    return listed.map_batches(_tables_of, fn_kwargs=kwargs, batch_format="pyarrow", batch_size=None)


def _tables_of(files: pa.Table, reader: SampleReader, names: list[str]) -> Iterator[pa.Table]:
    return tables((sample for file in files.to_pylist() for sample in reader.samples(file)), names)
