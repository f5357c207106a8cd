"""Code as a zip that Ray unpacks on the cluster, named after its content.

Knows how Ray wants a package: `gcs://_ray_pkg_<hash>.zip`, whose entries are put on PYTHONPATH (`py_modules`) or into
the working directory (`working_dir`) just as they stand in the zip. Does not know who uploads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import trainshed
from trainshed.errors import UsageError

# The earliest date a zip can hold: the same bytes whenever and wherever the package is made.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16


@dataclass(frozen=True)
class Package:
    """A zip and the name Ray knows it by."""

    uri: str
    content: bytes
    sha256: str
    """Hash of the entries' names and bytes, so it does not depend on how this machine's zlib compresses."""


def package_tree(root: Path, prefix: str = "") -> Package:
    """Zip every file below `root`, its name in the zip preceded by `prefix`.

    Left out: hidden files and folders (.git, .env, .venv), __pycache__ and *.pyc. Raises UsageError if `root` is not a
    directory.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: not a directory; give the directory that holds your code")
    return package_files({str(PurePosixPath(prefix, name)): root / name for name in _names_below(root)})


def package_files(files: Mapping[str, bytes | Path]) -> Package:
    """Zip `files` (name in the zip to content): the same names and bytes give the same package."""
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, source in sorted(files.items()):
            content = source.read_bytes() if isinstance(source, Path) else source
            digest.update(f"{len(name.encode())} {len(content)} {name}".encode())
            digest.update(content)
            archive.writestr(_entry(name), content)
    sha256 = digest.hexdigest()
    return Package(uri=f"gcs://_ray_pkg_{sha256[:16]}.zip", content=buffer.getvalue(), sha256=sha256)


def own_package() -> Package:
    """This very package as a `py_modules` entry: the cluster runs the code that checked the job."""
    return package_tree(Path(trainshed.__file__).parent, prefix="trainshed")


def code_sha256() -> str:
    """Hash of the platform's own code, for a run's lineage."""
    return own_package().sha256


def _names_below(root: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _stays_here(name)]
        for name in files:
            path = Path(folder, name)
            if not _stays_here(name) and path.is_file():
                yield path.relative_to(root).as_posix()


def _stays_here(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__" or part.endswith(".pyc")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, also when a Mac or Windows made it
    entry.external_attr = _MODE
    return entry
