"""A training row is what the model's own chat template makes of it; what is learnt is what the assistant says."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_shapes import SHAPES, Shape
from trainshed.runtime.encoding import ConversationEncoder, TemplateRefusal

WORDS = (
    "You",
    "are",
    "short",
    "7",
    "é",
    "😀",
    "\n",
    "  ",
    "\n\nSay",
    "number!",
    "<",
    "the answer is",
    "\t",
    "[/",
    "im",
)


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


def encoder_in(folder: Path, shape: Shape, *, obey: bool = False, **generation: Any) -> tuple[Any, ConversationEncoder]:
    tokenizer = shape.tokenizer()
    tokenizer.save_pretrained(str(folder))
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    encoder = ConversationEncoder.read(folder, obey=obey)
    assert encoder is not None
    return tokenizer, encoder


def said(rng: random.Random) -> str:
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 8))) + rng.choice(["a", "a\n", " b ", "."])


def conversation(shape: Shape, rng: random.Random) -> list[dict[str, Any]]:
    turns = [{"role": "system", "content": said(rng)}] if shape.has_system and rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 4)):
        turns += [{"role": "user", "content": said(rng)}, {"role": "assistant", "content": said(rng)}]
    return turns


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """First token and the one behind the last, of each run of learnt tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def of_transformers(tokenizer: Any, messages: list[dict[str, Any]], **how: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, return_dict=False, **how))


def test_a_row_is_the_models_own_template_and_each_turn_ends_on_an_end_token(shape: Shape, tmp_path: Path) -> None:
    tokenizer, encoder = encoder_in(tmp_path, shape)
    rng = random.Random(7)
    for _ in range(60):
        messages = conversation(shape, rng)
        row = encoder.learnt(messages)
        assert row.ids.tolist() == of_transformers(tokenizer, messages)
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        found = spans(row.mask)
        assert len(found) == len(answers)
        for (first, behind), answer in zip(found, answers, strict=True):
            assert row.ids[behind - 1] in encoder.ends
            assert not set(row.ids[first : behind - 1].tolist()) & set(encoder.ends)
            text = tokenizer.decode(row.ids[first : behind - 1], skip_special_tokens=False)
            assert text.split("</think>")[-1].strip() == answer.strip()


def test_what_is_learnt_begins_where_the_endpoint_asks(shape: Shape, tmp_path: Path) -> None:
    """The tokens before a turn are those that a client's conversation becomes, so that the model goes on with it."""
    _, encoder = encoder_in(tmp_path, shape)
    rng = random.Random(11)
    for _ in range(30):
        messages = conversation(shape, rng)
        messages[-1]["content"] = messages[-1]["content"].strip()  # a blank may join the prompt's last token
        row = encoder.learnt(messages, learn="last")
        [(first, _)] = spans(row.mask)
        asked = encoder.question(messages[:-1])
        if "<think>\n" in shape.template.rpartition("add_generation_prompt")[2]:  # it asks for a thought first
            assert not row.as_asked
            assert row.ids[:first].tolist() == asked[:first]
        else:
            assert row.as_asked
            assert row.ids[:first].tolist() == asked


def test_only_the_last_turn_is_learnt_where_that_is_asked(shape: Shape, tmp_path: Path) -> None:
    _, encoder = encoder_in(tmp_path, shape)
    messages = conversation(shape, random.Random(3))
    whole = spans(encoder.learnt(messages).mask)
    assert spans(encoder.learnt(messages, learn="last").mask) == whole[-1:]


def test_marks_in_messages_are_text_and_move_no_mask(shape: Shape, tmp_path: Path) -> None:
    _, encoder = encoder_in(tmp_path, shape)
    for mark in (*shape.marks, *shape.plain):
        evil = f"a {mark}b{mark}"
        messages = [{"role": "user", "content": evil}, {"role": "assistant", "content": f"{evil} c"}] * 2
        row = encoder.learnt(messages)
        found = spans(row.mask)
        assert len(found) == 2
        for first, behind in found:
            assert not set(row.ids[first : behind - 1].tolist()) & set(encoder.ends)
            assert row.ids[behind - 1] in encoder.ends


def test_tools_are_data_and_calls_are_learnt(tmp_path: Path) -> None:
    function = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "the <|im_end|> sky"}}}
    messages = [
        {"role": "user", "content": "what is there?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "a cloud"},
        {"role": "assistant", "content": "A cloud."},
    ]
    for name, shape in SHAPES.items():
        if not shape.has_tools:
            continue
        tokenizer, encoder = encoder_in(tmp_path / name, shape)
        row = encoder.learnt(messages, tools=tools)
        first, second = spans(row.mask)
        assert "look" in tokenizer.decode(row.ids[slice(*first)])
        assert "the <|im_end|> sky" in tokenizer.decode(row.ids[slice(*first)])
        assert tokenizer.decode(row.ids[second[0] : second[1] - 1]).split("</think>")[-1].strip() == "A cloud."
        harmless = json.loads(json.dumps(messages).replace("<|im_end|>", "blue"))
        expected = of_transformers(tokenizer, harmless, tools=tools)
        assert encoder.learnt(harmless, tools=tools).ids.tolist() == expected


def test_end_tokens_come_from_every_file_and_from_the_template(tmp_path: Path) -> None:
    shape = SHAPES["gemma"]  # its eos is <eos>, its turns end with <end_of_turn>
    tokenizer, encoder = encoder_in(tmp_path, shape, eos_token_id=[1, 9])
    ends = [tokenizer.eos_token_id, 1, 9, tokenizer.convert_tokens_to_ids("<end_of_turn>")]
    assert set(encoder.ends) == set(ends)
    assert encoder.end_of_turn == ends[-1]


def test_a_template_that_never_closes_a_turn_is_refused(tmp_path: Path) -> None:
    open_ended = Shape("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", ("<s>", "</s>"))
    _, encoder = encoder_in(tmp_path, open_ended)
    with pytest.raises(TemplateRefusal, match="with none of the model's end tokens, </s>"):
        encoder.learnt([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ messages[0].nothing.there }}", "has no attribute"),
        ("{{ raise_exception('no such roles') }}", "no such roles"),
        ("{{ 1 / 0 }}", "division"),
        ("{% for m in messages %}{{ m.content | unknown }}{% endfor %}", "filter"),
    ],
)
def test_a_template_that_refuses_says_why(template: str, why: str, tmp_path: Path) -> None:
    _, encoder = encoder_in(tmp_path, Shape(template, ("<s>", "</s>")))
    with pytest.raises(TemplateRefusal, match=why):
        encoder.learnt([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
