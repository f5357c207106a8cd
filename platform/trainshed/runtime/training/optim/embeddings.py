"""What is done to a model's input embeddings in training: random noise, and the shift that hurts most.

Both act on what the embedding module gives, never on its weight, of which a worker may hold a piece only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from trainshed.errors import PlatformError


def input_embeddings(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules that turn a sample's tokens (or patches) into vectors: an encoder's and a decoder's share a weight.

    Raises:
        PlatformError: the model has none.
    """
    first = _declared(model) or next((part for part in model.modules() if isinstance(part, torch.nn.Embedding)), None)
    if first is None:
        raise PlatformError(
            "regularization.embedding_noise and regularization.adversarial need a model with an input embedding, "
            f"{type(model).__name__} has none; set both to 0"
        )
    tables = [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]
    return [part for part in tables if part.weight is getattr(first, "weight", None)] or [first]


def _declared(model: torch.nn.Module) -> torch.nn.Module | None:
    """What a transformers model says its input embedding is."""
    ask: Callable[[], object] | None = getattr(model, "get_input_embeddings", None)
    try:
        found = ask() if ask is not None else None
    except NotImplementedError:  # transformers' answer for a model without one
        return None
    return found if isinstance(found, torch.nn.Module) else None


def add_noise(embeddings: list[torch.nn.Module], alpha: float) -> None:
    """NEFTune: in training, uniform noise in +-alpha / sqrt(length x width) on every vector (arXiv 2310.05914).

    Drawn from torch's global generator, which the loop seeds on every step.
    """

    def noisy(module: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor | None:
        if not module.training:
            return None
        bound = alpha / (output.shape[-2] * output.shape[-1]) ** 0.5
        return output + torch.empty_like(output).uniform_(-bound, bound)

    for embedding in embeddings:
        embedding.register_forward_hook(noisy)


class Adversary:
    """The fast gradient method on embeddings (arXiv 1605.07725).

    A forward and a backward pass inside `watch` tell how the loss changes with the embeddings. A forward pass of the
    same samples inside `attack` has their embeddings shifted along that gradient, `epsilon` far for each sample.
    """

    def __init__(self, embeddings: list[torch.nn.Module], epsilon: float) -> None:
        self._epsilon = epsilon
        self._gradients: dict[int, torch.Tensor] = {}
        self._calls = 0  # in this pass; both passes come by the modules in one order
        self._hook: Callable[[torch.Tensor], torch.Tensor] | None = None
        for embedding in embeddings:
            embedding.register_forward_hook(self._forward)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Inside, backward passes leave the embeddings' gradients for `attack`."""
        self._gradients = {}
        with self._through(self._watched):
            yield

    @contextmanager
    def attack(self) -> Iterator[None]:
        """Inside, forward passes have the watched samples' embeddings where the loss is higher."""
        with self._through(self._shifted):
            yield

    @contextmanager
    def _through(self, hook: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        self._hook = hook
        self._calls = 0
        try:
            yield
        finally:
            self._hook = None

    def _forward(self, _: object, __: object, output: torch.Tensor) -> torch.Tensor:
        return output if self._hook is None else self._hook(output)

    def _watched(self, output: torch.Tensor) -> torch.Tensor:
        call = self._calls
        self._calls = self._calls + 1

        def keep(gradient: torch.Tensor) -> None:
            self._gradients[call] = gradient.detach()

        if not output.requires_grad:  # a frozen embedding still has a gradient at what it gives
            output.requires_grad_()
        output.register_hook(keep)  # type: ignore[no-untyped-call]
        return output

    def _shifted(self, output: torch.Tensor) -> torch.Tensor:
        call = self._calls
        self._calls = self._calls + 1
        gradient = self._gradients[call].float()
        norms = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        shift: torch.Tensor = gradient * (self._epsilon / norms).view(-1, *[1] * (gradient.ndim - 1))
        return output + shift.to(output.dtype)
