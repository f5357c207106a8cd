"""What every task must do: learn, measure as scikit-learn does, export what opens again, and answer as it trained."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from transformers import AutoTokenizer

from task_cases import CASES, SAMPLES, batch_of, model_of, reviews


@pytest.fixture(params=list(CASES))
def case(request, tmp_path):
    return CASES[request.param](tmp_path / "tokenizer")


def test_the_loss_falls(case):
    _, losses = model_of(case, steps=case.steps)
    assert np.mean(losses[-3:]) < case.falls_to * np.mean(losses[:3]), losses


def test_a_batch_in_two_parts_weighs_and_costs_what_the_whole_does(case):
    model, _ = model_of(case, steps=6)
    task = case.task
    whole, parts = batch_of(case, np.arange(11)), [batch_of(case, np.arange(4)), batch_of(case, np.arange(4, 11))]
    with torch.no_grad():
        losses = [float(task.loss(model, batch, label_smoothing=0.1)) for batch in (whole, *parts)]
    assert losses[0] == pytest.approx(sum(losses[1:]), rel=1e-5)
    assert task.weight(whole) == pytest.approx(sum(map(task.weight, parts)))


def test_the_meter_agrees_with_the_loss_and_with_scikit_learn(case):
    model, _ = model_of(case, steps=6)
    task, meter = case.task, case.task.meter()
    parts = [batch_of(case, np.arange(start, min(start + 7, len(case.samples)))) for start in range(0, SAMPLES, 7)]
    with torch.no_grad():
        for batch in parts:
            meter.add(model, batch)
        loss = sum(float(task.loss(model, batch, label_smoothing=0.0)) for batch in parts)
    found = meter.metrics()
    assert found["loss"] == pytest.approx(loss / sum(map(task.weight, parts)), rel=1e-5)
    wanted = independent_figures(case, model, parts)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-4 if "margin" in wanted else 1e-6)
    assert json.loads(json.dumps(found)) == found


def independent_figures(case, model, parts):
    """The same figures from the model's outputs, by another way."""
    if "rejected" in case.samples.columns:
        return preferred_figures(case, model, parts)
    if "label" not in case.samples.columns:
        right = [right_tokens(model, batch) for batch in parts]
        return {"accuracy": float(np.concatenate(right).mean())}
    with torch.no_grad():
        logits = torch.cat([model(**{k: v for k, v in batch.items() if k != "labels"}).logits for batch in parts])
    truth = case.samples.columns["label"]
    if truth.ndim == 2:
        said = torch.sigmoid(logits).numpy() > 0.5
        return {
            "accuracy": sk.accuracy_score(truth, said),
            "macro_f1": sk.f1_score(truth, said, average="macro", zero_division=0.0),
            "roc_auc": sk.roc_auc_score(truth, logits.numpy()),
        }
    if not case.facts.labels:
        return {
            "mse": sk.mean_squared_error(truth, logits[:, 0].numpy()),
            "pearson": float(np.corrcoef(truth, logits[:, 0].numpy())[0, 1]),
        }
    said = logits.argmax(-1).numpy()
    return {
        "accuracy": sk.accuracy_score(truth, said),
        "macro_precision": sk.precision_score(truth, said, average="macro", zero_division=0.0),
        "macro_recall": sk.recall_score(truth, said, average="macro", zero_division=0.0),
        "macro_f1": sk.f1_score(truth, said, average="macro", zero_division=0.0),
        "roc_auc": sk.roc_auc_score(truth, logits.softmax(-1).numpy(), multi_class="ovr"),
    }


