"""Packed blocks on disk."""

import numpy as np
import pytest

from trainshed.record.storage import Storage
from trainshed.runtime import shards
from trainshed.runtime.shards import Blocks, BlockWriter, entropy


def write(tmp_path, documents, *, block_size=4):
    writer = BlockWriter(Storage.open(tmp_path), "data", "train", block_size, 1000)
    for document in documents:
        writer.add(np.array(document, dtype=np.uint32))
    return {"block_size": block_size, "splits": {"train": writer.close()}}


def test_blocks_are_the_documents_joined_and_cut(tmp_path):
    manifest = write(tmp_path, [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]])
    blocks = Blocks(tmp_path / "data", manifest, "train")
    assert blocks.take(np.array([1, 0]))["tokens"].tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert len(blocks) == 2
    assert manifest["splits"]["train"]["tokens_left_out"] == 2
    assert manifest["splits"]["train"]["documents"] == 3


def test_many_shards_read_like_one(tmp_path, monkeypatch):
    documents = [list(range(start, start + 7)) for start in range(0, 210, 7)]
    monkeypatch.setattr(shards.blocks, "SHARD_TOKENS", 16)
    manifest = write(tmp_path, documents)
    assert len(manifest["splits"]["train"]["shards"]) > 5
    blocks = Blocks(tmp_path / "data", manifest, "train")
    assert blocks.take(np.arange(len(blocks)))["tokens"].ravel().tolist() == list(range(len(blocks) * 4))


def test_the_same_documents_give_the_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, [[1, 2, 3, 4, 5, 6, 7, 8]]) for name in "ab")
    assert first == second


def test_entropy_of_equal_shares_is_the_logarithm_of_their_number():
    assert entropy(np.array([5, 5, 0, 5, 5])) == pytest.approx(np.log(4))
