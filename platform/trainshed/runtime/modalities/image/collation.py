"""How pixels become what a vision model reads: its own rescaling and normalisation, in training and in answers alike.

Read from the model's preprocessor_config.json, and written beside every export. Knows numbers; resizes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field, JsonValue, ValidationError
from transformers.utils import cached_file

from trainshed.errors import PlatformError
from trainshed.runtime.models.locate import LOAD_ERRORS, first_line, located
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.models.folder import read_json

FILE = "preprocessor_config.json"
TYPES = {"image_processor_type", "feature_extractor_type"}
"""Keys that say which of transformers' processors reads the rest, today and in older files."""
CROPS = ("do_center_crop", "crop_size", "crop_pct")
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
PerChannel = Annotated[tuple[Number, ...], Field(min_length=1, max_length=64)]


class _Processor(BaseModel):
    """What a preprocessor_config.json says of numbers."""

    do_rescale: bool = True
    rescale_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1 / 255
    rescale_offset: bool = False
    do_normalize: bool = True
    image_mean: Number | PerChannel | None = None
    image_std: Annotated[Number, Field(gt=0)] | tuple[Annotated[Number, Field(gt=0)], ...] | None = None
    include_top: bool = False
    size: JsonValue = None
    crop_size: JsonValue = None
    do_center_crop: bool = False

    @property
    def side(self) -> int | None:
        """Pixels on each side of the images that it makes; None where it does not say one number."""
        said = self.crop_size if self.do_center_crop else self.size
        sides = list(said.values()) if isinstance(said, dict) else [said]
        first = sides[0] if sides else None
        return first if type(first) is int and all(one == first for one in sides) else None


@dataclass(frozen=True)
class Pixels:
    """Each pixel becomes (pixel x factor - mean) / std, by channel."""

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    factor: float = 1 / 255
    remark: str | None = None
    """What there is to say of it."""

    def values(self, pixels: np.ndarray[Any, Any]) -> torch.Tensor:
        """fp32, of uint8 `(images, channels, size, size)`."""
        mean, std = (torch.tensor(one, dtype=torch.float32).view(-1, 1, 1) for one in (self.mean, self.std))
        return (torch.from_numpy(pixels).float() * self.factor - mean) / std

    def save(self, folder: Path, *, size: int, channels: int) -> None:
        """A preprocessor_config.json that transformers reads as the same numbers.

        The one of existing weights stays where it lies there and names its processor; only its size may be another now.
        """
        there = read_json(folder / FILE) if (folder / FILE).is_file() else {}
        if not there.keys().isdisjoint(TYPES):
            if not _gives(there, size):
                there = {name: value for name, value in there.items() if name not in CROPS}
                there |= {"do_resize": True, "size": {"height": size, "width": size}}
                (folder / FILE).write_text(json.dumps(there, indent=2) + "\n")
            return
        said = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": size, "width": size},
            "do_rescale": True,
            "rescale_factor": self.factor,
            "do_normalize": True,
            "image_mean": _each(self.mean, channels),
            "image_std": _each(self.std, channels),
        }
        (folder / FILE).write_text(json.dumps(said, indent=2) + "\n")


def pixels_of(spec: Pretrained, size: int, channels: int) -> Pixels:
    """What an existing model was trained on; images of another size are remarked, for many families take them.

    Raises:
        PlatformError: its preprocessor_config.json does not say it.
    """
    file = _find(spec)
    if file is None:
        return Pixels(remark=f"{spec.name_or_path} has no {FILE}: pixels 0 to 255 are read as -1 to 1")
    try:
        said = _Processor.model_validate(read_json(file))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise PlatformError(f"{spec.name_or_path}: {FILE}: {key}: {fault['msg']}") from None
    if said.include_top:
        raise PlatformError(f"{spec.name_or_path}: {FILE}: include_top normalises twice, which is not supported")
    mean = _tuple(said.image_mean)
    std = _tuple(said.image_std)
    if said.do_normalize and (mean is None or std is None):
        raise PlatformError(
            f"{spec.name_or_path}: {FILE}: do_normalize needs image_mean and image_std; write those of the model's page"
        )
    for key, one in (("image_mean", mean), ("image_std", std)):
        if said.do_normalize and one is not None and len(one) not in (1, channels):
            raise PlatformError(
                f"{spec.name_or_path}: {FILE}: {key} has {len(one)} numbers, the data's images have {channels} channels"
            )
    offset = 1.0 if said.do_rescale and said.rescale_offset else 0.0
    shift, scale = (mean, std) if said.do_normalize and mean and std else ((0.0,), (1.0,))
    factor = said.rescale_factor if said.do_rescale else 1.0
    remark = None
    if said.side is not None and said.side != size:
        remark = (
            f"{spec.name_or_path} was trained on images of {said.side} pixels on each side, the data's have {size}; "
            f"say `size: {said.side}` in the data's source to have them alike"
        )
    return Pixels(tuple(one + offset for one in shift), scale, factor, remark)


def _find(spec: Pretrained) -> Path | None:
    """The file on this machine; None where the model has none."""
    try:
        found = cached_file(
            located(spec.name_or_path),
            FILE,
            revision=spec.revision or "main",
            _raise_exceptions_for_missing_entries=False,
        )
    except LOAD_ERRORS as error:
        raise PlatformError(f"{spec.name_or_path}: {FILE} cannot be read: {first_line(error)}") from error
    return None if found is None else Path(found)


def _gives(said: dict[str, Any], size: int) -> bool:
    """Whether a processor's images have so many pixels on each side."""
    sides = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    if isinstance(sides, dict):
        return (sides.get("height"), sides.get("width")) == (size, size)
    return sides == size


def _tuple(said: float | tuple[float, ...] | None) -> tuple[float, ...] | None:
    return said if said is None or isinstance(said, tuple) else (said,)


def _each(numbers: tuple[float, ...], channels: int) -> list[float]:
    """One for each channel."""
    return list(numbers if len(numbers) == channels else numbers * channels)
