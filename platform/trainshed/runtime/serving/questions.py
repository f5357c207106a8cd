"""What a client may ask: closed models of the two OpenAI requests.

A parameter of the OpenAI API that this endpoint does not have may be sent with the value that changes nothing;
any other value is refused by name, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainshed.runtime.serving.refusal import Refusal
from trainshed.runtime.serving.settings import MAX_PROMPTS

Tokens = Annotated[list[int], Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Closed(BaseModel):
    """A piece of a request that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StreamOptions(Closed):
    """What a stream carries besides text."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class Question(Closed):
    """What both requests share."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: int | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: Literal[1, None] = 1
    presence_penalty: Literal[0, None] = 0
    frequency_penalty: Literal[0, None] = 0
    logit_bias: Literal[None] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were written."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionQuestion(Question):
    """POST /v1/completions."""

    prompt: str | Tokens | Annotated[list[str], Field(min_length=1)] | Annotated[list[Tokens], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    best_of: Literal[1, None] = 1
    echo: Literal[False, None] = False
    logprobs: Literal[None] = None
    suffix: Literal[None] = None

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
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one string."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatQuestion(Question):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: Literal[False, None] = False


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
            message = f"{where}: {fault['input']!r} is not supported; leave it out or send {fault['ctx']['expected']}"
        case "none_required":
            message = f"{where}: not supported; leave it out"
        case _:
            message = f"{where}: {fault['msg']}"
    return Refusal(400, message, parameter=field, code="invalid_parameter")
