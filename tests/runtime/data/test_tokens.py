"""Rows to token ids: what is learnt of them, what is cut or left out, and how they share blocks."""

import random

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from chat_shapes import SHAPES
from trainshed.errors import PlatformError
from trainshed.record.data_manifest import SplitFacts
from trainshed.runtime.data.apart import WINDOW, BlockFitter, pieces_of
from trainshed.runtime.data.fates import Fates, columns_of, lines_of
from trainshed.runtime.data.spelled import TextForm
from trainshed.runtime.data.tokens import Tokeniser, Tokens
from trainshed.runtime.encoding import ConversationEncoder, Marks, SpecialIds, TextEncoder
from trainshed.spec.data.conversations import conversation_of, preference_of
from trainshed.spec.data.prepare import PrepareJob

SHAPE = SHAPES["llama 3"]
JOB = {
    "kind": "prepare",
    "name": "chats",
    "source": {"kind": "jsonl", "path": "x"},
    "tokenizer": {"kind": "pretrained", "name_or_path": "/m"},
    "examples": {},
}


def form_in(folder, *, enclose=None):
    """A text form of a real kind; `enclose` are the tokens that the tokenizer puts around a text."""
    SHAPE.tokenizer().save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if enclose is not None:
        tokens = [(mark, tokenizer.token_to_id(mark)) for mark in SHAPE.marks[:2]]
        tokenizer.post_processor = processors.TemplateProcessing(single=enclose, special_tokens=tokens)
        tokenizer.save(str(folder / "tokenizer.json"))
    return TextForm(
        tokenizer,
        Marks.read(folder),
        obeyed=False,
        end=SpecialIds.read(folder).eos,
        conversations=ConversationEncoder.read(folder, obey=False),
    )


def rows_of(form, changes, **columns):
    job = PrepareJob.model_validate(JOB | changes)
    return Tokeniser(job, form).rows(pa.table(columns))


def chat(*said):
    turns = [{"role": ("user", "assistant")[number % 2], "content": one} for number, one in enumerate(said)]
    return conversation_of("messages", {"messages": turns}).as_json()


BOS, EOT = "<|begin_of_text|>", "<|eot_id|>"


@pytest.mark.parametrize("enclose", [None, f"{BOS} $A", f"{BOS} $A {EOT}", f"$A {EOT}"])
def test_a_prompt_and_its_completion_are_begun_once_and_closed_once(tmp_path, enclose):
    form = form_in(tmp_path, enclose=enclose)
    bos, eot = (form.tokenizer.token_to_id(mark) for mark in (BOS, EOT))
    packed = {"examples": None, "format": "prompt_completion", "pack": {"block_size": 64}}
    [row] = rows_of(form, packed, text=["You are"], target=[" short."])
    ids = row.ids.tolist()
    assert ids.count(bos) == (enclose is not None and BOS in enclose)
    assert (ids.count(eot), ids[-1]) == (1, eot)
    learnt = form.tokenizer.decode(row.ids[row.mask].tolist())
    assert learnt == " short."
    apart = {"examples": {}, "format": "prompt_completion"}
    [pair] = rows_of(form, apart, text=["You are"], target=[" short."])
    encoder = TextEncoder.read(tmp_path, max_tokens=None, obeyed=())
    asked = encoder.prompts(["You are"])[0].tolist()
    assert encoder.opened(pair.ids).tolist() == asked, "it is not trained as it is asked"
    assert [*asked, *pair.target.tolist()] == ids


def test_packed_text_is_begun_and_closed_as_the_model_expects(tmp_path):
    for enclose, expected in ((f"{BOS} $A", "bos eos"), (None, "eos"), (f"{BOS} $A {EOT}", "bos eos")):
        form = form_in(tmp_path, enclose=enclose)
        bos, eot = (form.tokenizer.token_to_id(mark) for mark in (BOS, EOT))
        [ids] = TextEncoder(form.serialized, max_tokens=None, end=form.end).documents(["You are short."])
        assert ((ids[0] == bos), ids[-1] == eot, ids.count(bos), ids.count(eot)) == (
            "bos" in expected, True, int("bos" in expected), 1
        )  # fmt: skip


def test_no_second_bos_where_a_text_that_is_obeyed_has_one(tmp_path):
    form = form_in(tmp_path, enclose=f"{BOS} $A")
    bos = form.tokenizer.token_to_id(BOS)
    obeying = TextEncoder(form.tokenizer.to_str(), max_tokens=None, end=form.end)
    for ids in (obeying.prompts([f"{BOS}You"])[0].tolist(), obeying.documents([f"{BOS}You"])[0]):
        assert ids.count(bos) == 1
    plain = TextEncoder(form.serialized, max_tokens=None, end=form.end)
    assert plain.prompts([f"{BOS}You"])[0].tolist().count(bos) == 1, "what a text spells is text"


