"""Image files to pixels: the right values for each kind of pixel, and a line for what cannot be read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from trainshed.runtime.modalities.image.reader import Decoded, decode
from trainshed.spec.data.matching import IMAGES
from trainshed.spec.data.rows import BadRow
from trainshed.spec.data.sources import Images

GREY = Images(path="x", size=4, channels="grey")
RGB = Images(path="x", size=4)
ORIENTATION = 0x0112


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def level(value, dtype=np.uint8):
    return Image.fromarray(np.full((4, 4), value, dtype=dtype))


def flat(content, source=GREY):
    """The one value of each channel, and what was done."""
    found = decode(content, "f", source)
    assert isinstance(found, Decoded), found
    pixels = np.frombuffer(found.pixels, np.uint8).reshape(-1, source.size**2)
    assert (pixels.min(axis=1) == pixels.max(axis=1)).all()
    return pixels[:, 0].tolist(), found.done


@pytest.mark.parametrize("value", [0, 128, 255, 256, 30_000, 65_535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_their_levels(value, kind):
    assert flat(saved(level(value, np.uint16), kind)) == ([round(value / 257)], ("16 bits to 8",))


def test_a_big_endian_tiff_has_the_same_levels():
    assert flat(saved(level(30_000, np.dtype(">u2")), "TIFF"))[0] == [117]


def test_a_turned_photograph_is_turned_back():
    half = Image.new("L", (4, 4))
    half.paste(255, (0, 0, 2, 4))
    for orientation, side in ((1, np.s_[:, 0]), (3, np.s_[:, 3]), (6, np.s_[0, :]), (8, np.s_[3, :])):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        found = decode(saved(half, exif=exif), "f", GREY)
        assert (np.frombuffer(found.pixels, np.uint8).reshape(4, 4)[side] == 255).all()
        assert found.done == (() if orientation == 1 else ("turned by EXIF",))


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (Image.new("RGBA", (4, 4), (10, 20, 30, 0)), [255, 255, 255]),
        (Image.new("LA", (4, 4), (10, 0)), [255, 255, 255]),
    ],
)
def test_what_is_transparent_lies_on_white(image, rgb):
    assert flat(saved(image), RGB) == (rgb, ("laid on white",))


def test_an_alpha_channel_that_hides_nothing_changes_nothing():
    assert flat(saved(Image.new("RGBA", (4, 4), (10, 20, 30, 255))), RGB) == ([10, 20, 30], ())


def test_a_palette_becomes_its_colours():
    image = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(4)
    assert flat(saved(image), RGB) == ([10, 200, 30], ())
    assert flat(saved(Image.new("P", (4, 4), 0), transparency=0), RGB) == ([255, 255, 255], ("laid on white",))


def test_one_bit_and_cmyk_and_the_first_frame():
    assert flat(saved(Image.new("1", (4, 4), 1))) == ([255], ())
    assert flat(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"), RGB) == ([255, 0, 0], ("CMYK to RGB",))
    for kind in ("GIF", "TIFF", "WEBP"):
        frames = saved(level(250), kind, save_all=True, append_images=[level(10)], **LOSSLESS.get(kind, {}))
        assert flat(frames) == ([250], ("first of several frames",))


LOSSLESS = {"WEBP": {"lossless": True}}


@pytest.mark.parametrize("suffix", IMAGES)
def test_every_suffix_of_a_folder_can_be_read(suffix):
    kind = Image.registered_extensions()[suffix]
    assert flat(saved(level(100), kind, **LOSSLESS.get(kind, {})))[0] == [100]


def huge(side):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (huge(30_000), "an image that is too large: Image size (900000000 pixels) exceeds limit"),
        (b"", "not an image"),
        (b"text", "not an image"),
        (saved(level(3))[:40], "not an image"),
        (saved(Image.effect_noise((64, 64), 99), "JPEG")[:600], "not an image that can be read: image file is trunc"),
        (saved(level(3.5, np.float32), "TIFF"), "pixels of kind 'F' have no known range"),
        (saved(level(3, np.int32), "TIFF"), "pixels of kind 'I' have no known range"),
    ],
)
def test_what_is_no_image_is_said(content, said):
    found = decode(content, "f", RGB)
    assert isinstance(found, BadRow)
    assert str(found).startswith(f"f: {said}")
