"""Temporary folders: gone with the `with`, and gone at the next one where the process was killed."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from trainshed.runtime.scratch import scratch, scratch_of_process

HOLDING = """
import sys
from trainshed.runtime.scratch import scratch
with scratch("data") as folder:
    (folder / "copy").write_text("gigabytes")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(temp):
    """A process that has a folder; its path, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Path(process.stdout.readline().strip()), process
    process.kill()
    process.communicate()


def test_a_folder_goes_with_its_with(temp):
    with scratch("data") as folder:
        (folder / "copy").write_text("x")
        assert folder.parent == temp
    assert list(temp.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_folder_and_not_before(holder, temp):
    folder, process = holder
    with scratch("data") as mine:
        assert (folder / "copy").exists(), "its process lives"
        assert scratch_of_process("model").is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.exists()
        with scratch("note"):
            assert not folder.exists()
            assert mine.exists()
            assert len(list(temp.iterdir())) == 3, "mine, the one of the process, the note"


def test_what_is_not_ours_is_left_alone(temp):
    (temp / "trainshed-scratch-file").write_text("a file")
    (temp / "elsewhere").mkdir()
    (temp / "trainshed-scratch-link").symlink_to(temp / "elsewhere")
    with scratch("data"):
        assert {path.name for path in temp.iterdir()} > {"trainshed-scratch-file", "trainshed-scratch-link"}
    assert (temp / "elsewhere").is_dir()
