"""Thirty faults into one training: it ends as if nothing had happened. Prints and keeps P1 to P4 and P12."""

import math
import random
import signal
import statistics
import time
from dataclasses import dataclass
from datetime import datetime

import pytest

from faults.conftest import EVERY_STEPS, TRAIN, ended
from faults.figures import keep
from waiting import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

STEPS = 5000
SETTLE_STEPS = 2 * EVERY_STEPS
SETTLE_S = 5.0


@dataclass
class Injury:
    """One fault and what it cost."""

    name: str
    kind: str
    recovery_s: float
    seen_s: float | None
    lost: int


def plan():
    """The faults, in the order in which they are injected."""
    faults = []
    for worker in (0, 1):
        faults += [("kill", worker, signal.SIGKILL)] * 3
        faults += [("segfault", worker, signal.SIGSEGV)] * 2
        faults += [("exit 0", worker, "exit")] * 2
        faults += [("loader raises", worker, "raise")]
        faults += [("memory limit", worker, "memory")]
        faults += [("stopped", worker, signal.SIGSTOP)]
        faults += [("deadlock", worker, "deadlock")]
        faults += [("notice", worker, signal.SIGTERM)] * 2
    faults += [("both killed", None, "both"), ("killed at its start", 0, "again"), ("killed at its start", 1, "again")]
    faults += [("driver killed", None, "driver")] * 2
    faults += [("actor of reports killed", None, "reports"), ("heartbeat actor killed", None, "beats")]
    random.Random(7).shuffle(faults)
    return faults


def inject(run, worker, how):
    """One fault; when it happened."""
    workers = run.workers()
    at = time.time()
    match how:
        case "both":
            for process in workers:
                process.kill()
        case "again":
            before = run.said.count("worker(s) stand after")
            workers[worker].kill()
            wait_for(lambda: run.said.count("worker(s) stand after") > before, every_s=0.05)
            at = time.time()  # of the second one: by then the first may be over
            run.workers()[worker].kill()
        case "driver":
            run.driver().kill()
        case "reports":
            run.process("ray::SynchronizationActor").kill()
        case "beats":
            run.process("ray::Heartbeats").kill()
        case str():
            run.tell(workers[worker], how)
        case _:
            workers[worker].send_signal(how)
    return at


def injure(run, name, worker, how):
    """One fault into a running training, until it has made a step that no worker had made before."""
    before, began = run.step, time.monotonic()
    run.goes_on_from(before + random.randrange(SETTLE_STEPS, 2 * SETTLE_STEPS))
    time.sleep(
        max(0.0, SETTLE_S - (time.monotonic() - began))
    )  # faults are minutes apart, not steps: spares are loaded
    furthest = run.step
    at = inject(run, worker, how)
    if how == "beats":  # nobody need start again for it
        row = run.goes_on_from(furthest + EVERY_STEPS)
        return Injury(f"{name}", name, row["time"] - at, None, 0)
    while not (resumed := [note for note in run.notes("resumed") if told_at(note) > at]):
        furthest = max(furthest, run.step)
        assert run.result is None, (name, run.result)
        assert time.time() - at < 240, f"{name} of worker {worker}: not resumed\n{run.said}"
        time.sleep(0.05)
    row = run.goes_on_from(furthest)
    return Injury(f"{name} of worker {worker}", name, row["time"] - at, None, furthest - resumed[-1]["step"])


def told_at(note):
    return datetime.fromisoformat(note["time"]).timestamp()


def test_a_training_that_thirty_faults_hit_equals_one_that_none_hit(start):
    run = start("injured", steps=STEPS)
    injuries = []
    for name, worker, how in plan():
        injury = injure(run, name, worker, how)
        injuries.append(injury)
        print(f"{len(injuries):3} {injury.name:28} {injury.recovery_s:6.1f} s  {injury.lost:4} steps lost", flush=True)
    assert ended(run, limit_s=900)["state"] == "succeeded"
    clean = start("unharmed", wait=False, steps=STEPS)
    assert ended(clean, limit_s=900)["state"] == "succeeded"
    equal = (
        run.losses() == clean.losses()
        and run.result["metrics"]["model_sha256"] == clean.result["metrics"]["model_sha256"]
    )
    steps = [step for step, _, _ in run.losses()]
    report(injuries, equal)
    assert steps == list(range(1, STEPS + 1)), "a step is missing, or stands twice"
    assert equal, "losses, order of samples or weights differ from the undisturbed run"
    # A checkpoint that is being written when the fault comes does not count yet: one interval more.
    assert max(injury.lost for injury in injuries) <= 2 * EVERY_STEPS
    assert all(injury.lost == 0 for injury in injuries if injury.kind == "notice")


def test_bad_data_ends_a_training_at_once_and_is_not_read_again(start):
    run = start("spoilt", steps=STEPS)
    run.tell(run.workers()[1], "bad data")
    result = ended(run)
    assert result["state"] == "failed"
    assert "shard 3: bad data, on purpose" in result["cause"]
    assert run.said.count("worker(s) stand after") == 1, "it was tried again"


def test_gradients_that_are_no_numbers_are_gone_around_and_the_samples_named(start):
    run = start("shaken", steps=400)
    run.tell(run.workers()[1], "nan")
    result = ended(run)
    assert result["state"] == "succeeded"
    rolled = run.notes("rolled_back")
    assert len(rolled) == 1
    assert rolled[0]["verdict"] == "not a number"
    assert len(rolled[0]["samples"]) == TRAIN["global_batch_size"]
    assert rolled[0]["step"] - 1 - rolled[0]["back_to"] <= 2 * EVERY_STEPS
    assert [step for step, _, _ in run.losses()] == list(range(1, 401))
    assert all(math.isfinite(loss) for _, loss, _ in run.losses())


def report(injuries, equal):
    """Prints what each kind cost, and keeps the figures."""
    recoveries = [injury.recovery_s for injury in injuries]
    notices = [injury.lost for injury in injuries if injury.kind == "notice"]
    others = [injury.lost for injury in injuries if injury.kind != "notice"]
    print(f"{len(injuries)} faults, p50 {statistics.median(recoveries):.1f} s")
    for kind in sorted({injury.kind for injury in injuries}):
        of_kind = [injury for injury in injuries if injury.kind == kind]
        spent = ", ".join(f"{injury.recovery_s:.1f}" for injury in of_kind)
        print(f"{kind:24} {spent} s; steps lost {[injury.lost for injury in of_kind]}")
    keep("P1", "faults that a training survived, of those injected", ">= 30", [len(injuries)])
    keep("P2", f"steps lost per fault, checkpoint every {EVERY_STEPS}", f"<= {EVERY_STEPS}", others)
    keep("P3", "fault to next new step, p50, s; p95 <= 30; with spares", "<= 12", recoveries, p95_limit=30)
    keep("P4", "runs whose losses, sample order and weights equal the undisturbed run's", ">= 1", [int(equal)])
    keep("P12", "steps lost after SIGTERM with notice", "<= 0", notices)
