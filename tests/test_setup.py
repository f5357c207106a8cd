"""`make setup` says a line a step; what pip prints is in the log, and its end is shown where a step fails."""

import os
import shutil
import subprocess

import pytest

from paths import ROOT

TALKATIVE = """#!/bin/sh
# Stands for the interpreter: says much, makes .venv, and fails at the last install where it is told to.
for number in 1 2 3 4 5 6 7 8 9 10; do echo "line $number of $*"; done
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"-e .[dev]") echo "no such version" >&2; exit $CODE ;;
esac
"""


def checkout(folder):
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    interpreter = folder / "python3.11"
    interpreter.write_text(TALKATIVE)
    interpreter.chmod(0o755)


def make_setup(folder, code):
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environment = {**outside, "PATH": f"{folder}:{os.environ['PATH']}", "CODE": str(code)}
    return subprocess.run(["make", "setup"], cwd=folder, env=environment, capture_output=True, text=True)


def test_setup_says_one_line_a_step(tmp_path):
    checkout(tmp_path)
    done = make_setup(tmp_path, 0)
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["setup"] * 4
    assert (tmp_path / "setup.log").read_text().count("line 10 of") == 4
    assert make_setup(tmp_path, 0).stdout.splitlines() == ["make: Nothing to be done for 'setup'."]


@pytest.mark.parametrize("code", [1, 130])
def test_a_step_that_fails_shows_the_end_of_the_log(tmp_path, code):
    checkout(tmp_path)
    done = make_setup(tmp_path, code)
    assert done.returncode != 0
    assert "setup: failed; the end of setup.log:" in done.stdout
    assert done.stdout.splitlines()[-1] == "no such version"
    assert not (tmp_path / ".venv" / ".setup-done").exists()
