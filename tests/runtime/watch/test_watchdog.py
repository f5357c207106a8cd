"""Heartbeats, who is taken as hung, and what is done about a failure."""

import threading
import time

import pytest
from ray.exceptions import ActorDiedError
from ray.train.v2._internal.exceptions import (
    InsufficientClusterResourcesError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from trainshed.errors import PlatformError
from trainshed.runtime.training.ray_train.preemption import Preempted
from trainshed.runtime.training.ray_train.restarts import classes, judge
from trainshed.runtime.watch.heartbeat import Heartbeat, Heartbeats, Instruction, Member, Observed, whereabouts
from trainshed.runtime.watch.watchdog import Killed, hanging, kill_here
from trainshed.spec.training.workers import Workers
from waiting import wait_for

PATIENT = Workers(hang_timeout_s=300, start_timeout_s=600)
ZERO, ONE = Member(0, 100, "node-a"), Member(1, 101, "node-b")


def beat(member, step=5, phase="training", *, waits=False):
    return Heartbeat(member, step, phase, "training/loop/loop.py:9 run", waits)


def seen(member, *, silent=0.0, stuck=0.0, waits=False, phase="training", load=0.0, gap=0.0):
    return Observed(member, beat(member, phase=phase, waits=waits), silent, stuck, load, gap)


def test_a_silent_worker_is_hung_and_the_one_that_waits_for_it_is_not():
    found = hanging([seen(ZERO, stuck=21, waits=True), seen(ONE, silent=21, stuck=21)], PATIENT)
    said = "has been silent for 21 s; waited for 20 s, see workers.silent_timeout_s"
    assert [(one.member, cause) for one, cause in found] == [(ONE, said)]


@pytest.mark.parametrize(
    ("load", "gap", "field", "limit_s", "words"),
    [
        (0.0, 0.0, 20, 20, "20 s"),
        (1.0, 0.0, 20, 20, "20 s"),
        (3.0, 0.0, 20, 60, "60 s (20 s at a load of 3.0 per core)"),
        (15.0, 0.0, 20, 300, "300 s (20 s at a load of 15.0 per core)"),
        (0.0, 12.0, 20, 36, "36 s (20 s; it took 12 s before)"),
        (4.0, 12.0, 20, 80, "80 s (20 s at a load of 4.0 per core)"),
        (2.0, 0.0, 5, 10, "10 s (5 s at a load of 2.0 per core)"),
        (2.0, 0.0, 90, 180, "180 s (90 s at a load of 2.0 per core)"),
        (900.0, 0.0, 20, 400, "400 s (20 s at a load of 900.0 per core)"),
    ],
)
def test_how_long_a_worker_may_be_silent_grows_with_the_load_and_with_what_it_came_back_from(
    load, gap, field, limit_s, words
):
    workers = Workers(silent_timeout_s=field, hang_timeout_s=10_000)
    assert hanging([seen(ZERO, silent=limit_s - 1, load=load, gap=gap)], workers) == [], (
        "it is alive, as far as we know"
    )
    ((_, cause),) = hanging([seen(ZERO, silent=limit_s + 1, load=load, gap=gap)], workers)
    assert cause.endswith(f"waited for {words}, see workers.silent_timeout_s")


def test_a_driver_that_did_not_run_itself_misses_nobody():
    clock = [100.0]
    heartbeats = Heartbeats(lambda: clock[0])
    heartbeats.begin([ZERO])
    heartbeats.beat(beat(ZERO))
    clock[0] += 90  # nobody called it: its own machine was busy, and the beats wait in its queue
    (one,) = heartbeats.look().seen
    assert (one.silent_s, one.stuck_s) == (0.0, 0.0)
    for _ in range(30):  # now it is called once a second, and the worker still says nothing
        clock[0] += 1
        (one,) = heartbeats.look().seen
    assert (one.silent_s, one.stuck_s) == (30.0, 30.0)
    heartbeats.beat(beat(ZERO))
    assert heartbeats.look().seen[0].gap_s == 30.0


def test_without_a_step_for_too_long_the_worker_that_waits_for_nobody_is_hung():
    group = [seen(ZERO, stuck=301, waits=True), seen(ONE, stuck=301)]
    assert hanging([seen(ZERO, stuck=299, waits=True), seen(ONE, stuck=299)], PATIENT) == []
    ((found, cause),) = hanging(group, PATIENT)
    assert found.member == ONE
    said = "has made no step for 301 s (workers.hang_timeout_s is 300), step 5, at training/loop/loop.py:9 run"
    assert cause == said


def test_where_all_wait_for_each_other_all_are_hung():
    assert len(hanging([seen(ZERO, stuck=400, waits=True), seen(ONE, stuck=400, waits=True)], PATIENT)) == 2


def test_the_first_step_may_take_longer_and_not_for_ever():
    assert hanging([seen(ZERO, stuck=599, phase="starting")], PATIENT) == []
    ((_, cause),) = hanging([seen(ZERO, stuck=601, phase="starting")], PATIENT)
    assert cause.startswith("has made no step for 601 s (workers.start_timeout_s is 600)")
    slow = Workers(hang_timeout_s=900, start_timeout_s=600)
    assert hanging([seen(ZERO, stuck=899, phase="starting")], slow) == []


def test_an_export_may_take_longer_than_a_step():
    assert hanging([seen(ZERO, stuck=4000, phase="ending"), seen(ONE, stuck=4000, phase="ending")], PATIENT) == []


def test_a_process_that_is_no_worker_is_left_alone():
    import os

    assert kill_here(os.getpid()) == Killed(was_gone=True, words=f"process {os.getpid()} is gone already")


def test_a_beat_moves_the_clocks_of_its_worker_only():
    heartbeats = Heartbeats()
    heartbeats.begin([ZERO, ONE])
    assert heartbeats.beat(beat(ZERO, step=3)) is Instruction.GO_ON
    began = time.monotonic()
    wait_for(lambda: time.monotonic() > began, every_s=0)
    heartbeats.beat(beat(ZERO, step=3))
    first, second = heartbeats.look().seen
    assert first.silent_s < first.stuck_s < second.silent_s
    assert heartbeats.furthest() == 3
    assert second.beat is None


def test_a_process_of_an_earlier_group_is_sent_away():
    heartbeats = Heartbeats()
    heartbeats.begin([ZERO])
    assert heartbeats.beat(beat(Member(0, 99, "node-a"))) is Instruction.BEGONE
    assert heartbeats.beat(beat(ONE)) is Instruction.BEGONE


def test_an_actor_that_was_started_again_takes_in_those_that_beat():
    heartbeats = Heartbeats()
    assert heartbeats.beat(beat(ONE)) is Instruction.GO_ON
    assert [one.member for one in heartbeats.look().seen] == [ONE]


def test_an_order_to_stop_outlives_its_group_and_one_to_regroup_does_not():
    heartbeats = Heartbeats()
    heartbeats.begin([ZERO])
    heartbeats.give(Instruction.REGROUP)
    assert heartbeats.beat(beat(ZERO)) is Instruction.REGROUP
    heartbeats.begin([ZERO])
    assert heartbeats.beat(beat(ZERO)) is Instruction.GO_ON
    heartbeats.give(Instruction.STOP)
    heartbeats.give(Instruction.REGROUP)
    heartbeats.begin([ZERO])
    assert heartbeats.beat(beat(ZERO)) is Instruction.STOP


def test_whereabouts_names_the_line_that_a_thread_waits_at():
    gate, inside = threading.Event(), threading.Event()

    def wait_here():
        inside.set()
        gate.wait()

    thread = threading.Thread(target=wait_here)
    thread.start()
    inside.wait()
    where, waits = whereabouts(thread.ident)
    gate.set()
    thread.join()
    assert "threading.py" in where
    assert not waits


def group_error(**failures):
    return WorkerGroupError("workers failed", {int(name[1:]): error for name, error in failures.items()})


GONE = WorkerHealthCheckFailedError("a health check failed", ActorDiedError())
CLOSED = RuntimeError("[/w/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4")
IN_WORDS = RuntimeError("row 3: Connection closed by peer")


@pytest.mark.parametrize(
    ("error", "again", "counts", "says"),
    [
        (group_error(w0=PlatformError("shard 3: bad data")), False, False, "worker 0: shard 3: bad data"),
        (group_error(w0=GONE, w1=RuntimeError("gloo")), True, True, "a worker's process is gone"),
        (group_error(w1=CLOSED), True, True, "a worker is gone (worker 1 lost its connection to it)"),
        (group_error(w1=IN_WORDS), True, True, "worker 1: RuntimeError: row 3"),
        (group_error(w0=ValueError("a bug")), True, True, "worker 0: ValueError: a bug"),
        (group_error(w0=Preempted("saved after 5"), w1=Preempted("saved after 5")), True, False, "saved after"),
        (group_error(w0=Preempted("saved"), w1=GONE), True, False, "process is gone"),
        (ControllerError(WorkerGroupStartupTimeoutError(2)), True, False, "no room"),
        (ControllerError(InsufficientClusterResourcesError("never")), False, False, "never"),
        (ControllerError(ActorDiedError()), True, True, "gone"),
    ],
)
def test_each_failure_is_judged_by_its_cause(error, again, counts, says):
    verdict = judge(error, same_again=False)
    assert (verdict.again, verdict.counts) == (again, counts)
    assert says in verdict.cause


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (group_error(w0=ValueError("a bug")), False),
        (group_error(w0=ValueError("a bug"), w1=CLOSED), False),
        (group_error(w1=IN_WORDS), False),
        (group_error(w0=GONE), True),
        (group_error(w1=CLOSED), True),
    ],
)
def test_a_bug_that_comes_again_at_the_same_step_ends_the_run_but_a_killed_worker_does_not(error, again):
    assert judge(error, same_again=True).again is again


