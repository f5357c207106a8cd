"""How many threads tokenise a block: where there are fewer blocks than cores, each block has several.

Small data is ready sooner so than in more processes, each of which takes seconds to start. Ray is asked for one
core a task all the same: a task that wanted more would wait for ever beside an endpoint that keeps one of them.
"""

from __future__ import annotations

import os

import ray

MOST = 4


def threads_of_each(blocks: int) -> int:
    """Threads for each of so many blocks on this cluster."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return max(1, min(MOST, max(cores, default=1), sum(cores) // max(1, blocks)))


def use_threads(count: int) -> None:
    """In a worker of Ray Data, before it tokenises. The tokenizer starts its threads once in a process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count > 1 else "false"
    os.environ.setdefault("RAYON_NUM_THREADS", str(count))
