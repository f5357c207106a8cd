"""D1: what a prepare job costs beside bare `encode_batch`, and what a trivial one costs.

    .venv/bin/python benchmarks/prepare.py [--megabytes 20] [--pairs 5] [--repeats 3]

A: `platform submit` of a prepare job (JSON lines where the cluster reads them, an existing tokenizer, packed blocks),
less what it costs on fifty lines; CPU-seconds of all the cluster's processes, less what they use in the same time where
no job runs. B: one process that reads the same file, calls `encode_batch_fast` of the same tokenizer on it, joins the
ids and writes them as Arrow blocks. A B A B; each side of a pair is the median of `--repeats` runs, since a start alone
varies by more than the difference that is looked for. D1 is B / A in MB per CPU-second, and D1-times A / B; D1-total
counts the whole job; D1-trivial is the job on fifty lines, in CPU-seconds. Writes D1.json, D1-times.json,
D1-total.json and D1-trivial.json.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from own_cluster import ClusterCpu, OwnCluster
from results import write_result
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 8000
BLOCK = 256
SETTLE_S = 2.0
IDLE_S = 5.0
BARE = """
import json, sys
import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer
source, tokenizer, block, target = sys.argv[1:]
encoder = Tokenizer.from_file(tokenizer)
texts = [json.loads(line)["text"] for line in open(source)]
ids = []
for start in range(0, len(texts), 1000):
    for one in encoder.encode_batch_fast(texts[start : start + 1000], add_special_tokens=False):
        ids.append(np.array([*one.ids, 0], dtype=np.uint32))
tokens = np.concatenate(ids)
tokens = tokens[: len(tokens) // int(block) * int(block)]
table = pa.table({"tokens": pa.FixedSizeListArray.from_arrays(pa.array(tokens), int(block))})
with pa.OSFile(target, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    asked = f"--megabytes {options.megabytes:g} --pairs {options.pairs} --repeats {options.repeats}"
    command = f"python benchmarks/prepare.py {asked}"
    with OwnCluster() as cluster:
        texts = made_texts(options.megabytes)
        write(cluster.home / "large.jsonl", texts)
        write(cluster.home / "few.jsonl", texts[:50])
        save_tokenizer(texts[:2000], cluster.home / "model")
        through_platform(cluster, "few.jsonl", seed=1)  # the cluster starts, byte code is written
        marginal, total, trivial, pairs = [], [], [], []
        for number in range(options.pairs):
            idle = idle_rate(cluster)
            each = []
            for again in range(options.repeats):
                seed = 10 + number * options.repeats + again
                each.append(
                    (
                        through_platform(cluster, "few.jsonl", seed=seed, idle=idle),
                        through_platform(cluster, "large.jsonl", seed=seed, idle=idle),
                        bare(cluster.home),
                    )
                )
            few, large, alone = map(statistics.median, zip(*each, strict=True))
            trivial.append(few)
            marginal.append((large - few, alone))
            total.append((large, alone))
            pairs.append(({"cpu_s": large}, {"cpu_s": alone}))
            said = f"trivial {few:.1f}, large {large:.1f}, bare {alone:.1f} CPU-s"
            print(f"pair {number}: {said}; the idle cluster {idle:.2f} CPU-s a second", flush=True)
    what = f"{options.megabytes:g} MB of text: CPU-s of bare encode_batch / of the job, less a trivial job's"
    write_result("D1", what, ">= 0.85", [b / a for a, b in marginal], command=command, pairs=pairs)
    what = f"{options.megabytes:g} MB of text: CPU-s of the job, less a trivial job's / of bare encode_batch"
    write_result("D1-times", what, "<= 1.3", [a / b for a, b in marginal], command=command, pairs=pairs)
    what = f"{options.megabytes:g} MB of text: CPU-s of the whole job / of bare encode_batch"
    write_result("D1-total", what, "<= 1.3", [a / b for a, b in total], command=command, pairs=pairs)
    write_result("D1-trivial", "a trivial prepare job, CPU-s", "<= 15", trivial, command=command, pairs=[])


def made_texts(megabytes: float) -> list[str]:
    """Passages of the standard library's own source, each with words of its own."""
    source = " ".join(path.read_text() for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))
    draw, made, size = random.Random(0), [], 0
    while size < megabytes * 1e6:
        start, length = draw.randrange(len(source) - 4000), draw.randrange(400, 4000)
        text = f"{len(made)} {draw.randrange(10**9)} {source[start : start + length]}"
        made.append(text)
        size += len(text)
    return made


def write(file: Path, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def save_tokenizer(texts: list[str], folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def idle_rate(cluster: OwnCluster) -> float:
    """CPU-seconds a second that the cluster uses where no job runs, once the job before has gone."""
    time.sleep(SETTLE_S)
    with ClusterCpu(cluster.home) as used:
        time.sleep(IDLE_S)
    return used.seconds / IDLE_S


def through_platform(cluster: OwnCluster, source: str, *, seed: int, idle: float = 0.0) -> float:
    """CPU-seconds of the cluster for one job; another seed makes it other data, so that none is found unchanged."""
    job = {
        "kind": "prepare",
        "name": f"{source.split('.')[0]}-{seed}",
        "source": {"kind": "jsonl", "path": str(cluster.home / source)},
        "tokenizer": {"kind": "pretrained", "name_or_path": str(cluster.home / "model")},
        "pack": {"block_size": BLOCK},
        "split": {"validation": 0.2, "seed": seed},
    }
    if not (cluster.home / "cluster" / "state.json").exists():
        cluster.submit(job)
        return 0.0
    time.sleep(SETTLE_S)
    began = time.monotonic()
    with ClusterCpu(cluster.home) as used:
        cluster.submit(job)
    return used.seconds - idle * (time.monotonic() - began)


def bare(home: Path) -> float:
    """CPU-seconds of one process that does the same with the tokenizer alone."""
    command = [sys.executable, "-c", BARE, home / "large.jsonl", home / "model" / "tokenizer.json", str(BLOCK)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*map(str, command), str(home / "bare.arrow")], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
