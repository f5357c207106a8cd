"""An endpoint's life on a real Ray Serve with token authentication, over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from trainshed.errors import ClusterError, PlatformError
from trainshed.patience import Wait
from trainshed.runtime.serving.settings import AppSettings

from .conftest import CHAT_TEMPLATE, write_gpt2

pytestmark = pytest.mark.slow
KEY = "a-key-of-some-length"
LONG = 4000


@pytest.fixture(scope="module")
def http_port(local_ray: Any) -> Iterator[int]:
    """A free port for Serve on the tests' own Ray, which wants a token."""
    from ray import serve

    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield int(port)
    serve.shutdown()


@pytest.fixture(scope="module")
def settings(long_dir: Path) -> AppSettings:
    return AppSettings(
        name="tiny",
        model="tiny-gpt@3",
        model_dir=str(long_dir),
        fingerprint="fp-1",
        key_hashes=(sha256(KEY.encode()).hexdigest(),),
        lineage={"run_id": "run-7"},
        max_tokens=LONG,
        max_body_bytes=20_000,
    )


@pytest.fixture(scope="module")
def url(http_port: int, settings: AppSettings) -> str:
    from trainshed.runtime.serving.endpoint import run_application

    return run_application(settings, http_port)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def wait_until(holds: Callable[[], bool], *, limit_s: float) -> float:
    """Seconds until the condition holds; fails when it does not within the limit."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < limit_s, f"not within {limit_s} s"
        threading.Event().wait(0.05)
    return time.monotonic() - start


def status_of(url: str, count: str) -> int:
    status = httpx.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {KEY}"})
    return int(status.raise_for_status().json()[count])


def test_the_probe_returns_the_text_of_a_completion(url: str, client: openai.OpenAI) -> None:
    from trainshed.runtime.serving.endpoint import probe

    assert url.endswith("/tiny")
    answer = client.completions.create(model="tiny-gpt@3", prompt="The", max_tokens=4, temperature=0)
    assert probe(url, KEY) == answer.choices[0].text


@pytest.mark.parametrize("key", [None, "wrong"])
def test_the_probe_says_what_the_endpoint_refused(url: str, key: str | None) -> None:
    from trainshed.runtime.serving.endpoint import probe

    with pytest.raises(PlatformError, match=r"401 .*valid API key") as caught:
        probe(url, key)
    assert "\n" not in str(caught.value)


def test_the_openai_client_completes_and_streams(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": "tiny-gpt@3", "prompt": "def add(", "max_tokens": 50, "temperature": 0}
    whole = client.completions.create(**ask)
    assert whole.system_fingerprint == "fp-1"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 50
    chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    assert [model.id for model in client.models.list()] == ["tiny-gpt@3"]


def test_a_stream_arrives_while_it_is_generated(client: openai.OpenAI) -> None:
    start = time.monotonic()
    with client.completions.create(
        model="tiny-gpt@3", prompt="x", max_tokens=1000, temperature=0, stream=True
    ) as pieces:
        next(iter(pieces))
        first = time.monotonic() - start
        list(pieces)
    assert first < (time.monotonic() - start) / 3


def test_the_openai_client_gets_typed_errors(url: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model="tiny-gpt@3", messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(openai.BadRequestError, match="2 is not supported"):
        client.completions.create(model="tiny-gpt@3", prompt="x", n=2)
    with pytest.raises(openai.NotFoundError, match="serves 'tiny-gpt@3'"):
        client.completions.create(model="other", prompt="x")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").models.list()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/lineage", "/v1/status", "/nowhere", "/tiny/health", "/health/"])
def test_nothing_but_health_answers_without_a_key(url: str, path: str) -> None:
    assert httpx.get(f"{url}{path}").status_code == 401
    assert httpx.post(f"{url}/v1/completions", json={}).status_code == 401
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_a_long_body_gets_413(url: str) -> None:
    body = json.dumps({"model": "tiny-gpt@3", "prompt": "x" * 30_000})
    answer = httpx.post(f"{url}/v1/completions", content=body, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 413


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(url: str, stream: bool) -> None:
    body = {"model": "tiny-gpt@3", "prompt": "x", "max_tokens": LONG, "temperature": 0, "stream": stream}
    headers = {"Authorization": f"Bearer {KEY}"}
    before = status_of(url, "generated_tokens")
    with httpx.Client(timeout=httpx.Timeout(60, read=60 if stream else 0.5), headers=headers) as leaving:
        if stream:
            with leaving.stream("POST", f"{url}/v1/completions", json=body) as answer:
                lines = answer.iter_lines()  # kept: without it the connection closes here
                next(lines)
                assert status_of(url, "running_requests") == 1
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaving.post(f"{url}/v1/completions", json=body)
    wait_until(lambda: status_of(url, "running_requests") == 0, limit_s=60)
    assert status_of(url, "generated_tokens") - before < LONG, (
        "the answer that nobody waited for was written to its end"
    )


def test_a_model_with_a_template_chats(http_port: int, tmp_path: Path) -> None:
    from trainshed.runtime.serving.endpoint import delete_application, run_application

    folder = write_gpt2(tmp_path, chat_template=CHAT_TEMPLATE)
    chat = AppSettings(name="chat", model="chat@1", model_dir=str(folder), fingerprint="fp", open_access=True)
    url = run_application(chat, http_port)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        ask: dict[str, Any] = {"model": "chat@1", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
        whole = client.chat.completions.create(**ask, max_completion_tokens=30).choices[0].message.content
        chunks = client.chat.completions.create(**ask, max_completion_tokens=30, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    delete_application("chat")
    wait_until(lambda: httpx.get(f"{url}/health").status_code == 404, limit_s=60)


def test_a_model_that_cannot_be_served_is_refused_in_one_line(http_port: int, tmp_path: Path) -> None:
    from trainshed.runtime.serving.endpoint import delete_application, run_application

    write_gpt2(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    broken = AppSettings(name="broken", model="b@1", model_dir=str(tmp_path), fingerprint="fp", open_access=True)
    with pytest.raises(PlatformError, match=r"endpoint broken: its replica failed: .*no tokenizer there") as caught:
        run_application(broken, http_port)
    assert "\n" not in str(caught.value)
    delete_application("broken")


def test_a_bad_version_leaves_the_former_one_serving(http_port: int, url: str, settings: AppSettings) -> None:
    from trainshed.runtime.serving.endpoint import probe, run_application

    before = probe(url, KEY)
    with pytest.raises(PlatformError, match="no such directory"):
        run_application(replace(settings, model="tiny-gpt@4", model_dir="/nowhere"), http_port)
    assert probe(url, KEY) == before
    assert run_application(settings, http_port) == url
    assert probe(url, KEY) == before


def test_serve_on_another_port_is_said(url: str) -> None:
    from trainshed.runtime.serving.endpoint import start_serve

    with pytest.raises(ClusterError, match=r"listens on port \d+ of this cluster, not on 1:"):
        start_serve(1)


def test_a_proxy_that_never_answers_is_given_up_and_the_field_is_named() -> None:
    from trainshed.runtime.serving.endpoint import _await_proxy

    with pytest.raises(ClusterError, match=r"did not answer at http://127\.0\.0\.1:1 within 0 s, see start_timeout_s"):
        _await_proxy("http://127.0.0.1:1", Wait(0.1, exact=True))


def test_load_brings_a_second_replica_and_the_queue_has_an_end(http_port: int, settings: AppSettings) -> None:
    from trainshed.runtime.serving.endpoint import delete_application, run_application

    small = replace(settings, name="busy", max_replicas=2, target_ongoing_requests=1, max_queued_requests=12)
    url = run_application(small, http_port)
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "tiny-gpt@3", "prompt": "x", "max_tokens": 200, "temperature": 0}
    done = threading.Event()
    started: set[int] = set()

    def ask() -> int:
        return httpx.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60).status_code

    def keep_asking() -> set[int]:
        statuses = set()
        while not done.is_set():
            statuses.add(ask())
            model = httpx.get(f"{url}/v1/models", headers=headers, timeout=60).raise_for_status().json()["data"][0]
            started.add(model["created"])  # when the replica that answered was started
        return statuses

    with ThreadPoolExecutor(60) as pool:
        load = [pool.submit(keep_asking) for _ in range(8)]
        try:
            waited = wait_until(lambda: len(started) > 1, limit_s=120)
        finally:
            done.set()
        assert set().union(*(asked.result() for asked in load)) == {200}
        burst = Counter(pool.map(lambda _: ask(), range(50)))
    print(f"the second replica answered {waited:.1f} s after the load began; a burst of 50 got {dict(burst)}")
    assert set(burst) == {200, 503}
    delete_application("busy")
