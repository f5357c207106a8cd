"""What a worker keeps off its device, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from trainshed.spec.document.part import Part

Place = Literal["none", "cpu", "nvme"]


class Offload(Part):
    """What a worker keeps off its device (ZeRO-Offload, arXiv 2101.06840; ZeRO-Infinity, arXiv 2104.07857)."""

    optimizer: Place = "none"
    """Where optimizer states and master weights live, and where the optimizer runs; needs zero_stage 1 or more."""
    parameters: Place = "none"
    """Where the parameters wait until their layer needs them; needs zero_stage 3."""
    nvme_path: str | None = None
    """Folder on each worker's local disk, for `nvme`."""

    @model_validator(mode="after")
    def _disk_is_named(self) -> Offload:
        if "nvme" in (self.optimizer, self.parameters) and not self.nvme_path:
            raise ValueError("nvme_path is missing: offloading to nvme needs a folder on the worker's local disk")
        return self


NOTHING = Offload()
