"""Bytes to text and its lines. Bytes that are no text are told, never replaced.

Knows how Python decodes; no files, no job.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

NO_TEXT = ("idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf-7")
"""Python decodes these too, but they are another spelling of text, not an encoding of files."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"RIFF", "a RIFF file (WebP, WAV, AVI)"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive (as are xlsx, docx, npz)"),
    (b"\x1f\x8b", "compressed with gzip; let its name end in .gz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstandard"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"BZh91AY", "compressed with bzip2"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
)
PARQUET = b"PAR1"
WIDE_MARKS = ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))


@dataclass(frozen=True)
class NoText:
    """What stands in a place where text should: the line counts from 1."""

    line: int
    found: str
    replaced: str = ""
    """The line with signs in place of what is no text, to go on from."""


def _known(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        raise ValueError(f"got {name!r}; say an encoding of text, like utf-8, utf-16, latin-1 or cp1252") from None
    if codecs.lookup(name).name.replace("_", "-") in [one.replace("_", "-") for one in NO_TEXT]:
        raise ValueError(f"got {name!r}, which is no encoding of files; say one like utf-8, utf-16, latin-1 or cp1252")
    return name


Encoding = Annotated[str, AfterValidator(_known)]
"""How the files' text is written as bytes, by Python's name; a byte order mark at the start is no part of the text."""


def unpacked(content: bytes, path: str) -> bytes | NoText:
    """What a file holds, unpacked where its name ends in .gz."""
    if not path.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        return NoText(1, f"damaged gzip: {error}")


def foreign(content: bytes, encoding: str) -> str | None:
    """What else than text a file holds, by how it starts; None where nothing speaks against text."""
    if content.startswith(PARQUET) and content.endswith(PARQUET):
        return "a parquet file"
    for start, what in SIGNATURES:
        if content.startswith(start):
            return what
    if not _is_wide(encoding):
        for start, what in WIDE_MARKS:
            if content.startswith(start):
                return f"text in {what}; say `source.encoding: {what.lower()}`"
    return None


def decoded(content: bytes, encoding: str) -> str | NoText:
    """The text of bytes, or the first place that is none."""
    try:
        return content.decode("utf-8-sig" if _is_utf8(encoding) else encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        return NoText(before.count("\n") + 1, _undecodable(error, encoding))


def lines(content: bytes, encoding: str, *, universal: bool = False) -> Iterator[str | NoText]:
    r"""The lines of bytes with their ends; a line that is no text is told, and the lines after it still come.

    `universal`: `\r` and `\r\n` end a line too. An encoding whose lines cannot be told by their bytes (UTF-16) ends at
    the first place that is no text.
    """
    text = decoded(content, encoding)
    if isinstance(text, str):
        yield from io.StringIO(text, newline="" if universal else "\n")
    elif not _has_lines(encoding):
        yield text
    else:
        whole = content.removeprefix(codecs.BOM_UTF8) if _is_utf8(encoding) else content
        for number, line in enumerate(whole.splitlines(keepends=True) if universal else io.BytesIO(whole), 1):
            try:
                yield line.decode(encoding)
            except UnicodeDecodeError as error:
                yield NoText(number, _undecodable(error, encoding), line.decode(encoding, "replace"))


def _undecodable(error: UnicodeDecodeError, encoding: str) -> str:
    found = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
    hint = "; is `source.encoding` another?" if _is_utf8(encoding) else ""
    return f"{found} is no {encoding}{hint}"


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _is_wide(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _has_lines(encoding: str) -> bool:
    """Whether the byte of `\\n` stands for nothing else, and no line changes how the next one is read."""
    return not _is_wide(encoding) and not codecs.lookup(encoding).name.startswith(("iso2022", "hz"))
