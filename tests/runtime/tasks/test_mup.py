"""muP: what changes against the standard parametrisation, and that activations then move alike at every width."""

import pytest
import torch

from trainshed.runtime import tasks
from trainshed.runtime.encoding import SpecialIds
from trainshed.runtime.training.optim.optimizers import build_optimizer
from trainshed.spec.training.models import Gpt2, Llama, Qwen2, Qwen3, growth
from trainshed.spec.training.optimizers import AdamW, Lion
from trainshed.spec.training.train import Training

VOCAB, TIME, BASE, HEAD_SIZE = 50, 12, 16, 8
FAMILIES = {
    "gpt2": (Gpt2, {}),
    "llama": (Llama, {}),
    "llama, untied": (Llama, {"tie_embeddings": False}),
    "qwen2": (Qwen2, {}),
    "qwen3": (Qwen3, {}),
}
OUTPUT_NORM = {"transformer.ln_f.weight", "transformer.ln_f.bias", "model.norm.weight"}


class Facts(tasks.DataFacts):
    """Sizes without a tokenizer on the disk."""

    special = SpecialIds(eos=0, bos=0, pad=1, mask=None, cls=None, all=frozenset((0, 1)))


def shape(family, width, **more):
    made, settings = FAMILIES[family]
    return made(layers=2, heads=width // HEAD_SIZE, width=width, **settings, **more)


def model_of(shape, seed=0):
    """As a training makes it."""
    training = Training(model=shape, data="run://x", optimizer=AdamW(learning_rate=0.1), global_batch_size=8, steps=1)
    torch.manual_seed(seed)
    return tasks.build(training, Facts(VOCAB, TIME, None)).make_model()


def groups_of(shape, optimizer=None):
    """What each weight's group says, by the weight's name."""
    model = model_of(shape)
    built = build_optimizer(optimizer or AdamW(learning_rate=0.1, weight_decay=0.2), model, growth=growth(shape))
    names = {id(weight): name for name, weight in model.named_parameters()}
    said = [{key: value for key, value in group.items() if key != "params"} for group in built.param_groups]
    return {
        names[id(weight)]: own
        for group, own in zip(built.param_groups, said, strict=True)
        for weight in group["params"]
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_at_its_base_width_a_model_is_the_standard_one_bit_for_bit(family):
    standard, ours = shape(family, BASE), shape(family, BASE, mup_base_width=BASE)
    weights, expected = model_of(ours).state_dict(), model_of(standard).state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert groups_of(ours) == groups_of(standard)


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_of_layers_and_the_last_norm_start_and_learn_at_less(family, times):
    wide = shape(family, times * BASE, mup_base_width=BASE)
    standard = dict(model_of(shape(family, times * BASE)).named_parameters())
    groups = groups_of(wide)
    for name, weight in model_of(wide).named_parameters():
        hidden = weight.ndim == 2 and (".layers." in name or ".h." in name)
        initial = 1 / times if name in OUTPUT_NORM else 1.0
        if hidden:
            initial = times**-0.5
        assert torch.equal(weight, standard[name] * initial), name
        assert groups[name]["lr_scale"] == (1 / times if hidden or name in OUTPUT_NORM else 1.0), name
        assert groups[name]["weight_decay"] * groups[name]["lr_scale"] == (0.2 if weight.ndim == 2 else 0.0), name
    assert any(group["lr_scale"] != 1.0 for group in groups.values())


def test_rates_by_layer_multiply_those_of_mup():
    wide = shape("gpt2", 2 * BASE, mup_base_width=BASE)
    groups = groups_of(wide, AdamW(learning_rate=0.1, weight_decay=0.2, layer_decay=0.5))
    assert groups["transformer.h.1.attn.c_attn.weight"]["lr_scale"] == 0.5 * 0.5
    assert groups["transformer.h.0.attn.c_attn.weight"]["lr_scale"] == 0.25 * 0.5
    assert groups["transformer.h.0.attn.c_attn.weight"]["weight_decay"] == 0.4
    assert groups["transformer.wte.weight"]["lr_scale"] == 0.125


@pytest.mark.parametrize("family", ["gpt2", "llama", "llama, untied"])
def test_the_last_norm_is_a_factor_on_the_logits(family):
    model = model_of(shape(family, 4 * BASE, mup_base_width=BASE))
    tokens = torch.arange(TIME)[None]
    scaled = model(tokens).logits
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in OUTPUT_NORM:
                weight.mul_(4)
    torch.testing.assert_close(scaled * 4, model(tokens).logits)


def moved(family, width, optimizer, *, mup):
    """Root mean square of what four steps change in the last hidden states and in the logits, mean of two seeds."""
    wide = shape(family, width, **({"mup_base_width": BASE} if mup else {}))
    changes = torch.zeros(2)
    for seed in range(2):
        model = model_of(wide, seed)
        built = build_optimizer(optimizer, model, growth=growth(wide))
        for group in built.param_groups:
            group["lr"] = optimizer.learning_rate * group["lr_scale"]
        tokens = torch.randint(VOCAB, (16, TIME), generator=torch.Generator().manual_seed(seed))
        before = seen(model, tokens)
        for _ in range(4):
            built.zero_grad()
            model(tokens, labels=tokens).loss.backward()
            built.step()
        pairs = zip(seen(model, tokens), before, strict=True)
        changes += torch.stack([(now - then).square().mean().sqrt() for now, then in pairs])
    return changes / 2


def seen(model, tokens):
    """The hidden states that leave the last layer, and the logits."""
    last = model.transformer.h[-1] if hasattr(model, "transformer") else model.model.layers[-1]
    states = []
    hook = last.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        logits = model(tokens).logits
    hook.remove()
    return states[0], logits


@pytest.mark.parametrize(
    ("family", "optimizer"),
    [*((family, AdamW(learning_rate=0.005)) for family in FAMILIES), ("gpt2", Lion(learning_rate=0.002))],
    ids=lambda value: getattr(value, "kind", value),
)
def test_steps_move_activations_no_more_in_a_wider_model(family, optimizer):
    """The coordinate check of arXiv 2203.03466, D.1."""
    narrow, wide = (moved(family, times * BASE, optimizer, mup=True) for times in (2, 8))
    assert (wide / narrow).max() < 1.1
    assert wide[0] / narrow[0] > 0.9
    narrow, wide = (moved(family, times * BASE, optimizer, mup=False) for times in (2, 8))
    assert (wide / narrow).min() > 2.0
