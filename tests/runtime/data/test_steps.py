"""What is done to texts, and the tokenizer they train."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from trainshed.errors import PlatformError
from trainshed.runtime.data import tokenizer
from trainshed.runtime.data.found import find_files, hash_files
from trainshed.runtime.data.steps import clean_text, text_key
from trainshed.spec.data.prepare import JsonLines, TextFiles, TrainBpe

TEXTS = ["def f(x):\n    return x + 1\n", "naïve café 日本 🙂\n", "\ttabs and  blanks"] * 10


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("a  \nb\t\n", "a\nb"),
        ("a\x00\x1bb\tc", "ab\tc"),
        ("e\u0301", "\u00e9"),
        ("\n\na\n\n", "a"),
    ],
)
def test_cleaning(raw, clean):
    assert clean_text(raw) == clean


def test_equal_texts_have_equal_keys():
    assert text_key("a") == text_key("a") != text_key("b")


def test_a_byte_level_tokenizer_loses_nothing():
    trained = tokenizer.train(TrainBpe(vocab_size=300), TEXTS)
    for text in [*TEXTS, "unseen: ßø\u200b\n\n"]:
        assert trained.decode(trained.encode(text).ids) == text


def test_the_same_texts_train_the_same_tokenizer():
    first, second = (tokenizer.train(TrainBpe(vocab_size=300), TEXTS).to_str() for _ in range(2))
    assert first == second


def test_transformers_opens_what_is_saved(tmp_path):
    spec = TrainBpe(vocab_size=300, chat_template="<|user|>{{ messages[0].content }}")
    trained = tokenizer.train(spec, TEXTS)
    tokenizer.save(trained, spec, 64, tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert opened.encode("def f") == trained.encode("def f").ids
    assert opened.eos_token == "<|endoftext|>"
    assert opened.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False) == "<|user|>hello"
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|user|>") is not None


def test_files_of_a_source(tmp_path):
    for name in ("b.txt", "a.txt", "c.jsonl", "sub/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(name))
    names = [path.removeprefix(f"{tmp_path}/") for path in find_files(TextFiles(path=f"{tmp_path}/*.txt")).files]
    assert names == ["a.txt", "b.txt"]
    assert len(find_files(TextFiles(path=f"{tmp_path}/**/*.txt")).files) == 3
    assert len(find_files(TextFiles(path=f"{tmp_path}/[ab].t?t")).files) == 2
    assert len(find_files(TextFiles(path=str(tmp_path))).files) == 4
    assert len(find_files(JsonLines(path=str(tmp_path))).files) == 1
    assert find_files(TextFiles(path=f"{tmp_path}/a.txt")).files == [f"{tmp_path}/a.txt"]
    with pytest.raises(PlatformError, match="no file matches"):
        find_files(TextFiles(path=f"{tmp_path}/*.parquet"))


def test_the_standard_library_is_found_without_its_tests_and_tables():
    files = find_files(TextFiles(path="python-stdlib")).files
    assert any(path.endswith("/argparse.py") for path in files)
    assert not any("/test/" in path or "/encodings/" in path or "site-packages" in path for path in files)


def test_a_hash_follows_the_content(tmp_path):
    (tmp_path / "a").write_text("1")
    found = find_files(TextFiles(path=f"{tmp_path}/a"))
    before = hash_files(found)
    (tmp_path / "a").write_text("2")
    assert hash_files(found) != before
