"""Does a configuration of transformers fit the task and the data? One clear line where it does not.

Knows vocabularies, positions and images of configurations; makes no model.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import tokenizer_of
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.families import why_not

POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mluke", "mpnet",
        "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
"""Families that number positions from one after the padding token's number, so that as many are never used."""


def positions(config: PreTrainedConfig) -> int | None:
    """Tokens in the longest sample that a model takes; None where nothing bounds it."""
    longest = getattr(config, "max_position_embeddings", None)
    if longest is None or config.model_type not in POSITIONS_AFTER_PADDING:
        return longest
    padding = 1 if config.pad_token_id is None else int(config.pad_token_id)
    return int(longest) - padding - 1


def check_kind(auto: Any, config: PreTrainedConfig, task: str) -> None:
    """Refuses an architecture that transformers has no model of for a task; `auto` is one of its AutoModel classes.

    Raises:
        PlatformError: it has none.
    """
    if type(config) not in auto._model_mapping:
        raise PlatformError(
            f"model: a {config.model_type} cannot be trained for {task}: transformers has no such model of it; "
            f"{_parts(config)}"
        )
    if getattr(config, "is_decoder", False) is not True and (why := why_not(task, config.model_type)):
        raise PlatformError(f"model: {why}")


def check_sizes_fit(config: PreTrainedConfig, facts: DataFacts) -> PreTrainedConfig:
    """The configuration, if samples of this data fit it.

    Raises:
        PlatformError: samples are longer than its positions, or its images are of another size.
    """
    longest = positions(config)
    wanted = facts.block_size
    if config.is_encoder_decoder:
        wanted = max(wanted, facts.max_target_tokens)
    if longest is not None and longest < wanted:
        raise PlatformError(
            f"model: it takes {max(longest, 0)} tokens{_why_fewer(config)}, the data's samples have up to {wanted}; "
            "prepare shorter ones"
        )
    if facts.image is not None:
        _check_images(config, *facts.image)
    return config


def check_vocabulary(spec: Pretrained, config: PreTrainedConfig, facts: DataFacts) -> None:
    """The data must be tokenised by the model's own tokenizer.

    Raises:
        PlatformError: it is not, or the model has no vocabulary of its own.
    """
    hint = f"prepare it with `tokenizer: {{kind: pretrained, name_or_path: {spec.name_or_path}}}`"
    known = getattr(config, "vocab_size", None)
    if known is None or "vision_config" in config.sub_configs:
        raise PlatformError(f"{spec.name_or_path}: a {config.model_type} is no model of text alone; {_parts(config)}")
    there = AutoTokenizer.from_pretrained(facts.text_folder).get_vocab() if spec.added_tokens else {}
    if gone := [token for token in spec.added_tokens if token not in there]:
        raise PlatformError(
            f"model.added_tokens: the data's tokenizer has no {gone[0]!r}; add it to the tokenizer (add_tokens, "
            "save_pretrained), and prepare the data with `tokenizer: {kind: pretrained, name_or_path: THAT FOLDER}`"
        )
    if facts.vocab_size > known + len(spec.added_tokens):
        raise PlatformError(
            f"{spec.name_or_path}: the model knows {known} tokens, the data has {facts.vocab_size}; {hint}"
        )
    own = tokenizer_of(spec)
    if own is None:
        return
    theirs = there or AutoTokenizer.from_pretrained(facts.text_folder).get_vocab()
    if _but(own.get_vocab(), spec.added_tokens) != _but(theirs, spec.added_tokens):
        raise PlatformError(f"{spec.name_or_path}: the data was not tokenised by this model's tokenizer; {hint}")


def _but(vocabulary: dict[str, int], added: tuple[str, ...]) -> dict[str, int]:
    """A vocabulary without tokens that were added to it."""
    return {token: number for token, number in vocabulary.items() if token not in added}


def _check_images(config: PreTrainedConfig, size: int, channels: int) -> None:
    seen = getattr(config, "vision_config", config)
    said = getattr(seen, "image_size", None)
    depth = getattr(seen, "num_channels", None)
    sides = list(said) if isinstance(said, list | tuple) else [said]
    if said is not None and any(side != size for side in sides):
        raise PlatformError(
            f"model: it takes images of {'x'.join(map(str, sides))} pixels on each side, the data's have {size}; "
            f"say `size: {sides[0]}` in the data's source"
        )
    if depth is not None and depth != channels:
        name = {1: "grey", 3: "rgb"}.get(depth)
        hint = f"say `channels: {name}` in the data's source" if name else "it cannot be trained on them"
        raise PlatformError(f"model: it takes images of {depth} channels, the data's have {channels}; {hint}")


def _why_fewer(config: PreTrainedConfig) -> str:
    if config.model_type not in POSITIONS_AFTER_PADDING:
        return ""
    return (
        f" (max_position_embeddings {config.max_position_embeddings}, of which a {config.model_type} never uses those "
        "up to its padding token's number)"
    )


def _parts(config: PreTrainedConfig) -> str:
    """What could be done about a model that is made of several."""
    inner = [name for name in ("text_config", "vision_config", "audio_config") if name in config.sub_configs]
    if not inner:
        return "take a model of another architecture"
    kinds = " and ".join(name.removesuffix("_config") for name in inner)
    return f"it is made of {kinds}: save the part that is to be trained by itself, and name that"
