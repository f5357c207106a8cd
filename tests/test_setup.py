"""`make setup`: which Python it takes, where torch comes from, and what is said when a step fails.

It says a line a step; what pip prints is in the log, and its end is shown where a step fails.
"""

import os
import re
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
WITHOUT_VENV = "#!/bin/sh\necho \"No module named 'ensurepip'\" >&2\nexit 1\n"
TOOLS = ("make", "sh", "mkdir", "cp", "tail", "touch", "cat")
"""What a set-up calls beside Python: a machine of these has no Python but those of a test."""


def checkout(folder, *pythons, without_venv=()):
    """A clone on a machine that has these Pythons."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    for name in (*pythons, *without_venv):
        interpreter = folder / "bin" / name
        interpreter.write_text(WITHOUT_VENV if name in without_venv else TALKATIVE)
        interpreter.chmod(0o755)


def make_setup(folder, code=0, *words):
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environment = {**outside, "PATH": str(folder / "bin"), "CODE": str(code)}
    return subprocess.run(["make", "setup", *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_setup_says_one_line_a_step(tmp_path):
    checkout(tmp_path, "python3.11")
    done = make_setup(tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["setup"] * 4
    assert (tmp_path / "setup.log").read_text().count("line 10 of") == 4
    assert make_setup(tmp_path).stdout.splitlines() == ["make: Nothing to be done for 'setup'."]


@pytest.mark.parametrize("code", [1, 130])
def test_a_step_that_fails_shows_the_end_of_the_log(tmp_path, code):
    checkout(tmp_path, "python3.11")
    done = make_setup(tmp_path, code)
    assert done.returncode != 0
    assert "setup: failed; the end of setup.log:" in done.stdout
    assert done.stdout.splitlines()[-1] == "no such version"
    assert not (tmp_path / ".venv" / ".setup-done").exists()


@pytest.mark.parametrize(
    ("there", "without_venv", "taken"),
    [
        (["python3.11"], [], "python3.11"),
        (["python3.12"], [], "python3.12"),
        (["python3.13"], [], "python3.13"),
        (["python3.11", "python3.12", "python3.13"], [], "python3.11"),
        (["python3.12", "python3.13"], [], "python3.12"),
        (["python3.11", "python3.14"], [], "python3.11"),
        (["python3.12"], ["python3.11"], "python3.12"),
    ],
)
def test_a_python_that_the_pins_support_is_taken_the_one_that_tests_run_on_first(there, without_venv, taken, tmp_path):
    checkout(tmp_path, *there, without_venv=without_venv)
    assert f"{taken} -m venv .venv" in make_setup(tmp_path, 0, "-n").stdout
    assert make_setup(tmp_path).returncode == 0


def test_a_python_that_is_named_is_taken(tmp_path):
    checkout(tmp_path, "python3.11", "python3.12")
    assert "python3.11 -m venv .venv" in make_setup(tmp_path, 0, "-n", "PYTHON=python3.11").stdout


def test_a_machine_without_a_python_that_will_do_is_told_which_would(tmp_path):
    checkout(tmp_path, "python3.10", "python3.14")
    done = make_setup(tmp_path)
    assert done.returncode != 0
    assert "setup: none of python3.11 python3.12 python3.13 is on PATH with its venv" in done.stdout


def test_torch_comes_from_pytorchs_own_index_where_the_user_says_so_and_before_all_that_wants_it(tmp_path):
    checkout(tmp_path, "python3.11")
    assert make_setup(tmp_path, 0, "TORCH=cpu").returncode == 0
    installs = re.findall(r"line 1 of .* install (.*)", (tmp_path / "setup.log").read_text())
    assert installs[1].endswith("-c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch")
    assert installs[2].endswith("-e .[dev]")


def test_torch_comes_from_pypi_where_nothing_is_said(tmp_path):
    checkout(tmp_path, "python3.11")
    assert make_setup(tmp_path).returncode == 0
    assert "--index-url" not in (tmp_path / "setup.log").read_text()


def test_make_the_project_and_doctor_name_the_same_pythons():
    from trainshed.cli.cluster import PYTHONS

    named = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert [f"python{major}.{minor}" for major, minor in PYTHONS] == named
    low, above = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()).groups()
    assert [minor for _, minor in PYTHONS] == list(range(int(low), int(above)))


def test_the_tests_begin_with_format_lint_types_and_layers():
    """So that none of these can rot: `make test` is all that CI runs."""
    said = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tools = re.findall(r"^\.venv/bin/(ruff format|ruff check|mypy|lint-imports|pytest)\b", said, re.MULTILINE)
    assert tools == ["ruff format", "ruff check", "mypy", "lint-imports", "pytest"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make test"
