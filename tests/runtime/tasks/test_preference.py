"""The losses of comparisons: DPO's against TRL's own figures, each against its paper; the reference of adapters."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from task_cases import SHAPE, batch_of, case_with_reference, model_of, preference_case, preferring_case
from trainshed.errors import PlatformError
from trainshed.runtime import tasks
from trainshed.runtime.tasks.preference import dpo_figures, orpo_figures
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import Gpt2, Llama, Qwen2
from trainshed.spec.training.preference import Dpo, Orpo

POLICY = torch.tensor((
    -57.004234313964844, -63.58690643310547, -56.56116485595703, -63.17353820800781,
    -45.83798599243164, -51.97077560424805, -45.0433235168457, -51.82163619995117,
))  # fmt: skip
REFERENCE = torch.tensor((
    -56.983306884765625, -63.05534362792969, -56.38566207885742, -62.85154724121094,
    -45.777862548828125, -51.777957916259766, -45.09596252441406, -51.64992141723633,
))  # fmt: skip
LENGTHS = torch.tensor([10, 11, 10, 11, 8, 9, 8, 9])
OF_TRL = {"sigmoid": 0.7370105385780334, "ipo": 1.0282597541809082, "hinge": 1.0847463607788086}
"""What DPOTrainer of TRL 1.16 gave for these pairs at a beta of 0.5; benchmarks/preference_agreement.py asks it."""


@pytest.mark.parametrize("loss", OF_TRL)
def test_the_loss_is_that_of_trl(loss):
    found = dpo_figures(Dpo(loss=loss, beta=0.5), POLICY, REFERENCE, LENGTHS)["loss"].mean()
    assert float(found) == pytest.approx(OF_TRL[loss], rel=1e-6)


def test_smoothing_is_the_share_of_pairs_that_are_the_wrong_way_around():
    task = Dpo(beta=0.5)
    turned = [torch.cat(one.chunk(2)[::-1]) for one in (POLICY, REFERENCE, LENGTHS)]
    right = dpo_figures(task, POLICY, REFERENCE, LENGTHS)["loss"]
    wrong = dpo_figures(task, *turned)["loss"]
    smooth = dpo_figures(Dpo(beta=0.5, label_smoothing=0.2), POLICY, REFERENCE, LENGTHS)["loss"]
    torch.testing.assert_close(smooth, 0.8 * right + 0.2 * wrong)


def test_rewards_are_the_gain_over_the_reference():
    found = dpo_figures(Dpo(beta=0.5), POLICY, REFERENCE, LENGTHS)
    chosen, rejected = (0.5 * (POLICY - REFERENCE)).chunk(2)
    torch.testing.assert_close(found["chosen_reward"], chosen)
    torch.testing.assert_close(found["rejected_reward"], rejected)
    torch.testing.assert_close(found["margin"], chosen - rejected)
    assert found["accuracy"].tolist() == [float(a > b) for a, b in zip(chosen, rejected, strict=True)]
    torch.testing.assert_close(found["kl"], chosen + rejected)


def test_a_model_that_is_its_reference_has_no_margin_and_half_the_pairs():
    found = dpo_figures(Dpo(), REFERENCE, REFERENCE, LENGTHS)
    assert found["accuracy"].mean() == 0.5
    assert found["kl"].abs().max() == found["margin"].abs().max() == 0
    torch.testing.assert_close(found["loss"], torch.full((4,), float(np.log(2))))


def test_orpo_is_the_paper_s_loss():
    means = (POLICY / LENGTHS).double()
    chosen, rejected = means.exp().chunk(2)
    ratio = torch.log((chosen / (1 - chosen)) / (rejected / (1 - rejected)))
    wanted = -means.chunk(2)[0] - 0.3 * torch.log(torch.sigmoid(ratio))
    found = orpo_figures(Orpo(beta=0.3), means)
    torch.testing.assert_close(found["loss"], wanted)
    torch.testing.assert_close(found["margin"], ratio)
    assert torch.isfinite(orpo_figures(Orpo(), torch.zeros(4))["loss"]).all(), "an answer that is certain"


@pytest.mark.parametrize("model", [Llama, Gpt2, Qwen2])
def test_a_reference_of_columns_and_one_of_adapters_are_the_same(model, tmp_path):
    """With dropout on: the reference has none, as it has none where it was measured."""
    lora = Lora(rank=4, alpha=8, target_modules="all-linear", dropout=0.3)
    dropping = model(**SHAPE, dropout=0.3)
    case = preferring_case(tmp_path / "tokenizer", dropping, lora=lora)
    policy, _ = model_of(case, steps=4)
    there = copy.deepcopy(policy).eval()
    batch = batch_of(case, np.arange(8))
    with torch.no_grad(), there.disable_adapter():
        figures = case.task.of_samples(there, batch)
    batch["reference"] = torch.cat(list(figures.values()))
    own = batch_of(case, np.arange(8))
    for learns in (False, True):
        policy.train(learns)
        torch.manual_seed(1)
        by_columns = case.task.loss(policy, batch, label_smoothing=0.0)
        torch.manual_seed(1)
        by_adapters = case.task.loss(policy, own, label_smoothing=0.0)
        torch.testing.assert_close(by_adapters, by_columns, rtol=1e-6, atol=1e-6)
        assert policy.training == learns
        assert all(one.requires_grad == ("lora_" in name) for name, one in policy.named_parameters())


def test_the_first_loss_is_that_of_no_preference_where_the_model_is_its_reference(tmp_path):
    case = preferring_case(tmp_path / "tokenizer", Llama(**SHAPE))
    model, _ = model_of(case)
    meter = case.task.meter()
    with torch.no_grad():
        meter.add(model, batch_of(case, np.arange(16)))
    found = meter.metrics()
    assert found["loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert found["kl"] == pytest.approx(0, abs=1e-5)


def test_the_reference_is_the_log_probability_of_each_answer_given_its_prompt(tmp_path):
    case = preference_case(tmp_path / "tokenizer", Dpo(), Llama(**SHAPE))
    model, _ = model_of(case)
    with torch.no_grad():
        found = case.task.of_samples(model, batch_of(case, np.arange(5)))
    for name, ids, mask in (("chosen", "tokens", "loss_mask"), ("rejected", "rejected", "rejected_mask")):
        for number in range(5):
            row = torch.from_numpy(case.samples.columns[ids][number])
            with torch.no_grad():
                said = model(input_ids=row[None]).logits[0, :-1].log_softmax(-1)
            each = said.gather(1, row[1:, None])[:, 0]
            counts = torch.from_numpy(case.samples.columns[mask][number][1:]) > 0
            assert float(found[f"reference_{name}"][number]) == pytest.approx(float(each[counts].sum()), rel=1e-5)


def test_a_reference_of_another_architecture_is_refused(tmp_path):
    case = preference_case(tmp_path / "tokenizer", Dpo(), Llama(**SHAPE))
    shape = case.task.shape
    said = {
        "is a qwen2, and the model a llama": {**shape, "model_type": "qwen2"},
        "has layers 7, and the model 1": {**shape, "layers": 7},
        "has width 64, and the model 32": {**shape, "width": 64},
    }
    for why, other in said.items():
        facts = dataclasses.replace(case.facts, reference=other)
        with pytest.raises(PlatformError, match=f"data: the reference of run://data {why}"):
            tasks.build(case.training, facts)
    tasks.build(case.training, dataclasses.replace(case.facts, reference=shape))


def test_a_batch_has_preferred_answers_first_with_their_reference(tmp_path):
    case = case_with_reference(preference_case(tmp_path / "tokenizer", Dpo(), Llama(**SHAPE)), (-1.0, -2.0))
    batch = batch_of(case, np.arange(3))
    assert batch["reference"].tolist() == [-1.0] * 3 + [-2.0] * 3
    assert case.task.weight(batch) == 3
    columns = case.samples.columns
    for row, ids, mask in ((0, "tokens", "loss_mask"), (3, "rejected", "rejected_mask")):
        own = columns[ids][0]
        assert batch["input_ids"][row, : len(own)].tolist() == own.tolist()
        wanted = np.where(columns[mask][0] > 0, own, -100)
        assert batch["labels"][row, : len(own)].tolist() == wanted.tolist()
        assert F.relu(batch["labels"][row, len(own) :]).sum() == 0
