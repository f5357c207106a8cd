"""How many threads tokenise a block, on a real Ray with four cores, and in a process of their own."""

import os
import subprocess
import sys

import pytest

from trainshed.runtime.data.threads import threads_of_each

COUNT = """
import os, sys
from tokenizers import Tokenizer, models, pre_tokenizers
from trainshed.runtime.data.threads import use_threads
use_threads(int(sys.argv[1]))
tokenizer = Tokenizer(models.WordLevel({"a": 1, "?": 0}, unk_token="?"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
before = len(os.listdir("/proc/self/task"))
made = tokenizer.encode_batch_fast(["a b a"] * 100)
assert [one.ids for one in made] == [[1, 0, 1]] * 100
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "threads"), [(0, 4), (1, 4), (2, 2), (3, 1), (100, 1)])
def test_few_blocks_have_several_cores_each_and_all_together_no_more_than_there_are(local_ray, blocks, threads):
    assert local_ray.cluster_resources()["CPU"] == 4
    assert threads_of_each(blocks) == threads


@pytest.mark.parametrize("threads", [1, 3])
def test_a_process_tokenises_with_as_many_threads_as_it_is_told(threads):
    hidden = ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", COUNT, str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == (0 if threads == 1 else threads)
