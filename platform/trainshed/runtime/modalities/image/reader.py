"""An image file as the numbers that a model sees.

Pixels are 8 bits. 16-bit grey is scaled from its whole range; a photograph is turned as its EXIF says; what is
transparent lies on white; CMYK becomes RGB without a colour profile; of several pictures in a file the first is taken.
What has no range of its own (32-bit and floating point pixels) is refused. What was done is told, to be counted.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from trainshed.spec.data.rows import BadRow
from trainshed.spec.data.sources import Images

EXIF_ORIENTATION = 0x0112
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
NO_RANGE = ("I", "F")


@dataclass(frozen=True)
class Decoded:
    """An image as bytes of shape `(channels, size, size)`, and what was done to it."""

    pixels: bytes
    done: tuple[str, ...]


def decode(content: bytes, origin: str, source: Images) -> Decoded | BadRow:
    """The pixels of an image file, or what was found instead."""
    done: list[str] = []
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.mode in NO_RANGE and not _is_sixteen_bits(opened):
                return BadRow.of(origin, f"pixels of kind {opened.mode!r} have no known range; save 8 or 16 bits")
            plain = _eight_bits(_turned(_first(opened, done), done), done)
            shown = plain.convert("L" if source.channels == "grey" else "RGB").resize((source.size, source.size))
            pixels = np.asarray(shown, dtype=np.uint8)
    except Image.DecompressionBombError as error:
        return BadRow.of(origin, f"an image that is too large: {error}")
    except MemoryError:  # of this machine, not of the image
        raise
    except Exception as error:  # decoders of forty formats raise what they like on bytes that somebody else made
        return BadRow.of(origin, f"not an image that can be read: {error or type(error).__name__}")
    shaped = np.moveaxis(pixels.reshape(source.size, source.size, -1), -1, 0)
    return Decoded(shaped.tobytes(), tuple(done))


def _first(image: Image.Image, done: list[str]) -> Image.Image:
    if getattr(image, "n_frames", 1) > 1:
        done.append("first of several frames")
        image.seek(0)
    return image


def _turned(image: Image.Image, done: list[str]) -> Image.Image:
    if image.getexif().get(EXIF_ORIENTATION, 1) not in range(2, 9):
        return image
    done.append("turned by EXIF")
    return ImageOps.exif_transpose(image)


def _eight_bits(image: Image.Image, done: list[str]) -> Image.Image:
    """Modes that `convert` would clip, or show what lies under a transparent pixel."""
    if image.mode in SIXTEEN_BITS or image.mode == "I":
        done.append("16 bits to 8")
        wide = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.round(wide / 257).astype(np.uint8))
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        if clear.getchannel("A").getextrema() != (255, 255):
            done.append("laid on white")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    if image.mode == "CMYK":
        done.append("CMYK to RGB")
    return image.convert("RGB") if image.mode in ("P", "PA", "CMYK") else image


def _is_sixteen_bits(image: Image.Image) -> bool:
    """Pillow opens the 16-bit grey of some formats as 32 bits."""
    return image.mode == "I" and image.format in ("PNG", "PPM")