def preferred_figures(case, model, parts):
    """How often the preferred answer is ahead, one answer at a time."""
    kind = case.training.task.kind
    columns = case.samples.columns
    ahead = []
    for number in range(SAMPLES):
        sides = []
        for ids, mask, reference in (
            ("tokens", "loss_mask", "reference_chosen"),
            ("rejected", "rejected_mask", "reference_rejected"),
        ):
            asked = torch.from_numpy(columns[ids][number])[None]
            with torch.no_grad():
                logits = model(input_ids=asked, attention_mask=torch.ones_like(asked)).logits[0]
            if kind == "reward_model":
                sides.append(float(logits))
                continue
            counts = torch.from_numpy(columns[mask][number][1:]) > 0
            each = -F.cross_entropy(logits[:-1], asked[0, 1:], reduction="none")[counts].double()
            if kind == "orpo":
                mean = each.mean()
                sides.append(float(mean - torch.log(1 - mean.exp())))
            elif reference in columns:
                sides.append(float(each.sum()) - columns[reference][number])
            else:
                with torch.no_grad(), model.disable_adapter():
                    plain = model(input_ids=asked).logits[0]
                stands = -F.cross_entropy(plain[:-1], asked[0, 1:], reduction="none")[counts].double()
                sides.append(float(each.sum() - stands.sum()))
        ahead.append(sides[0] - sides[1])
    beta = case.training.task.beta if kind == "dpo" else 1.0
    return {"accuracy": np.mean(np.array(ahead) > 0), "margin": beta * np.mean(ahead)}


def right_tokens(model, batch):
    with torch.no_grad():
        logits = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
    targets = batch.get("labels", batch["input_ids"])
    if (
        hasattr(model.config, "is_encoder_decoder")
        and not model.config.is_encoder_decoder
        and "bert" not in str(model.config.model_type)
    ):
        logits, targets = logits[:, :-1], targets[:, 1:]
    counted = targets != -100
    return (logits.argmax(-1) == targets)[counted].numpy()


def test_an_export_opens_and_gives_the_same_outputs(case, tmp_path):
    model, _ = model_of(case, steps=4)
    folder = tmp_path / "model"
    folder.mkdir()
    case.task.export(dict(model.state_dict()), folder)
    opened = case.open(folder)
    assert type(opened).__name__ != "PeftModel"
    batch = given(batch_of(case, np.arange(6)))
    more = {"use_cache": False} if "position_ids" in batch else {}  # a cache lets documents of a block see each other
    with torch.no_grad():
        torch.testing.assert_close(opened(**batch, **more).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)
    if case.facts.tokenizer is not None:
        texts = [row["text"] for row in case.raw]
        ids = AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]
        assert ids == [one.tolist() for one in case.facts.encoder.texts(texts)]


def test_predict_says_what_the_training_forward_says(case):
    model, _ = model_of(case, steps=4)
    answers = case.task.predict(model, case.raw)
    batch = batch_of(case, np.arange(len(case.raw)))
    asked = given(batch)
    assert len(answers) == len(case.raw)
    match answers[0]:
        case {"scores": _}:
            with torch.no_grad():
                logits = model(**asked).logits
            wanted = logits.sigmoid() if "labels" in answers[0] else logits.softmax(-1)
            assert [list(answer["scores"].values()) for answer in answers] == [
                pytest.approx(row) for row in wanted.tolist()
            ]
        case {"value": _}:
            with torch.no_grad():
                assert [answer["value"] for answer in answers] == pytest.approx(
                    model(**asked).logits[: len(answers), 0].tolist()
                )
        case {"log_probability": _}:
            check_log_probabilities(case, model, answers)
        case {"tokens": _}:
            check_masks(case, model)
        case {"text": _}:
            check_generated(case, model, answers)


def given(batch):
    """What of a batch the model gets."""
    return {name: tensor for name, tensor in batch.items() if name not in ("labels", "reference")}


def check_log_probabilities(case, model, answers):
    for row, answer in zip(case.raw, answers, strict=True):
        ids = torch.tensor([case.facts.encoder.texts([row["text"]])[0]])
        if ids[0, -1] == case.facts.special.eos:
            ids = ids[:, :-1]
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        loss = F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
        assert answer["log_probability"] == pytest.approx(-float(loss), rel=1e-4)


def check_masks(case, model):
    answer = case.task.predict(model, [{"text": "the film <|mask|>"}])[0]
    ids = torch.tensor([case.facts.encoder.texts(["the film <|mask|>"])[0]])
    with torch.no_grad():
        probabilities = model(input_ids=ids).logits.softmax(-1)[ids == case.facts.special.mask]
    assert answer["probabilities"] == pytest.approx(probabilities.max(-1).values.tolist())


