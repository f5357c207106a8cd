"""The process of a model: the replica never waits for it, it ends with its replica, and no answer is lost or mixed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from trainshed.errors import PlatformError
from trainshed.runtime.serving.engines import EngineDeadError, EngineSettings, Step, TextEngine, build_engine
from trainshed.runtime.serving.routes import build_asgi
from waiting import wait_for

from .asking import WAIT_S, collect, generated, greedy, prompts_of, together, until_idle
from .test_routes import SETTINGS, asker, error_of

KILLED = "its process was killed by SIGKILL; the machine may be out of memory"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")


def process_of(engine: TextEngine) -> psutil.Process:
    return psutil.Process(engine._model._process.pid)  # type: ignore[attr-defined]


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that does nothing, whatever it is asked."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_until_gone(process: psutil.Process) -> None:
    wait_for(lambda: is_gone(process), limit_s=WAIT_S, every_s=0.05)


REPLICA = """
import asyncio, sys
from pathlib import Path
from trainshed.runtime.serving.app import Replica
from trainshed.runtime.serving.engines import EngineSettings, Sampling, build_engine

async def ask():
    prompt = engine.encode_chat([{"role": "user", "content": engine.decode(engine.encode("def add("))}])
    return [step async for step in engine.generate(prompt, Sampling(max_tokens=5))]

