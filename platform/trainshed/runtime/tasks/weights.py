"""A transformers model through its life in a training: made or loaded, adapted, exported plain.

Knows configurations and weights; knows nothing of losses, workers or engines.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from trainshed.runtime.encoding import GENERATION_CONFIG, ConversationEncoder
from trainshed.runtime.models.beside import files_beside
from trainshed.runtime.models.export import load_model
from trainshed.runtime.models.load import load_weights
from trainshed.runtime.models.outline import outlined
from trainshed.runtime.tasks.adapting import (
    adapts_layers_alone,
    add_adapters,
    add_adapters_to_outline,
    check_adapters_hold,
    fill_heads,
    freeze,
    heads_in,
    merge_adapters,
    plain_name,
    save_adapters,
    tie_again,
    with_saved_adapters,
)
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.fitting import check_kind
from trainshed.runtime.tasks.making import PartHandler, begin_fresh, fill_weights, keep_whole, made_in_parts, unmark
from trainshed.runtime.tasks.number_types import in_type, stored_in, written_in
from trainshed.runtime.tasks.overriding import check_attention, grow_embeddings
from trainshed.runtime.tasks.weight_roles import layers_of
from trainshed.spec.training.models import Pretrained, growth
from trainshed.spec.training.models.folder import read_json
from trainshed.spec.training.train import Training

State = dict[str, torch.Tensor]


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

    def make(self, place: PartHandler | None = None, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """The model in fp32, its frozen weights without gradients; parts are placed as they get their weights.

        `dtype` is what the one who places parts casts them to; existing weights may have it before.

        Raises:
            PlatformError: weights that are not there, adapters or frozen names that do not fit, files beside them that
                cannot go out again.
        """
        shape = self._training.model
        if isinstance(shape, Pretrained):
            model = self._loaded(shape) if place is None else self._loaded_in_parts(shape, place, dtype)
        else:
            lay_out = partial(self._auto.from_config, self.config, dtype=torch.float32)
            if self._training.lora is None:
                model = made_in_parts(lay_out, place or keep_whole, growth=growth(shape))
            else:  # adapters come into layers that are whole
                model = _placed(self._adapted(made_in_parts(lay_out, growth=growth(shape))), place)
        if self._training.freeze:
            freeze(model, self._training.freeze)
        return model

    def _loaded(self, shape: Pretrained) -> torch.nn.Module:
        """All of it in this process."""
        loaded = load_weights(self._auto, shape, self.config, labels=self._labels)
        self._keep_facts(loaded.remarks, loaded.fresh)
        self._grow(loaded.model)
        return self._adapted(loaded.model)

    def _loaded_in_parts(self, shape: Pretrained, place: PartHandler, dtype: torch.dtype) -> torch.nn.Module:
        """Of a model that workers split: a worker has its own share of it and one part, at most.

        Adapters of embeddings or heads, which share their weights, need the model whole.
        """
        outline = outlined(self._auto, shape, self.config, labels=self._labels)
        if outline is None:
            return _placed(self._loaded(shape), place)
        layers = [name for name, _ in layers_of(outline.model)]
        model: Any = outline.model
        drawn = torch.get_rng_state()
        unmark(outline.model)
        begin_fresh(outline.model, outline.fresh)
        if self._training.lora is not None:
            model = add_adapters_to_outline(outline.model, self._training.lora)
            if not adapts_layers_alone(model, layers):
                torch.set_rng_state(drawn)
                return _placed(self._loaded(shape), place)
        self._keep_facts(outline.remarks, outline.fresh)

        def finish() -> None:
            fill_heads(outline.model)
            self._grow(outline.model)

        def fill(tensors: dict[str, torch.Tensor]) -> None:
            outline.fill({plain_name(name): tensor for name, tensor in tensors.items()})

        wait = {*self._grown(outline.model), *heads_in(outline.model)}
        fill_weights(outline.model, place, fill, dtype=dtype, finish=finish, wait=wait)
        made: torch.nn.Module = model
        return made

    def _keep_facts(self, remarks: tuple[str, ...], fresh: frozenset[str]) -> None:
        """Of existing weights: what stands beside them is read now, for a long training may outlive the folder."""
        self.remarks = remarks
        if self._training.export.writes_adapters:
            check_adapters_hold(fresh)
        _ = self._beside, self._stored

    def _grow(self, model: PreTrainedModel) -> None:
        """Rows for the tokens that the job adds."""
        shape = self._training.model
        if isinstance(shape, Pretrained) and shape.added_tokens:
            grow_embeddings(model, self._vocab_size)
            self.config.vocab_size = model.config.vocab_size

    def _grown(self, model: PreTrainedModel) -> set[str]:
        """The modules that get rows for the tokens that the job adds."""
        shape = self._training.model
        if not (isinstance(shape, Pretrained) and shape.added_tokens):
            return set()
        grown = (model.get_input_embeddings(), model.get_output_embeddings())
        return {name for name, module in model.named_modules() if any(module is one for one in grown)}

    def _adapted(self, model: torch.nn.Module) -> torch.nn.Module:
        return model if self._training.lora is None else add_adapters(model, self._training.lora)

    def plain_weights(self, state: State) -> State:
        """Of what was trained, by the names of the plain model; adapters are merged."""
        model = self._filled(state)
        if self._training.lora is not None:
            model = merge_adapters(model)
        weights: State = model.state_dict()
        return weights

    def export(self, state: State, folder: Path) -> None:
        """Safetensors, config.json, the tokenizer, and what lay beside existing weights; adapters are merged first."""
        model = self._filled(state)
        if self._training.lora is not None:
            model = merge_adapters(model)
        model.tie_weights()
        in_type(model, written_in(self._training.export.dtype, self._stored))
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = True
        model.save_pretrained(folder)
        if self._tokenizer is not None:
            copy_tokenizer(self._tokenizer, folder)
        for name, content in self._beside.items():
            if name == GENERATION_CONFIG or not (folder / name).exists():
                (folder / name).write_bytes(content)
        name_ends(folder)

    def export_adapters(self, state: State, folder: Path) -> None:
        """The adapters alone, in peft's layout, and the tokenizer."""
        model = self._filled(state)
        in_type(model, written_in(self._training.export.dtype, torch.float32))
        shape = self._training.model
        assert isinstance(shape, Pretrained)
        save_adapters(model, folder, base=shape.name_or_path, revision=shape.revision)
        if self._tokenizer is not None:
            copy_tokenizer(self._tokenizer, folder)

    def open_export(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The model of an export, loaded as serving loads it, in evaluation mode; `dtype` is what it computes in.

        Raises:
            PlatformError: it is not whole.
        """
        model = load_model(folder, auto=self._auto, dtype=dtype)
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # as in training: with a cache documents of a block see each other
        opened: torch.nn.Module = model
        return opened

    def open_adapters(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The existing model as it was, with the exported adapters on it; see `open_export`."""
        shape = self._training.model
        assert isinstance(shape, Pretrained)
        base = load_weights(self._auto, shape, self.config, labels=self._labels, dtype=dtype).model
        model: torch.nn.Module = with_saved_adapters(base, folder)
        return model.eval()

    def _filled(self, state: State) -> Any:
        """The model as it was trained, adapters apart, with weights of its own: a merge writes into them."""
        with torch.device("meta"):
            model = self._auto.from_config(self.config)
            if self._training.lora is not None:
                model = add_adapters(model, self._training.lora)
        exact = self._exact(state)
        model.load_state_dict({name: _own(tensor) for name, tensor in exact.items()}, assign=True)
        tie_again(model)
        return model

    def _exact(self, state: State) -> State:
        """Frozen weights that an engine holds in half precision, as they are in their files: those round to them."""
        rounded = [name for name, tensor in state.items() if tensor.dtype in (torch.bfloat16, torch.float16)]
        if not rounded or self._stored != torch.float32 or not isinstance(self._training.model, Pretrained):
            return state
        files = self.make().state_dict()
        again = {
            name: files[name]
            for name in rounded
            if name in files and torch.equal(files[name].to(state[name].dtype), state[name])
        }
        return {**state, **again}

    @cached_property
    def _beside(self) -> Mapping[str, bytes]:
        shape = self._training.model
        return files_beside(shape) if isinstance(shape, Pretrained) else {}

    @cached_property
    def _stored(self) -> torch.dtype:
        """The type that existing weights have in their files."""
        shape = self._training.model
        return stored_in(shape, self.config) if isinstance(shape, Pretrained) else torch.float32


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Every file of the tokenizer, beside the weights."""
    for file in sorted(source.iterdir()):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def name_ends(folder: Path) -> None:
    """Has a chat model's generation config name every token that ends an answer, the template's end of turn among them.

    `generate` of transformers, and what else reads the file, then stops where the endpoint does.
    """
    file = folder / GENERATION_CONFIG
    encoder = ConversationEncoder.read(folder, obey=False) if file.is_file() else None
    if encoder is None:
        return
    config = read_json(file)
    named = config.get("eos_token_id")
    known = named if isinstance(named, list) else [named]
    ends = list(dict.fromkeys([*(one for one in known if one is not None), *encoder.ends]))
    if ends != known:
        file.write_text(json.dumps(config | {"eos_token_id": ends}, indent=2) + "\n")


def _placed(model: torch.nn.Module, place: PartHandler | None) -> torch.nn.Module:
    """A whole model, as one part."""
    if place is not None:
        place(model, layer=False)
    return model


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, in fp32 where it is a weight."""
    return tensor.detach().to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.detach().clone()
