"""Worker processes that are forked from one that has loaded torch, transformers and deepspeed: each stands at once."""

import contextlib
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FORKING = multiprocessing.get_context("forkserver")
LATE = ["trainshed.runtime.training.engines.deepspeed", "pandas", "transformers.models.gpt2.modeling_gpt2"]
"""What a training imports in its midst, by way of DeepSpeed, pyarrow and transformers."""
FORKING.set_forkserver_preload(["engine_worker", "mup_transfer", *LATE, "settled"])


def run_workers(target, workers, *arguments, logs, limit_s=240):
    """`target(rank, workers, *arguments)` in so many processes; fails with what one said that did not end well."""
    errors = [Path(logs) / f"worker-{rank}.err" for rank in range(workers)]
    started = [
        FORKING.Process(target=_logged, args=(error, target, rank, workers, *arguments), daemon=True)
        for rank, error in enumerate(errors)
    ]
    for process in started:
        process.start()
    try:
        for process, error in zip(started, errors, strict=True):
            process.join(limit_s)
            assert process.exitcode == 0, error.read_text()[-3000:]
    finally:
        for process in started:
            process.kill()


def in_processes(function, cases, *, processes=2):
    """The value of `function(*case)` for each case, so many at a time."""
    with ProcessPoolExecutor(processes, mp_context=FORKING) as pool:
        return list(pool.map(function, *zip(*cases, strict=True)))


def _logged(error, target, *arguments):
    with error.open("w") as stream, contextlib.redirect_stderr(stream):
        os.dup2(stream.fileno(), 2)
        target(*arguments)
