"""What kind of failure an error is: its class and fields say so, whatever its message says and whoever wrapped it."""

import errno

import numpy as np
import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError, UserCodeException
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from trainshed.errors import DivergedError, FailureKind, PlatformError
from trainshed.record.storage import Storage
from trainshed.record.trial_facts import TrialEnd, TrialState
from trainshed.record.trials import TrialFiles
from trainshed.runtime.cause import cause_of
from trainshed.runtime.failure import kind_of

TOO_MUCH = 10**15
CLOSED = RuntimeError("[/w/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4")
WORDS = [
    "out of memory, in the words of a sample",
    "step 7: the loss is nan after 3 rollback(s)",
    "label 'the loss is inf' has no class",
    "Connection closed by peer",
    "DefaultCPUAllocator: can't allocate memory",
]


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def in_task(error):
    return RayTaskError("train", "", error).as_instanceof_cause()


def group(**failures):
    return WorkerGroupError("workers failed", {int(name[1:]): error for name, error in failures.items()})


def of_a_fit(error):
    """As `fit` gives it on, and a trial catches it."""
    outer = PlatformError("in one line")
    outer.__cause__ = error
    return outer


GONE = WorkerHealthCheckFailedError("a health check failed", ActorDiedError())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), FailureKind.MEMORY),
        (raised(lambda: np.empty(TOO_MUCH)), FailureKind.MEMORY),
        (raised(lambda: torch.empty(TOO_MUCH)), FailureKind.MEMORY),
        (OSError(errno.ENOMEM, "no more"), FailureKind.MEMORY),
        (in_task(torch.cuda.OutOfMemoryError("CUDA")), FailureKind.MEMORY),
        (OutOfMemoryError("killed by the memory monitor"), FailureKind.MEMORY),
        (of_a_fit(group(w0=CLOSED, w1=in_task(MemoryError()))), FailureKind.MEMORY),
        (DivergedError("step 4"), FailureKind.DIVERGED),
        (of_a_fit(group(w0=in_task(DivergedError("step 4")), w1=CLOSED)), FailureKind.DIVERGED),
        (ActorDiedError(), FailureKind.LOST),
        (CLOSED, FailureKind.LOST),
        (ConnectionResetError(), FailureKind.LOST),
        (torch.distributed.DistNetworkError("x"), FailureKind.LOST),
        (of_a_fit(group(w0=GONE, w1=CLOSED)), FailureKind.LOST),
        (of_a_fit(ControllerError(ActorDiedError())), FailureKind.LOST),
        (of_a_fit(group(w0=CLOSED, w1=KeyError("oops"))), FailureKind.CODE),
        (RayTaskError("train", "", None), FailureKind.CODE),
        (UserCodeException("UDF failed"), FailureKind.CODE),
        (KeyError("oops"), FailureKind.CODE),
        (PlatformError("the data has 3 samples"), FailureKind.CODE),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_failure_is_told_by_the_class_of_what_failed(error, kind):
    assert kind_of(error) is kind


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("kind", [PlatformError, ValueError, RuntimeError, OSError])
def test_words_of_a_message_decide_nothing(kind, words):
    assert kind_of(in_task(kind(words))) is FailureKind.CODE


RAISED = "Traceback ...\ntrainshed.errors.PlatformError: row 3 is bad\n"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RayTaskError("map", RAISED, UserCodeException("UDF failed")).as_instanceof_cause(), "row 3 is bad"),
        (group(w1=in_task(PlatformError("shard 3"))), "worker 1: shard 3"),
        (of_a_fit(in_task(DivergedError("step 4"))), "step 4"),
        (in_task(KeyError(RAISED)), f"KeyError: {RAISED!r}"),
        (ValueError(RAISED), "ValueError: Traceback ... trainshed.errors.PlatformError: row 3 is bad"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_cause_is_the_innermost_error_and_not_what_a_text_in_it_says(error, cause):
    assert cause_of(error) == cause


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"kind": "diverged"}, FailureKind.DIVERGED),
        ({"kind": FailureKind.MEMORY}, FailureKind.MEMORY),
        ({}, FailureKind.UNKNOWN),
        ({"kind": "struck by lightning"}, FailureKind.UNKNOWN),
    ],
)
def test_a_trials_record_says_what_failed_and_an_older_one_reads(tmp_path, facts, kind):
    trial = TrialFiles(Storage.open(tmp_path), "sweep", 3)
    assert trial.failure is None
    trial.end(TrialEnd(state=TrialState.FAILED, **facts))
    assert trial.failure is kind
    trial.end(TrialEnd(state=TrialState.ENDED, kind="code"))
    assert trial.failure is None
