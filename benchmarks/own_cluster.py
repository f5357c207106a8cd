"""A cluster and storage of a benchmark's own, in a temporary folder, used through the `platform` command."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import yaml

BIN = Path(sys.executable).parent


class OwnCluster:
    """Holds the folder for the time of a `with`, and takes down the cluster that the first submit starts."""

    def __enter__(self) -> "OwnCluster":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the cluster goes with the benchmark
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-")
        self.home = Path(self._scratch.name)
        own = {"PLATFORM_HOME": str(self.home), "PLATFORM_STORAGE": str(self.home), "OMP_NUM_THREADS": "1"}
        # Ray runs its workers at niceness 15; the bare side of a benchmark has 0, so this side has too.
        self.environment = {**os.environ, **own, "PYTHONWARNINGS": "ignore", "RAY_worker_niceness": "0"}
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([BIN / "platform", "cluster", "down"], env=self.environment, check=False, capture_output=True)
        self._scratch.cleanup()

    def submit(self, *jobs: dict) -> str:
        """Runs the documents to their end; the last one's run."""
        return self.submit_all(*jobs)[-1]

    def submit_all(self, *jobs: dict) -> list[str]:
        """The same; every document's run."""
        file = self.home / f"{jobs[-1]['name']}.yaml"
        file.write_text("---\n".join(yaml.safe_dump(job, sort_keys=False) for job in jobs))
        return json.JSONDecoder().raw_decode(self.platform("submit", str(file), "--json"))[0]["runs"]

    def platform(self, *arguments: str) -> str:
        """What the command prints; its own words where it fails."""
        command = [BIN / "platform", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, cwd=self.home)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout

    def folder(self, run: str) -> Path:
        """The run's directory."""
        return self.home / "runs" / run

    def bare_job(self, *command: str) -> str:
        """What a command prints that Ray's own client submits to the same cluster."""
        state = json.loads((self.home / "cluster" / "state.json").read_text())
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": state["token_path"]}
        asked = [BIN / "ray", "job", "submit", "--address", state["dashboard_url"], "--", *command]
        environment = {**self.environment, **own}
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout


class ClusterCpu:
    """CPU-seconds that a cluster's processes use between enter and exit, sampled: raylet does not sum them."""

    def __init__(self, home: Path) -> None:
        self.head = psutil.Process(json.loads((home / "cluster" / "state.json").read_text())["pid"])
        self.over = threading.Event()
        self.seen: dict = {}

    def sample(self) -> dict:
        for process in [self.head, *self.head.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self.seen[process.pid, process.create_time()] = times.user + times.system
        return dict(self.seen)

    def watch(self) -> None:
        while not self.over.wait(0.5):
            self.sample()

    def __enter__(self) -> "ClusterCpu":
        self.before = self.sample()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.seconds = sum(cpu - self.before.get(key, 0.0) for key, cpu in self.sample().items())
