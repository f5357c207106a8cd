"""From text to a served, traceable model: the main job, small, on a real cluster, through the command alone."""

import hashlib
import json
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from openai import OpenAI
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from listeners import looking_at_listeners, open_to_others
from waiting import wait_for

pytestmark = pytest.mark.slow

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
WORKERS = {"count": 2, "per_device_batch_size": 4}
DOCUMENTS = [
    {
        "kind": "prepare",
        "name": "tales",
        "source": {"kind": "text_files", "path": "texts/*.txt"},
        "steps": [{"kind": "clean"}, {"kind": "deduplicate"}],
        "tokenizer": {"kind": "train_bpe", "vocab_size": 400, "chat_template": CHAT},
        "pack": {"block_size": 32},
        "split": {"validation": 0.2},
    },
    {
        "kind": "tune",
        "name": "tales-sweep",
        "train": {
            "model": {"kind": "llama", "layers": 1, "heads": 2, "width": 32},
            "data": "run://tales",
            "optimizer": {"kind": "adamw", "learning_rate": 0.003},
            "workers": {"count": 1, "per_device_batch_size": 8},
            "global_batch_size": 8,
            "steps": 12,
            "validation": {"every_steps": 4},
        },
        "space": {
            "optimizer.learning_rate": {"log_uniform": [0.001, 0.02]},
            "schedule.kind": {"choice": ["constant", "linear"]},
        },
        "search": {"kind": "random", "trials": 3, "concurrent": 2},
        "stop_early": {"kind": "asha", "grace_steps": 4, "reduction": 2},
    },
    {
        "kind": "train",
        "name": "tales-model",
        "from_best": "run://tales-sweep",
        "workers": WORKERS,
        "engine": {"kind": "deepspeed", "zero_stage": 3},
        "steps": 30,
        "checkpoint": {"every_steps": 10, "keep": 2},
        "register": "tales",
    },
    {
        "kind": "serve",
        "name": "tales-answers",
        "model": "tales@latest",
        "replicas": {"max": 2},
        "auth": {"keys": ["PLATFORM_API_KEY"]},
    },
]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    (folder / "texts").mkdir()
    for number in range(60):
        animal, place = ("cat", "dog", "owl", "fox")[number % 4], ("hill", "wood", "town")[number % 3]
        lines = [f"The {animal} number {number} goes to the {place} on day {day}.\n" for day in range(40)]
        (folder / "texts" / f"{number:02d}.txt").write_text("".join(lines))
    (folder / "texts" / "again.txt").write_text((folder / "texts" / "00.txt").read_text())
    (folder / "job.yaml").write_text("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in DOCUMENTS))
    return folder / "job.yaml"


@pytest.fixture(scope="module")
def life(platform, job):
    """The command's own output, after the whole job, and what its cluster listened on meanwhile."""
    platform.run("cluster", "down")
    (platform.home / "secrets" / "PLATFORM_API_KEY").unlink(missing_ok=True)
    with looking_at_listeners(platform.home) as found:
        return platform.run("submit", job), found


@pytest.fixture(scope="module")
def lived(life):
    """The command's own output; it began without a cluster and without a key."""
    return life[0]


def test_the_cluster_is_started_and_said(lived):
    assert "no cluster is configured: starting Ray on this machine" in lived.stderr
    assert "made a key for PLATFORM_API_KEY" in lived.stderr


def test_nothing_listens_where_another_machine_reaches_it(life):
    _, listeners = life
    assert open_to_others(listeners) == set()
    for title in ("ray::ImplicitFunc", "ray::StandbyWorker", "ray::ServeReplica"):  # a trial, a worker, a replica
        assert any(title in seen for seen, _ in listeners), f"{title} was not looked at"


def test_every_document_succeeds_and_says_how_far_it_is(lived, platform):
    states = {run["name"]: run["state"] for run in platform.json("runs")}
    assert [states[one["name"]] for one in DOCUMENTS] == ["succeeded"] * 4
    for words in ("make samples", "trial-00002", "best of 3", "train 30/30", "ask a first question"):
        assert words in lived.stdout


def test_a_copy_of_a_document_is_dropped(lived, platform):
    assert "60 documents after clean, deduplicate" in lived.stdout
    splits = platform.json("show", "tales")["result"]["manifest"]["splits"]
    assert splits["train"]["documents"] + splits["validation"]["documents"] == 60


def test_the_record_holds_what_the_run_left(lived, platform):
    folder = platform.folder("tales-model")
    assert {path.name for path in folder.iterdir()} >= {
        "job.json", "events.jsonl", "metrics.jsonl", "logs", "checkpoints", "model", "result.json", "lineage.json",
        "loss.png",
    }  # fmt: skip
    assert {path.name for path in (folder / "logs").iterdir()} == {"driver.log", "worker-0.log", "worker-1.log"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] - 0.5
    kept = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    assert kept == ["step-0000020", "step-0000030"]
    assert (platform.folder("tales-sweep") / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_the_loss_is_compared_with_the_unigram_entropy(lived, platform):
    result = platform.json("show", "tales-model")["result"]
    assert result["metrics"]["validation_loss"] < result["unigram_entropy_nats"]
    assert "unigram entropy of the same tokens" in lived.stdout


def test_the_training_is_the_best_trials_with_its_own_fields_over_it(lived, platform):
    best = platform.json("show", "tales-sweep")["result"]["best"]
    trained = platform.json("show", "tales-model")["job"]["job"]
    assert trained["optimizer"]["learning_rate"] == best["settings"]["optimizer.learning_rate"]
    assert trained["schedule"]["kind"] == best["settings"]["schedule.kind"]
    assert (trained["steps"], trained["engine"]["zero_stage"]) == (30, 3)
    values = [trial["value"] for trial in platform.json("show", "tales-sweep")["result"]["trials"]]
    assert best["value"] == min(values)


def test_show_draws_the_curve_and_the_trials(lived, platform):
    page = platform.run("show", "tales-model").stdout
    assert "validation loss" in page
    assert "optimizer step" in page
    assert "trial-00001" in platform.run("show", "tales-sweep").stdout


def test_transformers_opens_the_export_and_says_the_same(lived, platform):
    folder = platform.folder("tales-model") / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = "The cat number 8 goes"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    expected = tokenizer.decode(model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :])
    answer = platform.json("ask", "tales-answers", prompt, "--max-tokens", 12)
    assert answer["choices"][0]["text"] == expected
    assert answer["usage"] == {
        "prompt_tokens": ids.shape[1],
        "completion_tokens": 12,
        "total_tokens": ids.shape[1] + 12,
    }


def test_an_answer_leads_back_to_checkpoint_trial_code_configuration_and_data(lived, platform):
    answer = platform.json("ask", "tales-answers", "The dog", "--max-tokens", 2)
    version = next(one for one in platform.json("models") if f"{one['name']}@{one['version']}" == answer["model"])
    run = platform.json("show", version["run_id"])
    lineage = run["lineage"]
    assert lineage["fingerprint"].startswith(answer["system_fingerprint"])
    assert lineage["trial"]["trial"] == platform.json("show", "tales-sweep")["result"]["best"]["trial"]
    assert lineage["checkpoint"]["step"] == 30
    assert (platform.folder("tales-model") / lineage["checkpoint"]["folder"]).is_dir()
    assert lineage["data"]["run_id"] == platform.json("show", "tales")["job"]["run_id"]
    assert lineage["configuration"] == run["job"]["job"]
    assert len(lineage["code"]["package_sha256"]) == 64
    weights = platform.folder("tales-model") / "model" / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == lineage["model_sha256"]
    with safe_open(weights, "np") as opened:
        assert len(opened.keys()) > 5


def test_the_endpoint_wants_its_key_and_speaks_openai(lived, platform):
    endpoint = platform.json("endpoints")[0]
    assert endpoint["answers"]
    assert httpx.get(f"{endpoint['url']}/v1/models").status_code == 401
    key = (platform.home / "secrets" / "PLATFORM_API_KEY").read_text().strip()
    client = OpenAI(base_url=f"{endpoint['url']}/v1", api_key=key)
    assert [model.id for model in client.models.list()] == ["tales@1"]
    chunks = client.completions.create(model="tales@1", prompt="The owl", max_tokens=6, temperature=0, stream=True)
    streamed = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    whole = client.completions.create(model="tales@1", prompt="The owl", max_tokens=6, temperature=0)
    assert streamed == whole.choices[0].text
    said = client.chat.completions.create(
        model="tales@1", messages=[{"role": "user", "content": "The fox"}], max_tokens=4, temperature=0
    )
    assert said.usage.completion_tokens == 4


def test_a_key_is_never_written_into_a_record(lived, platform):
    key = (platform.home / "secrets" / "PLATFORM_API_KEY").read_bytes().strip()
    files = [path for path in (platform.home / "runs").rglob("*") if path.is_file()]
    assert [path for path in files if key in path.read_bytes()] == []


def test_preparing_the_same_again_does_no_work(lived, platform, job):
    first = platform.json("show", "tales")["result"]
    alone = job.with_name("again.yaml")
    alone.write_text(yaml.safe_dump(DOCUMENTS[0], sort_keys=False))
    done = platform.run("submit", alone)
    assert "unchanged: the data is already there" in done.stdout
    again = platform.json("show", "tales")["result"]
    assert again["reused"]
    assert again["data"] == first["data"]


def test_logs_are_those_of_the_run(lived, platform):
    assert "registered tales@1" in platform.run("logs", "tales-model").stdout
    assert "worker 1 of 2" in platform.run("logs", "tales-model", "--worker", "1").stdout


def test_an_endpoints_file_that_a_stranger_wrote_runs_no_command(lived, platform):
    """Its name would be a command, and it belongs to a run that has ended: `stop` finds nothing to stop there."""
    run, seen = platform.json("show", "tales")["job"]["run_id"], Path(f"{platform.home}-ran")
    facts = {
        "name": 'x$(touch${IFS}"${PLATFORM_HOME}-ran")',
        "run_id": run,
        "url": "http://127.0.0.1:9/x",
        "auth": ["A_KEY"],
    }
    file = platform.home / "endpoints" / "x.json"
    file.write_text(json.dumps({**facts, "model": "tales@1", "deployed_at": "2026-11-25T00:00:00.000+00:00"}))
    refused = platform.run("stop", run, code=2)
    file.unlink()
    assert "endpoints/x.json: name:" in refused.stderr
    assert not seen.exists()


@pytest.mark.faults  # tests/serving has the same of a replica that is made anew
def test_a_replica_that_finds_other_files_does_not_answer_and_endpoints_says_why(lived, platform):
    weights = platform.folder("tales-model") / "model" / "model.safetensors"
    exported = weights.read_bytes()
    weights.write_bytes(exported[:-1] + bytes([exported[-1] ^ 0x80]))  # the sign of the last weight
    head = psutil.Process(platform.json("cluster", "up")["pid"])
    [replica] = [one for one in head.children(recursive=True) if "ServeReplica:tales-answers" in one.cmdline()[0]]
    replica.kill()

    def cause():
        [endpoint] = platform.json("endpoints")
        return None if endpoint["answers"] else endpoint["cause"]

    wait_for(lambda: "model.safetensors: not the file that was exported" in (cause() or ""))
    assert "not the file that was exported" in platform.run("endpoints", "tales-answers").stderr
    weights.write_bytes(exported)
    wait_for(lambda: platform.json("endpoints")[0]["answers"])


def test_stopping_the_serve_run_takes_the_endpoint_down(lived, platform):
    url = platform.json("endpoints")[0]["url"]
    platform.run("stop", "tales-answers")
    assert platform.json("endpoints") == []
    assert httpx.get(f"{url}/health", headers={"Cache-Control": "no-cache"}).status_code == 404