def test_an_error_comes_again_where_its_class_does_whatever_it_says():
    assert classes(group_error(w0=KeyError("process 17"))) == classes(group_error(w0=KeyError("process 18")))
    assert classes(group_error(w0=KeyError("it"))) != classes(group_error(w0=ValueError("it")))


def test_a_process_that_said_goodbye_is_missed_by_nobody_and_its_follower_is():
    heartbeats = Heartbeats()
    heartbeats.beat(beat(ZERO))
    heartbeats.gone(0, ZERO.pid + 1)
    assert [one.member for one in heartbeats.look().seen] == [ZERO], "another process of that number is not meant"
    heartbeats.gone(0, ZERO.pid)
    assert heartbeats.look().seen == ()
    assert heartbeats.beat(beat(Member(0, 7, "node-a"))) is Instruction.GO_ON
    assert [one.member.pid for one in heartbeats.look().seen] == [7]


def test_a_trial_is_judged_by_itself():
    (found,) = hanging([seen(ONE, stuck=301)], PATIENT)
    assert found[1].startswith("has made no step for 301 s")


def test_a_process_that_takes_anothers_place_has_its_own_time_to_start():
    heartbeats, follower = Heartbeats(), Member(0, 7, "node-a")
    heartbeats.beat(beat(ZERO, step=0, phase="starting"))
    stood = wait_for(lambda: next((one.stuck_s for one in heartbeats.look().seen if one.stuck_s > 0.2), None))
    heartbeats.beat(beat(ZERO, step=0, phase="starting"))
    assert heartbeats.look().seen[0].stuck_s >= stood
    heartbeats.beat(beat(follower, step=0, phase="starting"))
    assert heartbeats.look().seen[0].stuck_s < stood
