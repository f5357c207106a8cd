"""A prepare run as files: packed blocks of a few tokens, for tests that train on them in their own process."""

from pathlib import Path

import numpy as np

from results_on_disk import finished
from trainshed.record.lineage import sha256
from trainshed.record.run import Record
from trainshed.runtime.data import tokenizer
from trainshed.runtime.shards import BlockWriter
from trainshed.spec.data.tokenizers import TrainBpe

BLOCK = 8


def prepared(storage, name, token, *, held_out=3, day=1, text="the cat sat on the mat"):
    """Its Record; the training samples are a token, or several, again and again, and so are those held out.

    `text` is what its tokenizer was trained on.
    """
    record = Record(storage, f"{name}-26112{day}-000000-abcdef01")
    created = {"submission_id": "ts-1", "created_at": f"2026-11-2{day}T00:00:00.000+00:00", "number": 0}
    record.begin({"kind": "prepare", "name": name}, **created)
    folder = f"data/{name}-{day}"
    trained = tokenizer.train(TrainBpe(vocab_size=300), [text] * 9)
    tokenizer.save(trained, TrainBpe(vocab_size=300), BLOCK, Path(storage.path(folder)) / "tokenizer")
    splits = {}
    for split, tokens in (("train", token), ("validation", held_out)):
        writer = BlockWriter(storage, folder, split, BLOCK, 300)
        writer.add(np.resize(np.asarray(tokens, dtype=np.uint32), 16 * BLOCK))
        splits[split] = writer.close().as_json()
    files = {path.name: sha256(path.read_bytes()) for path in Path(storage.path(f"{folder}/tokenizer")).iterdir()}
    manifest = {"block_size": BLOCK, "vocab_size": trained.get_vocab_size(), "splits": splits, "fingerprint": folder}
    manifest["tokenizer_files"] = files
    storage.write_json(f"{folder}/manifest.json", manifest)
    finished(record, "succeeded", data=folder, manifest=manifest)
    return record
