"""bitsandbytes' AdamW in 8 bits, as a checkpoint gives it back. The only file that knows the library's optimizers."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit


class CountingAdamW8bit(AdamW8bit):  # type: ignore[misc]  # the library has no types
    """Counts steps in whole numbers again after a restart: a checkpoint has them as tensors, and the library's kernels
    take neither those nor fractions."""

    def update_step(self, group: dict[str, Any], p: torch.Tensor, gindex: int, pindex: int) -> None:
        """One parameter's step."""
        self.state[p]["step"] = int(self.state[p]["step"])
        super().update_step(group, p, gindex, pindex)
