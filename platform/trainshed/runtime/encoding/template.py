"""A model's own chat template: from messages to one text. Knows Jinja as transformers renders it; knows no tokens' ids.

A template is a stranger's code: transformers runs it in a sandbox, on plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from trainshed.errors import PlatformError
from trainshed.runtime.encoding.special import TOKENIZER_CONFIG, named_tokens
from trainshed.spec.training.models.folder import read_json

Message = Mapping[str, Any]
"""`role` and `content`, and what else a template reads: `tool_calls`, `name`, `reasoning_content`."""

TEMPLATE = "chat_template.jinja"
WITH_TOOLS = Path("additional_chat_templates") / "tool_use.jinja"
OLD_TEMPLATE = "chat_template.json"
MAX_BYTES = 1_000_000
PROBES = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("user",))
"""Conversations whose rendering shows how a template marks turns; some templates refuse a system's turn."""


class TemplateRefusal(ValueError):
    """A template takes no such messages; its own words."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template, and the special tokens that it may write by their roles."""

    source: str
    with_tools: str
    """The one for conversations with tools; the same where the model has only one."""
    tokens: Mapping[str, str]

    @staticmethod
    def read(folder: Path) -> ChatTemplate | None:
        """The template beside a tokenizer, wherever transformers keeps it; None where there is none.

        Raises:
            PlatformError: it cannot be read, or is larger than any template.
        """
        found = _sources(folder)
        if not found:
            return None
        source = found.get("default")
        if source is None:
            raise PlatformError(f"{folder}: its chat templates are {', '.join(sorted(found))}; none is the default")
        return ChatTemplate(source, found.get("tool_use", source), named_tokens(folder))

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Any] | None = None, generation_prompt: bool = False
    ) -> str:
        """The conversation as text; with `generation_prompt` up to where the assistant's answer begins.

        Raises:
            TemplateRefusal: the template takes no such messages, or is broken.
        """
        from transformers.utils.chat_template_utils import render_jinja_template  # a second, where there are templates

        try:
            [rendered], _ = render_jinja_template(
                conversations=[list(messages)],
                tools=list(tools) if tools else None,
                chat_template=self.with_tools if tools else self.source,
                add_generation_prompt=generation_prompt,
                **self.tokens,
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise TemplateRefusal(" ".join(str(error).split()) or type(error).__name__) from error
        return str(rendered)

    def structure(self, tokens: Iterable[str]) -> set[str]:
        """Those of these tokens that the template writes itself, to mark turns."""
        for roles in PROBES:
            try:
                rendered = self.render([{"role": role, "content": "x"} for role in roles], generation_prompt=True)
            except TemplateRefusal:
                continue
            return {token for token in tokens if token.strip() and token in rendered}
        return set()


def _sources(folder: Path) -> dict[str, str]:
    """Templates by name, from the newest place that has one."""
    if (folder / TEMPLATE).is_file():
        found = {"default": _text(folder / TEMPLATE)}
        if (folder / WITH_TOOLS).is_file():
            found["tool_use"] = _text(folder / WITH_TOOLS)
        return found
    for name in (OLD_TEMPLATE, TOKENIZER_CONFIG):
        said = read_json(folder / name).get("chat_template") if (folder / name).is_file() else None
        match said:
            case str() if said:
                return {"default": said}
            case list():
                return {str(one.get("name")): str(one.get("template")) for one in said if isinstance(one, dict)}
    return {}


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_BYTES:
        raise PlatformError(f"{file}: over {MAX_BYTES} bytes; that is no chat template")
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformError(f"{file}: cannot be read: {error}") from None
