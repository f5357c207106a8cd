"""Parts of a prepare job without a Ray: columns, cleaning, copies, splits, and what the key of the data holds."""

import hashlib
import json
import pickle
import random
from importlib import metadata

import numpy as np
import pyarrow as pa
import pytest

from trainshed.errors import PlatformError
from trainshed.runtime.data import identity, packing, tokenizer
from trainshed.runtime.data.columns import shard_schema
from trainshed.runtime.data.encode import Encode
from trainshed.runtime.data.found import find_files
from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.data.splitting import split_table
from trainshed.runtime.data.steps import cleaned, repeats, sample_key
from trainshed.runtime.encoding import Marks
from trainshed.runtime.modalities.text import columns
from trainshed.spec.data.prepare import PrepareJob, Split, TrainBpe

EXAMPLES = {
    "kind": "prepare",
    "name": "few",
    "source": {"kind": "jsonl", "path": "x"},
    "tokenizer": {"kind": "train_bpe", "vocab_size": 300},
    "examples": {"text": "text"},
}


def test_lists_give_back_what_went_in():
    draw = random.Random(0)
    arrays = [[draw.randrange(2**32) for _ in range(draw.choice([0, 1, 5]))] for _ in range(50)]
    assert columns.lists(arrays).to_pylist() == arrays
    assert columns.lists([]).to_pylist() == []


def test_pieces_are_the_table_in_order_and_none_is_much_larger_than_asked(monkeypatch):
    monkeypatch.setattr(columns, "CHARACTERS_PER_PIECE", 100)
    texts = ["x" * length for length in (0, 30, 30, 30, 30, 250, 0, 99, 1, 1)]
    found = [piece["text"].to_pylist() for piece in columns.pieces(pa.table({"text": texts}), "text")]
    assert [text for piece in found for text in piece] == texts
    assert all(sum(map(len, piece[:-1])) <= 100 for piece in found)
    assert list(columns.pieces(pa.table({"text": pa.array([], pa.string())}), "text")) == []


def test_a_large_tokenizer_is_parsed_once_in_a_process_however_many_tables_there_are():
    trained = tokenizer.train(TrainBpe(vocab_size=300), ["some text"])
    form = TextForm(trained, Marks(trained.to_str()), obeyed=False, end=0)
    table = pa.table({"text": ["a text"] * 300, "split": ["train"] * 300, "origin": ["here"] * 300})
    packing._opened.cache_clear()
    for _ in range(5):
        (made,) = packing.encode(table, str(form.serialized), 0, form.finder)
        assert made.num_rows == 300
    assert packing._opened.cache_info().misses == 1
    schema = shard_schema(("text",), None, None)
    job = PrepareJob.model_validate(EXAMPLES)
    travelled = pickle.dumps(Encode(job, form, {}, schema))
    parsed = []
    for _ in range(5):
        encoder = pickle.loads(travelled)
        (made,) = encoder.tables(table)
        parsed.append(encoder._tokens._texts)
        assert made["tokens"].to_pylist() == [[*trained.encode("a text").ids]] * 300
    assert all(one is parsed[0] for one in parsed)


def test_cleaning_cleans_targets_too():
    table = pa.table({"text": ["a  \r\nb", "\x00"], "target": ["c\r", "d"], "origin": ["1", "2"]})
    assert cleaned(table, minimum=1).to_pylist() == [{"text": "a\nb", "target": "c", "origin": "1"}]


def test_of_copies_the_held_out_one_stays_and_else_the_first():
    keys = np.array([[1, 1], [2, 2], [1, 1], [1, 1], [3, 3], [2, 2], [1, 2]], dtype=np.uint64)
    assert repeats(keys, np.array([2, 2, 1, 0, 2, 2, 2])).tolist() == [0, 2, 5]
    assert repeats(keys[:0], np.zeros(0)).tolist() == []


def test_a_sample_is_all_its_parts():
    assert sample_key("a", "bc") != sample_key("ab", "c") != sample_key("abc")
    assert sample_key("a", "b") == sample_key("a", "b")


def test_equal_texts_stay_on_one_side_whatever_their_blanks():
    blanks = ("", "  ", "\n", "\t \r\n")
    texts = [f"caf\u00e9{blanks[number // 40]} {number % 40}" for number in range(120)]
    texts += [f"cafe\u0301 {number}" for number in range(40)]
    table = pa.table({"text": texts, "split": [""] * 160, "origin": [""] * 160})
    side = {}
    for row in split_table(table, Split(validation=0.3, test=0.2), []).to_pylist():
        side.setdefault(row["text"].split()[-1], set()).add(row["split"])
    assert all(len(found) == 1 for found in side.values())
    assert set().union(*side.values()) == {"train", "validation", "test"}


def test_a_file_of_its_own_decides_the_split():
    table = pa.table({"text": ["a", "b", "c"], "split": ["validation", "", "test"], "origin": ["1", "2", "3"]})
    rows = split_table(table, Split(validation=0.5), ["validation", "test"]).to_pylist()
    assert [row["split"] for row in rows] == ["validation", "train", "test"]


@pytest.fixture
def job(tmp_path):
    (tmp_path / "text.txt").write_text("some text")
    spec = TrainBpe(vocab_size=300)
    tokenizer.save(tokenizer.train(spec, ["some text"]), spec, 64, tmp_path / "model")
    return PrepareJob.model_validate(
        {
            "kind": "prepare",
            "name": "a",
            "source": {"kind": "text_files", "path": str(tmp_path / "text.txt")},
            "tokenizer": {"kind": "pretrained", "name_or_path": str(tmp_path / "model")},
            "pack": {"block_size": 8},
            "steps": ({"kind": "clean"},),
        }
    )


def key_of(job):
    return identity.key_of(job, find_files(job.source))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("tokenizer.json", True),
        ("tokenizer_config.json", True),
        ("chat_template.jinja", True),
        ("special_tokens_map.json", True),
        ("added_tokens.json", True),
        ("merges.txt", True),
        ("vocab.json", True),
        ("spiece.model", True),
        ("config.json", True),
        ("model.safetensors", False),
        ("README.md", False),
        ("generation_config.json", True),
    ],
)
def test_every_file_that_can_change_a_token_is_in_the_key_by_content(job, tmp_path, file, changes):
    before = key_of(job)
    (tmp_path / "model" / file).write_text(json.dumps({"changed": True}))
    assert (key_of(job) != before) == changes


@pytest.mark.parametrize("library", ["tokenizers", "transformers", "pillow"])
def test_the_libraries_that_read_are_in_the_key(job, tmp_path, monkeypatch, library):
    read = PrepareJob.model_validate(images(tmp_path)) if library == "pillow" else job
    before = identity.libraries_of(read)
    monkeypatch.setattr(identity, "version", lambda name: "0" if name == library else metadata.version(name))
    after = identity.libraries_of(read)
    assert {name for name in before if before[name] != after[name]} == {library}


def images(tmp_path):
    source = {"kind": "images", "path": str(tmp_path), "size": 4}
    return {"kind": "prepare", "name": "a", "source": source, "examples": {"image": "image", "label": "label"}}


def test_a_tokenizer_on_the_hub_is_known_by_its_files(job, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--maker--model"
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    (snapshot / "tokenizer.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert identity.tokenizer_files("maker/model") == {"tokenizer.json": hashlib.sha256(b"{}").hexdigest()}
    with pytest.raises(PlatformError, match=r"tokenizer.name_or_path: maker/none: cannot be fetched from the hub"):
        identity.tokenizer_files("maker/none")
