"""Are the weights that were loaded all of a model's, and only its? transformers fills gaps with random numbers.

A head that the files do not claim to have is the one gap that is allowed, and it is said. Heads of other tasks in the
files are left out; so are buffers that older versions of transformers wrote, which are made anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from trainshed.errors import PlatformError

HEADS = frozenset(
    {
        "classification_head", "classifier", "cls", "cls_classifier", "discriminator_predictions",
        "distillation_classifier", "embed_out", "final_logits_bias", "generator_lm_head", "generator_predictions",
        "lm_head", "lm_predictions", "logit_bias", "logit_scale", "mask_predictions", "multiple_choice_head", "pooler",
        "pre_classifier", "pred_layer", "predictions", "qa_outputs", "score", "sop_classifier", "text_model",
        "text_projection", "v_head", "visual_projection", "vocab_layer_norm", "vocab_projector", "vocab_transform",
    }
)  # fmt: skip
"""Names that transformers gives to what stands on a model, or beside it, for one task."""

OLD_BUFFERS = re.compile(
    r"(^|\.)((attn|attention)\.(masked_)?bias|position_ids|rotary_emb\.inv_freq|embed_positions\.(weights|_float_tensor)"
    r"|(encoder|decoder)\.version|cls\.seq_relationship\.(weight|bias))$"
)
"""No weights of today's models: masks, positions, version marks; and BERT's guess at the next sentence."""
NAMED = 3


def check_whole(
    model: PreTrainedModel, info: dict[str, Any], *, source: str, claimed: Collection[str], labels: int | None = None
) -> tuple[str, ...]:
    """What there is to say of a new head; nothing where every weight was loaded.

    Args:
        info: what `from_pretrained` gives with `output_loading_info`.
        claimed: the classes of transformers that the files say they are, as config.json has them.
        labels: of a classifier, how many it must tell apart; a head for another number of them is made anew.

    Raises:
        PlatformError: weights that are missing, of another shape, or of no part of the model, each by name.
    """
    missing = set(info["missing_keys"])
    fresh = set[str]()
    shapes = {name: (tuple(there), tuple(wanted)) for name, there, wanted in info["mismatched_keys"]}
    if type(model).__name__ not in claimed:
        fresh = _whole_heads(model, missing, shapes)
    resized = {name for name, pair in shapes.items() if labels and _is_head(model, name) and _other_labels(*pair)}
    _refuse_gaps(source, missing - fresh)
    _refuse_shapes(source, {name: pair for name, pair in shapes.items() if name not in resized})
    _refuse_strangers(source, _strangers(model, info["unexpected_keys"], claimed))
    said = []
    if fresh:
        said.append(f"{source} has no head for this task: {_some(fresh)} begin with random weights")
    if resized:
        said.append(f"{source} has a head for another number of labels: {_some(resized)} begin with random weights")
    return tuple(said)


def claimed_classes(config: PreTrainedConfig) -> tuple[str, ...]:
    """The classes of transformers that a config.json names; nothing where it names none."""
    said = config.architectures
    return tuple(map(str, said)) if isinstance(said, list | tuple) else ()


def _whole_heads(model: PreTrainedModel, missing: set[str], shapes: dict[str, Any]) -> set[str]:
    """The missing weights of heads that are missing as a whole: half a head is a damaged one."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    there = set(model.state_dict()) - missing - tied - set(shapes)
    heads = {name: _head(model, name) for name in {*missing, *there}}
    begun = {heads[name] for name in there} | {heads[name] for name in shapes if name in heads}
    return {name for name in missing if heads[name] is not None and heads[name] not in begun}


def _is_head(model: PreTrainedModel, name: str) -> bool:
    return _head(model, name) is not None


def _head(model: PreTrainedModel, name: str) -> str | None:
    """The head that a weight belongs to; None for one of the model under it."""
    first, _, rest = name.partition(".")
    prefix = model.base_model_prefix
    if first == prefix and isinstance(getattr(model, prefix, None), torch.nn.Module):
        inner = rest.partition(".")[0]
        return f"{first}.{inner}" if inner in HEADS else None
    if first in HEADS or isinstance(getattr(model, prefix, None), torch.nn.Module):
        return first
    return None


def _other_labels(there: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether two shapes differ in their outputs alone."""
    return len(there) == len(wanted) and there[1:] == wanted[1:]


def _strangers(model: PreTrainedModel, unexpected: Iterable[str], claimed: Collection[str]) -> set[str]:
    """What belongs to no head of another task, and is no buffer of an older version."""
    own = {name for name, _ in model.named_children()}
    found = set()
    for name in unexpected:
        path = name.removeprefix(f"{model.base_model_prefix}.").split(".")
        of_this_head = path[0] in own and type(model).__name__ in claimed
        if not OLD_BUFFERS.search(name) and (path[0] not in HEADS or of_this_head):
            found.add(name)
    return found


def _refuse_gaps(source: str, names: set[str]) -> None:
    if names:
        raise PlatformError(
            f"{source}: {len(names)} of the model's weights are missing in its files, which would begin as random "
            f"numbers: {_some(names)}; fetch or export the model again"
        )


def _refuse_shapes(source: str, shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    if shapes:
        name = min(shapes)
        there, wanted = shapes[name]
        more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        raise PlatformError(
            f"{source}: {name} has the shape {list(there)} in its files, config.json says {list(wanted)}{more}; "
            "the files are of another model than config.json"
        )


def _refuse_strangers(source: str, names: set[str]) -> None:
    if names:
        raise PlatformError(
            f"{source}: {len(names)} weights in its files have no place in the model: {_some(names)}; they would be "
            "left out without a word: merge adapters, or take the config.json that belongs to the files"
        )


def _some(names: set[str]) -> str:
    """The first names, and how many more there are."""
    first = sorted(names)[:NAMED]
    return ", ".join(first) + (f" and {len(names) - len(first)} more" if len(names) > len(first) else "")
