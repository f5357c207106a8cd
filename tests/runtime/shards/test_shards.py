"""Packed blocks on disk."""

import hashlib

import numpy as np
import pytest

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import DataManifest
from trainshed.record.storage import Storage
from trainshed.runtime import shards
from trainshed.runtime.shards import Blocks, BlockWriter, entropy, intact, open_data


def write(tmp_path, documents, *, block_size=4):
    writer = BlockWriter(Storage.open(tmp_path), "data", "train", block_size, 1000)
    for document in documents:
        writer.add(np.array(document, dtype=np.uint32))
    return DataManifest(block_size=block_size, splits={"train": writer.close()})


def test_blocks_are_the_documents_joined_and_cut(tmp_path):
    manifest = write(tmp_path, [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]])
    blocks = Blocks(tmp_path / "data", manifest, "train")
    assert blocks.take(np.array([1, 0]))["tokens"].tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert len(blocks) == 2
    assert manifest.splits["train"].tokens_left_out == 2
    assert manifest.splits["train"].documents == 3


def test_many_shards_read_like_one(tmp_path, monkeypatch):
    documents = [list(range(start, start + 7)) for start in range(0, 210, 7)]
    monkeypatch.setattr(shards.blocks, "SHARD_TOKENS", 16)
    manifest = write(tmp_path, documents)
    assert len(manifest.splits["train"].shards) > 5
    blocks = Blocks(tmp_path / "data", manifest, "train")
    assert blocks.take(np.arange(len(blocks)))["tokens"].ravel().tolist() == list(range(len(blocks) * 4))


def test_the_same_documents_give_the_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, [[1, 2, 3, 4, 5, 6, 7, 8]]) for name in "ab")
    assert first == second


def test_entropy_of_equal_shares_is_the_logarithm_of_their_number():
    assert entropy(np.array([5, 5, 0, 5, 5])) == pytest.approx(np.log(4))


BREAKS = {
    "removed": (lambda file: file.unlink(), "missing"),
    "a byte flipped": (lambda file: file.write_bytes(flipped(file.read_bytes())), "damaged: its hash is"),
    "emptied": (lambda file: file.write_bytes(b""), "damaged: its hash is"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-8]), "damaged: its hash is"),
    "a folder in its place": (lambda file: (file.unlink(), file.mkdir()), "cannot be read"),
}


def flipped(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("file", ["train-00000.arrow", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("how", BREAKS)
def test_data_that_is_not_what_was_written_is_never_opened(tmp_path, file, how):
    manifest = write(tmp_path, [[1, 2, 3, 4, 5, 6, 7, 8]])
    (tmp_path / "data" / "tokenizer").mkdir()
    (tmp_path / "data" / "tokenizer" / "tokenizer.json").write_text("{}")
    hashes = {"tokenizer.json": hashlib.sha256(b"{}").hexdigest()}
    manifest = manifest.model_copy(update={"tokenizer_files": hashes})
    (opened,) = open_data(tmp_path / "data", manifest)
    assert len(opened) == 2
    breaks, said = BREAKS[how]
    breaks(tmp_path / "data" / file)
    with pytest.raises(PlatformError, match=f"{file}: {said}.*makes anew what is missing or damaged"):
        open_data(tmp_path / "data", manifest)


def test_a_file_is_read_once_for_all_workers_of_a_machine_and_again_when_it_was_touched(tmp_path, monkeypatch):
    manifest = write(tmp_path, [[1, 2, 3, 4]])
    file = tmp_path / "data" / "train-00000.arrow"
    read = []
    of_disk = intact.sha256_of
    monkeypatch.setattr(intact, "sha256_of", lambda fs, path: read.append(path) or of_disk(fs, path))
    for _ in range(3):
        open_data(tmp_path / "data", manifest)
    assert read == [str(file)]
    file.write_bytes(file.read_bytes())
    open_data(tmp_path / "data", manifest)
    assert read == [str(file)] * 2


def test_a_manifest_cannot_name_a_file_outside_of_its_folder(tmp_path):
    manifest = write(tmp_path, [[1, 2, 3, 4]])
    said = manifest.as_json()
    said["splits"]["train"]["shards"][0]["file"] = "../../etc/passwd"
    with pytest.raises(PlatformError, match="which is none of its own"):
        open_data(tmp_path / "data", DataManifest.model_validate(said))


def test_a_shard_whose_hash_nobody_wrote_down_is_damaged(tmp_path):
    said = write(tmp_path, [[1, 2, 3, 4]]).as_json()
    del said["splits"]["train"]["shards"][0]["sha256"]
    with pytest.raises(PlatformError, match="damaged: its hash is"):
        open_data(tmp_path / "data", DataManifest.model_validate(said))
