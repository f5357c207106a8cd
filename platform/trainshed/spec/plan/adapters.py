"""How many weights the optimizer moves: all of them, or low-rank adapters beside frozen ones (arXiv 2106.09685)."""

from __future__ import annotations

from pathlib import Path

from trainshed.spec.training.adapters import FOUR_BIT_BYTES, Lora
from trainshed.spec.training.engines import Ddp
from trainshed.spec.training.models import Config, DataSizes, Lstm, Model, Pretrained
from trainshed.spec.training.models.folder import folder_config, stored_type, tensors
from trainshed.spec.training.models.linear import Linear, linear_layers, linear_tensors, matching
from trainshed.spec.training.models.shapes import dense
from trainshed.spec.training.train import Training

QUERIES_AND_VALUES = ("q_proj", "v_proj")
AUTO: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("bart", "gemma", "gemma2", "gemma3_text", "gpt_neo", "gptj", "llama", "llama4"), QUERIES_AND_VALUES
    ),
    **dict.fromkeys(("mistral", "mixtral", "opt", "qwen2", "qwen3", "stablelm"), QUERIES_AND_VALUES),
    **dict.fromkeys(("bert", "electra", "layoutlm", "roberta", "xlm-roberta"), ("query", "value")),
    **dict.fromkeys(("mt5", "t5"), ("q", "v")),
    **dict.fromkeys(("bloom", "falcon", "gpt_neox"), ("query_key_value",)),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), ("c_attn",)),
    "codegen": ("qkv_proj",),
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),
    "mpt": ("Wqkv",),
    "nemotron_h": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "rwkv": ("key", "value", "receptance", "output"),
}
"""The layers that peft adapts of an architecture where it is not told; of others all linear ones."""
HALF = {"bf16": "BF16", "fp16": "F16"}
"""A precision's type of numbers, in safetensors' words."""
LIKELY_LAYERS_PER_WIDTH = 1 / 128
"""Depth over width of common decoders, to guess the shape of a model of which only the size is known."""
WEIGHTS_PER_LAYER = 12
"""In squares of the width: attention and feed-forward."""
CONV1D = ("gpt2", "gpt_bigcode", "openai-gpt")
"""Architectures whose linear layers are modules of another kind."""
AUTO_SIDES = 4
ALL_SIDES = 19
ONE_SIDE = 2
"""Inputs and outputs, in widths, of the layers that get adapters: queries and values; all of them; one named."""


def added_parameters(training: Training, parameters: int, sizes: DataSizes) -> int:
    """Weights that adapters bring, and a classifier's head, which is trained whole as a copy of its own.

    Exact where the layers are known, from the job or from a folder of this machine; else a guess from the model's size,
    within a factor of two of a number that is small.
    """
    lora = training.lora
    assert lora is not None
    found = _layers(training.model, training.task.kind)
    labels = sizes.labels or 0
    if found is None:
        return min(parameters, _guess(lora, parameters))
    kind, layers, width = found
    adapted = _adapted(lora, kind, layers, head=bool(labels))
    return lora.rank * sum(one.ranks * one.count * (one.inputs + one.outputs) for one in adapted) + (
        dense(width, labels) if labels else 0
    )


def light_weights(training: Training, parameters: int | None, sizes: DataSizes) -> tuple[int, int]:
    """Frozen weights that `runtime/training/engines/frozen.py` keeps in fewer bytes than fp32, and their bytes.

    Of a folder of this machine those that it does; of a model whose size alone is known, a guess of those in 4 bits.
    """
    lora = training.lora
    model = training.model
    if lora is None or parameters is None or not isinstance(training.engine, Ddp) or not isinstance(model, Pretrained):
        return 0, 0
    four_bits = lora.quantize_base == "nf4"
    if model.folder is None:
        outside = 2 * (sizes.vocab_size or 0) * int(_likely_width(parameters))  # embeddings, and a head of its own
        linear = max(0, parameters - outside) if four_bits else 0
        return linear, int(linear * FOUR_BIT_BYTES)
    linear = _linear_weights(model.folder) if four_bits else 0
    rest, rest_bytes = half_weights(training, parameters - linear)
    return linear + rest, int(linear * FOUR_BIT_BYTES) + rest_bytes


def half_weights(training: Training, weights: int) -> tuple[int, int]:
    """Of so many frozen weights of a folder on this machine, those that ddp holds in the half precision of their files,
    and their bytes."""
    model = training.model
    if not isinstance(training.engine, Ddp) or not isinstance(model, Pretrained) or model.folder is None:
        return 0, 0
    half = HALF.get(training.precision)
    light = weights if half is not None and stored_type(model.folder) == half else 0
    return light, 2 * light


def _linear_weights(folder: Path) -> int:
    """Those of linear layers, where each is a module of its own."""
    if folder_config(folder).get("model_type") in CONV1D:
        return 0
    return sum(one.inputs * one.outputs * one.count for one in linear_tensors(tensors(folder)) if one.is_module)


def _layers(model: Model, task: str) -> tuple[str, tuple[Linear, ...], int] | None:
    """Architecture, linear layers, width; None where they are only known on the cluster."""
    match model:
        case Pretrained():
            if model.folder is None:
                return None
            found = linear_tensors(tensors(model.folder))
            config = folder_config(model.folder)
            width = next((config[key] for key in ("hidden_size", "d_model", "n_embd", "dim") if key in config), 0)
            return str(config.get("model_type")), found, width
        case Config() | Lstm():
            return None
        case _:
            above = {"masked_lm": "transform.dense", "text_classification": "pooler.dense"}.get(task)
            own = linear_layers(model)
            if model.kind == "bert" and above is not None:
                own = (*own, Linear(above, model.width, model.width))
            return model.kind, own, model.width


def _adapted(lora: Lora, kind: str, layers: tuple[Linear, ...], *, head: bool) -> tuple[Linear, ...]:
    """The layers that get adapters, as `runtime/tasks/adapting.py` asks peft for them."""
    match lora.target_modules:
        case "auto":
            return layers if head or kind not in AUTO else matching(layers, AUTO[kind])
        case "all-linear":
            return layers
        case names:
            return matching(layers, names)


def _likely_width(parameters: int) -> float:
    return float((parameters / (WEIGHTS_PER_LAYER * LIKELY_LAYERS_PER_WIDTH)) ** (1 / 3))


def _guess(lora: Lora, parameters: int) -> int:
    width = _likely_width(parameters)
    layers = width * LIKELY_LAYERS_PER_WIDTH
    match lora.target_modules:
        case "auto":
            sides = AUTO_SIDES
        case "all-linear":
            sides = ALL_SIDES
        case names:
            sides = ONE_SIDE * len(names)
    return int(lora.rank * sides * width * layers)
