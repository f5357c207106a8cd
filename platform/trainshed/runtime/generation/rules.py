"""What a request says of how its next token is chosen. Knows no torch: a replica has none."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_TEMPERATURE = 1e-5
"""What is below is greedy, as in vLLM."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. With a temperature next to 0 it is the most likely one, whatever the rest says."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    seed: int | None = None
    """The same seed, prompt and model give the same tokens, whatever else the engine is answering."""

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken. Scores over a tinier temperature are infinite or no numbers."""
        return self.temperature < LEAST_TEMPERATURE
