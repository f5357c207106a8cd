"""Does the best learning rate of a narrow model stay the best of a wide one? With muP, and without.

    .venv/bin/python benchmarks/transfer.py [--seeds 3]

A GPT-2 of two layers learns the bytes of the Python standard library for 120 steps, at widths 64, 128 and 256 and at
rates a factor of 2 apart, under both parametrisations; at width 64 they are the same model, bit for bit. The figure is
the best rate of a wider model / that of width 64, under muP, for each seed and width. All losses are printed and kept.
It is `tests/runtime/test_mup_transfer.py` for more rates and seeds, on one thread: 5 minutes.
"""

import argparse
import sys
from pathlib import Path

from results import digits, write_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mup_transfer import BASE, WIDTHS, best_rate, losses_by_rate

RATES = tuple(2.0**power for power in range(-12, -6))
KINDS = {"muP": True, "standard": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print(f"{'':9} {'seed':>4} {'width':>5}  " + " ".join(f"{rate:8.2e}" for rate in RATES) + "      best  / at 64")
    rows = [row for seed in seeds for row in rows_of(seed)]
    factors = {kind: [row["factor"] for row in rows if row["kind"] == kind and row["width"] != BASE] for kind in KINDS}
    widest = [row["factor"] for row in rows if row["kind"] == "standard" and row["width"] == max(WIDTHS)]
    what = (
        f"best learning rate at widths 128 and 256 / at 64 under muP; standard: {low_and_high(factors['standard'])}, "
        f"at 256 {low_and_high(widest)}"
    )
    command = f"python benchmarks/transfer.py --seeds {len(seeds)}"
    write_result("transfer", what, "0.5 to 2.0", factors["muP"], command=command, pairs=[], rows=rows)


def rows_of(seed: int) -> list[dict]:
    """The losses of one seed by width and parametrisation, printed as they come."""
    narrow = losses_by_rate(BASE, RATES, mup=True, seed=seed)
    rows = []
    for width in WIDTHS:
        for kind, mup in KINDS.items():
            losses = narrow if width == BASE else losses_by_rate(width, RATES, mup=mup, seed=seed)
            best, factor = best_rate(losses), best_rate(losses) / best_rate(narrow)
            figures = " ".join(f"{loss:8.3f}" for loss in losses.values())
            print(f"{kind:9} {seed:4} {width:5}  {figures}  {best:8.2e} {factor:8.2f}", flush=True)
            kept = {"losses": {f"{rate:.3g}": digits(loss) for rate, loss in losses.items()}, "best": digits(best)}
            rows.append({"kind": kind, "seed": seed, "width": width, **kept, "factor": digits(factor)})
    return rows


def low_and_high(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


if __name__ == "__main__":
    main()
