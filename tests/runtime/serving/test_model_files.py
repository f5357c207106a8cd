"""What a replica loads is what was hashed: each file of an export x each way in which it may have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trainshed.errors import PlatformError
from trainshed.runtime.models.files import ModelFiles
from trainshed.runtime.serving.app import Replica
from trainshed.runtime.serving.settings import AppSettings

from .conftest import CHAT_TEMPLATE, hashes_of, write_gpt2

FILES = [
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_gpt2(tmp_path_factory.mktemp("export"), chat_template=CHAT_TEMPLATE)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    return folder


@pytest.fixture
def folder(export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(export, tmp_path / "model"))


def settings_of(folder: Path, hashes: dict[str, str]) -> AppSettings:
    return AppSettings(
        name="tiny", model="tiny@1", model_dir=str(folder), hashes=hashes, fingerprint="fp", open_access=True
    )


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [longer, one_bit, shorter, a_folder, Path.unlink])
def test_a_file_that_is_not_the_one_exported_is_refused_by_name(
    folder: Path, tmp_path: Path, name: str, change: Callable[[Path], Any]
) -> None:
    files = ModelFiles(str(folder), hashes_of(folder))
    files.check()
    change(folder / name)
    (tmp_path / "copy").mkdir()
    for read in (files.check, lambda: files.copy_to(tmp_path / "copy")):
        with pytest.raises(PlatformError, match=rf"/{name}: (not the file that was exported|cannot be read)") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_replica_does_not_answer_with_flipped_signs(folder: Path) -> None:
    hashes = hashes_of(folder)
    weights = folder / "model.safetensors"
    save_file({name: np.negative(value) for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(PlatformError, match=r"model\.safetensors: not the file that was exported"):
        Replica(settings_of(folder, hashes))


def test_a_replica_loads_its_own_copy_and_nothing_that_was_put_beside_it(folder: Path, tmp_path: Path) -> None:
    files = ModelFiles(str(folder), hashes_of(folder))
    (folder / "added_tokens.json").write_text("{}")
    (folder / "manifest.json").write_text("{}")
    (tmp_path / "copy").mkdir()
    copy = files.copy_to(tmp_path / "copy")
    for path in folder.iterdir():
        path.write_bytes(b"changed after it was hashed")
    assert {path.name for path in copy.iterdir()} == set(FILES)
    assert hashes_of(copy) == files.hashes


def test_a_replica_leaves_no_copy_behind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    replica = Replica(settings_of(folder, hashes_of(folder)))
    assert list((tmp_path / "temp").iterdir()) == []
    replica.check_health()


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        [],
        {},
        {"files": []},
        {"files": {}},
        {"files": {"../secret": "0" * 64}},
        {"files": {"/etc/passwd": "0" * 64}},
        {"files": {"..": "0" * 64}},
        {"files": {"config.json": "0" * 63}},
        {"files": {"config.json": None}},
    ],
)
def test_a_manifest_of_a_stranger_is_refused(manifest: Any) -> None:
    with pytest.raises(PlatformError, match=r"/model/manifest\.json: "):
        ModelFiles.of("/model", manifest)
