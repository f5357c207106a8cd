"""Following real jobs: every event once, in order, whatever happens to the log and the connection."""

import importlib.util
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from trainshed.client.follow import follow
from trainshed.client.jobs_api import JobsClient, Unreachable
from trainshed.client.package import own_package
from trainshed.record.events import JobEnd, Line

RunScript = Callable[..., str]

SAY = """
import json, os, sys, time
def say(seq, **fields):
    print("@@platform " + json.dumps({"seq": seq, "event": "step", **fields}), flush=True)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


@pytest.fixture
def proxy(running) -> Iterator[Callable[[list[int]], object]]:
    """Makes a proxy in front of the cluster's dashboard."""
    path = Path(__file__).with_name("cutting_proxy.py")
    spec = importlib.util.spec_from_file_location("cutting_proxy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = []

    def make(budgets: list[int]) -> object:
        made.append(module.CuttingProxy(urlsplit(running.local.dashboard_url).port, budgets))
        return made[-1]

    yield make
    for one in made:
        one.__exit__(None, None, None)


def _no_trouble(text: str) -> None:
    raise AssertionError(f"trouble on a whole connection: {text}")


def _seqs(events: list[Line | JobEnd]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Line)]


@pytest.mark.slow
def test_every_event_comes_once_in_order_and_the_end_comes_last(jobs: JobsClient, run_script: RunScript) -> None:
    script = SAY + "import trainshed\nfor n in range(1, 41): say(n, at=n / 7); print('other line', n); time.sleep(0.02)"
    package = own_package()
    jobs.upload(package)
    job = run_script(jobs, script, py_modules=[package.uri])
    events = list(follow(jobs, job, on_trouble=_no_trouble))
    assert _seqs(events) == list(range(1, 41))
    assert events[6].facts()["at"] == 1.0
    assert events[-1] == JobEnd("SUCCEEDED", events[-1].message)


@pytest.mark.slow
def test_a_failed_job_ends_with_its_cause_after_its_events(jobs: JobsClient, run_script: RunScript) -> None:
    job = run_script(jobs, SAY + "say(1)\nraise ValueError('the cause')")
    events = list(follow(jobs, job, on_trouble=_no_trouble))
    assert _seqs(events) == [1]
    assert events[-1].state == "FAILED"
    assert "the cause" in events[-1].message


@pytest.mark.slow
def test_events_that_other_output_pushes_out_of_the_tail_are_not_lost(jobs: JobsClient, run_script: RunScript) -> None:
    script = (
        "for n in range(1, 9):\n    say(n)\n    for line in range(3000): print('noise', line)\nsys.stdout.flush()\n"
    )
    job = run_script(jobs, SAY + script)
    events = list(follow(jobs, job, on_trouble=_no_trouble))
    assert _seqs(events) == list(range(1, 9))


@pytest.mark.slow
def test_a_half_written_line_waits_for_its_other_half(
    jobs: JobsClient, run_script: RunScript, wait_for, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    half = 'say(1)\nsys.stdout.write(\'@@platform {"seq": 2, "eve\'); sys.stdout.flush()\n'
    job = run_script(jobs, SAY + half + f'wait_for({str(go)!r})\nprint(\'nt": "whole"}}\', flush=True)\nsay(3)')
    wait_for(lambda: jobs.logs(job).endswith('"eve'), "half a line is in the log")
    events = follow(jobs, job, on_trouble=_no_trouble)
    assert next(events).seq == 1
    go.touch()
    second = next(events)
    assert (second.seq, second.event.event) == (2, "whole")
    assert [event.facts()["event"] for event in events] == ["step", "job_end"]


@pytest.mark.slow
def test_the_last_line_counts_even_if_the_job_ended_without_a_line_break(jobs: JobsClient, run_script) -> None:
    job = run_script(jobs, SAY + 'say(1)\nsys.stdout.write(\'@@platform {"seq": 2, "event": "step"}\')')
    assert _seqs(list(follow(jobs, job, on_trouble=_no_trouble))) == [1, 2]


@pytest.mark.slow
def test_a_job_can_be_followed_again_from_its_start(jobs: JobsClient, run_script: RunScript) -> None:
    job = run_script(jobs, SAY + "for n in range(1, 2001): say(n)")
    first, second = (list(follow(jobs, job, on_trouble=_no_trouble)) for _ in range(2))
    assert _seqs(first) == list(range(1, 2001))
    assert first == second


@pytest.mark.slow
def test_a_connection_that_breaks_again_and_again_loses_and_doubles_nothing(
    running, jobs: JobsClient, run_script: RunScript, proxy
) -> None:
    between = proxy([200, 9000, 150_000, 700, 80_000])
    job = run_script(jobs, SAY + "for n in range(1, 401): say(n, pad='x' * 40); print('other', n); time.sleep(0.01)")
    with JobsClient(between.url, running.local.token) as through:
        events = list(follow(through, job, on_trouble=lambda text: None, poll_s=0.05))
    assert _seqs(events) == list(range(1, 401))
    assert events[-1].state == "SUCCEEDED"
    assert between.cuts >= 5


@pytest.mark.slow
def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    running, jobs: JobsClient, run_script: RunScript, proxy, tmp_path: Path, wait_for
) -> None:
    between, go, told = proxy([10**9]), tmp_path / "go", []
    noise = "for line in range(2000): print('noise', line)\n"
    job = run_script(jobs, f"{SAY}say(1)\nwait_for({str(go)!r})\nsay(2)\nsay(3)\n{noise}")

    def on_trouble(text: str) -> None:
        told.append(text)
        if len(told) == 1:  # it is out: all that the job still does, it does unseen
            go.touch()
            wait_for(lambda: jobs.status(job).terminal, "the job ends unseen")
            between.reopen_after(between.refused + 10)

    with JobsClient(between.url, running.local.token) as through:
        events = follow(through, job, on_trouble=on_trouble, poll_s=0.05)
        assert next(events).seq == 1
        between.shut()
        rest = list(events)
    assert _seqs(rest) == [2, 3]
    assert [text.split(" after ")[0].split(",")[0] for text in told] == [
        "control plane unreachable",
        "control plane reachable again",
    ]


def test_patience_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told: list[str] = []
    with (
        JobsClient(f"http://127.0.0.1:{port}", None) as jobs,
        pytest.raises(Unreachable, match="gave up after 1 s; the job may still be running"),
    ):
        list(follow(jobs, "any", on_trouble=told.append, poll_s=0.05, patience_s=1))
    assert len(told) == 1
