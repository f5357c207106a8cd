"""The bare tool that `benchmarks/sweep_time.py` measures against: Ray Tune alone, on the same cluster.

    ray job submit --address http://HOST:PORT -- python benchmarks/bare_tune.py TRIALS AT_ONCE SECONDS [--reuse]

Prints one JSON line: seconds from `fit` to its return, and from the first trial's start to the last one's end.
"""

import json
import sys
import tempfile
import time

import ray
from ray import tune


def sleep_and_report(config):
    began = time.time()
    time.sleep(config["seconds"])
    tune.report({"validation_loss": config["rate"], "began": began, "ended": time.time()})


def main(trials: int, at_once: int, seconds: float, *, reuse: bool) -> None:
    ray.init(log_to_driver=False, logging_level="warning")
    with tempfile.TemporaryDirectory(prefix="bare-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(sleep_and_report, {"CPU": 1}),
            param_space={"rate": tune.loguniform(1e-4, 1e-2), "seconds": seconds},
            tune_config=tune.TuneConfig(
                metric="validation_loss",
                mode="min",
                num_samples=trials,
                max_concurrent_trials=at_once,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        began = time.time()
        results = tuner.fit()
        fit_s = time.time() - began
        rows = [result.metrics for result in results]
    span_s = max(row["ended"] for row in rows) - min(row["began"] for row in rows)
    print(json.dumps({"fit_s": fit_s, "span_s": span_s, "trials": len(rows)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), reuse="--reuse" in sys.argv)
