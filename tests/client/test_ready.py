"""A head that does not take jobs yet is waited for, with a limit, and what is said of a log is an error."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from client.cutting_proxy import CuttingProxy
from trainshed.client.address import Address
from trainshed.client.ray_log import error_in, without_log
from trainshed.client.ready import until_ready
from trainshed.errors import ClusterError


def test_a_head_that_never_answers_is_given_up_in_time_and_the_option_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    said: list[str] = []
    with pytest.raises(ClusterError) as caught:
        until_ready(Address(url, None, None), say=said.append, start_timeout_s=1)
    assert f"{url} does not answer" in str(caught.value)
    assert "not ready within 1 s, --start-timeout gives it longer" in str(caught.value)
    (line,) = said
    assert line.endswith("waiting for it, 1 s at most")


@pytest.mark.slow
def test_a_head_that_refuses_connections_at_first_is_waited_for(running) -> None:
    said: list[str] = []
    with CuttingProxy(int(running.local.dashboard_url.rsplit(":", 1)[1]), [10**9]) as proxy:
        proxy.shut()
        proxy.reopen_after(8)  # more than the few tries of one request
        until_ready(Address(proxy.url, running.local.token, None), say=said.append)
        assert proxy.refused == 8
    assert len(said) == 1, "said once"


@pytest.mark.slow
def test_a_wrong_token_is_not_waited_for(running) -> None:
    with pytest.raises(ClusterError, match="refused the token"):
        until_ready(Address(running.local.dashboard_url, "0" * 64, None), say=pytest.fail)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Local node IP: 127.0.0.1", "Ray runtime started."], "its log names no error"),
        ([], "its log names no error"),
        (["Usage stats collection is disabled.", "", "To terminate the Ray runtime, run", "  ray stop"], "no error"),
        (
            ["Traceback (most recent call last):", '  File "x.py"', "OSError: [Errno 28] No space left", "bye"],
            "OSError",
        ),
        (["ray.exceptions.RaySystemError: System error: lost", "stopping"], "ray.exceptions.RaySystemError"),
        (["Exception: The current node timed out during startup.", "Ray is down"], "timed out during startup"),
        (["[2026-11-27 17:16:10,123 E 812 812] (gcs_server) a.cc:1: Port taken", "[.. I 8 8] ok"], "Port taken"),
        (["2026-11-27 17:16:10,123\tERROR services.py:1 -- Failed to start", "waiting"], "Failed to start"),
        (["Error: Invalid value for '--port'", "Try 'ray start --help'"], "Invalid value"),
    ],
)
def test_a_log_has_a_cause_only_where_a_line_is_an_error(tmp_path: Path, lines: list[str], said: str) -> None:
    log = tmp_path / "ray.log"
    log.write_text("\n".join(lines))
    assert said in error_in(log)
    assert error_in(log).endswith(f"(log: {log})")


def test_a_log_that_is_not_there_has_no_cause(tmp_path: Path) -> None:
    assert error_in(tmp_path / "none.log").startswith("its log names no error")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("made samples\n@@platform {...}\nlast words\n", "Job entrypoint command failed with exit code 1"),
        ("error: PLATFORM_STORAGE: no such folder\nbye\n", "exit code 1: error: PLATFORM_STORAGE: no such folder"),
    ],
)
def test_of_the_log_that_ray_adds_to_a_failed_job_only_an_error_is_a_cause(log: str, said: str) -> None:
    message = "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n" + log
    assert without_log(message).endswith(said)
    assert without_log("Job supervisor actor died") == "Job supervisor actor died"
