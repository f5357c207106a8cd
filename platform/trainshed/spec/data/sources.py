"""Where samples come from. A source knows its fields by name where that can be known without opening a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from trainshed.spec.data.encodings import Encoding
from trainshed.spec.document.part import Count, Part

SourcePath = Annotated[str, StringConstraints(min_length=1)]
"""A file, directory, glob or URI (s3://, gs://); a relative one starts at the job file's folder and is uploaded."""

STDLIB = "python-stdlib"


class TextFiles(Part):
    """Every matching file is one document; of a folder every file that is not hidden."""

    kind: Literal["text_files"] = "text_files"
    path: SourcePath
    """A file, directory, glob or URI (s3://, gs://); or `python-stdlib`, the cluster's own Python library source.
    A relative path starts at the job file's folder and is uploaded with the job."""
    encoding: Encoding = "utf-8"
    """How the files are written; other bytes are refused with their line, never replaced."""
    validation: SourcePath | None = None
    """Files that are held out; without them `split.validation` carves a part out of `path`."""
    test: SourcePath | None = None
    """Files for the last measurement; without them `split.test` carves a part out of `path`."""


class JsonLines(Part):
    """Every line of the matching files is one document; of a folder: .jsonl, .ndjson, and these packed as .gz."""

    kind: Literal["jsonl"] = "jsonl"
    path: SourcePath
    """A file, directory, glob or URI, as for text_files."""
    field: str = "text"
    """The key that holds the text, for `pack`; `examples` names its own."""
    encoding: Encoding = "utf-8"
    """How the files are written, as for text_files."""
    validation: SourcePath | None = None
    """Files that are held out, as for text_files."""
    test: SourcePath | None = None
    """Files for the last measurement, as for text_files."""


class Csv(Part):
    """Every line of the matching files is one sample; of a folder: .csv, .tsv, and these packed as .gz."""

    kind: Literal["csv"] = "csv"
    path: SourcePath
    """A file, directory, glob or URI, as for text_files."""
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    """One character; "\\t" for tab separated files."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the columns where the files have no header line; without them the first line names them."""
    quotes: bool = True
    """Whether a field may stand in double quotes; off, a quote is a character like any other."""
    field: str = "text"
    """The column that holds the text, for `pack`; `examples` names its own."""
    encoding: Encoding = "utf-8"
    """How the files are written, as for text_files."""
    validation: SourcePath | None = None
    """Files that are held out, as for text_files."""
    test: SourcePath | None = None
    """Files for the last measurement, as for text_files."""


class Images(Part):
    """Every matching image is one sample; its folder names its class. Fields: image, label.

    Pixels are 8 bits: 16-bit grey is scaled, EXIF's rotation is done, what is transparent lies on white, CMYK becomes
    RGB, of an animation the first frame is taken; how many images that was is said. Other pixels are bad rows.
    """

    kind: Literal["images"] = "images"
    path: SourcePath
    """A folder with one folder for each class, in which images may lie deeper: PNG, JPEG, WebP, BMP, GIF, TIFF; or a
    glob, and then the folder that an image lies in is its class."""
    size: Count
    """Images are resized to this many pixels on each side."""
    channels: Literal["grey", "rgb"] = "rgb"
    validation: SourcePath | None = None
    """Files that are held out, as for text_files."""
    test: SourcePath | None = None
    """Files for the last measurement, as for text_files."""


class Builtin(Part):
    """Data that needs no file: `digits` (fields image, label) and `dates` (fields text, target).

    digits: scikit-learn's 1,797 grey images of 8 by 8 pixels, ten classes. dates: a date in one of several spellings
    and the same date as YYYY-MM-DD, made by rule.
    """

    kind: Literal["builtin"] = "builtin"
    name: Literal["digits", "dates"]
    samples: Count = 10_000
    """How many dates are made; digits has its own number."""
    seed: int = 0
    """Of the dates that are made."""


Source = Annotated[TextFiles | JsonLines | Csv | Images | Builtin, Field(discriminator="kind")]


def places(source: Source) -> dict[str, str]:
    """The places a source reads, by the key that names them: path, and validation and test where given."""
    if isinstance(source, Builtin):
        return {}
    found: dict[str, Any] = {"path": source.path, "validation": source.validation, "test": source.test}
    return {key: place for key, place in found.items() if place is not None}


def fields_of(source: Source) -> tuple[str, ...] | None:
    """The names a sample's fields have; None where only the files can tell."""
    match source:
        case TextFiles():
            return ("text",)
        case Images() | Builtin(name="digits"):
            return ("image", "label")
        case Builtin():
            return ("text", "target")
        case Csv(columns=columns):
            return columns
        case JsonLines():
            return None


def image_of(source: Source) -> tuple[int, int] | None:
    """Pixels on each side and channels of the images of a source; None where it has none."""
    match source:
        case Images(size=size, channels=channels):
            return size, 3 if channels == "rgb" else 1
        case Builtin(name="digits"):
            return 8, 1
        case _:
            return None
