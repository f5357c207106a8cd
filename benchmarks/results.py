"""How a figure is kept: `benchmarks/results/<ID>.json`, and `make figures` prints them beside their goals."""

import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "results"

GOALS = {
    "T1": ("tokens/s through the platform / bare torchrun + deepspeed", ">= 0.98"),
    "T2": ("submit to first optimizer step, minus the bare script's, running cluster, s", "<= 8"),
    "T3": ("tax of metrics and logs each step", "<= 1 %"),
    "T4": ("stall of an asynchronous checkpoint / time of a synchronous one", "<= 0.15"),
    "T5": ("state bytes per worker measured / formula", "0.95 to 1.10"),
    "T6": ("speed-up 1 -> 2 workers / bare torchrun's", ">= 0.97"),
    "T7": ("loss curve against plain torch, relative", "<= 1e-5"),
    "T8": ("waiting for input, share of step time", "<= 2 %"),
    "T9": ("save, load, continue against uninterrupted", "bitwise, <= 1e-5 on another world"),
    "T10": ("nanoGPT's CPU Shakespeare configuration, validation loss", "<= 1.88"),
    "U1": ("60 trials x 2 s, 2 at once / 60 s", "<= 1.20"),
    "S1": ("added latency over bare uvicorn, p50, ms", "<= 4"),
    "S4": ("tokens/s at 8 clients / transformers serve", ">= 1.5"),
    "D1": ("tokenise and pack MB/s / bare encode_batch", ">= 0.85"),
    "C1": ("platform --help, CPU-s", "<= 0.15"),
    "C5": ("a wrong job file refused, CPU-s beyond start-up", "<= 0.5"),
}


def write_result(name: str, what: str, goal: str, values: list, *, command: str, pairs: list) -> dict:
    """Keeps the median with the spread of all pairs; met only where the worse end of the spread passes."""
    low, high = min(values), max(values)
    sign, limit = goal.split()
    met = low >= float(limit) if sign == ">=" else high <= float(limit)
    result = {
        "id": name, "what": what, "goal": goal, "figure": round(statistics.median(values), 4), "low": round(low, 4),
        "high": round(high, 4), "pairs": len(values), "met": met, "cpu_s": cpu(pairs), "command": command,
        "machine": machine(), "commit": commit(),
    }  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{name}: {result['figure']} ({low:.3f} to {high:.3f}), goal {goal}: {'met' if met else 'missed'}")
    return result


def cpu(pairs: list) -> dict | None:
    """Median CPU-seconds of each side."""
    if not pairs:
        return None
    return {side: round(statistics.median(pair[n]["cpu_s"] for pair in pairs), 1) for n, side in enumerate("AB")}


def machine() -> str:
    """Cores, memory, processor."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {names[0] if names else platform.machine()}, no GPU"


def commit() -> str:
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def table() -> None:
    """Every goal with its figure; those without one are listed too."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    print(f"{'ID':4} {'figure':>9} {'low':>9} {'high':>9}  {'goal':34} {'':7} what")
    for name, (what, goal) in GOALS.items():
        one = found.pop(name, None)
        if one is None:
            print(f"{name:4} {'-':>9} {'-':>9} {'-':>9}  {goal:34} {'no run':7} {what}")
        else:
            print_row(one)
    for one in found.values():
        print_row(one)


def print_row(one: dict) -> None:
    met = "met" if one["met"] else "missed"
    print(f"{one['id']:4} {one['figure']:9} {one['low']:9} {one['high']:9}  {one['goal']:34} {met:7} {one['what']}")


if __name__ == "__main__":
    table()
