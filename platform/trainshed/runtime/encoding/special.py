"""The special tokens of a tokenizer, by what they are for. Knows the JSON files of Hugging Face; knows no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from trainshed.errors import PlatformError
from trainshed.spec.training.models.folder import read_json

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"
MODEL_CONFIG = "config.json"

MARK_NAMES = ("bos_token", "eos_token", "pad_token", "mask_token", "cls_token", "sep_token", "unk_token")
"""Keys of tokenizer_config.json whose tokens mean something, whether tokenizer.json calls them special or not."""

ROLES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "pad", "mask_token": "mask", "cls_token": "cls"}
MOST_ENDS = 64
"""End tokens that a model may name; a stranger's file could name a million."""


@dataclass(frozen=True)
class SpecialIds:
    """The numbers of the special tokens; None where the tokenizer has none."""

    eos: int | None
    bos: int | None
    pad: int | None
    mask: int | None
    cls: int | None
    all: frozenset[int]

    @staticmethod
    def read(folder: Path) -> SpecialIds:
        """Reads them from the tokenizer in a folder."""
        tokens = named_tokens(folder)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        found: dict[str, int | None] = {}
        for key, role in ROLES.items():
            found[role] = tokenizer.token_to_id(tokens[key]) if key in tokens else None
        if found["eos"] is None and "sep_token" in tokens:  # BERT's tokenizers end a text with [SEP] and name no end
            found["eos"] = tokenizer.token_to_id(tokens["sep_token"])
        added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        return SpecialIds(**found, all=frozenset(added))


def named_tokens(folder: Path) -> dict[str, str]:
    """The spelling of each token that tokenizer_config.json names by its role, such as `eos_token`."""
    config = read_json(folder / TOKENIZER_CONFIG)
    return {name: content(config[name]) for name in MARK_NAMES if config.get(name)}


def named_ends(folder: Path) -> tuple[int, ...]:
    """The tokens that end what a model says: those of its tokenizer, its generation config and its config, each once.

    Raises:
        PlatformError: a file names something else than tokens.
    """
    own = SpecialIds.read(folder).eos
    found = [] if own is None else [own]
    for name in (GENERATION_CONFIG, MODEL_CONFIG):
        file = folder / name
        if file.is_file():
            found += _ends(read_json(file), file)
    return tuple(dict.fromkeys(found))


def content(token: Any) -> str:
    """The spelling of a token, which tokenizer_config.json says plainly or with its flags."""
    return str(token.get("content")) if isinstance(token, dict) else str(token)


def _ends(config: Mapping[str, Any], file: Path) -> list[int]:
    said = config.get("eos_token_id")
    ends = said if isinstance(said, list) else [said]
    if len(ends) > MOST_ENDS:
        raise PlatformError(f"{file}: eos_token_id names {len(ends)} tokens; a model has {MOST_ENDS} at most")
    for one in ends:
        if one is not None and not (type(one) is int and one >= 0):
            found = str(said)[:40]
            raise PlatformError(f"{file}: eos_token_id is {found!r}; it is the number of a token, or a list of them")
    return [one for one in ends if one is not None]
