"""A decoder made from scratch on prompts and completions is asked by its endpoint as it was trained: 200 sums."""

import json
import random

import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM

from small_jobs import write
from trainshed.record.data_manifest import DataManifest
from trainshed.runtime.tasks import DataFacts

pytestmark = [pytest.mark.slow, pytest.mark.faults]  # two minutes; how a prompt is encoded is tested by itself

ASKED, AT_ONCE, ANSWER = 200, 10, 4
SUMS = [(one, other) for one in range(30) for other in range(30)]
PREPARE = {
    "kind": "prepare",
    "name": "sums",
    "source": {"kind": "jsonl", "path": "sums.jsonl"},
    "format": "prompt_completion",
    "tokenizer": {"kind": "characters"},
    "examples": {"max_tokens": 12, "max_target_tokens": 6},
    "split": {"validation": 0.05},
}
TRAIN = {
    "kind": "train",
    "name": "sums-model",
    "data": "run://sums",
    "model": {"kind": "llama", "layers": 2, "heads": 4, "width": 96},
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "schedule": {"kind": "cosine", "warmup_steps": 50},
    "workers": {"count": 1, "per_device_batch_size": 64},
    "global_batch_size": 64,
    "steps": 1500,
    "engine": {"kind": "ddp"},
    "validation": {"every_steps": 500},
    "register": "sums",
}
SERVE = {"kind": "serve", "name": "sums-answers", "model": "sums@latest", "auth": {"keys": ["PLATFORM_API_KEY"]}}


def test_an_endpoint_asks_as_the_training_did(platform, tmp_path):
    rows = [{"prompt": f"{one}+{other}=", "completion": str(one + other)} for one, other in SUMS]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    platform.run("submit", write(tmp_path, PREPARE, TRAIN, SERVE))
    asked = random.Random(0).sample(rows, ASKED)
    try:
        served = answers_of_the_endpoint(platform, [row["prompt"] for row in asked])
    finally:
        platform.run("stop", "sums-answers")
    trained = answers_as_trained(platform, [row["prompt"] for row in asked])
    right = sum(said == row["completion"] for said, row in zip(served, asked, strict=True))
    print(f"right: {right} of {ASKED}; equal to the training's own prompt: {sum(map(str.__eq__, served, trained))}")
    assert served == trained
    assert right > 0.8 * ASKED


def answers_of_the_endpoint(platform, prompts):
    """What a client of today gets, several prompts at a time."""
    [endpoint] = [one for one in platform.json("endpoints") if one["name"] == "sums-answers"]
    key = (platform.home / "secrets" / "PLATFORM_API_KEY").read_text().strip()
    said = []
    with OpenAI(base_url=f"{endpoint['url']}/v1", api_key=key) as client:
        for start in range(0, len(prompts), AT_ONCE):
            part = prompts[start : start + AT_ONCE]
            found = client.completions.create(model="sums@1", prompt=part, max_tokens=ANSWER, temperature=0)
            said += [choice.text for choice in sorted(found.choices, key=lambda choice: choice.index)]
    return said


def answers_as_trained(platform, prompts):
    """What the exported model says after the ids that a training row begins with."""
    data = platform.folder("sums") / "data"
    if not data.exists():
        data = platform.home / json.loads((platform.folder("sums") / "result.json").read_text())["data"]
    facts = DataFacts.read(data, DataManifest.model_validate_json((data / "manifest.json").read_text()))
    model = AutoModelForCausalLM.from_pretrained(platform.folder("sums-model") / "model").eval()
    said = []
    for ids in (facts.encoder.opened(ids) for ids in facts.encoder.texts(prompts)):
        whole = model.generate(torch.tensor(ids)[None], max_new_tokens=ANSWER, do_sample=False)
        said.append(facts.encoder.decode(whole[0, len(ids) :].tolist()))
    return said
