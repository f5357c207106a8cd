"""Learning from a reward: the answers are the policy's own, and every engine and number of workers learns the same."""

import copy
import json

import numpy as np
import pytest
import torch

from forking import run_workers
from grpo_worker import train_all
from task_cases import SHAPE, rewarded_case
from trainshed.errors import PlatformError
from trainshed.runtime.tasks.sampler import fingerprint
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.engines import Ddp, DeepSpeed, Fsdp
from trainshed.spec.training.models import Gpt2, Llama, Qwen2

LORA = Lora(rank=4, alpha=8, target_modules="all-linear")
ENGINES = {"ddp": Ddp(), "fsdp": Fsdp(), **{f"zero-{stage}": DeepSpeed(zero_stage=stage) for stage in (0, 2, 3)}}
SHOWN = ("train_loss", "reward", "ratio", "kl", "answer_tokens", "grad_norm")
CPU = torch.device("cpu")


class Policy:
    """A model as an engine has it."""

    splits_weights = False

    def __init__(self, model):
        self.model = model

    def export(self):
        return {name: one.detach().clone() for name, one in self.model.state_dict().items()}


def begun(case):
    """The task, with its model, as at a first step."""
    torch.manual_seed(0)
    task = case.task
    model = task.make_model()
    task.sync(Policy(model), CPU)
    return task, model


def batch_of(task, case, count=4, *, step=0, first=0):
    ids = np.arange(first, first + count)
    return task.batch(case.samples.take(ids), keys=[(7, step, int(number)) for number in ids])


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """The rows of short trainings by name: every engine on one and two workers, and adapters."""
    found = {}
    for workers in (1, 2):
        folder = tmp_path_factory.mktemp(f"workers-{workers}")
        cells = {}
        for name, engine in ENGINES.items():
            at = folder / f"{name}-tokenizer"
            cells[f"{name}-{workers}"] = (rewarded_case(at, Llama(**SHAPE)), engine, {})
        for name in ("ddp", "zero-3"):
            (folder / name).mkdir()
            case = rewarded_case(folder / name / "t", Gpt2(**SHAPE), existing=True, lora=LORA, task={"beta": 0.1})
            cells[f"{name}-lora-{workers}"] = (case, ENGINES[name], {})
        at = folder / "against-tokenizer"
        cells[f"against-{workers}"] = (rewarded_case(at, Qwen2(**SHAPE), task={"beta": 0.1}), Ddp(), {})
        run_workers(train_all, workers, folder, folder / "rendezvous", cells, logs=folder)
        found |= {name: json.loads((folder / f"{name}.json").read_text()) for name in cells}
    return found


def test_the_first_ratio_is_one_and_the_first_divergence_nothing_under_every_engine(curves):
    for name, rows in curves.items():
        assert rows[0]["ratio"] == pytest.approx(1.0, abs=1e-5), name
        assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-5), name
        assert rows[0]["clipped"] == 0, name


def test_every_ratio_is_one_for_the_answers_are_those_of_the_step_s_own_weights(curves):
    for name, rows in curves.items():
        assert [row["ratio"] for row in rows] == pytest.approx([1.0] * len(rows), abs=1e-5), name
        assert rows[-1]["reward"] != rows[0]["reward"], f"{name}: the weights did not move"


def test_every_engine_and_number_of_workers_learns_the_same(curves):
    for name, rows in curves.items():
        plain = "ddp-lora-1" if "lora" in name else "against-1" if "against" in name else "ddp-1"
        for row, wanted in zip(rows, curves[plain], strict=True):
            assert [row[one] for one in SHOWN] == pytest.approx([wanted[one] for one in SHOWN], rel=2e-4, abs=1e-5), (
                name
            )


def test_a_divergence_is_measured_once_the_weights_have_moved(curves):
    assert all(curves[name][-1]["kl"] > 1e-6 for name in ("against-1", "ddp-lora-1"))
    assert curves["ddp-1"][-1]["kl"] == 0, "without beta nothing is compared"


def test_validation_has_the_reward_of_held_out_prompts(curves):
    last = curves["ddp-1"][-1]
    assert last["validation_loss"] == pytest.approx(-last["validation_reward"])
    assert last["validation_answer_tokens"] <= 6