def check_generated(case, model, answers):
    """Greedy generation without a cache, one token after another, by the forward that training uses."""
    start = model.config.decoder_start_token_id
    for row, answer in zip(case.raw, answers, strict=True):
        ids, made = torch.tensor([case.facts.encoder.texts([row["text"]])[0]]), [start]
        for _ in range(case.facts.max_target_tokens):
            with torch.no_grad():
                logits = model(input_ids=ids, decoder_input_ids=torch.tensor([made])).logits
            made.append(int(logits[0, -1].argmax()))
            if made[-1] == case.facts.special.eos:
                break
        assert answer["text"] == case.facts.encoder.decode(made[1:])


def test_masks_depend_on_the_sample_alone(tmp_path):
    case = CASES["masked_lm"](tmp_path / "tokenizer")
    together, alone = batch_of(case, np.arange(6)), batch_of(case, np.array([4]))
    length = int(alone["attention_mask"].sum())
    assert torch.equal(together["input_ids"][4, :length], alone["input_ids"][0, :length])
    assert torch.equal(together["labels"][4, :length], alone["labels"][0, :length])


def test_masks_follow_the_80_10_10_rule(tmp_path):
    case = CASES["masked_lm"](tmp_path / "tokenizer")
    tokens = np.random.default_rng(0).integers(10, case.facts.vocab_size, (200, 100))
    batch = case.task.batch({"tokens": tokens}, keys=[(0, number) for number in range(200)])
    chosen = batch["labels"] != -100
    hidden = (batch["input_ids"] == case.facts.special.mask) & chosen
    same = (batch["input_ids"] == torch.from_numpy(tokens)) & chosen
    shares = [float(chosen.float().mean()), float(hidden.sum() / chosen.sum()), float(same.sum() / chosen.sum())]
    assert shares == pytest.approx([0.15, 0.8, 0.1], abs=0.02)
    assert torch.equal(batch["labels"][chosen], torch.from_numpy(tokens)[chosen])


def test_a_perplexity_is_the_exponential_of_the_loss(tmp_path):
    case = CASES["causal_lm-gpt2"](tmp_path / "tokenizer")
    model, _ = model_of(case)
    meter = case.task.meter()
    with torch.no_grad():
        meter.add(model, batch_of(case, np.arange(4)))
    found = meter.metrics()
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


@pytest.mark.parametrize(
    ("name", "weights"), [("text_classification-weights", [1.0, 2.0, 0.5]), ("lstm_classifier", None)]
)
def test_class_weights_give_the_weighted_mean_of_torch(name, weights, tmp_path):
    case = CASES[name](tmp_path / "tokenizer")
    model, _ = model_of(case)
    batch = batch_of(case, np.arange(7))
    with torch.no_grad():
        loss = case.task.loss(model, batch, label_smoothing=0.1) / case.task.weight(batch)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    tensor = torch.tensor(weights) if weights else None  # balanced, and each class as often as the others
    wanted = F.cross_entropy(logits, batch["labels"], tensor, label_smoothing=0.1)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("name", ["causal_lm-conversations", "causal_lm-conversations-blocks-pretrained"])
def test_the_export_of_a_chat_model_names_every_token_that_ends_an_answer(name, tmp_path):
    case = CASES[name](tmp_path / "tokenizer")
    folder = tmp_path / "model"
    folder.mkdir()
    case.task.export(dict(case.task.make_model().state_dict()), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert set(ends) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert case.open(folder).generation_config.eos_token_id == ends


def test_conversations_are_predicted_as_they_are_trained_and_asked(tmp_path):
    case = CASES["causal_lm-conversations"](tmp_path / "tokenizer")
    model, _ = model_of(case, steps=4)
    question = [{"role": "user", "content": "how?"}]
    whole = [*question, {"role": "assistant", "content": reviews()[0][0][:12]}]
    said, asked = case.task.predict(model, [{"messages": whole}, {"messages": question}])
    batch = batch_of(case, np.arange(1))
    with torch.no_grad():
        loss = case.task.loss(model, batch, label_smoothing=0.0)
    assert said["log_probability"] == pytest.approx(-float(loss), rel=1e-4), "not that of the training's row"
    ids = case.samples.columns["tokens"][0]
    begins = int(case.samples.columns["loss_mask"][0].argmax())
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids[:begins]])).logits
    assert asked["next"] == case.facts.encoder.decode([int(logits[0, -1].argmax())])
