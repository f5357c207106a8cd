"""What a client may ask: closed models of the two OpenAI requests.

A parameter of the OpenAI API that this endpoint does not have may be sent with the value that changes nothing;
any other value is refused by name, never ignored.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from trainshed.runtime.serving.refusal import Refusal
from trainshed.runtime.serving.settings import MAX_PROMPTS

_SHOWN_CHARACTERS = 60
_INT_MAX = 2**63 - 1


def only(*values: Any) -> AfterValidator:
    """Accepts null and `values`: what changes nothing about the answer."""

    def check(given: Any) -> Any:
        same = (given == value and isinstance(given, bool) == isinstance(value, bool) for value in values)
        if given is None or any(same):
            return None
        expected = " or ".join(json.dumps(value) for value in values)
        raise PydanticCustomError(
            "not_supported",
            "{given} is not supported; leave it out{or_send}",
            {"given": repr(given)[:_SHOWN_CHARACTERS], "or_send": f" or send {expected}" if values else ""},
        )

    return AfterValidator(check)


Nothing = Annotated[Any, only()]
Tokens = Annotated[list[int], Field(min_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=_INT_MAX)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Closed(BaseModel):
    """A piece of a request that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StreamOptions(Closed):
    """What a stream carries besides text."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, only(False)] = None


class Question(Closed):
    """What both requests share."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=_INT_MAX)] | None = None
    """All tokens where it is 0 or -1."""
    seed: Annotated[int, Field(ge=-_INT_MAX - 1, le=_INT_MAX)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: Annotated[Any, only(1)] = None
    presence_penalty: Annotated[Any, only(0)] = None
    frequency_penalty: Annotated[Any, only(0)] = None
    logit_bias: Annotated[Any, only({})] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were written."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionQuestion(Question):
    """POST /v1/completions."""

    prompt: str | Tokens | Annotated[list[str], Field(min_length=1)] | Annotated[list[Tokens], Field(min_length=1)]
    max_tokens: MaxTokens | None = None
    best_of: Annotated[Any, only(1)] = None
    echo: Annotated[Any, only(False)] = None
    logprobs: Nothing = None
    suffix: Annotated[Any, only("")] = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt as it was given: text or tokens."""
        prompt: Any = self.prompt
        single = isinstance(prompt, str) or isinstance(prompt[0], int)
        return [prompt] if single else list(prompt)


class TextPart(Closed):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class Message(Closed):
    """One turn of a conversation, also as the official client dumps the turn of an assistant."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: Nothing = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: Annotated[Any, only([])] = None
    annotations: Annotated[Any, only([])] = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise PydanticCustomError("no_content", "a turn of the {role} must have content", {"role": self.role})
        return self

    @property
    def rendered(self) -> dict[str, str]:
        """What the chat template gets: the role, and the content as one string."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": self.role, "content": text}


class ChatQuestion(Question):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: Annotated[Any, only(False)] = None
    top_logprobs: Annotated[Any, only(0)] = None
    tools: Annotated[Any, only([])] = None
    tool_choice: Annotated[Any, only("none", "auto")] = None
    parallel_tool_calls: Annotated[Any, only(True, False)] = None
    functions: Annotated[Any, only([])] = None
    function_call: Annotated[Any, only("none", "auto")] = None
    response_format: Annotated[Any, only({"type": "text"})] = None
    modalities: Annotated[Any, only(["text"])] = None
    store: Annotated[Any, only(False)] = None
    metadata: Annotated[Any, only({})] = None
    service_tier: Annotated[Any, only("auto", "default")] = None
    audio: Nothing = None
    moderation: Nothing = None
    prediction: Nothing = None
    reasoning_effort: Nothing = None
    verbosity: Nothing = None
    web_search_options: Nothing = None
    prompt_cache_key: str | None = None
    """Like `user` and `safety_identifier`, it says who asks, not what."""
    prompt_cache_options: Nothing = None
    prompt_cache_retention: Nothing = None
    safety_identifier: str | None = None


_SHAPES = {
    "prompt": "give a text, a list of texts, a list of tokens, or a list of lists of tokens; none of them empty",
    "stop": "give a text of 1 to 200 characters, or a list of at most 4 such texts",
}
"""Fields of several shapes: naming them all says more than the fault of the first."""

Asked = TypeVar("Asked", bound=Question)


def read_question(kind: type[Asked], body: bytes) -> Asked:
    """The request in a body.

    Raises:
        Refusal: 400, naming the first field that is wrong, unknown or not supported.
    """
    try:
        question = kind.model_validate_json(body or b"null")
    except ValidationError as error:
        raise _refusal(error) from error
    if isinstance(question, CompletionQuestion) and len(question.prompts) > MAX_PROMPTS:
        raise Refusal(400, f"prompt: {len(question.prompts)} prompts; at most {MAX_PROMPTS}", parameter="prompt")
    return question


def _refusal(error: ValidationError) -> Refusal:
    fault = error.errors(include_url=False)[0]
    if not fault["loc"]:
        return Refusal(400, f"the body is not this request as a JSON object: {fault['msg']}")
    field = str(fault["loc"][0])
    where = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            message = f"{where}: this endpoint has no such parameter"
        case "missing":
            message = f"{where}: required"
        case _ if field in _SHAPES:
            message = f"{field}: {_SHAPES[field]}"
        case "literal_error":
            given = repr(fault["input"])[:_SHOWN_CHARACTERS]
            message = f"{where}: {given} is not supported; send {fault['ctx']['expected']}"
        case _:
            message = f"{where}: {fault['msg']}"
    return Refusal(400, message, parameter=field, code="invalid_parameter")
