"""A reward that can be verified: sums of two digits, from a model that knows the format only."""

import json
import random

import pytest

from small_jobs import write, write_code

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(1600)]  # ten minutes

FORMAT = {
    "kind": "prepare",
    "name": "format",
    "source": {"kind": "jsonl", "path": "format.jsonl"},
    "format": "prompt_completion",
    "tokenizer": {"kind": "characters"},
    "examples": {"max_tokens": 8, "max_target_tokens": 4},
    "split": {"validation": 0.05},
}
KNOWS_IT = {
    "kind": "train",
    "name": "knows-the-format",
    "model": {"kind": "llama", "layers": 2, "heads": 4, "width": 64, "context": 16},
    "data": "run://format",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "schedule": {"kind": "cosine", "warmup_steps": 20},
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 32},
    "global_batch_size": 32,
    "steps": 200,
    "register": "knows-the-format",
}
SUMS = {
    **FORMAT,
    "name": "rewarded-sums",
    "source": {"kind": "jsonl", "path": "sums.jsonl", "validation": "sums.jsonl"},
    "tokenizer": {"kind": "of_data", "data": "run://format"},
    "split": {"remove_leaks": False},
}
REWARDED = {
    "kind": "train",
    "name": "rewarded",
    "task": {
        "kind": "grpo",
        "reward": "sums_reward:score",
        "group_size": 16,
        "max_new_tokens": 4,
        "answers_at_once": 480,
    },
    "model": {"kind": "pretrained", "name_or_path": "knows-the-format@latest"},
    "data": "run://rewarded-sums",
    "optimizer": {"kind": "adamw", "learning_rate": 0.0015, "weight_decay": 0.0},
    "schedule": {"kind": "linear", "warmup_steps": 50},
    "regularization": {"max_grad_norm": 0.5},
    "engine": {"kind": "ddp"},
    "workers": {"count": 1, "per_device_batch_size": 30},
    "global_batch_size": 30,
    "steps": 1200,
    "validation": {"every_steps": 100, "at_start": True},
}
REWARD = "def score(prompt, answer, expected):\n    return 1.0 if answer == expected else 0.0\n"


def test_sums_of_two_digits_are_learnt_from_their_reward_alone(platform, tmp_path):
    draw = random.Random(0)
    pairs = [(one, other) for one in range(10) for other in range(10)]
    asked = [{"prompt": f"{one}+{other}=", "completion": str(draw.randint(0, 18))} for one, other in pairs * 40]
    sums = [{"prompt": f"{one}+{other}=", "completion": str(one + other)} for one, other in pairs]
    (tmp_path / "format.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, sums)))
    write_code(tmp_path, "sums_reward", REWARD)
    submitting = platform.start("submit", write(tmp_path, FORMAT, KNOWS_IT, SUMS, REWARDED))
    stdout, stderr = submitting.communicate(timeout=1500)
    assert submitting.returncode == 0, stdout + stderr
    rows = platform.json("show", "rewarded")["metrics"]
    held_out = [row["validation_reward"] for row in rows if "validation_reward" in row]
    print(f"reward: {held_out}; seconds: {rows[-1]['time'] - rows[0]['time']:.0f}")
    assert held_out[0] < 0.3
    assert held_out[-1] > 0.9
    assert [row["ratio"] for row in rows if "ratio" in row] == pytest.approx([1.0] * 1200, abs=1e-5)
