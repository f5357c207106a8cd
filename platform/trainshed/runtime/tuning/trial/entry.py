"""Where Ray Tune enters a trial, and what it is told.

Imports nothing heavy. Ray Tune gives a trial that waits for its own process the process of one that has just ended, and
throws the new one away: were it slow to stand, trials that are short would throw away each other's processes without an
end, and run one at a time.
"""

from __future__ import annotations

import os
from typing import Any

from trainshed.runtime.tuning.trial.spec import TrialSpec

PATIENCE = "TUNE_FUNCTION_THREAD_TIMEOUT_S"
"""Ray Tune reads it where it waits for a trial's thread to end; 2 where it is not set."""


class Patient:
    """What Ray Tune's process of a trial does otherwise here: it waits for one trial's end before it takes the next.

    Ray's own gives a trial 2 s to end once Tune has heard its last figures, which storage that is slow makes longer;
    after that Tune drops the next one, tells no callback, and holds its place to the end of the sweep.
    """

    ending_s = 600

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Makes the process free for the next trial; it dies where the former one still stands after `ending_s`."""
        before = os.environ.get(PATIENCE, "2")
        os.environ[PATIENCE] = str(self.ending_s)
        free: bool = super().reset_config(new_config)  # type: ignore[misc]
        os.environ[PATIENCE] = before
        if not free:
            os._exit(1)  # Tune tells the watcher of a process that died
        return True


def run_trial(config: dict[str, Any], *, plan: TrialSpec) -> None:
    """`config` holds the trial's `settings` by dotted path."""
    from trainshed.runtime.tuning.trial.training import (
        train_trial,  # torch, transformers: the process stands before they do
    )

    train_trial(config, plan)


run_trial.__mixins__ = (Patient,)  # type: ignore[attr-defined]
