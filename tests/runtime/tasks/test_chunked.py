"""Logits in chunks: the same losses, gradients and figures as of all logits at once, and a part of their memory."""

import copy
import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from chunked_worker import five
from peak_memory import PeakMemory
from task_cases import CASES
from tiny_families import FAMILIES, config_of
from trainshed.runtime import tasks
from trainshed.runtime.tasks import causal_lm
from trainshed.runtime.tasks.chunked import ChunkedHead
from trainshed.spec.training.logits import CHUNK_BYTES, WHOLE_BYTES, has_plain_head, tokens_at_once

DECODERS = [name for name, (auto, _) in FAMILIES.items() if auto is AutoModelForCausalLM]
TASKS = [name for name in CASES if name.startswith(("causal_lm", "dpo", "orpo"))]


def loss_and_gradients(config, *, chunked, smoothing):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    head = ChunkedHead(config, five)
    if chunked:
        head.put_on(model)
    ids = torch.randint(3, config.vocab_size, (2, 13))
    targets = torch.where(torch.rand(2, 13) < 0.7, ids.roll(-1, 1), -100)
    with head.asked(targets, label_smoothing=smoothing):
        logits = model(input_ids=ids).logits
    assert head.answered == chunked
    if chunked:
        assert logits.shape == (2, 13, 2)
        loss, right = logits[..., 0].sum(), logits[..., 1]
    else:
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="sum", label_smoothing=smoothing
        )
        right = (logits.argmax(-1) == targets).float()
    loss.backward()
    return loss.detach(), right, {name: one.grad for name, one in model.named_parameters()}


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients_are_those_of_whole_logits(family, smoothing):
    config = config_of(family)
    config.use_cache = False
    if not has_plain_head(config.to_dict()):
        config.final_logit_softcapping = None
    whole, right, gradients = loss_and_gradients(config, chunked=False, smoothing=smoothing)
    loss, right_too, gradients_too = loss_and_gradients(config, chunked=True, smoothing=smoothing)
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=0)
    assert torch.equal(right, right_too)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_too[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_a_model_that_changes_its_logits_after_its_head_keeps_them_whole():
    config = config_of("gemma2")
    config.final_logit_softcapping = 30.0
    model, head = AutoModelForCausalLM.from_config(config), ChunkedHead(config, five)
    head.put_on(model)
    ids = torch.randint(3, config.vocab_size, (1, 13))
    with head.asked(ids):
        assert model(input_ids=ids).logits.shape[-1] == config.vocab_size
    assert not head.answered


def test_a_copy_of_a_model_answers_with_its_own_head():
    config = config_of("llama")
    model, head = AutoModelForCausalLM.from_config(config).eval(), ChunkedHead(config, five)
    head.put_on(model)
    copied = copy.deepcopy(model)
    ids = torch.randint(3, config.vocab_size, (1, 13))
    with torch.no_grad():
        copied.get_output_embeddings().weight.zero_()
        with head.asked(ids):
            ahead, behind = (one(input_ids=ids).logits[..., 0].mean() for one in (model, copied))
    assert float(behind) == pytest.approx(math.log(config.vocab_size))
    assert float(ahead) != pytest.approx(math.log(config.vocab_size), rel=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_every_decoder_s_task_has_the_same_loss_and_figures(name, tmp_path, monkeypatch):
    found = []
    for at_once in (lambda tokens, vocabulary: tokens, five):
        monkeypatch.setattr(causal_lm, "ChunkedHead", lambda config, rule=at_once: ChunkedHead(config, rule))
        (folder := tmp_path / str(len(found))).mkdir()
        case = CASES[name](folder / "tokenizer")
        task = tasks.build(case.training, case.facts)
        torch.manual_seed(0)
        model = task.make_model().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # a model that is its reference has ties, which roundings decide
                parameter += 0.01 * torch.randn_like(parameter)
        batch = task.batch(case.samples.take(np.arange(6)), keys=[(n,) for n in range(6)])
        meter = task.meter()
        with torch.no_grad():
            meter.add(model, batch)
            loss = float(task.loss(model, batch, label_smoothing=0.05))
        head = getattr(task, "_language", task)._head
        found.append((head.answered, loss, meter.metrics()))
    (whole, loss, figures), (in_chunks, loss_too, figures_too) = found
    assert (whole, in_chunks) == (False, True)
    assert loss_too == pytest.approx(loss, rel=1e-6)
    assert figures_too == pytest.approx(figures, rel=1e-6, abs=1e-5)  # a margin may be a difference of a hair


def test_the_peak_has_one_chunk_of_logits():
    config = config_of("llama")
    config.vocab_size, config.use_cache, config.max_position_embeddings = 20_000, False, 512
    peaks = {}
    for rows in (512, 32):
        model, head = AutoModelForCausalLM.from_config(config), ChunkedHead(config, lambda *_, rows=rows: rows)
        head.put_on(model)
        ids = torch.randint(3, 20_000, (1, 512))
        with PeakMemory(model) as memory, head.asked(ids):
            logits = model(input_ids=ids).logits
            loss = logits[..., 0] if head.answered else torch.nn.functional.cross_entropy(logits[0].float(), ids[0])
            loss.sum().backward()
        peaks[rows] = memory.peak
    logits = 4 * 512 * 20_000
    assert peaks[512] > 2 * logits
    assert peaks[32] < 0.35 * logits + 4 * 20_000 * 32 * 2, "more than chunks, and the gradient of the head"


def test_few_logits_stay_whole_and_many_are_cut_to_a_size():
    assert tokens_at_once(WHOLE_BYTES // 4 // 1000, 1000) == WHOLE_BYTES // 4 // 1000
    assert tokens_at_once(8192, 151_936) == CHUNK_BYTES // 4 // 151_936
    assert tokens_at_once(10**6, 10**9) == 1
