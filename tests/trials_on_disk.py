"""Trials as files, as a sweep leaves them: for tests of what is made of them."""

import json

from trainshed.record.storage import Storage
from trainshed.record.trial_facts import TrialEnd
from trainshed.record.trials import TrialFiles
from trainshed.spec.document.override import override


def trial_on_disk(folder, training, number, losses, *, sweep="sweep", settings=None, ended=None, checkpoints=()):
    """One that took a held-out loss every 5 steps; `ended` is what ended.json says."""
    files = TrialFiles(Storage.open(folder), sweep, number)
    settings = settings or {"optimizer.learning_rate": 0.001 * (number + 1)}
    files.begin(settings, override(training, settings))
    rows = [{"step": 5 * n, "validation_loss": loss, "learning_rate": 0.1 / n} for n, loss in enumerate(losses, 1)]
    files.storage.write(f"{files.folder}/metrics.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    for step in checkpoints:
        metrics = {"validation_loss": 1.0 / step}
        manifest = {"step": step, "files": {}, "metrics": metrics}
        files.storage.write_json(f"{files.folder}/checkpoints/step-{step:07d}/manifest.json", manifest)
    if ended is not None:
        files.end(TrialEnd(**ended))
    return files
