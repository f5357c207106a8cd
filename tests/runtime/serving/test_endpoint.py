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
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from trainshed.errors import ClusterError, PlatformError
from trainshed.patience import Wait
from trainshed.record.endpoints import get_endpoint
from trainshed.record.run import Record
from trainshed.record.storage import Storage
from trainshed.runtime.report import Reporter, Voice
from trainshed.runtime.serving.settings import AppSettings
from trainshed.spec.serving.serve import Auth, ServeJob

from .conftest import CHAT_TEMPLATE, SIZES, hashes_of, write_gpt2

pytestmark = pytest.mark.slow
KEY = "a-key-of-some-length"
HTTP = httpx.Client(trust_env=False, timeout=60)  # one for all: what each client needs for TLS takes 30 ms to make
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
def settings(tmp_path_factory: pytest.TempPathFactory) -> AppSettings:
    """A model whose longest answer takes several seconds; the last test brings it a second replica."""
    folder = write_gpt2(tmp_path_factory.mktemp("long"), positions=4096, chat_template=CHAT_TEMPLATE)
    return AppSettings(
        name="tiny",
        model="tiny-gpt@3",
        model_dir=str(folder),
        hashes=hashes_of(folder),
        fingerprint="fp-1",
        key_hashes=(sha256(KEY.encode()).hexdigest(),),
        lineage={"run_id": "run-7"},
        max_tokens=LONG,
        max_body_bytes=20_000,
        max_replicas=2,
        target_ongoing_requests=1,
        max_queued_requests=12,
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
        threading.Event().wait(0.1)
    return time.monotonic() - start


def command_of(process: psutil.Process) -> str:
    """Empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def status_of(url: str, count: str) -> int:
    status = HTTP.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {KEY}"})
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
    with pytest.raises(openai.BadRequestError, match="no developers here"):
        client.chat.completions.create(model="tiny-gpt@3", messages=[{"role": "developer", "content": "hello"}])
    with pytest.raises(openai.BadRequestError, match="2 is not supported"):
        client.completions.create(model="tiny-gpt@3", prompt="x", n=2)
    with pytest.raises(openai.NotFoundError, match="serves 'tiny-gpt@3'"):
        client.completions.create(model="other", prompt="x")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").models.list()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/lineage", "/v1/status", "/nowhere", "/tiny/health", "/health/"])
def test_nothing_but_health_answers_without_a_key(url: str, path: str) -> None:
    assert HTTP.get(f"{url}{path}").status_code == 401
    assert HTTP.post(f"{url}/v1/completions", json={}).status_code == 401
    assert HTTP.get(f"{url}/health").json() == {"status": "ok"}
    assert HTTP.head(f"{url}/health").status_code == 200


def test_a_long_body_gets_413(url: str) -> None:
    body = json.dumps({"model": "tiny-gpt@3", "prompt": "x" * 30_000})
    answer = HTTP.post(f"{url}/v1/completions", content=body, headers={"Authorization": f"Bearer {KEY}"})
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


def test_a_model_with_a_template_chats(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "hello"}]
    ask: dict[str, Any] = {"model": "tiny-gpt@3", "messages": messages, "temperature": 0}
    whole = client.chat.completions.create(**ask, max_completion_tokens=30).choices[0].message.content
    chunks = client.chat.completions.create(**ask, max_completion_tokens=30, stream=True)
    assert whole
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


def test_serve_on_another_port_is_said(url: str) -> None:
    from trainshed.runtime.serving.endpoint import start_serve

    with pytest.raises(ClusterError, match=r"listens on port \d+ of this cluster, not on 1:"):
        start_serve(1)


def test_a_proxy_that_never_answers_is_given_up_and_the_field_is_named() -> None:
    from trainshed.runtime.serving.endpoint import _await_proxy

    with pytest.raises(ClusterError, match=r"did not answer at http://127\.0\.0\.1:1 within 0 s, see start_timeout_s"):
        _await_proxy("http://127.0.0.1:1", Wait(0.1, exact=True))


class Rolled:
    """An endpoint whose first version answers, after a second one that cannot start; deployed as a serve job does."""

    def __init__(self, folder: Path, http_port: int) -> None:
        self.storage = Storage.open(folder)
        self.url = f"http://127.0.0.1:{http_port}/rolled"
        self.model = folder / "runs/first/model"
        self.first = self._trained("first", vocabulary=320)
        self.second = self._trained("second", vocabulary=200)

    def deploy(self, run_id: str, model: Record) -> dict[str, Any]:
        from trainshed.runtime.serving.deploy import deploy

        job = ServeJob(
            kind="serve", name="rolled", model=f"run://{model.run_id}", auth=Auth(keys=("ROLLED_KEY",)), max_tokens=4000
        )
        record = Record(self.storage, run_id)
        record.begin(job.model_dump(mode="json"))
        return deploy(job, Reporter(record, Voice()), trained={model.run_id: model})

    def ask(self, path: str = "/v1/completions", **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEY}"}
        if not body:
            return HTTP.get(f"{self.url}{path}", headers=headers, timeout=60)
        return HTTP.post(f"{self.url}{path}", headers=headers, json={"model": "rolled", **body}, timeout=60)

    def answers(self) -> bool:
        try:
            return self.ask(prompt="The", max_tokens=2).status_code == 200
        except httpx.TimeoutException:  # Serve holds it until there is a replica
            return False

    def kill_replica(self) -> None:
        """As the kernel does it; the process is gone when this returns."""
        children = psutil.Process().children(recursive=True)
        [process] = [one for one in children if "ServeReplica:rolled" in command_of(one)]
        process.kill()
        process.wait(30)

    def _trained(self, run_id: str, *, vocabulary: int) -> Record:
        folder = Path(self.storage.path(f"runs/{run_id}/model"))
        folder.mkdir(parents=True)
        write_gpt2(folder, positions=4096)
        if vocabulary != SIZES["vocab_size"]:
            config = json.loads((folder / "config.json").read_text())
            GPT2LMHeadModel(GPT2Config(**{**config, "vocab_size": vocabulary})).save_pretrained(folder)
        (folder / "manifest.json").write_text(json.dumps({"files": hashes_of(folder)}))
        record = Record(self.storage, run_id)
        self.storage.write_json(record.at("lineage.json"), {"fingerprint": sha256(run_id.encode()).hexdigest()})
        return record


@pytest.fixture(scope="module")
def rolled(http_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rolled]:
    from trainshed.runtime.serving.endpoint import delete_application

    made = Rolled(tmp_path_factory.mktemp("storage"), http_port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLLED_KEY", KEY)
        patch.setenv("PLATFORM_SERVE_PORT", str(http_port))
        made.deploy("serve-1", made.first)
        yield made
    delete_application("rolled")


def test_after_a_failed_rollout_the_former_version_is_the_target_again(rolled: Rolled) -> None:
    import ray

    with pytest.raises(PlatformError, match=r"they do not belong together; first answers as before$") as caught:
        rolled.deploy("serve-2", rolled.second)
    assert "endpoint rolled: its replica failed: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert rolled.answers()
    assert get_endpoint(rolled.storage, "rolled").run_id == "serve-1"
    ray.kill(ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve"), no_restart=False)
    rolled.kill_replica()
    wait_until(rolled.answers, limit_s=120)
    assert rolled.ask("/v1/models").json()["data"][0]["id"] == "first"


def test_a_replica_made_anew_answers_only_with_the_files_that_were_exported(rolled: Rolled) -> None:
    from ray import serve

    weights = rolled.model / "model.safetensors"
    exported = weights.read_bytes()
    weights.write_bytes(exported[:-1] + bytes([exported[-1] ^ 0x80]))  # the sign of the last weight
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(rolled.ask, prompt="The", max_tokens=4000, temperature=0)
        wait_until(lambda: rolled.ask("/v1/status").json()["running_requests"] > 0, limit_s=60)
        rolled.kill_replica()
        cut_off = asked.result()

    def cause() -> str:
        application = serve.status().applications["rolled"]
        return " ".join(deployment.message for deployment in application.deployments.values())

    wait_until(lambda: "model.safetensors: not the file that was exported" in cause(), limit_s=120)
    assert (cut_off.status_code, cut_off.json()["error"]["code"]) == (503, "replica_stopped"), cut_off.text
    assert int(cut_off.headers["retry-after"]) > 0
    weights.write_bytes(exported)
    wait_until(rolled.answers, limit_s=120)


def test_a_path_of_no_endpoint_has_an_error_that_clients_read(url: str) -> None:
    answer = HTTP.post(f"{url}-nowhere/v1/completions", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_first_version_that_cannot_start_leaves_nothing(rolled: Rolled, http_port: int) -> None:
    from ray import serve

    from trainshed.runtime.serving.rollout import roll_out

    folder = Path(rolled.storage.path("runs/second/model"))
    broken = AppSettings(
        name="broken",
        model="b@1",
        model_dir=str(folder),
        hashes={name: found for name, found in hashes_of(folder).items() if name != "tokenizer.json"},
        fingerprint="fp",
        open_access=True,
    )
    with pytest.raises(
        PlatformError, match=r"broken: its replica failed: .*no tokenizer there.*; nothing answered before"
    ):
        roll_out(broken, http_port, str, proven_run=None)
    assert "broken" not in serve.status().applications


def test_load_brings_a_second_replica_and_the_queue_has_an_end(url: str) -> None:
    from trainshed.runtime.serving.endpoint import delete_application

    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "tiny-gpt@3", "prompt": "x", "max_tokens": 200, "temperature": 0}
    done = threading.Event()
    started: set[int] = set()

    def ask() -> int:
        return HTTP.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60).status_code

    def keep_asking() -> set[int]:
        statuses = set()
        while not done.is_set():
            statuses.add(ask())
            model = HTTP.get(f"{url}/v1/models", headers=headers, timeout=60).raise_for_status().json()["data"][0]
            started.add(model["created"])  # when the replica that answered was started
        return statuses

    def health_in_a_crowd() -> int:
        """Asked while every place is taken and the queues are full; requests that wait still do when it answers."""
        wait_until(lambda: status_of(url, "waiting_requests") > 0, limit_s=60)
        answer = HTTP.get(f"{url}/health", timeout=60)
        assert status_of(url, "waiting_requests") > 0
        return answer.status_code

    with ThreadPoolExecutor(60) as pool:
        load = [pool.submit(keep_asking) for _ in range(8)]
        try:
            waited = wait_until(lambda: len(started) > 1, limit_s=120)
        finally:
            done.set()
        assert set().union(*(asked.result() for asked in load)) == {200}
        burst = [pool.submit(ask) for _ in range(50)]
        assert health_in_a_crowd() == 200
        answered = [asked.result() for asked in burst]
    print(f"the second replica answered {waited:.1f} s after the load began; of 50, {dict(Counter(answered))}")
    assert set(answered) == {200, 503}
    delete_application("tiny")
    wait_until(lambda: HTTP.get(f"{url}/health").status_code == 404, limit_s=60)
