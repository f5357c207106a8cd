"""Which files a place of a source stands for: names in, names out, the same on the laptop and on the cluster.

Knows names only; what lies where is told by a `Disk`. A file or folder that is there by exactly the name of the place
is meant, whatever signs it has; what is not there is a pattern, in which `*`, `?` and `[...]` stay within a folder and
`**` is any number of folders. Hidden files and folders (`.name`) are meant only where the place names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from trainshed.spec.data.sources import Csv, Images, JsonLines, Source

SIGNS = frozenset("*?[")
LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv")
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
COMPRESSED = ".gz"

HIDDEN = "hidden"
OUTSIDE = "in no class's folder"
NOT_UTF8 = "with a name that is no UTF-8"


class Disk(Protocol):
    """What a file system says of paths that are parted by `/`."""

    def is_file(self, path: str) -> bool:
        """Whether a file is there by exactly this name."""

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there by exactly this name."""

    def below(self, folder: str, *, deep: bool) -> Iterable[str]:
        """The files in a folder, and in the folders in it where `deep`, each as a path below that folder."""


@dataclass(frozen=True)
class Chosen:
    """The files that a place stands for, and what lies there beside them."""

    files: tuple[str, ...]
    """Their paths, sorted."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many files of a folder are not meant, by their suffix or by why."""
    root: str | None = None
    """The folder that was named; None where a file or a pattern was."""

    @property
    def taken(self) -> dict[str, int]:
        """How many files are meant, by their suffix."""
        return _counted(map(suffix_of, self.files))

    def class_of(self, path: str) -> str:
        """What names an image's class: its folder right below the folder that was named, else the folder it lies in."""
        if self.root is not None:
            return path[len(self.root) + 1 :].split("/", 1)[0]
        return path.rpartition("/")[0].rpartition("/")[2]

    def __str__(self) -> str:
        said = _listed(self.taken) or "nothing"
        return f"{said}; left out: {_listed(self.left_out)}" if self.left_out else said


def choose(source: Source, place: str, disk: Disk) -> Chosen:
    """The files that a place stands for; none where nothing is there."""
    if disk.is_file(place):
        return Chosen((place,))
    if disk.is_folder(place):
        return _of_folder(source, place, disk.below(place, deep=True))
    folder, pattern = _parted(place, disk)
    if not pattern:
        return Chosen(())
    found = disk.below(folder, deep=len(pattern) > 1 or pattern == ["**"])
    fitting = [name for name in found if _fits(name.split("/"), pattern)]
    readable = [name for name in fitting if _is_utf8(name)]
    left_out = {NOT_UTF8: len(fitting) - len(readable)} if len(fitting) > len(readable) else {}
    return Chosen(tuple(sorted(f"{folder}/{name}" for name in readable)), left_out)


def suffixes_below(source: Source) -> tuple[str, ...]:
    """How the names of the files end that a folder stands for, in small letters; empty where any name will do."""
    match source:
        case JsonLines():
            return (*LINES, *(f"{suffix}{COMPRESSED}" for suffix in LINES))
        case Csv():
            return (*TABLES, *(f"{suffix}{COMPRESSED}" for suffix in TABLES))
        case Images():
            return IMAGES
        case _:
            return ()


def suffix_of(path: str) -> str:
    """The end of a name that says what a file holds, with the compression's: `.csv`, `.jsonl.gz`."""
    name = path.rpartition("/")[2]
    bare, dot, last = name.rpartition(".")
    if not bare or not dot:
        return "without a suffix"
    inner = bare.rpartition(".") if f".{last}".lower() == COMPRESSED else ("", "", "")
    return f".{inner[2]}.{last}" if inner[0] else f".{last}"


def _of_folder(source: Source, folder: str, names: Iterable[str]) -> Chosen:
    suffixes = suffixes_below(source)
    files = []
    left_out = []
    for name in names:
        if not all(map(_visible, name.split("/"))):
            left_out.append(HIDDEN)
        elif not _is_utf8(name):
            left_out.append(NOT_UTF8)
        elif suffixes and not name.lower().endswith(suffixes):
            left_out.append(suffix_of(name))
        elif isinstance(source, Images) and "/" not in name:
            left_out.append(OUTSIDE)
        else:
            files.append(f"{folder}/{name}")
    return Chosen(tuple(sorted(files)), _counted(left_out), folder)


def _parted(place: str, disk: Disk) -> tuple[str, list[str]]:
    """The folder that a pattern starts in, and the pattern; a folder whose name has signs is no pattern."""
    parts = place.split("/")
    for number, part in enumerate(parts):
        here = "/".join(parts[: number + 1])
        if SIGNS & set(part) and not disk.is_folder(here):
            return "/".join(parts[:number]), parts[number:]
    return place, []


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    head = pattern[0]
    rest = pattern[1:]
    if head != "**":
        meant = _visible(parts[0]) or head.startswith(".")
        return meant and fnmatchcase(parts[0], head) and _fits(parts[1:], rest)
    if not rest:
        return all(map(_visible, parts))
    return any(_fits(parts[skip:], rest) for skip in range(len(parts)) if all(map(_visible, parts[:skip])))


def _visible(name: str) -> bool:
    return not name.startswith(".")


def _is_utf8(name: str) -> bool:
    """Python keeps bytes of a name that are no UTF-8 as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
