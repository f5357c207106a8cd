"""How a figure is kept: `benchmarks/results/<ID>.json`, and `make figures` prints them beside their goals.

`python benchmarks/results.py --page` puts the table into benchmarks/README.md; a test compares the two.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- figures: made by `python benchmarks/results.py --page` -->", "<!-- end of figures -->"

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
    "transfer": ("best learning rate at widths 128 and 256 / at 64, under muP", "0.5 to 2.0"),
    "E1": ("cells of task x engine x precision x workers x accumulation equal to plain torch", ">= 100 %"),
    "E1-bf16": ("the same in bf16 under ZeRO-1 to 3 and fsdp, losses to 1e-3", ">= 100 %"),
    "E3": ("trainings interrupted at random steps whose later steps are bit-equal on the same workers", ">= 100 %"),
    "E3-one": ("the same continued on one worker, losses, relative", "<= 1e-5"),
    "F1": ("training rows equal to the model's own chat template, masks that end on an end token", ">= 100 %"),
    "F2": ("trained model against its export on 50 prompts, largest log-probability difference, fp32", "<= 1e-4"),
    "F2-bf16": ("the same in bf16", "<= 2e-2"),
    "F3": ("tokens per CPU-s over packed blocks / over padded rows", ">= 1.5"),
    "F3-real": ("real tokens in blocks of mixed lengths", ">= 97 %"),
    "F3-loss": ("loss of a block against its documents alone, relative", "<= 1e-5"),
    "F4": ("peak memory while loading under ZeRO-3 / share and largest layer", "<= 1.15"),
    "F6": ("plan / measured peak on six shapes", "0.9 to 1.1"),
    "G1": ("MFU of a 1 to 3 B model on one GPU, bf16, sequence 2048", ">= 0.45"),
    "G2": ("tokens/s through the platform's loop / bare torch, on that GPU", ">= 0.99"),
    "G3": ("LoRA of a 7 B shape on one GPU, tokens/s / the bare peft script's", ">= 0.98"),
    "G3-memory": ("the same, peak memory of the bare script / ours", ">= 0.98"),
    "G3-plan": ("the same, plan / measured peak", "0.9 to 1.1"),
    "G4": ("QLoRA of a 7 B shape on one GPU, tokens/s / the bare script's with bitsandbytes", ">= 0.98"),
    "G4-memory": ("the same, peak memory of the bare script / ours", ">= 0.98"),
    "G4-plan": ("the same, plan / measured peak", "0.9 to 1.1"),
    "G5": ("plan / measured peak of that pre-training", "0.9 to 1.1"),
    "G6": ("decoding of 16 requests at once on one GPU, tokens/s / generate", ">= 0.95"),
    "U1": ("60 trials x 2 s, 2 at once / 60 s", "<= 1.20"),
    "U2": ("regret of each sampler / the same sampler in bare Optuna; failures <= random's", "<= 1.1"),
    "U3": ("compute to reach what random search reaches with the full budget", "<= 0.5"),
    "U5": ("replays of a full grid in which early stopping keeps the winner", ">= 80 %"),
    "U9": ("trials lost or repeated after a sweep's driver is killed and resumed", "<= 0"),
    "S1": ("added latency over bare uvicorn, p50, ms", "<= 4"),
    "S2": ("tokens/s at 1 client / bare generate", ">= 0.95"),
    "S3": ("tokens/s at 8 clients / generate one by one", ">= 2.5"),
    "S4": ("tokens/s at 8 clients / transformers serve", ">= 1.5"),
    "S7": ("load 1 -> 8 clients to the second replica's answer, minus weight load, s", "<= 8"),
    "S8": ("10x overload: time to a refusal, ms; every answer 2xx, 429 or 503", "<= 100"),
    "S9": ("requests failed while a new version is put in place", "<= 0"),
    "S10": ("greedy texts equal to generate, of 100", ">= 100"),
    "D1": ("tokenise and pack MB/s / bare encode_batch", ">= 0.85"),
    "D2": ("end to end / datasets.map(batched, num_proc=2)", ">= 1.2"),
    "D3": ("MinHash deduplication docs/s / datasketch", ">= 10"),
    "D4": ("peak memory, 10x data / 1x", "<= 1.2"),
    "D5": ("shards done again after a kill at half", "<= 1"),
    "D7": ("real tokens in packed blocks", ">= 99 %"),
    "C1": ("platform --help, CPU-s", "<= 0.15"),
    "C2": ("submit acknowledged, s", "<= 1"),
    "C3": ("user code running after submit, s", "<= 5"),
    "C4": ("first log line shown after it is printed, s", "<= 0.5"),
    "C5": ("a wrong job file refused, CPU-s beyond start-up", "<= 0.5"),
    "C7": ("jobs from 50 killed and retried submissions, beyond 50", "<= 0"),
    "C8": ("lines lost or doubled while the connection is cut every 5 s", "<= 0"),
    "P1": ("faults survived without a manual act: training, of 30", ">= 30"),
    "P2": ("steps lost per fault / checkpoint interval", "<= 1"),
    "P3": ("fault to next new step, p50, s", "<= 12"),
    "P4": ("weights after faults against uninterrupted, relative", "<= 1e-5"),
    "P5": ("goodput at one fault per 180 s", ">= 90 %"),
    "P6": ("loads that succeed after 200 kills during a save", ">= 200"),
    "P7": ("corrupted newest checkpoints refused by hash and said, of those made", ">= 100 %"),
    "P8": ("requests failed beside the in-flight streams of a killed replica", "<= 0"),
    "P12": ("steps lost at SIGTERM with 30 s notice", "<= 0"),
}


def passes(goal: str, low: float, high: float) -> bool:
    """Whether the worse end of a spread passes a goal: `>= 0.98`, `<= 2 %` (of 1), `0.95 to 1.10`."""
    words = goal.split()
    if "to" in words:
        return float(words[0]) <= low and high <= float(words[2])
    limit = float(words[1]) / (100 if "%" in words else 1)
    return low >= limit if words[0] == ">=" else high <= limit


def write_result(
    name: str,
    what: str,
    goal: str,
    values: list,
    *,
    command: str,
    pairs: list,
    met: bool | None = None,
    rows: list | None = None,
) -> dict:
    """Keeps the median with the spread of all pairs; met only where the worse end of the spread passes.

    `met` is given where a goal has a rule of its own; `rows` is what the values were taken from, where that is worth
    keeping.
    """
    low, high = min(values), max(values)
    met = passes(goal, low, high) if met is None else met
    result = {
        "id": name, "what": what, "goal": goal, "figure": digits(statistics.median(values)), "low": digits(low),
        "high": digits(high), "pairs": len(values), "met": met, "cpu_s": cpu(pairs), "command": command,
        "machine": machine(), "commit": commit(), **({} if rows is None else {"rows": rows}),
    }  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{name}: {result['figure']} ({low:.3g} to {high:.3g}), goal {goal}: {'met' if met else 'missed'}")
    return result


def digits(value: float) -> float | str:
    """Four digits that count; `never` of infinity, which JSON has not."""
    return float(f"{value:.4g}") if math.isfinite(value) else "never"


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
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {names[0] if names else platform.machine()}, {gpu()}"


def gpu() -> str:
    """The name of the first GPU."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no GPU"
    return done.stdout.splitlines()[0].strip()