def test_answers_follow_from_seed_step_and_sample_alone(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, _ = begun(case)
    whole = batch_of(task, case, 4)
    parts = [batch_of(task, case, 2), batch_of(task, case, 2, first=2)]
    for row in range(16):
        part, number = parts[row // 8], row % 8
        labels = part["labels"][number]
        assert whole["labels"][row, : len(labels)].tolist()[: len(labels)] == labels.tolist()
    assert not torch.equal(batch_of(task, case, 4, step=1)["rewards"], whole["rewards"])


def test_drawn_log_probabilities_are_those_of_the_training_forward(tmp_path):
    case = rewarded_case(tmp_path / "t", Gpt2(**SHAPE))
    task, model = begun(case)
    batch = batch_of(task, case)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    said = logits.log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    counts = batch["labels"][:, 1:] != -100
    torch.testing.assert_close(batch["drawn"][counts], said[counts], rtol=0, atol=1e-5)
    assert (batch["drawn"][~counts] == 0).all()


def test_advantages_are_rewards_against_their_group(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, _ = begun(case)
    batch = batch_of(task, case)
    for rewards, advantages in zip(batch["rewards"].view(4, 4), batch["advantages"].view(4, 4), strict=True):
        wanted = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        torch.testing.assert_close(advantages, wanted)


def test_a_group_of_equal_rewards_teaches_nothing(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE), reward="own_rewards:of_numpy")
    task, model = begun(case)
    task.loss(model, batch_of(task, case), label_smoothing=0.0).backward()
    assert max(float(one.grad.abs().max()) for one in model.parameters() if one.grad is not None) < 1e-8


def test_the_gradient_is_that_of_the_policy(tmp_path):
    """At a ratio of one: the advantage times the gradient of the log-probability, a mean over tokens and group."""
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, model = begun(case)
    batch = batch_of(task, case)
    task.loss(model, batch, label_smoothing=0.0).backward()
    found = [one.grad.clone() for one in model.parameters()]
    model.zero_grad()
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    said = logits.log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    counts = batch["labels"][:, 1:] != -100
    rows = (said * counts).sum(1) / counts.sum(1)
    (-(rows * batch["advantages"]).sum() / 4).backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-3, atol=1e-6)


def test_a_token_whose_probability_has_moved_too_far_is_clipped(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, model = begun(case)
    batch = batch_of(task, case)
    counts = batch["labels"][:, 1:] != -100
    upward = {**batch, "drawn": batch["drawn"] - 1.0 * counts, "advantages": torch.ones(16)}
    task.loss(model, upward, label_smoothing=0.0).backward()
    assert max(float(one.grad.abs().max()) for one in model.parameters()) == 0, "already more likely by a factor of e"
    figures = task.figures(lambda one: one)
    assert figures["clipped"] == 1.0
    assert figures["ratio"] == pytest.approx(np.e, rel=1e-4)
    downward = {**upward, "advantages": -torch.ones(16)}
    task.loss(model, downward, label_smoothing=0.0).backward()
    assert max(float(one.grad.abs().max()) for one in model.parameters()) > 0, "what is worse is unlearnt"


def test_weights_that_answer_and_are_not_those_that_are_trained_are_noticed(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, model = begun(case)
    with torch.no_grad():
        own = copy.deepcopy(task._sampler._model)
        next(own.parameters())[0, 0] += 1e-3
    task._sampler._model = own
    with pytest.raises(PlatformError, match="other weights than the one that is trained"):
        task.sync(Policy(model), CPU)


def test_weights_are_shared_where_an_engine_has_them_whole_and_copied_where_it_has_not(tmp_path):
    case = rewarded_case(tmp_path / "t", Llama(**SHAPE))
    task, model = begun(case)
    own = dict(task._sampler._model.named_parameters())
    assert all(own[name].data_ptr() == one.data_ptr() for name, one in model.named_parameters())
    assert own["model.norm.weight"].requires_grad
    half = rewarded_case(tmp_path / "u", Llama(**SHAPE), precision="bf16")
    task, model = begun(half)
    own = dict(task._sampler._model.named_parameters())
    assert not any(own[name].data_ptr() == one.data_ptr() for name, one in model.named_parameters())
    assert {one.dtype for one in own.values()} == {torch.bfloat16}


@pytest.mark.parametrize("change", ["one bit", "two rows", "a name"])
def test_a_fingerprint_follows_from_every_bit(change):
    state = {"a": torch.randn(6, 3), "b": torch.randn(4)}
    other = {name: one.clone() for name, one in state.items()}
    if change == "one bit":
        other["b"].view(torch.int32)[2] ^= 1
    elif change == "two rows":
        other["a"] = other["a"][[1, 0, 2, 3, 4, 5]]
    else:
        other = {"a": other["a"], "c": other["b"]}
    assert fingerprint(state) == fingerprint({name: one.clone() for name, one in state.items()})
    assert fingerprint(other) != fingerprint(state)
