"""Rows as people have them become conversations; what is none is said by what it is."""

import json

import pytest
from pydantic import ValidationError

from trainshed.spec.data.conversations import Conversation, conversation_of, preference_of
from trainshed.spec.data.formats import KEYS, format_of
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.values import BadValue

ASKED = {"role": "user", "content": "1+1?"}
SAID = {"role": "assistant", "content": "2"}


def turns(conversation):
    return [(turn["role"], turn["content"]) for turn in conversation.messages]


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_a_row_show_its_format(name):
    assert format_of(KEYS[name]) == name
    assert format_of([*KEYS[name], "id", "source"]) == name


def test_keys_of_no_format_show_none():
    assert format_of(["question", "answer"]) is None
    assert format_of([]) is None


def test_messages_are_taken_as_they_are_and_tools_are_data():
    tools = [{"type": "function", "function": {"name": "look"}}]
    row = {"messages": [{"role": "system", "content": "Be short."}, ASKED, SAID], "tools": tools, "id": 7}
    found = conversation_of("messages", row)
    assert turns(found) == [("system", "Be short."), ("user", "1+1?"), ("assistant", "2")]
    assert list(found.tools) == tools
    assert Conversation.from_json(found.as_json()) == found


def test_content_in_parts_is_one_text_and_a_call_needs_none():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]}
    found = conversation_of("messages", {"messages": [parts, call, {"role": "tool", "content": "2"}, SAID]})
    assert turns(found) == [("user", "1+1?"), ("assistant", ""), ("tool", "2"), ("assistant", "2")]


def test_alpaca_becomes_a_question_with_its_input():
    row = {"instruction": "Add.", "input": "1 and 1", "output": "2"}
    assert turns(conversation_of("alpaca", row)) == [("user", "Add.\n\n1 and 1"), ("assistant", "2")]
    assert turns(conversation_of("alpaca", {**row, "input": ""})) == [("user", "Add."), ("assistant", "2")]


def test_sharegpt_becomes_messages_with_calls_and_tools():
    said = [
        ("human", "1+1?"),
        ("function_call", '{"name": "add", "arguments": {}}'),
        ("observation", "2"),
        ("gpt", "2."),
    ]
    row = {"system": "Be short.", "tools": '[{"name": "add"}]'}
    row["conversations"] = [{"from": who, "value": value} for who, value in said]
    found = conversation_of("sharegpt", row)
    assert [turn["role"] for turn in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert found.messages[2]["tool_calls"] == [{"type": "function", "function": {"name": "add", "arguments": {}}}]
    assert found.tools == ({"name": "add"},)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([ASKED], "no message of the assistant"),
        ([SAID, ASKED], "message 1: the assistant answers before anybody asked"),
        ([ASKED, SAID, SAID], "message 3: the assistant answers twice in a row"),
        ([ASKED, {"role": "system", "content": "x"}, SAID], "message 2: system stands first, or not at all"),
        ([ASKED, {"role": "bot", "content": "2"}], "message 2: role is 'bot'; it is system"),
        ([ASKED, {"role": "assistant"}], "message 2: it has no content"),
        ([ASKED, {"role": "assistant", "content": 2}], "message 2: content: expected text, found the number 2"),
        ([{"role": "user", "content": None}, SAID], "message 1: it has no content"),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}, SAID],
            "message 1: its content has parts that are no text",
        ),
        (["hello", SAID], "message 1: expected an object with role and content, found 'hello'"),
        ("hello", "messages: expected a list of messages, found 'hello'"),
        ([], "messages: expected a list of messages, found a list of 0"),
    ],
)
def test_what_is_no_conversation_is_said(messages, why):
    with pytest.raises(BadValue, match=why):
        conversation_of("messages", {"messages": messages})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"instruction": "Add.", "output": ["2"]}, "output: expected text, found a list of 1"),
        ({"instruction": None, "output": "2"}, "instruction: expected text, found null"),
        ({"instruction": "Add."}, "no field 'output'"),
    ],
)
def test_what_is_no_alpaca_is_said(row, why):
    with pytest.raises(BadValue, match=why):
        conversation_of("alpaca", row)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
        {"prompt": [ASKED], "chosen": [SAID], "rejected": [{**SAID, "content": "3"}]},
        {"chosen": [ASKED, SAID], "rejected": [ASKED, {**SAID, "content": "3"}]},
    ],
    ids=["texts", "messages", "common beginning"],
)
def test_a_preference_is_a_question_with_two_answers(row):
    found = preference_of(row)
    assert (found.prompt, found.chosen, found.rejected[0]["content"]) == ((ASKED,), (SAID,), "3")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are the same"),
        ({"prompt": "a", "chosen": "b"}, "no field 'rejected'"),
        ({"prompt": "a", "chosen": 1, "rejected": "b"}, "chosen: expected text, found the number 1"),
        ({"chosen": [ASKED], "rejected": [SAID]}, "begin differently"),
    ],
)
def test_what_is_no_preference_is_said(row, why):
    with pytest.raises(BadValue, match=why):
        preference_of(row)


JOB = {
    "kind": "prepare",
    "name": "chats",
    "source": {"kind": "jsonl", "path": "chats.jsonl"},
    "tokenizer": {"kind": "pretrained", "name_or_path": "/models/chat"},
    "format": "messages",
    "examples": {},
}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"examples": {"text": "q"}}, "it says which fields are read"),
        ({"source": {"kind": "text_files", "path": "x"}}, "text_files has no rows with keys"),
        ({"tokenizer": {"kind": "train_bpe", "vocab_size": 300}}, "tokenizer.chat_template is missing"),
        ({"format": "preference", "examples": None, "pack": {"block_size": 8}}, "a preference is compared as a whole"),
        ({"split": {"by": "position"}}, "only text that is packed"),
        ({"format": "chat"}, "format"),
    ],
)
def test_a_format_that_does_not_fit_the_job_is_refused(changes, why):
    with pytest.raises(ValidationError, match=why):
        PrepareJob.model_validate(JOB | changes)


def test_a_pair_of_texts_needs_a_label_and_has_no_target():
    pair = {"format": None, "examples": {"text": "a", "text_pair": "b", "label": "c"}}
    assert PrepareJob.model_validate(JOB | pair).read_fields == {"text": "a", "text_pair": "b", "label": "c"}
    for wrong in ({"label": None}, {"target": "d"}, {"text": None}):
        with pytest.raises(ValidationError, match="text_pair: two texts are judged by a label"):
            PrepareJob.model_validate(JOB | {"format": None, "examples": pair["examples"] | wrong})


def test_what_a_format_reads():
    said = {name: PrepareJob.model_validate(JOB | {"format": name}).read_fields for name in KEYS}
    assert said["messages"] == {"messages": "messages"}
    assert said["alpaca"] == {"messages": "instruction"}
    assert said["prompt_completion"] == {"text": "prompt", "target": "completion"}
    assert said["text"] == {"text": "text"}
    packed = {"examples": None, "pack": {"block_size": 64}}
    apart = {name: PrepareJob.model_validate(JOB | packed | {"format": name}).apart for name in ("text", "messages")}
    assert apart == {"text": False, "messages": True}
    assert PrepareJob.model_validate(JOB | {"format": "auto"}).read_fields == {}


def test_a_conversation_travels_as_one_text_whatever_the_order_of_its_keys():
    first = conversation_of("messages", {"messages": [ASKED, SAID]})
    second = conversation_of(
        "messages",
        json.loads('{"messages": [{"content": "1+1?", "role": "user"}, {"content": "2", "role": "assistant"}]}'),
    )
    assert first.as_json() == second.as_json()
