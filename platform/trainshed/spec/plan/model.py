"""What a model costs: weights, which of them are trained, and the memory of a pass over some samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trainshed.spec.plan.adapters import added_parameters, half_weights, light_weights
from trainshed.spec.plan.described import described_layers, described_tokens, described_vocabulary
from trainshed.spec.plan.layers import FP32, Layers, layer_bytes, layers_of
from trainshed.spec.training.logits import has_plain_head, tokens_at_once
from trainshed.spec.training.models import Config, DataSizes, Model, Pretrained, count_parameters, sequence_length
from trainshed.spec.training.models.folder import folder_config
from trainshed.spec.training.preference import RewardModel
from trainshed.spec.training.train import Training

WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}
LOSS_COPIES = 3
"""fp32 copies of the logits at the peak, when the backward pass begins: log-probabilities, their gradient, and the
logits'. The logits themselves are gone by then."""
FEW_LABELS = 2


@dataclass(frozen=True)
class ModelCost:
    """What a plan needs to know of a model; None where only the cluster can tell."""

    parameters: int | None
    """All that a worker holds, adapters included."""
    trainable: int | None
    """Weights with gradients and optimizer states; those under `freeze` count too, for their size is not known."""
    tokens: int
    """Of one sequence."""
    vocab_size: int
    """Numbers that the model answers for each token; 0 where it answers once for a sample."""
    layers: tuple[Layers, ...] | None
    sequences: int = 1
    """Of one sample that a pass is over."""
    in_chunks: bool = False
    """Whether the logits of a large vocabulary are made chunk by chunk."""
    learns: bool = True
    """Whether a backward pass follows."""
    light: int = 0
    """Frozen weights that are held in fewer bytes than fp32."""
    light_bytes: int = 0
    """Of all of them."""

    @property
    def tokens_of_sample(self) -> int:
        """Of all its sequences."""
        return self.sequences * self.tokens


def cost_of(training: Training, sizes: DataSizes) -> ModelCost:
    """The cost of a training's model over data of these sizes."""
    if sizes.labels is None:  # found in the data later; a classifier is small whatever their number
        sizes = replace(sizes, labels=FEW_LABELS)
    if isinstance(training.task, RewardModel):  # one number for each text
        sizes = replace(sizes, labels=1)
    task = training.task
    if task.decodes:  # text and target are one sequence
        sizes = replace(sizes, context=sizes.context + sizes.target, target=0)
    parameters = trainable = count_parameters(training.model, sizes)
    if training.lora is not None and parameters is not None:
        trainable = added_parameters(training, parameters, sizes)
        parameters += trainable
    described = _description(training.model)
    answers_each_token = task.decodes or task.kind in ("masked_lm", "seq2seq_lm", "custom")
    light, light_bytes = light_weights(training, count_parameters(training.model, sizes), sizes)
    return ModelCost(
        parameters=parameters,
        trainable=trainable,
        tokens=described_tokens(described, sizes) or sequence_length(training.model, sizes),
        vocab_size=(described_vocabulary(described) or sizes.vocab_size or 0) if answers_each_token else 0,
        layers=described_layers(described) if described else layers_of(training.model),
        sequences=task.sequences,
        in_chunks=task.decodes and has_plain_head(described),
        light=light,
        light_bytes=light_bytes,
    )


def at_rest(cost: ModelCost, training: Training) -> ModelCost:
    """The cost where the model only answers: no gradients, and weights in the half precision of their files."""
    if cost.parameters is None:
        return replace(cost, trainable=None, learns=False)
    light, light_bytes = half_weights(training, cost.parameters)
    return replace(cost, trainable=0, learns=False, light=light, light_bytes=light_bytes)


def _description(model: Model) -> dict[str, Any]:
    """The config.json of a folder on this machine, or what the job says of one; nothing of other models."""
    match model:
        case Pretrained() if model.folder is not None:
            return model.with_dropout(folder_config(model.folder))
        case Config():
            return {**model.settings, "model_type": model.model_type}
        case _:
            return {}


def activation_bytes(cost: ModelCost, samples: int, *, width: int, checkpointing: bool, gpu: bool) -> int:
    """Bytes alive at the peak of one pass over `samples`: what the layers keep, and the logits with their gradients."""
    if cost.layers is None:
        return 0
    samples *= cost.sequences
    tokens = samples * cost.tokens
    at_once = tokens_at_once(tokens, cost.vocab_size) if cost.in_chunks else tokens
    logits = at_once * cost.vocab_size * LOSS_COPIES * FP32
    if at_once < tokens:  # each chunk has a gradient of the whole head, beside their sum
        logits += cost.vocab_size * cost.layers[-1].width * width
    edges = sum(4 * width * one.width * cost.tokens for one in cost.layers)  # embeddings and the last norm
    kept = sum(one.count * layer_bytes(one, cost.tokens, width=width, gpu=gpu) for one in cost.layers)
    again = max(layer_bytes(one, cost.tokens, width=width, gpu=gpu) for one in cost.layers)
    if not cost.learns:  # one layer after another
        return samples * edges + max(samples * again, logits)
    if not checkpointing:
        return samples * (kept + edges) + logits
    inputs = sum(one.count * width * one.width * cost.tokens for one in cost.layers)
    return samples * (inputs + edges) + max(samples * again, logits)
