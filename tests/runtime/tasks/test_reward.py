"""A reward of the user's own: apart, with a time limit, and every way in which it is none."""

import os
import time

import psutil
import pytest

from trainshed.errors import PlatformError
from trainshed.runtime.tasks.reward import Reward, Scored

ASKED = [Scored("1+1=", "2", "2"), Scored("1+1=", "3\n", "2")]


@pytest.fixture
def reward():
    made = []

    def of(name, timeout_s=20):
        made.append(Reward(f"own_rewards:{name}", timeout_s=timeout_s))
        return made[-1]

    yield of
    for one in made:
        one.close()


def test_each_answer_has_its_reward_in_their_order(reward):
    assert reward("exact").of(ASKED) == [1.0, 0.0]
    assert reward("length").of(ASKED) == [1.0, 2.0]
    assert reward("of_numpy").of(ASKED) == [0.5, 0.5]


def test_it_runs_in_a_process_of_its_own_that_lives_on(reward):
    one = reward("process")
    first, second = one.of(ASKED)
    assert first == second != os.getpid()
    assert one.of(ASKED)[0] == first
    one.close()
    assert not psutil.pid_exists(int(first))


def test_it_sees_no_secret(reward, monkeypatch):
    monkeypatch.setenv("A_SECRET", "hidden")
    assert reward("environment").of(ASKED[:1]) == [0.0]


def test_its_process_has_neither_torch_nor_transformers(reward):
    one = reward("process")
    [pid] = one.of(ASKED[:1])
    assert psutil.Process(int(pid)).memory_info().rss < 150e6


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raising", "raised KeyError: 'no such answer' for the answer '2' to '1+1='"),
        ("text", "returned 'good'; a reward is a number"),
        ("nothing", "returned None; a reward is a number"),
        ("truth", "returned True; a reward is a number"),
        ("nan", "returned nan; a reward is a finite number"),
        ("endless", "returned inf; a reward is a finite number"),
        ("leaving", "has ended for the answer '2'"),
        ("not_there", "has no"),
    ],
)
def test_what_is_no_reward_ends_in_one_line(name, said, reward):
    with pytest.raises(PlatformError) as caught:
        reward(name).of(ASKED)
    assert str(caught.value).startswith("task.reward: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_hangs_is_ended_with_its_process(reward):
    one = reward("hanging", timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(
        PlatformError, match=r"own_rewards:hanging has given nothing for 0.5 s; .* task.reward_timeout_s"
    ):
        one.of(ASKED)
    assert time.monotonic() - began < 120
    assert one._process is None


def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_reward.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlatformError, match="broken_reward cannot be imported: ModuleNotFoundError"):
        Reward("broken_reward:score", timeout_s=5).of(ASKED)
