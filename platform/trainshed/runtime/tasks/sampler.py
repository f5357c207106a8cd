"""Answers by the very weights that are trained: their memory where an engine has them whole, else a copy of each step.

Knows a policy by the few things that engines have; the model that answers is transformers' own, in continuous batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, PreTrainedConfig

from trainshed.errors import PlatformError
from trainshed.runtime.generation.answers import Answer, Answerer
from trainshed.runtime.generation.rules import Sampling

State = dict[str, torch.Tensor]
AT_ONCE = 1 << 24
"""Numbers of a tensor that are mixed together."""


class Policy(Protocol):
    """What of an engine is asked for its weights."""

    model: torch.nn.Module
    splits_weights: bool

    def export(self) -> State | None:
        """The whole model's weights on worker 0."""


class Sampler:
    """The model that answers, with the weights of the policy as they are after each `sync`."""

    def __init__(
        self,
        config: PreTrainedConfig,
        plain: Callable[[State], State] | None,
        *,
        ends: Sequence[int],
        longest: int,
        at_once: int,
        half: torch.dtype | None,
    ) -> None:
        """`plain` merges adapters into what an engine exports; None where the policy is a plain model."""
        own = copy.deepcopy(config)
        own.use_cache = True
        self._config = own
        self._plain = plain
        self._ends = ends
        self._longest = longest
        self._at_once = at_once
        self._half = half
        self._model: Any = None
        self._answerer: Answerer | None = None

    def sync(self, policy: Policy, device: torch.device) -> None:
        """Takes the policy's weights over; every worker calls it.

        Raises:
            PlatformError: what answers on some worker has other weights than what is trained.
        """
        shares = self._plain is None and self._half is None and not policy.splits_weights
        if self._model is None:
            self._model = AutoModelForCausalLM.from_config(self._config, dtype=torch.float32).to(device).eval()
            if shares:
                self._model.load_state_dict(dict(policy.model.state_dict()), assign=True)
            elif self._half is not None:
                self._model.to(self._half)
            for parameter in self._model.parameters():
                parameter.requires_grad_(requires_grad=parameter.requires_grad and shares)
        if shares:
            self._agree(_same_memory(policy.model, self._model), 0, device)
        else:
            wanted = self._copied(policy)
            found = fingerprint(self._model.state_dict())
            self._agree(found == wanted, found, device)

    def answers(self, prompts: Sequence[Sequence[int]], sampling: Sequence[Sampling]) -> list[Answer]:
        """The answer to each prompt. Raises as `Answerer.answers`."""
        if self._answerer is None:
            self._answerer = Answerer(self._model, ends=self._ends, longest=self._longest, at_once=self._at_once)
        return self._answerer.answers(prompts, sampling)

    def _copied(self, policy: Policy) -> int:
        """Copies the weights from worker 0, one after another; their fingerprint as it has them."""
        exported = policy.export()
        state = exported
        if exported is not None and self._plain is not None:
            state = self._plain(exported)
        wanted = 0
        there = self._model.state_dict()
        for name, tensor in there.items():
            own = torch.empty_like(tensor) if state is None else state[name].to(tensor.device, tensor.dtype)
            if dist.is_initialized() and dist.get_world_size() > 1:
                dist.broadcast(own, src=0)
            wanted ^= fingerprint({name: own})
            with torch.no_grad():
                tensor.copy_(own)
        return wanted

    def _agree(self, same: bool, mark: int, device: torch.device) -> None:
        """Raises PlatformError on every worker where one has other weights, or another mark, than the others."""
        agreed = torch.tensor([same, 1.0], dtype=torch.float64, device=device)
        marks = torch.tensor([mark, -mark], dtype=torch.int64, device=device)
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(agreed)
            dist.all_reduce(marks, op=dist.ReduceOp.MAX)
        if agreed[0] != agreed[1] or marks[0] != -marks[1]:
            raise PlatformError("the model that answers has other weights than the one that is trained; that is a bug")


def fingerprint(state: State) -> int:
    """A number that follows from every bit of the weights and their names, below 2 ** 62; fast on any device."""
    total = 0
    for name, tensor in state.items():
        bits = tensor.detach().contiguous().view(torch.int16 if tensor.element_size() == 2 else torch.int32).flatten()
        mixed = [len(name), sum(name.encode())]
        for part in torch.split(bits, AT_ONCE):  # as int64 it takes two to four times the memory
            wide = part.to(torch.int64)
            mixed += [int(wide.sum()), int(wide[::2].sum()), int((wide * wide).sum())]
        total ^= hash(tuple(mixed)) & (2**62 - 1)
    return total


def _same_memory(policy: torch.nn.Module, own: torch.nn.Module) -> bool:
    """Whether every weight of two models is the same one, so that a step of one is a step of the other."""
    there = policy.state_dict()
    return all(there[name].data_ptr() == one.data_ptr() for name, one in own.state_dict().items())