def commit() -> str:
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def figures() -> Iterator[tuple[str, str, str, dict | None]]:
    """ID, what, goal and result of every goal, None where it was not run; then of figures without such a goal."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    for name, (what, goal) in GOALS.items():
        one = found.pop(name, None)
        yield (name, what, goal, None) if one is None else (name, one["what"], one["goal"], one)
    for name, one in found.items():
        yield name, one["what"], one["goal"], one


def verdict(one: dict | None) -> str:
    if one is None:
        return "no run"
    return "met" if one["met"] else "missed"


def table() -> None:
    """Every goal with its figure; those without one are listed too."""
    print(f"{'ID':12} {'figure':>9} {'low':>9} {'high':>9}  {'goal':34} {'':7} what")
    for name, what, goal, one in figures():
        figure, low, high = ("-",) * 3 if one is None else (one["figure"], one["low"], one["high"])
        print(f"{name:12} {figure:>9} {low:>9} {high:>9}  {goal:34} {verdict(one):7} {what}")


def page_table() -> str:
    """The same in Markdown."""
    lines = ["| ID | what | goal | figure | spread | met |", "|---|---|---|---|---|---|"]
    for name, what, goal, one in figures():
        figure, spread = ("", "") if one is None else (one["figure"], f"{one['low']} to {one['high']}")
        lines.append(f"| {name} | {what.replace('|', '/')} | {goal} | {figure} | {spread} | {verdict(one)} |")
    return "\n".join(lines)


def write_page() -> None:
    """Puts the table between its two marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{page_table()}\n\n{END}{after}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--page"]:
        write_page()
    else:
        table()
