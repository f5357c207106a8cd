"""Tasks that learn from comparisons: a prompt, the answer that is preferred, and the one that is not."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trainshed.spec.document.part import Positive
from trainshed.spec.training.built_in import DECODER_KINDS, BuiltInTask

OF_REWARDS = ("loss", "accuracy", "margin", "chosen_reward", "rejected_reward", "kl")
OF_ODDS = ("loss", "accuracy", "margin", "chosen_loss")
OF_SCORES = ("loss", "accuracy", "margin", "chosen_score", "rejected_score")


class Dpo(BuiltInTask):
    """Direct preference optimisation (arXiv 2305.18290): the preferred answer gains on the other one, measured from a
    reference. The reference's log-probabilities are columns that a `kind: reference` document has made; with `lora`
    they may be left to the model itself, with its adapters off."""

    kind: Literal["dpo"] = "dpo"
    trains: ClassVar = DECODER_KINDS
    needs: ClassVar = ("preference",)
    decodes: ClassVar = True
    sequences: ClassVar = 2
    beta: Positive = 0.1
    """How much a nat away from the reference counts; the higher, the closer the model stays to it."""
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """sigmoid: the paper's. ipo: squared distance to a margin of 1 / (2 beta) nats per token (arXiv 2310.12036). hinge:
    nothing is learnt of pairs with a margin over 1 (arXiv 2305.10425)."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The share of pairs whose answers may be the wrong way around, in loss sigmoid."""

    @model_validator(mode="after")
    def _smoothing_has_its_loss(self) -> Dpo:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(
                f"label_smoothing {self.label_smoothing} is a part of loss sigmoid, and loss is {self.loss}; leave one "
                "of them out"
            )
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of implicit rewards."""
        return OF_REWARDS


class Orpo(BuiltInTask):
    """Odds-ratio preference optimisation (arXiv 2403.07691): the preferred answer is learnt, and its odds rise over
    those of the other one. No reference is needed."""

    kind: Literal["orpo"] = "orpo"
    trains: ClassVar = DECODER_KINDS
    needs: ClassVar = ("preference",)
    decodes: ClassVar = True
    sequences: ClassVar = 2
    beta: Positive = 0.1
    """The weight of the odds ratio beside the loss of the preferred answer (lambda in the paper)."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of odds."""
        return OF_ODDS


class RewardModel(BuiltInTask):
    """A model that scores a conversation or text: the preferred answer above the other one (Bradley and Terry)."""

    kind: Literal["reward_model"] = "reward_model"
    trains: ClassVar = ("bert", "config", "pretrained")
    needs: ClassVar = ("preference",)
    sequences: ClassVar = 2

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of scores."""
        return OF_SCORES