engine = build_engine(Path(sys.argv[1]), EngineSettings())
engine.warm_up()
print(len(asyncio.run(ask())), "torch" in sys.modules, engine._model._process.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def replica(model_dir: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that holds an engine, and what it said of it."""
    command = [sys.executable, "-c", REPLICA, str(model_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def test_a_replica_answers_without_torch_and_its_model_goes_with_it(chat_dir: Path) -> None:
    with replica(chat_dir) as (process, [steps, has_torch, pid]):
        assert (steps, has_torch) == ("5", "False")
        child = psutil.Process(int(pid))
        if sys.platform == "linux":  # which tells a process that its parent has died, also one that cannot notice
            child.suspend()
        process.kill()
        wait_until_gone(child)


def test_a_killed_model_fails_its_requests_at_once_with_the_cause(own_engine: TextEngine) -> None:
    async def the_rest(steps: AsyncIterator[Step]) -> list[Step]:
        return [step async for step in steps]

    async def kill() -> None:
        async with aclosing(own_engine.generate([5, 6], greedy(250))) as steps:
            await anext(steps)
            process_of(own_engine).suspend()  # so that neither answer is done when it is killed
            whole = asyncio.create_task(collect(own_engine, [7], greedy(255), whole=True))
            while own_engine.running_requests < 2:
                await asyncio.sleep(0)
            process_of(own_engine).kill()
            with pytest.raises(EngineDeadError, match=KILLED):
                await asyncio.wait_for(the_rest(steps), 10)
        with pytest.raises(EngineDeadError, match=KILLED):
            await asyncio.wait_for(whole, 10)
        with pytest.raises(EngineDeadError, match=KILLED):
            await collect(own_engine, [5, 6], greedy(2))

    asyncio.run(kill())
    with pytest.raises(EngineDeadError, match=f"the engine has stopped: {KILLED}"):
        own_engine.check()
    assert own_engine.running_requests == 0


def test_a_model_killed_while_it_loads_is_an_error_of_the_start(gpt2_dir: Path) -> None:
    def kill_the_next_child() -> None:
        known = set(psutil.Process().children())
        started.set()
        for process in wait_for(lambda: set(psutil.Process().children()) - known, limit_s=WAIT_S, every_s=0.001):
            process.kill()

    started = threading.Event()
    killer = threading.Thread(target=kill_the_next_child)
    killer.start()
    started.wait()
    with pytest.raises(PlatformError, match=f"the model cannot be loaded: {KILLED}"):
        build_engine(gpt2_dir, EngineSettings())
    killer.join()


def test_an_engine_outlives_the_thread_that_built_it_and_stops_when_told(
    gpt2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    built: list[TextEngine] = []
    builder = threading.Thread(target=lambda: built.append(build_engine(gpt2_dir, EngineSettings())))
    builder.start()
    builder.join()
    [engine] = built
    ask = prompts_of([(20, 40)])[0]
    assert together(engine, [ask])[0][0] == generated(gpt2_dir, [ask])[0]
    assert process_of(engine).environ()["CUDA_VISIBLE_DEVICES"] == "3", "the devices are those of the replica"
    process = engine._model._process  # type: ignore[attr-defined]
    engine.stop()
    assert process.returncode == 0, "it ended by itself"
    engine.stop()


def test_a_model_that_does_not_listen_is_ended_in_time_and_clients_hear_when_to_ask_again(
    own_engine: TextEngine,
) -> None:
    process = process_of(own_engine)
    process.suspend()
    start = time.monotonic()
    own_engine.stop()
    assert is_gone(process)
    assert time.monotonic() - start < WAIT_S
    for path, body in (("/health", {}), ("/v1/completions", {"prompt": [5], "max_tokens": 2})):
        answer = asker(own_engine)(path, **body)
        assert error_of(answer, 503)["code"] == "engine_stopped"
        assert answer.headers["retry-after"] == "5"


def test_the_replica_never_waits_for_its_model(roomy_engine: TextEngine) -> None:
    """64 prompts are more than the socket holds; all that a client sees of the replica answers meanwhile."""
    prompt = [5, 6, 7] * 1300

    async def ask_and_look() -> None:
        transport = httpx.ASGITransport(build_asgi(roomy_engine, replace(SETTINGS, max_queued_requests=0)))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client,
            asyncio.timeout(WAIT_S),
        ):
            with stopped(process_of(roomy_engine)):
                asked = [asyncio.create_task(collect(roomy_engine, prompt, greedy(2))) for _ in range(64)]
                while roomy_engine.running_requests < 64:
                    await asyncio.sleep(0)
                assert (await client.get("/health")).json() == {"status": "ok"}
                assert (await client.get("/v1/status")).json()["running_requests"] == 64
                for task in asked[1:]:
                    task.cancel()
                await asyncio.wait(asked[1:])
            assert len((await asked[0])[0]) == 2
            await until_idle(roomy_engine)

    asyncio.run(ask_and_look())


def test_the_model_never_waits_for_its_replica(engine: TextEngine, gpt2_dir: Path) -> None:
    asks = prompts_of([(1 + number, 40 + number) for number in range(20)])
    expected = generated(gpt2_dir, asks)
    total = engine.generated_tokens + sum(map(len, expected))

    async def look_away() -> list[list[int]]:
        asked = [asyncio.create_task(collect(engine, *ask, whole=bool(place % 2))) for place, ask in enumerate(asks)]
        await asyncio.sleep(0)
        wait_for(lambda: engine.generated_tokens >= total, limit_s=WAIT_S, every_s=0.01)  # the event loop stands still
        return [tokens for tokens, _ in await asyncio.gather(*asked)]

    assert asyncio.run(look_away()) == expected
    assert engine.generated_tokens == total


def test_a_whole_answer_is_the_steps_of_a_stream_in_one(engine: TextEngine) -> None:
    asks = prompts_of([(3, 40), (17, 20)])
    assert together(engine, asks, whole=True) == together(engine, asks)

    async def steps() -> int:
        return len([step async for step in engine.generate(*asks[0], whole=True)])

    assert asyncio.run(steps()) == 1


def test_requests_that_are_left_at_once_hold_nothing_and_disturb_nobody(engine: TextEngine, gpt2_dir: Path) -> None:
    ask = prompts_of([(20, 60)])[0]

    async def come_and_go() -> list[int]:
        stays = asyncio.create_task(collect(engine, *ask))
        for number in range(60):
            leaves = asyncio.create_task(collect(engine, [number + 1], greedy(200), whole=bool(number % 2)))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            leaves.cancel()
        tokens, _ = await asyncio.wait_for(stays, WAIT_S)
        await until_idle(engine)
        return tokens

    assert asyncio.run(come_and_go()) == generated(gpt2_dir, [ask])[0]


@on_linux
def test_every_thread_of_the_model_is_less_urgent_than_the_replica(engine: TextEngine) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [thread.id for thread in process_of(engine).threads()]
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {min(19, own + 5)}
    assert {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in psutil.Process().threads()} == {own}


def test_ctrl_c_is_the_replicas_to_answer(engine: TextEngine) -> None:
    process_of(engine).send_signal(signal.SIGINT)
    assert len(together(engine, [([5], greedy(3))])[0][0]) == 3
