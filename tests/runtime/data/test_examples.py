"""Labelled samples: how files are read, how texts become numbers, how shards keep them."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from trainshed.errors import PlatformError
from trainshed.record.data_manifest import SamplesFacts
from trainshed.record.storage import Storage
from trainshed.runtime.data import builtin, tokenizer
from trainshed.runtime.data.columns import shard_schema
from trainshed.runtime.data.encode import Encode
from trainshed.runtime.data.found import Found, find_files
from trainshed.runtime.data.reader import SampleReader
from trainshed.runtime.data.spelled import Tally, TextForm
from trainshed.runtime.encoding import Marks, SpecialIds, TextEncoder
from trainshed.runtime.shards import BlockWriter, Examples, ExampleWriter, examples
from trainshed.spec.data.prepare import Characters, Csv, PrepareJob, PretrainedTokenizer, TrainBpe
from trainshed.spec.data.sources import Builtin

TEXTS = ["to be, or not to be", "naïve café\n\tß 日本 🙂", "<|endoftext|> is a mark"]


def job(**fields):
    base = {
        "kind": "prepare",
        "name": "a",
        "source": {"kind": "text_files", "path": "x"},
        "tokenizer": {"kind": "characters"},
        "examples": {"text": "text"},
    }
    return PrepareJob.model_validate(base | fields)


def rows(content, **fields):
    found = Found(pafs.LocalFileSystem(), {"/a/cat/x": "validation"}, {"/a/cat/x": "cat"})
    reader = SampleReader(job(**fields), found)
    return list(reader.read(content.encode() if isinstance(content, str) else content, "/a/cat/x"))


def test_a_csv_line_is_a_sample(tmp_path):
    source = {"kind": "csv", "path": "x", "delimiter": "\t", "columns": ("text", "label"), "quotes": False}
    found = rows('a "quoted\tyes\nb\tno\n', source=source, examples={"text": "text", "label": "label"})
    assert [(row["text"], json.loads(row["label"]), row["split"]) for row in found] == [
        ('a "quoted', "yes", "validation"),
        ("b", "no", "validation"),
    ]
    with_header = rows('text,n\n"a,\nb",1\n', source={"kind": "csv", "path": "x"})
    assert [row["text"] for row in with_header] == ["a,\nb"]


def test_a_csv_line_of_another_length_is_named():
    source = {"kind": "csv", "path": "x", "columns": ("text", "label")}
    good, bad = rows("a,1\nb,2,3\n", source=source)
    assert good["text"] == "a"
    assert str(bad).startswith("/a/cat/x:2: 3 fields where 2 are named (text, label)")


def test_a_json_line_is_a_sample_and_a_missing_field_is_named():
    source = {"kind": "jsonl", "path": "x"}
    spec = {"text": "q", "target": "a"}
    found = rows('{"q": "1+1", "a": "2"}\n\n', source=source, examples=spec)
    assert [(row["text"], row["target"]) for row in found] == [("1+1", "2")]
    (bad,) = rows('{"q": "1+1", "a": 2}\n', source=source, examples=spec)
    assert str(bad) == "/a/cat/x:1: a: expected text, found the number 2"
    (bad,) = rows('{"q": "1+1"}\n', source=source, examples=spec)
    assert str(bad) == "/a/cat/x:1: no field 'a'; it has q"
    (bad,) = rows("{\n", source=source, examples=spec)
    assert str(bad).startswith("/a/cat/x:1: not JSON")


def test_an_image_is_resized_and_its_folder_is_its_class():
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), (255, 0, 10), dtype=np.uint8)).save(buffer, "PNG")
    source = {"kind": "images", "path": "x", "size": 4}
    spec = {"source": source, "tokenizer": None, "examples": {"image": "image", "label": "label"}}
    row = rows(buffer.getvalue(), **spec)[0]
    pixels = np.frombuffer(row["image"], dtype=np.uint8).reshape(3, 4, 4)
    assert (pixels[0] == 255).all()
    assert (pixels[2] == 10).all()
    assert json.loads(row["label"]) == "cat"
    (bad,) = rows(b"no image", **spec)
    assert str(bad).startswith("/a/cat/x: not an image that can be read")


def test_named_files_have_their_own_split(tmp_path):
    for name in ("a.csv", "b.csv", "dev.csv"):
        (tmp_path / name).write_text("text\nx\n")
    found = find_files(Csv(path=f"{tmp_path}/*.csv", validation=f"{tmp_path}/dev.csv"))
    assert isinstance(found, Found)
    assert {path.rsplit("/", 1)[1]: split for path, split in found.splits.items()} == {
        "a.csv": "",
        "b.csv": "",
        "dev.csv": "validation",
    }


@pytest.mark.parametrize("spec", [Characters(), TrainBpe(vocab_size=300)], ids=lambda spec: spec.kind)
def test_a_tokenizer_of_ours_gives_back_what_it_was_given(spec, tmp_path):
    made = job(tokenizer=spec.model_dump(), pack={"block_size": 8}, examples=None)
    tokenizer.make(made, TEXTS, tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS[:2]:
        assert opened.decode(opened.encode(text)) == text
    assert opened.eos_token == "<|endoftext|>"


def test_a_character_that_was_not_seen_is_unknown(tmp_path):
    trained = tokenizer.make(job(), ["ab"], tmp_path)
    assert trained.get_vocab_size() == 5  # end, pad, unknown, a, b
    ids = trained.encode("axb", add_special_tokens=False).ids
    assert ids == [trained.token_to_id(token) for token in ("a", "<|unknown|>", "b")]


def test_samples_are_enclosed_and_cut_with_their_marks(tmp_path):
    spec = {"kind": "train_bpe", "vocab_size": 300, "special_tokens": ("cls", "sep", "mask")}
    tokenizer.make(job(tokenizer=spec), TEXTS, tmp_path)
    special, encoder = SpecialIds.read(tmp_path), TextEncoder.read(tmp_path, max_tokens=6)
    ids = encoder.texts(["to be, or not to be"])[0]
    sep = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|sep|>")
    assert (len(ids), ids[0], ids[-1]) == (6, special.cls, sep)
    assert AutoTokenizer.from_pretrained(tmp_path).mask_token_id == special.mask
    target = encoder.targets(["to be"], 4)[0]
    assert target[-1] == special.eos
    assert len(target) <= 4
    assert {special.cls, special.mask, special.pad, special.eos, sep} == special.all


def spelling(tmp_path, *, obeyed):
    made = job(tokenizer={"kind": "train_bpe", "vocab_size": 300, "special_tokens": ("cls", "sep")})
    trained = tokenizer.make(made, TEXTS, tmp_path)
    return TextForm(trained, Marks.read(tmp_path), obeyed, end=trained.token_to_id("<|endoftext|>"))


@pytest.mark.parametrize("obeyed", [False, True], ids=["plain", "obeyed"])
def test_a_sample_that_spells_special_tokens_has_them_only_where_the_job_says_so(obeyed, tmp_path):
    text, target = "a <|endoftext|> b <|sep|><|sep|>", "<|endoftext|>"
    form = spelling(tmp_path, obeyed=obeyed)
    cls, sep, end = (form.tokenizer.token_to_id(f"<|{name}|>") for name in ("cls", "sep", "endoftext"))
    made_job = job(source=Builtin(name="dates"), examples={"text": "text", "target": "target"})
    encoder = Encode(made_job, form, {}, shard_schema(("text", "target"), None, None))
    row = {"split": ["train"], "origin": ["here"], "text": [text], "target": [target]}
    (made_of,) = encoder.tables(pa.table(row))
    tokens, made = made_of["tokens"][0].as_py(), made_of["target"][0].as_py()
    assert (tokens[0], tokens[-1], made[-1]) == (cls, sep, end)
    spelled = [number for number in [*tokens[1:-1], *made[:-1]] if number in (cls, sep, end)]
    assert spelled == ([end, sep, sep, end] if obeyed else [])
    if not obeyed:
        assert form.tokenizer.decode(tokens, skip_special_tokens=True) == text
    tally = Tally()
    tally.add(made_of["spelled"].to_pylist())
    said = tally.said_of(SamplesFacts(splits={}))
    assert said.as_json() == {"splits": {}, "special_tokens_in_text": {"<|endoftext|>": 2, "<|sep|>": 2}}
    assert Tally().said_of(SamplesFacts(splits={})).as_json() == {"splits": {}}


@pytest.mark.parametrize("kind", ["train_bpe", "characters"])
def test_a_tokenizer_trained_on_texts_that_spell_a_mark_knows_the_mark_and_its_letters(kind, tmp_path):
    spec = {"kind": kind} | ({"vocab_size": 400} if kind == "train_bpe" else {})
    trained = tokenizer.make(job(tokenizer=spec), ["say <|endoftext|> and <|pad|>"] * 50, tmp_path)
    form = TextForm(trained, Marks.read(tmp_path), obeyed=False)
    ids = Tokenizer.from_str(form.serialized).encode("say <|endoftext|>", add_special_tokens=False).ids
    assert trained.token_to_id("<|endoftext|>") not in ids
    assert trained.decode(ids) == "say <|endoftext|>"


def test_ids_may_have_gaps(tmp_path):
    """A table of counts over tokens was as long as there are tokens, and the last id lay behind its end."""
    vocab = {"<unk>": 0, "a": 5, "b": 9}
    gaps = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    gaps.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    gaps.add_special_tokens(["</s>"])
    form = TextForm(gaps, Marks(gaps.to_str()), obeyed=False)
    last = max(gaps.get_vocab().values())
    assert gaps.get_vocab_size() <= last < form.ids
    writer = BlockWriter(Storage.open(tmp_path), "data", "train", 8, form.ids)
    writer.add(np.array([5, 9, 3] * 8, dtype=np.uint32))
    facts = writer.close()
    assert (facts.samples, round(facts.unigram_entropy_nats, 3)) == (3, 1.099)


def test_special_tokens_leave_the_numbers_of_packed_data_alone(tmp_path):
    plain = tokenizer.train(TrainBpe(vocab_size=300), TEXTS)
    masked = tokenizer.train(TrainBpe(vocab_size=301), TEXTS, special_tokens=("mask",))
    assert plain.token_to_id("<|endoftext|>") == masked.token_to_id("<|endoftext|>") == 0
    assert plain.encode("to be").tokens == masked.encode("to be").tokens


def test_the_tokenizer_of_an_existing_model_is_taken_as_it_is(tmp_path):
    tokenizer.make(job(), TEXTS, tmp_path / "first")
    taken = PretrainedTokenizer(name_or_path=str(tmp_path / "first"))
    second = tokenizer.make(job(tokenizer=taken.model_dump()), [], tmp_path / "second")
    assert second.get_vocab() == Tokenizer.from_file(str(tmp_path / "first" / "tokenizer.json")).get_vocab()
    (tmp_path / "empty").mkdir()
    nothing = PretrainedTokenizer(name_or_path=str(tmp_path / "empty"))
    with pytest.raises(PlatformError, match="no tokenizer there"):
        tokenizer.make(job(tokenizer=nothing.model_dump()), [], tmp_path / "third")


def test_shards_give_back_every_column(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "SHARD_SAMPLES", 3)
    schema = shard_schema(("text", "target", "label", "image"), "multi", (2, 3))
    writer = ExampleWriter(Storage.open(tmp_path), "data", "train", schema, labels=2)
    draw = np.random.default_rng(0)
    made = [
        {
            "tokens": list(range(number)),
            "target": [number, 7],
            "pixels": draw.integers(0, 256, 12, dtype=np.uint8),
            "label": [float(number % 2), 1.0],
        }
        for number in range(8)
    ]
    writer.add(pa.Table.from_pylist(made[:5], schema=schema))
    writer.add(pa.Table.from_pylist(made[5:], schema=schema))
    facts = writer.close()
    made_of = SamplesFacts(form="examples", image={"size": 2, "channels": 3}, splits={"train": facts})
    assert (facts.samples, facts.label_counts, len(facts.shards)) == (8, (4, 8), 3)
    taken = Examples(tmp_path / "data", made_of, "train").take(np.array([7, 0, 4]))
    assert [tokens.tolist() for tokens in taken["tokens"]] == [list(range(7)), [], list(range(4))]
    assert [target.tolist() for target in taken["target"]] == [[7, 7], [0, 7], [4, 7]]
    assert taken["label"].tolist() == [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert taken["pixels"].shape == (3, 3, 2, 2)
    assert (taken["pixels"][0].ravel() == made[7]["pixels"]).all()


def test_dates_are_the_same_day_on_both_sides():
    made = builtin.rows(Builtin(name="dates", samples=500, seed=3))
    assert made == builtin.rows(Builtin(name="dates", samples=500, seed=3))
    for row in made:
        year, month, day = row["target"].split("-")
        numbers = re.findall(r"\d+", row["text"])
        assert year in numbers
        assert int(day) in map(int, numbers)
        assert builtin.MONTHS[int(month) - 1][:3] in row["text"] or f".{month}." in row["text"]
    assert len({re.sub(r"\d", "0", row["text"]) for row in made}) > 50


def test_digits_are_images_of_ten_classes():
    made = builtin.rows(Builtin(name="digits"))
    assert len(made) == 1797
    assert {row["label"] for row in made} == set("0123456789")
    assert {len(row["image"]) for row in made} == {64}
    assert {row["done"] for row in made} == {"[]"}  # images of files say there how they were changed
