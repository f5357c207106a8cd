"""What each process does that trains with logits in chunks, few as they are: see `engine_worker`."""

from functools import partial

import engine_worker
from trainshed.runtime.tasks import causal_lm
from trainshed.runtime.tasks.chunked import ChunkedHead


def five(tokens, vocabulary):
    """Tokens in a chunk, whatever there are."""
    return 5


def work_in_chunks(rank, workers, rendezvous, runs):
    """As `engine_worker.work_through`."""
    causal_lm.ChunkedHead = partial(ChunkedHead, at_once=five)
    engine_worker.work_through(rank, workers, rendezvous, runs)
