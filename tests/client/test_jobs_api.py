"""The Jobs REST interface of a real cluster."""

import socket
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from trainshed.client.jobs_api import JobsClient, LogRefused, Unreachable
from trainshed.client.package import own_package, package_files
from trainshed.client.ray_answers import JobStatus
from trainshed.errors import ClusterError, UsageError

Ended = Callable[[JobsClient, str], JobStatus]


@pytest.fixture
def deaf_url() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with JobsClient(f"http://127.0.0.1:{port}", None) as jobs, pytest.raises(Unreachable, match=f"{port} does not"):
        jobs.version()


def test_a_silent_server_is_unreachable_after_the_timeout(deaf_url: str) -> None:
    with JobsClient(deaf_url, None, timeout_s=0.1) as jobs, pytest.raises(Unreachable, match="timed out"):
        jobs.version()


def test_a_package_too_large_for_ray_is_refused_before_it_is_sent(deaf_url: str) -> None:
    package = package_files({"a": b""})
    huge = type(package)(package.uri, b"\0" * 101_000_000, package.sha256)
    with (
        JobsClient(deaf_url, None) as jobs,
        pytest.raises(UsageError, match="101 MB zipped, but Ray takes at most 100"),
    ):
        jobs.upload(huge)


@pytest.mark.slow
def test_a_wrong_token_is_refused_with_what_to_do(running) -> None:
    for token, said in ((None, "Missing authentication token"), ("0" * 64, "Invalid authentication token")):
        with JobsClient(running.local.dashboard_url, token) as jobs, pytest.raises(ClusterError) as caught:
            jobs.version()
        assert "refused the token" in str(caught.value)
        assert said in str(caught.value)
        assert "RAY_AUTH_TOKEN" in str(caught.value)


@pytest.mark.slow
def test_a_package_is_sent_once(jobs: JobsClient) -> None:
    package = package_files({"once.txt": uuid4().bytes})
    assert [jobs.upload(package), jobs.upload(package)] == [True, False]


@pytest.mark.slow
def test_a_job_runs_our_own_code_from_the_package(jobs: JobsClient, run_script, ended: Ended) -> None:
    package = own_package()
    jobs.upload(package)
    job = run_script(jobs, "import trainshed.errors as e; print(e.__file__)", py_modules=[package.uri])
    assert ended(jobs, job).state == "SUCCEEDED"
    name = package.uri.removeprefix("gcs://").removesuffix(".zip")
    assert f"/{name}/trainshed/errors.py" in jobs.logs(job)


@pytest.mark.slow
def test_the_same_submission_id_twice_is_one_job(jobs: JobsClient, ended: Ended) -> None:
    job = f"twice-{uuid4().hex[:8]}"
    for _ in range(2):
        jobs.submit(job, "echo ran", {}, {"runs": "a b"})
    assert ended(jobs, job).state == "SUCCEEDED"
    assert jobs.logs(job).splitlines().count("ran") == 1
    found = [listed for listed in jobs.list() if listed.submission_id == job]
    assert [(one.metadata["runs"], one.terminal, one.exit_code) for one in found] == [("a b", True, 0)]


@pytest.mark.slow
def test_a_failed_job_tells_its_exit_code_times_and_last_words(jobs: JobsClient, run_script, ended: Ended) -> None:
    status = ended(jobs, job := run_script(jobs, "print('last words', flush=True); raise SystemExit(7)"))
    assert (status.state, status.exit_code) == ("FAILED", 7)
    assert status.started_at is not None
    assert status.ended_at is not None
    assert 1.7e9 < status.started_at < status.ended_at < status.started_at + 600
    assert "last words" in status.message
    assert "last words\n" in jobs.log_tail(job, 2)  # Ray's own first line may come after those of a short job
    assert jobs.log_tail(job, 1).count("\n") == 1


@pytest.mark.slow
def test_a_running_job_stops_when_asked(jobs: JobsClient, run_script, ended: Ended, wait_for) -> None:
    job = run_script(jobs, "import time; print('here', flush=True); time.sleep(300)")
    wait_for(lambda: "here" in jobs.log_tail(job, 5), "the job runs")
    assert jobs.stop(job)
    assert ended(jobs, job).state == "STOPPED"


@pytest.mark.slow
def test_a_job_that_nobody_submitted_is_unknown(jobs: JobsClient) -> None:
    for ask in (jobs.status, jobs.stop, jobs.logs):
        with pytest.raises(UsageError, match="knows no job 'nobody'"):
            ask("nobody")


@pytest.mark.slow
def test_a_log_on_a_node_that_has_gone_is_refused_and_one_not_yet_begun_is_empty(jobs: JobsClient, run_script) -> None:
    job = run_script(jobs, "print('here')")
    with pytest.raises(LogRefused, match="doesn't exist"):
        jobs.log_tail(job, 5, node_id="0" * 56)
    assert jobs.log_tail("not-begun", 5, node_id=jobs.nodes()[0].node_id) == ""


@pytest.mark.slow
def test_a_request_that_ray_refuses_says_why(jobs: JobsClient) -> None:
    with pytest.raises(ClusterError, match="400: TypeError: metadata values must be strings"):
        jobs.submit("bad-metadata", "true", {}, {"a": 1})
    with pytest.raises(UsageError, match="knows no job"):
        jobs.status("bad-metadata")
