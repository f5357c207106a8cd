"""One worker of benchmarks/memory.py, which counts what it holds under each engine."""

import importlib
import os
import sys

from paths import ROOT


def count_states(rank, workers, folder):
    """From its start to its end; worker 0 leaves facts.json in the folder."""
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    sys.path.insert(0, str(ROOT / "benchmarks"))
    importlib.import_module("memory").worker(rank, folder, "gpt2")