def test_of_a_conversation_all_turns_or_the_last_are_learnt(tmp_path):
    form = form_in(tmp_path)
    said = chat("a?", "first", "b?", "second")
    [all_turns] = rows_of(form, {"format": "messages"}, messages=[said])
    [last] = rows_of(form, {"format": "messages", "learn_from": "last_turn"}, messages=[said])
    assert form.tokenizer.decode(all_turns.ids[all_turns.mask].tolist()) == "firstsecond"
    assert form.tokenizer.decode(last.ids[last.mask].tolist()) == "second"


LONG = "You are short. " * 8


@pytest.mark.parametrize(
    ("policy", "fate", "first", "last"),
    [("cut_right", "cut", True, False), ("cut_left", "cut", True, True), ("drop", "too long", None, None)],
)
def test_a_conversation_that_is_too_long_is_cut_or_left_out(tmp_path, policy, fate, first, last):
    form = form_in(tmp_path, enclose=f"{BOS} $A")
    [whole] = rows_of(form, {"format": "messages"}, messages=[chat("a?", LONG)])
    limit = len(whole.ids) - 5
    changes = {"format": "messages", "too_long": policy, "examples": {"max_tokens": limit}}
    [row] = rows_of(form, changes, messages=[chat("a?", LONG)])
    assert (row.fate, row.found) == (fate, len(whole.ids))
    if fate == "cut":
        assert (len(row.ids), len(row.mask)) == (limit, limit)
        assert (row.ids[0] == form.tokenizer.token_to_id(BOS)) == first
        assert (row.ids[-1] == whole.ids[-1]) == last
        assert row.mask.any()
    [gone] = rows_of(
        form, {**changes, "too_long": "cut_right", "examples": {"max_tokens": 6}}, messages=[chat("a?", "b")]
    )
    assert gone.fate == "nothing to learn"


def test_a_target_that_is_cut_has_no_end_token(tmp_path):
    form = form_in(tmp_path)
    eot = form.tokenizer.token_to_id(EOT)
    for limit, ends in ((400, True), (6, False)):
        examples = {"max_tokens": 50, "max_target_tokens": limit}
        [row] = rows_of(form, {"format": "prompt_completion", "examples": examples}, text=["a"], target=[LONG])
        assert (row.target[-1] == eot, row.fate == "cut") == (ends, not ends)
        assert len(row.target) <= limit
    [row] = rows_of(
        form,
        {"format": "prompt_completion", "examples": {"max_target_tokens": 6}, "too_long": "drop"},
        text=["a"],
        target=[LONG],
    )
    assert row.fate == "too long"


@pytest.mark.parametrize("policy", ["cut_right", "cut_left"])
def test_a_text_that_is_cut_keeps_the_tokens_around_it(tmp_path, policy):
    form = form_in(tmp_path, enclose=f"{BOS} $A {EOT}")
    job = {"examples": {"text": "text", "label": "label", "max_tokens": 8}, "too_long": policy}
    [row] = rows_of(form, job, text=["You are short. Say a number"])
    bos, eot = (form.tokenizer.token_to_id(mark) for mark in (BOS, EOT))
    assert (len(row.ids), row.ids[0], row.ids[-1], row.fate) == (8, bos, eot, "cut")
    kept = form.tokenizer.decode(row.ids.tolist())
    assert "You are short. Say a number".startswith(kept) == (policy == "cut_right")
    assert "You are short. Say a number".endswith(kept) == (policy == "cut_left")


def test_a_preference_has_two_sides_of_which_the_answers_are_learnt(tmp_path):
    form = form_in(tmp_path)
    row = {"prompt": "1+1?", "chosen": "2", "rejected": "3"}
    [made] = rows_of(form, {"format": "preference"}, preference=[preference_of(row).as_json()])
    assert form.tokenizer.decode(made.ids[made.mask].tolist()) == "2"
    assert form.tokenizer.decode(made.rejected.ids[made.rejected.mask].tolist()) == "3"


def table_of(rows):
    columns = columns_of(rows)
    return pa.table({"origin": [f"x:{number}" for number in range(len(rows))], **columns})


