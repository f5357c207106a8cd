"""A transformers model through its life in a training: made or loaded, adapted, exported plain.

Knows configurations and weights; knows nothing of losses, workers or engines.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from trainshed.runtime.models.load import load_weights
from trainshed.runtime.tasks.adapting import add_adapters, freeze, merge_adapters
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.fitting import check_kind
from trainshed.runtime.tasks.making import PartHandler, keep_whole, made_in_parts
from trainshed.runtime.tasks.overriding import check_attention, grow_embeddings
from trainshed.spec.training.models import Pretrained, growth
from trainshed.spec.training.train import Training


class TransformersModel:
    """One architecture (`auto` is one of transformers' AutoModel classes) with what a training does to it."""

    def __init__(
        self, auto: Any, config: PreTrainedConfig, training: Training, facts: DataFacts, *, labelled: bool = False
    ) -> None:
        check_kind(auto, config, training.task.kind)
        if isinstance(training.model, Pretrained):
            check_attention(training.model, auto, config)
        self._auto = auto
        self.config = config
        self._training = training
        self._tokenizer = facts.tokenizer
        self._vocab_size = facts.vocab_size
        self._labels = getattr(config, "num_labels", None) if labelled else None
        self.remarks: tuple[str, ...] = ()
        """What there is to say of the weights, once the model is made."""

    def make(self, place: PartHandler = keep_whole) -> torch.nn.Module:
        """The model in fp32, its frozen weights without gradients; fresh layers are placed as they are made.

        Raises:
            PlatformError: weights that are not there, adapters or frozen names that do not fit.
        """
        shape = self._training.model
        if isinstance(shape, Pretrained):
            loaded = load_weights(self._auto, shape, self.config, labels=self._labels)
            model: torch.nn.Module = loaded.model
            self.remarks = loaded.remarks
            if shape.added_tokens:
                grow_embeddings(loaded.model, self._vocab_size)
                self.config.vocab_size = loaded.model.config.vocab_size
        else:
            lay_out = partial(self._auto.from_config, self.config, dtype=torch.float32)
            model = made_in_parts(lay_out, place, growth=growth(shape))
        if self._training.freeze:
            freeze(model, self._training.freeze)
        return model if self._training.lora is None else add_adapters(model, self._training.lora)

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Safetensors, config.json and the tokenizer; adapters are merged first."""
        with torch.device("meta"):
            model = self._auto.from_config(self.config)
            if self._training.lora is not None:
                model = add_adapters(model, self._training.lora)
                state = {name: tensor.clone() for name, tensor in state.items()}  # the merge writes into them
        model.load_state_dict(state, assign=True)
        if self._training.lora is not None:
            model = merge_adapters(model)
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = True
        model.config.dtype = next(iter(state.values())).dtype
        model.tie_weights()
        model.save_pretrained(folder)
        if self._tokenizer is not None:
            copy_tokenizer(self._tokenizer, folder)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Every file of the tokenizer, beside the weights."""
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, folder / file.name)
