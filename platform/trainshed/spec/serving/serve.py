"""What a serve job may say: which model version, behind which interface, on how many replicas, for whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainshed.spec.document.locations import ModelRef
from trainshed.spec.document.part import Count, Name, NonNegative, Part, Positive, RunRef, SecretName


class Replicas(Part):
    """How many copies answer, and what each one gets."""

    min: Count = 1
    max: Count = 1
    target_ongoing_requests: Positive = 4
    """Requests in flight per replica that autoscaling aims at."""
    max_queued_requests: Count = 64
    """Requests that may wait in each replica; the next one gets 503 at once."""
    cpus: NonNegative = 0.25
    """CPUs reserved per replica."""
    gpus: NonNegative = 0

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.min > self.max:
            raise ValueError(f"replicas.min must not be over replicas.max: {self.min} is over {self.max}")
        return self


class Auth(Part):
    """Authentication: bearers of one of these keys may ask."""

    keys: Annotated[tuple[SecretName, ...], Field(min_length=1)]
    """Names of secrets, never their values."""


class ServeJob(Part):
    """A model version as an autoscaled HTTP endpoint."""

    kind: Literal["serve"]
    name: Name
    model: ModelRef
    auth: Auth
    gate: RunRef | None = None
    """run://NAME, an evaluation with a gate: only a model whose newest one of that name has passed is served."""
    api: Literal["openai"] = "openai"
    replicas: Replicas = Replicas()
    max_tokens: Count = 256
    """Tokens a request may ask for at most; the model's context bounds it too."""
    special_tokens_in_text: Literal["plain", "obeyed"] = "plain"
    """plain: a prompt or message that spells a special token, like <|endoftext|>, is text. obeyed: it becomes that
    token, as clients need that write the chat template's marks themselves."""
    start_timeout_s: Positive = 180
    """So long the proxy, then the replicas, then the first answer may take on a quiet machine; longer on a busy one."""
