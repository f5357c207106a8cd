import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainshed.client.package import code_sha256, own_package, package_files, package_tree
from trainshed.errors import UsageError


def _names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_the_same_files_give_the_same_bytes_whatever_their_order_times_and_permissions(tmp_path: Path) -> None:
    for folder, names in (("one", ["a.py", "b/c.py"]), ("two", ["b/c.py", "a.py"])):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# {name}")
    os.utime(tmp_path / "two" / "a.py", (1, 1))
    (tmp_path / "two" / "a.py").chmod(0o700)
    assert package_tree(tmp_path / "one", "code") == package_tree(tmp_path / "two", "code")


def test_a_changed_byte_or_name_changes_the_uri() -> None:
    uris = {package_files({name: data}).uri for name, data in (("a", b"1"), ("a", b"2"), ("b", b"1"))}
    assert len(uris) == 3


def test_bytes_moved_from_one_file_to_the_next_change_the_uri() -> None:
    assert package_files({"a": b"xy", "b": b""}).uri != package_files({"a": b"x", "b": b"y"}).uri


def test_the_uri_is_one_that_ray_takes() -> None:
    package = package_files({"a": b"1"})
    assert package.uri == f"gcs://_ray_pkg_{package.sha256[:16]}.zip"


def test_hidden_files_and_compiled_code_stay_here(tmp_path: Path) -> None:
    for name in ("keep.py", ".env", ".git/config", "__pycache__/keep.cpython-311.pyc", "old.pyc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert _names(package_tree(tmp_path).content) == ["keep.py"]


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: not a directory"):
        package_tree(tmp_path / "nowhere")


def test_our_own_package_imports_from_its_unpacked_zip(tmp_path: Path) -> None:
    package = own_package()
    zipfile.ZipFile(io.BytesIO(package.content)).extractall(tmp_path)
    code = "import trainshed.client.package as p; print(p.__file__); print(p.code_sha256())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    file, sha256 = done.stdout.split()
    assert file == str(tmp_path / "trainshed" / "client" / "package.py")
    assert sha256 == package.sha256 == code_sha256()
