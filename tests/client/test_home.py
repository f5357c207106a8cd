from pathlib import Path

import pytest

from trainshed.client.home import platform_home


def test_home_is_where_the_environment_says_and_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path / "deep" / "home"))
    assert platform_home() == tmp_path / "deep" / "home"
    assert platform_home().stat().st_mode & 0o777 == 0o700


def test_home_is_below_the_users_home_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert platform_home() == tmp_path / ".trainshed"
