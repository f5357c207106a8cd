"""C1 and C5: what the laptop side costs in CPU-seconds of its own processes.

    .venv/bin/python benchmarks/laptop.py [--runs 15]

C1 = `platform --help`, median of the runs. C5 = `platform submit` of each wrong job file of
tests/cli/test_bad_input.py, less the start-up (the median of C1's runs); the worst file counts. CPU-seconds are those
the system books for the child process (user and system), so that a busy machine does not move them much.
Writes C1.json and C5.json.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from results import write_result

ROOT = Path(__file__).parents[1]
PLATFORM = [sys.executable, "-m", "trainshed.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    command = f"python benchmarks/laptop.py --runs {options.runs}"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder)
        cpu_seconds(home, 0, "--help")  # writes the byte code
        starts = [cpu_seconds(home, 0, "--help") for _ in range(options.runs)]
        write_result("C1", "platform --help, CPU-s", "<= 0.15", starts, command=command, pairs=[])
        start, refusals = statistics.median(starts), []
        for case, content in wrong_files().items():
            file = home / "job.yaml"
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            runs = [cpu_seconds(home, 2, "submit", str(file)) for _ in range(3)]
            refusals.append(max(0.0, statistics.median(runs) - start))
            print(f"{case:40} {refusals[-1]:.3f} CPU-s beyond start-up", flush=True)
    what = f"a wrong job file refused, CPU-s beyond start-up, {len(refusals)} files"
    write_result("C5", what, "<= 0.5", refusals, command=command, pairs=[])


def cpu_seconds(home: Path, code: int, *arguments: str) -> float:
    """CPU-seconds of one command, which must end with `code`."""
    environment = {**os.environ, "PLATFORM_HOME": str(home), "PLATFORM_STORAGE": str(home / "storage")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*PLATFORM, *arguments], env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{arguments} ended with {done.returncode}, not {code}: {done.stderr[-1000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wrong_files() -> dict:
    """The files of the test, by what is wrong with them."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cli")]
    from test_bad_input import WRONG

    return {case: content for case, (content, _) in WRONG.items()}


if __name__ == "__main__":
    main()
