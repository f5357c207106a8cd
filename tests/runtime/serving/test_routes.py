"""The OpenAI interface of a real tiny model, asked over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionMessage

from trainshed.errors import PlatformError
from trainshed.runtime.serving.engines import TextEngine
from trainshed.runtime.serving.questions import ChatQuestion, CompletionQuestion, read_question
from trainshed.runtime.serving.routes import build_asgi
from trainshed.runtime.serving.settings import AppSettings

from .conftest import TEXT

SETTINGS = AppSettings(
    name="tiny",
    model="tiny-gpt@3",
    model_dir="unused",
    hashes={},
    fingerprint="fp-1",
    open_access=True,
    lineage={"run_id": "run-7", "data": "abc"},
    max_tokens=100,
)
Ask = Callable[..., httpx.Response]


def asker(engine: TextEngine) -> Ask:
    """A client that names the model and takes the most likely tokens unless told otherwise."""

    def ask(path: str, **body: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(build_asgi(engine, SETTINGS))
            async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
                if not body:
                    return await client.get(path)
                return await client.post(path, json={"model": "tiny-gpt@3", "temperature": 0, **body})

        return asyncio.run(asyncio.wait_for(once(), 30))

    return ask


async def post(engine: TextEngine, content: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(build_asgi(engine, SETTINGS))
    async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
        return await client.post("/v1/completions", content=content)


@pytest.fixture
def ask(engine: TextEngine) -> Ask:
    return asker(engine)


@pytest.fixture
def ask_chat(chat_engine: TextEngine) -> Ask:
    return asker(chat_engine)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index)


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return dict(answer.json()["error"])


def test_a_completion_is_what_the_openai_client_expects(ask: Ask, engine: TextEngine) -> None:
    answer = Completion.model_validate(ask("/v1/completions", prompt="def add(", max_tokens=20).json(), strict=True)
    assert answer.id.startswith("cmpl-")
    assert (answer.model, answer.system_fingerprint) == ("tiny-gpt@3", "fp-1")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    counts = answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens
    prompt = len(engine.encode("def add("))
    assert counts == (prompt, 20, prompt + 20)


def test_a_stream_says_the_same_as_a_whole_answer(ask: Ask) -> None:
    whole = ask("/v1/completions", prompt="class ", max_tokens=60).json()
    chunks = events(ask("/v1/completions", prompt="class ", max_tokens=60, stream=True))
    assert text_of(chunks) == whole["choices"][0]["text"]
    assert len(chunks) > 5
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert set(reasons[:-1]) == {None}
    assert reasons[-1] == whole["choices"][0]["finish_reason"]
    assert all("usage" not in chunk for chunk in chunks)


def test_a_stream_ends_with_its_usage_when_asked(ask: Ask) -> None:
    whole = ask("/v1/completions", prompt="class ", max_tokens=9).json()
    options = {"include_usage": True}
    chunks = events(ask("/v1/completions", prompt="class ", max_tokens=9, stream=True, stream_options=options))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_a_stop_string(ask: Ask, stream: bool) -> None:
    full = ask("/v1/completions", prompt="class ", max_tokens=60).json()["choices"][0]["text"]
    stop = full[10:13]
    answer = ask("/v1/completions", prompt="class ", max_tokens=60, stop=[stop, "never"], stream=stream)
    expected = full[: full.index(stop)]
    if stream:
        chunks = events(answer)
        assert (text_of(chunks), chunks[-1]["choices"][0]["finish_reason"]) == (expected, "stop")
    else:
        assert (answer.json()["choices"][0]["text"], answer.json()["choices"][0]["finish_reason"]) == (expected, "stop")
        assert answer.json()["usage"]["completion_tokens"] < 60


def test_every_shape_of_prompt_is_answered(ask: Ask, engine: TextEngine) -> None:
    texts = ["class ", "def add("]
    tokens = [engine.encode(text) for text in texts]
    singles = [ask("/v1/completions", prompt=text).json()["choices"][0]["text"] for text in texts]
    assert ask("/v1/completions", prompt=tokens[1]).json()["choices"][0]["text"] == singles[1]
    for prompt in (texts, tokens):
        answer = ask("/v1/completions", prompt=prompt).json()
        assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == list(enumerate(singles))
        assert answer["usage"]["prompt_tokens"] == sum(map(len, tokens))
    chunks = events(ask("/v1/completions", prompt=texts, stream=True))
    assert [text_of(chunks, 0), text_of(chunks, 1)] == singles


def test_a_completion_has_16_tokens_unless_told_otherwise(ask: Ask) -> None:
    assert ask("/v1/completions", prompt="class ").json()["usage"]["completion_tokens"] == 16


def test_a_seed_repeats_an_answer(ask: Ask) -> None:
    hot = {"prompt": "class ", "max_tokens": 40, "temperature": 1.5}
    first, second, other = (ask("/v1/completions", **hot, seed=seed).json() for seed in (3, 3, 4))
    assert first["choices"] == second["choices"]
    assert first["choices"] != other["choices"]


@pytest.mark.parametrize(
    ("body", "parameter", "says"),
    [
        ({"n": 2}, "n", "2 is not supported"),
        ({"best_of": 3}, "best_of", "3 is not supported"),
        ({"logprobs": 5}, "logprobs", "not supported"),
        ({"echo": True}, "echo", "True is not supported"),
        ({"suffix": "x"}, "suffix", "not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "0.5 is not supported"),
        ({"temprature": 0.5}, "temprature", "no such parameter"),
        ({"tools": []}, "tools", "no such parameter"),
        ({"n": True}, "n", "True is not supported"),
        ({"seed": 2**63}, "seed", "less than or equal"),
        ({"seed": -(2**63) - 1}, "seed", "greater than or equal"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"top_k": -2}, "top_k", "greater than or equal to -1"),
        ({"max_tokens": 10**400}, "max_tokens", "less than or equal"),
        ({"temperature": -1e-300}, "temperature", "greater than or equal to 0"),
        ({"temperature": True}, "temperature", "valid number"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 101}, "max_tokens", "over this endpoint's limit of 100"),
        ({"max_tokens": 100, "prompt": [5] * 200}, "max_tokens", "context of 256 tokens"),
        ({"prompt": ""}, "prompt", "the prompt is empty"),
        ({"prompt": []}, "prompt", "none of them empty"),
        ({"prompt": [[]]}, "prompt", "none of them empty"),
        ({"prompt": 5}, "prompt", "a list of texts"),
        ({"prompt": [5, "x"]}, "prompt", "a list of texts"),
        ({"prompt": ["x"] * 17}, "prompt", "at most 16"),
        ({"prompt": [5000]}, "prompt", "token 5000 does not exist"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"stop": ""}, "stop", "1 to 200 characters"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only with stream"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options", "no such parameter"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(ask: Ask, body: dict[str, Any], parameter: str, says: str) -> None:
    for stream in (False, True):
        error = error_of(ask("/v1/completions", **{"prompt": "class ", "stream": stream, **body}), 400)
        assert error["param"] == parameter
        assert says in error["message"]
        if "stream" in body or "stream_options" in body:
            return


NEUTRAL: dict[str, list[Any]] = {
    "frequency_penalty": [None, 0, 0.0, -0.0],
    "logit_bias": [None, {}],
    "n": [None, 1],
    "presence_penalty": [None, 0, 0.0],
    "seed": [None, 0, -(2**63), 2**63 - 1],
    "stop": [None, []],
    "stream": [None, False],
    "stream_options": [None],
    "temperature": [None, 0, 1e-320, 2],
    "top_k": [None, 0, -1, 2**63 - 1],
    "top_p": [None, 1, 5e-324],
    "user": [None, "me"],
}
NEUTRAL_COMPLETION = {"best_of": [None, 1], "echo": [None, False], "logprobs": [None], "suffix": [None, ""]}
NEUTRAL_CHAT = {
    "audio": [None],
    "function_call": [None, "none"],
    "functions": [None, []],
    "logprobs": [None, False],
    "max_completion_tokens": [None],
    "metadata": [None, {}],
    "modalities": [None, ["text"]],
    "moderation": [None],
    "parallel_tool_calls": [None, True, False],
    "prediction": [None],
    "prompt_cache_key": [None, "key"],
    "prompt_cache_options": [None],
    "prompt_cache_retention": [None],
    "reasoning_effort": [None],
    "response_format": [None, {"type": "text"}],
    "safety_identifier": [None, "me"],
    "service_tier": [None, "auto", "default"],
    "store": [None, False],
    "tool_choice": [None, "none", "auto"],
    "tools": [None, []],
    "top_logprobs": [None, 0],
    "verbosity": [None],
    "web_search_options": [None],
}


def test_values_that_ask_for_nothing_are_accepted(ask: Ask, ask_chat: Ask) -> None:
    user = [{"role": "user", "content": "hello"}]
    for field, values in (NEUTRAL | NEUTRAL_COMPLETION).items():
        for value in values:
            answer = ask("/v1/completions", prompt="class ", max_tokens=1, **{field: value})
            assert answer.status_code == 200, f"{field}: {value!r}: {answer.text}"
    for field, values in (NEUTRAL | NEUTRAL_CHAT).items():
        for value in values:
            answer = ask_chat("/v1/chat/completions", messages=user, max_tokens=1, **{field: value})
            assert answer.status_code == 200, f"{field}: {value!r}: {answer.text}"


def test_every_parameter_of_the_official_client_may_be_null() -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
    from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams

    for params, question in ((ChatParams, ChatQuestion), (CompletionParams, CompletionQuestion)):
        required = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "prompt": "x"}
        nulls: dict[str, Any] = dict.fromkeys(params.__annotations__)
        asked = {name: value for name, value in required.items() if name in nulls}
        read = read_question(question, json.dumps(nulls | asked).encode())
        assert read.model_dump() == read_question(question, json.dumps(asked).encode()).model_dump()


@pytest.mark.parametrize(
    ("field", "value"),
    [("tools", [{"type": "function"}]), ("response_format", {"type": "json_object"}), ("metadata", {"a": "b"})],
)
def test_what_asks_for_something_else_is_refused(ask_chat: Ask, field: str, value: Any) -> None:
    error = error_of(
        ask_chat("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], **{field: value}), 400
    )
    assert error["param"] == field
    assert "is not supported; leave it out or send" in error["message"]


@pytest.mark.parametrize("content", ["a turn", None])
def test_the_turn_of_an_assistant_comes_back_as_the_client_dumps_it(ask_chat: Ask, content: str | None) -> None:
    turn = ChatCompletionMessage(role="assistant", content=content, annotations=[]).model_dump()
    first, last = {"role": "user", "content": "hello", "name": None}, {"role": "user", "content": "again"}
    short = {"role": "assistant", "content": content or ""}
    dumped, plain = (
        ask_chat("/v1/chat/completions", messages=[first, given, last], max_tokens=5).json() for given in (turn, short)
    )
    assert dumped["choices"] == plain["choices"]
    assert dumped["usage"] == plain["usage"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "presence_penalty", "max_tokens", "n", "seed"])
def test_what_is_no_finite_number_is_refused_by_name(engine: TextEngine, field: str, number: str) -> None:
    body = '{"model": "tiny", "prompt": "x", "max_tokens": 1, "F": V}'.replace("F", field).replace("V", number)
    error = error_of(asyncio.run(post(engine, body.encode())), 400)
    assert field in error["message"]


@pytest.mark.parametrize("temperature", [1e-320, 1e-38, 1e-30, 1e-6])
def test_a_tiny_temperature_answers_as_none_at_all(ask: Ask, temperature: float) -> None:
    asked = {"prompt": "class ", "max_tokens": 30}
    greedy = ask("/v1/completions", **asked, temperature=0).json()["choices"]
    assert ask("/v1/completions", **asked, temperature=temperature).json()["choices"] == greedy


def test_a_prompt_that_cannot_fit_is_refused_by_its_characters(ask: Ask, ask_chat: Ask, engine: TextEngine) -> None:
    text = "x" * 900_000
    error = error_of(ask("/v1/completions", prompt=text), 400)
    assert error["param"] == "prompt"
    assert "900000 characters" in error["message"]
    error = error_of(ask_chat("/v1/chat/completions", messages=[{"role": "user", "content": text}]), 400)
    assert error["param"] == "messages"
    longest = TEXT[:40] * 10
    assert len(engine.encode(longest)) < 256, "a text within the context is never refused by its characters"


def test_health_is_answered_while_a_long_prompt_is_tokenized(roomy_engine: TextEngine) -> None:
    async def both() -> tuple[bool, httpx.Response]:
        transport = httpx.ASGITransport(build_asgi(roomy_engine, SETTINGS))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            body = {"model": "tiny", "prompt": "def add(first, second) " * 43_000}
            asked = asyncio.create_task(client.post("/v1/completions", json=body))
            await asyncio.sleep(0)  # the prompt comes first
            healthy = await client.get("/health")
            assert healthy.status_code == 200
            return asked.done(), await asked

    answered_first, answer = asyncio.run(both())
    assert not answered_first
    assert "context of 4096 tokens" in error_of(answer, 400)["message"]


def test_health_is_answered_while_every_place_is_taken_and_the_queue_is_full(roomy_engine: TextEngine) -> None:
    small = replace(SETTINGS, target_ongoing_requests=1, max_queued_requests=3, max_tokens=4000)
    body = {"model": "tiny", "prompt": [5, 6], "max_tokens": 4000, "temperature": 0}

    async def crowd() -> None:
        transport = httpx.ASGITransport(build_asgi(roomy_engine, small))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            asked = [asyncio.create_task(client.post("/v1/completions", json=body)) for _ in range(5)]
            while (await client.get("/v1/status")).json()["waiting_requests"] < 3:
                await asyncio.sleep(0.01)
            assert (await client.get("/health")).json() == {"status": "ok"}
            refused = await client.post("/v1/completions", json=body)
            assert error_of(refused, 503)["code"] == "overloaded"
            assert refused.headers["retry-after"] == "1"
            assert not any(task.done() for task in asked)
            asked[4].cancel()  # one that waits leaves the queue, one that is answered gives its place to the next
            asked[0].cancel()
            while (status := (await client.get("/v1/status")).json())["waiting_requests"] != 1:
                await asyncio.sleep(0.01)
            while status["running_requests"] > 2:  # the engine lets go of one between two forward passes
                await asyncio.sleep(0.01)
                status = (await client.get("/v1/status")).json()
            assert status["waiting_requests"] == 1
            for task in asked:
                task.cancel()
            while roomy_engine.running_requests:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(crowd(), 60))


def test_a_special_token_in_a_message_is_text_and_counted(ask_chat: Ask, chat_engine: TextEngine) -> None:
    content = "a<|endoftext|>b"
    before = ask_chat("/v1/status").json()["special_tokens_in_texts"].get("<|endoftext|>", 0)
    for path, asked in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": content}]}),
        ("/v1/completions", {"prompt": f"<user>{content}\n<assistant>"}),
    ):
        answer = ask_chat(path, **asked, max_tokens=1).json()
        plain = chat_engine.encode("<user>a<") + chat_engine.encode("|endoftext|>b\n<assistant>")
        assert abs(answer["usage"]["prompt_tokens"] - len(plain)) <= 1
    assert ask_chat("/v1/status").json()["special_tokens_in_texts"]["<|endoftext|>"] == before + 2


def test_a_body_that_is_no_json_object_is_refused(engine: TextEngine) -> None:
    for content in (b"", b"{", b"[1]", b"\xff", b'{"prompt": "\\ud800"}', b"[" * 5000):
        assert "JSON object" in error_of(asyncio.run(post(engine, content)), 400)["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_client_has_left_is_not_generated(engine: TextEngine, stream: bool) -> None:
    body = {"model": "tiny", "prompt": [5, 6], "max_tokens": 100, "temperature": 0, "stream": stream}
    messages = [{"type": "http.request", "body": json.dumps(body).encode()}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        sent.append(message)

    async def leave() -> None:
        path = {"path": "/v1/completions", "raw_path": b"", "root_path": "", "query_string": b""}
        await build_asgi(engine, SETTINGS)({"type": "http", "method": "POST", "headers": [], **path}, receive, send)
        async with asyncio.timeout(10):
            while engine.running_requests:
                await asyncio.sleep(0.01)

    asyncio.run(leave())
    text = b"".join(message.get("body", b"") for message in sent)
    assert b"DONE" not in text
    assert b"usage" not in text


def test_another_model_is_not_found(ask: Ask) -> None:
    error = error_of(ask("/v1/completions", model="gpt-4", prompt="x"), 404)
    assert error["code"] == "model_not_found"
    assert "tiny-gpt@3" in error["message"]
    assert ask("/v1/completions", model="tiny", prompt="x").status_code == 200


def test_an_unknown_path_has_an_error_body(ask: Ask) -> None:
    assert "GET /v1/embeddings" in error_of(ask("/v1/embeddings"), 404)["message"]
    assert "Method Not Allowed" in error_of(ask("/v1/completions"), 405)["message"]


def test_the_model_and_its_lineage_are_shown(ask: Ask) -> None:
    [model] = ask("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("tiny-gpt@3", "model")
    assert model["lineage"] == {"endpoint": "tiny", "fingerprint": "fp-1", "run_id": "run-7", "data": "abc"}
    assert ask("/v1/lineage").json() == {"run_id": "run-7", "data": "abc"}
    assert ask("/health").json() == {"status": "ok"}
    assert ask("/v1/status").json()["context_window"] == 256


def test_chat_needs_a_template(ask: Ask) -> None:
    error = error_of(ask("/v1/chat/completions", messages=[{"role": "user", "content": "hello"}]), 400)
    assert "no chat template" in error["message"]


def test_a_chat_answer_continues_the_rendered_messages(ask_chat: Ask, chat_engine: TextEngine) -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": parts}]
    answer = ask_chat("/v1/chat/completions", messages=messages, max_completion_tokens=12)
    found = ChatCompletion.model_validate(answer.json(), strict=True)
    prompt = "<system>be short\n<user>hello\n<assistant>"
    plain = ask_chat("/v1/completions", prompt=prompt, max_tokens=12).json()
    assert found.choices[0].message.content == plain["choices"][0]["text"]
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(chat_engine.encode(prompt))


def test_a_chat_stream_opens_with_its_role(ask_chat: Ask) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 12}
    whole = ask_chat("/v1/chat/completions", **body).json()["choices"][0]["message"]["content"]
    chunks = events(ask_chat("/v1/chat/completions", **body, stream=True))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == whole
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "developer", "content": "x"}], "no developers here"),
        ([{"role": "wizard", "content": "x"}], "'wizard' is not supported"),
        ([], "at least 1 item"),
        ([{"role": "user", "content": None}], "a turn of the user must have content"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages.0.tool_calls"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages.0.content"),
    ],
)
def test_messages_that_cannot_be_rendered_are_refused(ask_chat: Ask, messages: list[Any], says: str) -> None:
    error = error_of(ask_chat("/v1/chat/completions", messages=messages), 400)
    assert error["param"] == "messages"
    assert says in error["message"]


def test_an_endpoint_without_keys_must_be_open_on_purpose() -> None:
    with pytest.raises(PlatformError, match=r"auth\.keys"):
        AppSettings(name="tiny", model="tiny@1", model_dir="unused", hashes={}, fingerprint="fp")
    with pytest.raises(PlatformError, match="SHA-256"):
        AppSettings(
            name="tiny", model="tiny@1", model_dir="unused", hashes={}, fingerprint="fp", key_hashes=("plain-key",)
        )
