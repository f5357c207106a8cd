"""One real local cluster for all end-to-end tests, driven only through the `platform` command, as a user would."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from small_jobs import prepare, write, write_texts

RUN_ID = re.compile(r"-\d{6}-\d{6}-[0-9a-f]{8}")
"""What follows the name."""


@dataclass
class Platform:
    """The command with a home, storage and cluster of its own."""

    home: Path
    environment: dict

    def start(self, *arguments, cwd=None, stdin=None):
        """The command, running."""
        command = [sys.executable, "-m", "trainshed.cli", *map(str, arguments)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=stdin,
            text=True,
            env=self.environment,
            cwd=cwd,
        )

    def run(self, *arguments, code=0, cwd=None):
        """The command, ended with the exit code expected."""
        process = self.start(*arguments, cwd=cwd)
        stdout, stderr = process.communicate(timeout=540)
        assert process.returncode == code, f"{arguments}: exit {process.returncode}\n{stdout}\n{stderr}"
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def json(self, *arguments):
        """What the command prints with --json."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def folder(self, run):
        """A run's directory."""
        return self.home / "runs" / self.json("show", run)["job"]["run_id"]

    def newest(self, name):
        """The directory of the newest run of a name, as soon as there is one; it costs nothing to ask often."""
        found = sorted(one for one in (self.home / "runs").glob(f"{name}-*") if RUN_ID.fullmatch(one.name, len(name)))
        return found[-1] if found else None

    def has_ended(self, run):
        """Whether a run has ended; it costs nothing to ask often."""
        return (self.home / "runs" / run / "result.json").exists()


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    home = tmp_path_factory.mktemp("a user's home $HOME $(touch in-a-shell)")  # no part of it may reach a shell
    environment = {**os.environ, "PLATFORM_HOME": str(home), "PLATFORM_STORAGE": str(home)}
    for name in ("PLATFORM_ADDRESS", "RAY_ADDRESS", "PLATFORM_API_KEY"):
        environment.pop(name, None)
    made = Platform(home, environment)
    yield made
    made.run("cluster", "down")


@pytest.fixture(scope="session")
def weeks_said(platform, tmp_path_factory):
    """A folder for job files where the data `weeks` is prepared, and what the command printed of it as JSON."""
    folder = tmp_path_factory.mktemp("job")
    write_texts(folder, "weeks", animals=("hen", "fox"), verb="ran")
    return folder, platform.run("submit", write(folder, prepare("weeks")), "--json").stdout


@pytest.fixture(scope="session")
def weeks(weeks_said):
    """A folder for job files; the data `weeks` is prepared."""
    return weeks_said[0]
