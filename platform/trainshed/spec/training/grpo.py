"""Learning from a reward: answers of the model itself, judged by a function."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainshed.spec.document.part import Count, NonNegative, Positive, like
from trainshed.spec.training.built_in import DECODER_KINDS, BuiltInTask

OF_ANSWERS = ("loss", "reward", "reward_spread", "answer_tokens", "ended")


class Grpo(BuiltInTask):
    """Group relative policy optimisation (arXiv 2402.03300): to each prompt the model gives a group of answers, and
    learns those with more reward than their group's mean. Prompts and expected answers are those of the data."""

    kind: Literal["grpo"] = "grpo"
    trains: ClassVar = DECODER_KINDS
    needs: ClassVar = ("text", "target")
    takes: ClassVar = ("messages",)
    decodes: ClassVar = True
    reward: Annotated[str, like(r"^[A-Za-z_]\w*:[a-zA-Z_]\w*$", "say my_module:my_function")]
    """`my_module:my_function`; my_module.py lies beside the job file and is uploaded with it. It is called with the
    texts `prompt`, `answer` and `expected`, and returns a number; it runs in a process of its own."""
    reward_timeout_s: Positive = 10
    """So long one call may take on a quiet machine."""
    group_size: Annotated[int, Field(ge=2)] = 8
    """Answers to each prompt."""
    max_new_tokens: Count = 128
    """Tokens of an answer; one that has not ended by then is judged as it is."""
    answers_at_once: Count = 64
    """Answers that one worker draws side by side; each holds keys and values for a whole prompt and answer."""
    beta: NonNegative = 0.0
    """The weight of the divergence from the model that the training began with. Over 0, that model is held too, in the
    half precision of its files; under `lora` it is the model with its adapters off."""
    clip: Positive = 0.2
    """How far a token's probability may move from what it was when it was drawn, and still be learnt from."""

    @property
    def module(self) -> str:
        """The reward's module, a file beside the job file without `.py`."""
        return self.reward.partition(":")[0]

    @property
    def function(self) -> str:
        """The function in the module."""
        return self.reward.partition(":")[2]

    @property
    def sequences(self) -> int:
        """The answers of a group."""
        return self.group_size

    @property
    def answer_tokens(self) -> int:
        """Those of the longest answer."""
        return self.max_new_tokens

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of answers to held-out prompts; the loss is the reward with its sign turned."""
        return OF_ANSWERS
