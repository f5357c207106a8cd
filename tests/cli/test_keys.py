"""A key goes to the address that it was made for: what storage says can send none elsewhere, nor send anything else."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.calling import call
from job_texts import TRAIN
from trainshed.errors import UsageError
from trainshed.record.secrets import find_secret, keep_secret, let_go_to
from trainshed.record.storage import Storage
from trainshed.spec.document.yaml_tree import Document
from trainshed.spec.load import load_documents


@pytest.fixture
def listener():
    """A server at an address of its own, and every `Authorization` that reached it."""
    heard = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(self.headers["Authorization"])
            content = json.dumps({"choices": [{"text": " os"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/tales", heard
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a cluster's token, a key of an endpoint, and the secrets of other programs."""
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    monkeypatch.setenv("PLATFORM_STORAGE", str(tmp_path))
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret of another")
    monkeypatch.delenv("PLATFORM_API_KEY", raising=False)
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "token").write_text("secret of the cluster")
    keep_secret("PLATFORM_API_KEY", "ts-own", tmp_path)
    return tmp_path


def endpoint(home, url, name):
    facts = {"url": url, "model": "tales@1", "model_run": "tales-model-1", "run_id": "tales-answers-1", "auth": [name]}
    deployed = {"name": "tales", "deployed_at": "2026-11-25T00:00:00+00:00"}
    Storage.open(home).write_json("endpoints/tales.json", {**facts, **deployed})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../cluster/token", "auth.0: not the name of a secret"),
        ("../../../../etc/passwd", "auth.0: not the name of a secret"),
        ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY is a variable of another program"),
        ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN is a variable of another program"),
        ("HF_TOKEN", "HF_TOKEN is a variable of another program"),
        ("PLATFORM_API_KEY", "PLATFORM_API_KEY was not made here for http://127.0.0.1"),
    ],
)
def test_what_storage_names_is_not_sent_where_storage_says(name, said, home, listener, capsys):
    url, heard = listener
    endpoint(home, url, name)
    let_go_to("PLATFORM_API_KEY", "http://127.0.0.1:9/tales", home)  # it was made for another address
    asked = call(capsys, "ask", "tales", "import", "--json")
    assert (asked.code, heard) == (2 if "not made here" in said else 1, [])
    assert said in asked.err
    assert len(asked.err.splitlines()) == 1


def test_a_key_goes_where_it_was_made_for_and_where_the_user_says_once(home, listener, capsys):
    url, heard = listener
    endpoint(home, url, "PLATFORM_API_KEY")
    assert call(capsys, "ask", "tales", "import").code == 2
    for wrong in (["--url", url], ["--key", "PLATFORM_API_KEY", "--url", "http://127.0.0.1:9/tales"]):
        assert call(capsys, "ask", "tales", "import", *wrong).code == 2
    assert call(capsys, "ask", "tales", "import", "--key", "PLATFORM_API_KEY").code == 2
    assert heard == []
    assert call(capsys, "ask", "tales", "import", "--key", "PLATFORM_API_KEY", "--url", url, "--json").code == 0
    asked = call(capsys, "ask", "tales", "import", "--json")
    assert json.loads(asked.out)["choices"][0]["text"] == " os"
    assert heard == ["Bearer ts-own"] * 2


@pytest.mark.parametrize("name", ["../cluster/token", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN_PATH", "PATH", "a", ""])
def test_a_name_that_is_no_endpoints_key_is_never_looked_up(name, home):
    with pytest.raises(UsageError):
        find_secret(name, home)


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GITHUB_TOKEN", "KUBECONFIG", "PATH"])
def test_a_serve_job_cannot_take_anothers_secret_for_its_key(name):
    serve = {"kind": "serve", "name": "answers", "model": "model@latest", "auth": {"keys": [name]}}
    with pytest.raises(UsageError, match=f"auth.keys.0: {name} is a variable of another program"):
        load_documents([Document("job.yaml", 1, serve)])
    serve["auth"] = {"keys": ["PLATFORM_API_KEY", "MY_TEAMS_KEY"]}
    assert load_documents([Document("job.yaml", 1, serve), Document("job.yaml", 9, TRAIN)])
