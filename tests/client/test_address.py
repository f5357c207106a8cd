import json
import os
from pathlib import Path

import psutil
import pytest

from trainshed.client.address import find_address
from trainshed.errors import UsageError


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


@pytest.fixture
def home_with_cluster(tmp_path: Path) -> Path:
    """A state file that names this very process, which is certainly alive."""
    directory = tmp_path / "home" / "cluster"
    directory.mkdir(parents=True)
    (directory / "token").write_text("local-token\n")
    state = {
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "dashboard_url": "http://127.0.0.1:20001",
        "gcs_address": "127.0.0.1:20000",
        "token_path": str(directory / "token"),
        "temp_dir": "/tmp/ts-none",
        "serve_port": 20011,
        "cpus": 3,
        "gpus": 0,
        "started_at": "2026-11-24T12:00:00+00:00",
        "ray_version": "2.60.0",
        "log": str(directory / "ray.log"),
    }
    (directory / "state.json").write_text(json.dumps(state))
    return tmp_path / "home"


def test_without_a_name_or_a_local_cluster_there_is_no_address(tmp_path: Path) -> None:
    assert find_address(tmp_path, None) is None


def test_the_order_is_option_then_platform_then_ray_then_local(
    home_with_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url(explicit: str | None) -> str | None:
        address = find_address(home_with_cluster, explicit)
        return address and address.url

    assert url(None) == "http://127.0.0.1:20001"
    monkeypatch.setenv("RAY_ADDRESS", "http://ray:8265")
    assert url(None) == "http://ray:8265"
    monkeypatch.setenv("PLATFORM_ADDRESS", "https://platform/ray/")
    assert url(None) == "https://platform/ray"
    assert url("http://option:8265") == "http://option:8265"


@pytest.mark.parametrize(
    "wrong", ["ray://head:10001", "auto", "head:6379", "10.0.0.1:8265", "http://", "", "http://h:x"]
)
def test_an_address_that_is_no_dashboard_is_refused_in_one_line_that_says_which_is(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_address(tmp_path, wrong)
    line = str(caught.value)
    assert line.startswith(f"--address: {wrong!r}")
    assert line.endswith("http://HOST:8265")
    assert "\n" not in line


def test_a_wrong_address_in_the_environment_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(UsageError, match=r"^RAY_ADDRESS: 'head:6379'"):
        find_address(tmp_path, None)


@pytest.mark.parametrize("explicit", [None, "http://127.0.0.1:20001", "http://localhost:20001/"])
def test_the_local_cluster_keeps_its_own_token_however_it_is_named(
    home_with_cluster: Path, monkeypatch: pytest.MonkeyPatch, explicit: str | None
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-clusters-token")
    address = find_address(home_with_cluster, explicit)
    assert address is not None
    assert address.token == "local-token"
    assert address.local is not None


def test_a_remote_cluster_never_sees_the_local_token(home_with_cluster: Path) -> None:
    address = find_address(home_with_cluster, "http://127.0.0.1:20002")
    assert address is not None
    assert (address.token, address.local) == (None, None)


def test_a_remote_token_comes_from_the_variable_then_the_named_file_then_rays_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token() -> str | None:
        address = find_address(tmp_path, "http://remote:8265")
        return address and address.token

    (tmp_path / "user" / ".ray").mkdir(parents=True)
    (tmp_path / "user" / ".ray" / "auth_token").write_text("rays-own\n")
    assert token() == "rays-own"
    (tmp_path / "named").write_text("named\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    assert token() == "named"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "variable")
    assert token() == "variable"


def test_a_named_token_file_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="RAY_AUTH_TOKEN_PATH: no file"):
        find_address(tmp_path, "http://remote:8265")


def test_a_cluster_whose_pid_now_belongs_to_another_process_is_gone(home_with_cluster: Path) -> None:
    path = home_with_cluster / "cluster" / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"pid_started": state["pid_started"] - 5}))
    assert find_address(home_with_cluster, None) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_state_file_that_cannot_be_read_is_no_cluster(home_with_cluster: Path, content: str) -> None:
    (home_with_cluster / "cluster" / "state.json").write_text(content)
    assert find_address(home_with_cluster, None) is None
