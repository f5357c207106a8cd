"""Figures of the fault suites, in the form of `benchmarks/results.py`."""

import json
import math
import statistics
import sys

from paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from results import FOLDER, commit, machine


def keep(name, what, goal, values, *, p95_limit=None):
    """Writes `benchmarks/results/NAME.json`. Met where the worst value passes; with a `p95_limit`, where the median
    does and the 95th percentile is under that limit."""
    ordered = sorted(values)
    sign, limit = goal.split()
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    if sign == ">=":
        met = ordered[0] >= float(limit)
    elif p95_limit:
        met = statistics.median(ordered) <= float(limit) and p95 <= p95_limit
    else:
        met = ordered[-1] <= float(limit)
    result = {
        "id": name, "what": what, "goal": goal, "figure": round(statistics.median(ordered), 4),
        "low": round(ordered[0], 4), "high": round(ordered[-1], 4), "p95": round(p95, 4), "pairs": len(ordered),
        "met": bool(met), "command": "make faults", "machine": machine(), "commit": commit(),
    }  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{name}: {result['figure']} ({result['low']} to {result['high']}), goal {goal}: {'met' if met else 'missed'}"
    )
    return result
