"""The linear layers of a model by their names in transformers: what low-rank adapters stand beside.

Of a shape by arithmetic, of a folder by the headers of its weights. Knows nothing of adapters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainshed.spec.training.models.decoders import Gpt2, Llama, Qwen2, Qwen3
from trainshed.spec.training.models.encoders import Bert, Vit
from trainshed.spec.training.models.folder import Shape
from trainshed.spec.training.models.seq2seq import T5, Bart

EMBEDDINGS = frozenset(
    {
        "embed_in", "embed_positions", "embed_tokens", "position_embeddings", "rel_embeddings",
        "relative_attention_bias", "shared", "token_type_embeddings", "word_embeddings", "wpe", "wte",
    }
)  # fmt: skip
ABOVE = frozenset({"classification_head", "classifier", "cls", "lm_head", "pooler", "score"})
"""What stands on the layers: adapted only by name."""

EXPERT = re.compile(r"(?P<experts>.+\.experts)\.[0-9]+\.(?P<part>\w+)")
"""A matrix of one expert, as in a file; in memory all experts of a layer are one tensor, gate and up side by side."""
FIRST_HALVES = frozenset({"gate_proj", "w1"})
SECOND_HALVES = frozenset({"up_proj", "w3"})

Shaped = Gpt2 | Llama | Qwen2 | Qwen3 | Bert | T5 | Bart | Vit


@dataclass(frozen=True)
class Linear:
    """So many linear layers of one name and size, inside the layers of a model."""

    name: str
    inputs: int
    outputs: int
    count: int = 1
    ranks: int = 1
    """Times an adapter's rank: two matrices of an expert are one in memory, and peft gives it the ranks of both."""

    @property
    def is_module(self) -> bool:
        """Whether each is a module of its own; experts are parts of one tensor."""
        return ".experts." not in self.name


def linear_layers(model: Shaped) -> tuple[Linear, ...]:
    """The linear weights inside the layers of a shape."""
    match model:
        case Gpt2():
            sizes = {
                "attn.c_attn": (model.width, 3 * model.width),
                "attn.c_proj": (model.width, model.width),
                "mlp.c_fc": (model.width, 4 * model.width),
                "mlp.c_proj": (4 * model.width, model.width),
            }
            return _each(sizes, model.layers)
        case Llama() | Qwen2() | Qwen3():
            queries = model.heads * model.head_size
            attention = {
                "self_attn.q_proj": (model.width, queries),
                "self_attn.k_proj": (model.width, model.kv_width),
                "self_attn.v_proj": (model.width, model.kv_width),
                "self_attn.o_proj": (queries, model.width),
            }
            forward = {
                "mlp.gate_proj": (model.width, model.inner),
                "mlp.up_proj": (model.width, model.inner),
                "mlp.down_proj": (model.inner, model.width),
            }
            return _each(attention | forward, model.layers)
        case Bert():
            names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
            sizes = dict.fromkeys(names, (model.width, model.width)) | {
                "intermediate.dense": (model.width, model.inner),
                "output.dense": (model.inner, model.width),
            }
            return _each(sizes, model.layers)
        case Vit():
            names = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj")
            sizes = dict.fromkeys(names, (model.width, model.width)) | {
                "mlp.fc1": (model.width, model.inner),
                "mlp.fc2": (model.inner, model.width),
            }
            return _each(sizes, model.layers)
        case T5():
            own = dict.fromkeys((f"SelfAttention.{one}" for one in "qkvo"), (model.width, model.width))
            across = dict.fromkeys((f"EncDecAttention.{one}" for one in "qkvo"), (model.width, model.width))
            forward = {
                "DenseReluDense.wi_0": (model.width, model.inner),
                "DenseReluDense.wi_1": (model.width, model.inner),
                "DenseReluDense.wo": (model.inner, model.width),
            }
            decoder = model.decoder_layers or model.layers
            return (*_each(own | forward, model.layers + decoder), *_each(across, decoder))
        case Bart():
            parts = ("q_proj", "k_proj", "v_proj", "out_proj")
            own = dict.fromkeys((f"self_attn.{one}" for one in parts), (model.width, model.width))
            across = dict.fromkeys((f"encoder_attn.{one}" for one in parts), (model.width, model.width))
            forward = {"fc1": (model.width, model.inner), "fc2": (model.inner, model.width)}
            decoder = model.decoder_layers or model.layers
            return (*_each(own | forward, model.layers + decoder), *_each(across, decoder))


def linear_tensors(tensors: Mapping[str, Shape]) -> tuple[Linear, ...]:
    """The linear weights of a folder: its matrices inside layers that are no embeddings."""
    found = []
    for name, shape in tensors.items():
        module, _, kind = name.rpartition(".")
        path = set(module.split("."))
        if kind != "weight" or len(shape) != 2 or path & (EMBEDDINGS | ABOVE):
            continue
        outputs, inputs = shape
        expert = EXPERT.fullmatch(module)
        if expert is None:
            found.append(Linear(module, inputs, outputs))
        elif expert["part"] in FIRST_HALVES:
            found.append(Linear(f"{expert['experts']}.gate_up_proj", inputs, 2 * outputs, ranks=2))
        elif expert["part"] not in SECOND_HALVES:
            found.append(Linear(f"{expert['experts']}.down_proj", inputs, outputs))
    return tuple(found)


def matching(layers: Iterable[Linear], names: Iterable[str]) -> tuple[Linear, ...]:
    """The layers that one of these names ends, as peft compares them."""
    wanted = tuple(names)
    return tuple(one for one in layers if any(f".{one.name}".endswith(f".{name}") for name in wanted))


def _each(sizes: Mapping[str, tuple[int, int]], count: int) -> tuple[Linear, ...]:
    return tuple(Linear(name, inputs, outputs, count) for name, (inputs, outputs) in sizes.items())
