"""The settings of a replica: plain values, so that they travel to any node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainshed.errors import PlatformError
from trainshed.runtime.models.files import ModelFiles
from trainshed.runtime.serving.engines import EngineSettings

MAX_PROMPTS = 16
"""Prompts that one request may hold."""

_ROOM_FOR_CHECKS = 32


@dataclass(frozen=True)
class AppSettings:
    """One endpoint: which model, for whom, on how many replicas."""

    name: str
    """The endpoint's name: its Serve application and its route."""
    model: str
    """The model version as its users name it, `stdlib-gpt@3`."""
    model_dir: str
    """A directory that every node of the endpoint can read, or a URI; each replica copies from it."""
    hashes: Mapping[str, str]
    """The SHA-256 of each of its files; nothing else of it is loaded."""
    fingerprint: str
    """Goes into every answer as `system_fingerprint`."""
    key_hashes: tuple[str, ...] = ()
    """SHA-256, in hexadecimal, of each accepted key. Empty is refused unless `open_access`."""
    open_access: bool = False
    lineage: Mapping[str, Any] = field(default_factory=dict)
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 4
    max_queued_requests: int = 64
    """Requests that wait in each replica; see Gate."""
    cpus: float = 0.25
    gpus: float = 0
    threads: int = 1
    max_tokens: int = 256
    """Tokens a request may ask for at most."""
    cache_tokens: int = 8192
    """Tokens of keys and values that a replica holds; see EngineSettings."""
    max_body_bytes: int = 1_000_000
    run_id: str = ""
    """The serve run that deploys it."""
    former: AppSettings | None = None
    """What answered before, to go back to; it has no former itself."""
    obey_special_tokens: bool = False
    """Whether a client's text that spells a special token becomes that token."""

    def __post_init__(self) -> None:
        if not self.key_hashes and not self.open_access:
            raise PlatformError(f"endpoint {self.name}: no API key; name one in auth.keys")
        if not all(re.fullmatch(r"[0-9a-f]{64}", found) for found in self.key_hashes):
            raise PlatformError(f"endpoint {self.name}: key_hashes must be SHA-256 in hexadecimal, 64 characters each")

    @property
    def files(self) -> ModelFiles:
        """Where the model's files are, and what they must be."""
        return ModelFiles(self.model_dir, self.hashes)

    @property
    def places(self) -> int:
        """Requests that a replica answers at once: twice what autoscaling aims at, so that bursts are batched."""
        return max(2, round(2 * self.target_ongoing_requests))

    @property
    def max_ongoing_requests(self) -> int:
        """Requests that Serve hands to a replica: those answered, those that wait in it, and room for health checks."""
        return self.places + self.max_queued_requests + _ROOM_FOR_CHECKS

    @property
    def engine(self) -> EngineSettings:
        """What the replica's engine gets."""
        return EngineSettings(
            cache_tokens=self.cache_tokens,
            max_requests=self.places * MAX_PROMPTS,
            threads=self.threads,
            gpu=self.gpus > 0,
            obey_special_tokens=self.obey_special_tokens,
        )
