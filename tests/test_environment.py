"""What the platform's own variables say, what holds without them, and what is refused."""

from pathlib import Path

import pytest

from trainshed import environment
from trainshed.environment import Setting
from trainshed.errors import UsageError


@pytest.fixture(autouse=True)
def _none_set(monkeypatch, tmp_path):
    for name in (*environment.VARIABLES, environment.RAYS_ADDRESS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_what_holds_where_nothing_is_set(tmp_path):
    assert environment.home_folder() == tmp_path / ".trainshed"
    assert environment.storage_place() is environment.profile_file() is environment.cluster_address() is None
    assert (environment.serve_host(), environment.reachable_serve_host()) == ("127.0.0.1", "127.0.0.1")
    assert environment.serve_port() == 8000


@pytest.mark.parametrize("name", [environment.HOME, environment.STORAGE, environment.PROFILE, environment.SERVE_PORT])
def test_a_variable_that_is_set_to_nothing_is_not_set(monkeypatch, name, tmp_path):
    read = {
        environment.HOME: environment.home_folder,
        environment.STORAGE: environment.storage_place,
        environment.PROFILE: environment.profile_file,
        environment.SERVE_PORT: environment.serve_port,
    }[name]
    unset = read()
    monkeypatch.setenv(name, "")
    assert read() == unset


def test_what_is_set_holds(monkeypatch, tmp_path):
    for name, value in {
        environment.HOME: "~/own",
        environment.STORAGE: "s3://bucket/x",
        environment.PROFILE: "gpu.yaml",
        environment.SERVE_HOST: "10.0.0.1",
        environment.SERVE_PORT: "9000",
    }.items():
        monkeypatch.setenv(name, value)
    assert environment.home_folder() == tmp_path / "own"
    assert environment.storage_place() == "s3://bucket/x"
    assert environment.profile_file() == Path("gpu.yaml")
    assert environment.serve_host() == environment.reachable_serve_host() == "10.0.0.1"
    assert environment.serve_port() == 9000


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_endpoints_that_listen_on_every_address_are_reached_over_the_loopback(monkeypatch, host):
    monkeypatch.setenv(environment.SERVE_HOST, host)
    assert (environment.serve_host(), environment.reachable_serve_host()) == (host, "127.0.0.1")


def test_the_platforms_own_address_comes_before_rays(monkeypatch):
    monkeypatch.setenv(environment.RAYS_ADDRESS, " http://ray:8265 ")
    assert environment.cluster_address() == Setting("RAY_ADDRESS", "http://ray:8265")
    monkeypatch.setenv(environment.ADDRESS, "http://own:8265")
    assert environment.cluster_address() == Setting("PLATFORM_ADDRESS", "http://own:8265")


def test_a_home_of_a_user_who_does_not_exist_is_refused_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.setenv(environment.HOME, "~nobody-of-that-name/x")
    with pytest.raises(UsageError, match=r"^PLATFORM_HOME: ~nobody-of-that-name/x: .*; give another folder$"):
        environment.home_folder()


def test_a_process_tells_its_cluster_by_the_directory_in_its_environment(tmp_path):
    made = environment.of_local_cluster(home=tmp_path / "home", serve_port=1, directory=tmp_path / "ts")
    assert environment.cluster_directory(made) == str(tmp_path / "ts")
    assert environment.cluster_directory({}) is None


@pytest.mark.parametrize("port", ["x", "80x", "-1", "0", "65536", "8000.0"])
def test_a_port_that_is_none_is_refused_by_the_name_of_its_variable(monkeypatch, port):
    monkeypatch.setenv(environment.SERVE_PORT, port)
    with pytest.raises(UsageError, match=f"PLATFORM_SERVE_PORT: {port}: no port; give a whole number from 1 to 65535"):
        environment.serve_port()
