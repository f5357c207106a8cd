"""Text is text: a mark that a text spells is no special token, whichever model a tokenizer has."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from trainshed.record.data_manifest import DataManifest
from trainshed.runtime.encoding import Marks, TextEncoder
from trainshed.runtime.tasks.facts import DataFacts

WORDS = ["the", "cat", "sat", "on", "the", "mat", "</s>", "[SEP]", "<|endoftext|>"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "[SEP]", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat"], trainer)
    return tokenizer


def merged():
    """A BPE without words, whose merges can make a mark out of its letters."""
    letters = sorted({letter for word in WORDS for letter in word} | {"▁"})
    vocab = {piece: number for number, piece in enumerate(["</s>", "[SEP]", "<|endoftext|>", *letters, "</", "s>"])}
    tokenizer = Tokenizer(models.BPE(vocab, [("<", "/"), ("s", ">"), ("</", "s>")]))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.add_special_tokens(["</s>", "[SEP]", "<|endoftext|>"])
    return tokenizer


def unigram():
    letters = sorted({letter for word in WORDS for letter in word} | {"▁"})
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("[SEP]", 0.0), ("<|endoftext|>", 0.0), *((one, -5.0) for one in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, 0, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "</s>", "[SEP]", "<|endoftext|>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def word_piece():
    pieces = ["[UNK]", "[SEP]", "</s>", "<|endoftext|>", *WORDS[:6], *"[]<>|/#", "sep", "s", "endoftext"]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "</s>", "<|endoftext|>"])
    return tokenizer


def word_level():
    vocab = {word: number for number, word in enumerate(dict.fromkeys(["[UNK]", *WORDS]))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "</s>", "<|endoftext|>"])
    return tokenizer


MARKS = ("</s>", "[SEP]", "<|endoftext|>")
MODELS = [byte_level, merged, unigram, word_piece, word_level]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("shape", ["{}", "the {} cat", "the{}cat", "{}{} the", "the cat{}"])
def test_a_mark_in_a_text_is_text(make, mark, shape):
    tokenizer = make()
    twin = Tokenizer.from_str(Marks(tokenizer.to_str()).text_only)
    text = shape.format(mark, mark)
    marks = {tokenizer.token_to_id(one) for one in MARKS}
    assert marks & set(tokenizer.encode(text, add_special_tokens=False).ids), "this tokenizer never obeyed it"
    ids = twin.encode(text, add_special_tokens=False).ids
    assert ids
    assert not marks & set(ids)
    if make in (byte_level, merged, unigram):
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("make", MODELS)
def test_text_without_marks_is_encoded_as_before(make):
    tokenizer = make()
    marks = Marks(tokenizer.to_str())
    twin = Tokenizer.from_str(marks.text_only)
    for text in ("the cat sat on the mat", "the </ cat s>", "", "SEP the s", "THE Cat"):
        assert twin.encode(text).ids == tokenizer.encode(text).ids
        assert not marks.found(text)
    assert twin.get_vocab_size() == tokenizer.get_vocab_size()


def test_the_post_processor_still_closes_a_text():
    tokenizer = unigram()
    twin = Tokenizer.from_str(Marks(tokenizer.to_str()).text_only)
    ids = twin.encode("the </s> cat").ids
    assert ids.count(tokenizer.token_to_id("</s>")) == 1
    assert ids[-1] == tokenizer.token_to_id("</s>")


def test_an_added_word_stays_a_word_and_one_with_a_role_becomes_a_mark(tmp_path):
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("<|im_end|>", special=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    marks = Marks.read(tmp_path)
    ids = Tokenizer.from_str(marks.text_only).encode("<think>a<|im_end|>").ids
    assert ids[0] == tokenizer.token_to_id("<think>")
    assert tokenizer.token_to_id("<|im_end|>") not in ids
    assert tokenizer.decode(ids) == "<think>a<|im_end|>"


def test_marks_are_counted_the_longest_first():
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|end", "<|endoftext|>"])
    found = Marks(tokenizer.to_str()).found("a<|endoftext|>b</s><|endo</s>")
    assert found == {"<|endoftext|>": 1, "</s>": 2, "<|end": 1}


@pytest.mark.parametrize("make", MODELS)
def test_marks_of_a_template_are_marks_and_those_in_its_texts_are_not(make):
    tokenizer = make()
    marks = Marks(tokenizer.to_str())
    twin = Tokenizer.from_str(marks.text_only)
    rendered = f"[SEP]{marks.veil('the </s> <|endoftext|> cat')}</s>"
    spelled = marks.spell(rendered)
    ids = twin.encode(spelled, add_special_tokens=False).ids
    special = {tokenizer.token_to_id(one) for one in MARKS}
    assert [number for number in ids if number in special] == [tokenizer.token_to_id(one) for one in ("[SEP]", "</s>")]
    same = "[SEP]the cat sat</s>"
    assert twin.encode(marks.spell(same)).ids == tokenizer.encode(same).ids


def test_a_tokenizer_without_marks_is_its_own_twin():
    tokenizer = Tokenizer(models.WordLevel({"the": 0, "[UNK]": 1}, unk_token="[UNK]"))
    marks = Marks(tokenizer.to_str())
    assert marks.spelled == ()
    assert Tokenizer.from_str(marks.text_only).encode("the").ids == [0]
    assert marks.veil("the [UNK]") == marks.spell("the [UNK]") == "the [UNK]"


@pytest.mark.parametrize(
    ("obeyed", "obeys"), [(None, {"[SEP]", "<|im_end|>"}), ((), set()), (("mask_token",), {"[SEP]"})]
)
def test_a_question_to_a_task_is_text_as_its_data_was(tmp_path, obeyed, obeys):
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<|im_end|>", special=False)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "mask_token": {"content": "[SEP]"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    encoder = TextEncoder.read(tmp_path, max_tokens=50, obeyed=obeyed)
    [ids] = encoder.texts(["the [SEP] cat<|im_end|>"])
    assert {mark for mark in ("[SEP]", "<|im_end|>") if tokenizer.token_to_id(mark) in ids} == obeys
    assert encoder.decode([tokenizer.token_to_id("<|im_end|>")]) == "<|im_end|>", "decoded by its own spelling"


def test_facts_of_data_say_whether_its_texts_were_obeyed(tmp_path):
    made = {"splits": {"train": {}}}
    for job, obeyed in (({}, True), ({"job": {"special_tokens_in_text": "plain"}}, False)):
        assert DataFacts.read(tmp_path, DataManifest.model_validate(made | job)).special_tokens_obeyed is obeyed