def test_what_is_left_out_is_counted_by_why_and_said():
    job = PrepareJob.model_validate(JOB | {"format": "messages", "bad_rows": {"kind": "skip", "limit": 2}})
    none = np.zeros(0, dtype=np.int64)
    fates = ("whole", "cut", "cut", "too long", "nothing to learn", "refused")
    counted = Fates(job)
    kept = counted.kept("train", table_of([Tokens(none, fate=fate, as_asked=fate != "cut") for fate in fates]))
    assert kept["origin"].to_pylist() == ["x:0", "x:1", "x:2"]
    facts = counted.said_of("train", SplitFacts())
    assert (facts.cut, facts.not_as_asked) == (2, 2)
    assert facts.left_out == {"too long": 1, "nothing to learn": 1, "refused": 1}
    said = " ".join(lines_of(facts, job))
    assert "2 were longer than 1024 tokens and are cut" in said
    assert "1 left out: nothing to learn" in said


@pytest.mark.parametrize(
    ("changes", "fate", "why"),
    [
        ({"too_long": "refuse"}, "too long", "x:1: 2000 tokens, over the 1024 of examples.max_tokens; raise it"),
        ({}, "refused", "x:1: no such roles; mend it"),
        ({"bad_rows": {"kind": "skip", "limit": 1}}, "refused", "x:1: no such roles"),
    ],
)
def test_a_job_that_wants_no_such_rows_fails_with_the_first(changes, fate, why):
    job = PrepareJob.model_validate(JOB | {"format": "messages"} | changes)
    none = np.zeros(0, dtype=np.int64)
    bad = Tokens(none, fate=fate, why="no such roles", found=2000)
    with pytest.raises(PlatformError, match=why):
        Fates(job).kept("train", table_of([Tokens(none), bad, bad]))


@pytest.mark.parametrize("longest", [16, 60, 200, 256])
def test_blocks_of_whole_documents_are_nearly_full(longest):
    rng = random.Random(longest)
    sizes = [min(256, max(1, round(rng.lognormvariate(3, 1)))) % longest + 1 for _ in range(WINDOW * 2 + 17)]
    documents = [Tokens(np.full(size, number)) for number, size in enumerate(sizes)]
    fitter = BlockFitter(256)
    blocks = [block for document in documents for block in fitter.add(document)]
    blocks += list(fitter.close())
    there = sorted(int(document.ids[0]) for block in blocks for document in block)
    assert there == list(range(len(documents))), "a document is lost, or stands twice"
    assert all(sum(len(one.ids) for one in block) <= 256 for block in blocks)
    share = sum(sizes) / (256 * len(blocks))
    print(f"documents up to {longest} tokens: {share:.2%} of the tokens are real")
    assert share >= 0.97


def test_a_text_longer_than_a_block_is_cut_into_pieces_without_loss():
    pieces = list(pieces_of(Tokens(np.arange(70)), 32))
    assert [len(piece.ids) for piece in pieces] == [32, 32, 6]
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == list(range(70))


PAIRED = {"examples": {"text": "text", "text_pair": "other", "label": "label", "max_tokens": 12}}


@pytest.mark.parametrize("policy", ["cut_right", "cut_left", "drop"])
def test_a_pair_is_one_row_as_transformers_makes_it(tmp_path, policy):
    form = form_in(tmp_path, enclose=f"{BOS} $A {EOT}")
    post = processors.TemplateProcessing(
        single=f"{BOS} $A {EOT}",
        pair=f"{BOS} $A {EOT} $B:1 {EOT}:1",
        special_tokens=[(mark, form.tokenizer.token_to_id(mark)) for mark in (BOS, EOT)],
    )
    form.tokenizer.post_processor = post
    form.tokenizer.save(str(tmp_path / "tokenizer.json"))
    form = TextForm(form.tokenizer, Marks.read(tmp_path), obeyed=False, end=form.end)
    opened = AutoTokenizer.from_pretrained(
        tmp_path, truncation_side=policy.removeprefix("cut_").replace("drop", "right")
    )
    texts, others = ["You are", LONG], ["short.", "Say a number"]
    rows = rows_of(form, PAIRED | {"too_long": policy}, text=texts, text_pair=others)
    expected = opened(texts, others, truncation="longest_first", max_length=12, return_token_type_ids=True)
    assert [row.fate for row in rows] == ["whole", "too long" if policy == "drop" else "cut"]
    for row, ids, types in zip(rows, expected["input_ids"], expected["token_type_ids"], strict=True):
        if row.fate != "too long":
            assert (row.ids.tolist(), row.types.tolist()) == (ids, types)
            assert set(row.types.tolist()) == {0, 1}
