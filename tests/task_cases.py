"""Every task with tiny data in memory, for tests to train, measure and export in a second or two."""

import dataclasses

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from trainshed.runtime import tasks
from trainshed.runtime.data import builtin, tokenizer
from trainshed.runtime.encoding import ConversationEncoder
from trainshed.runtime.tasks import lstm
from trainshed.spec.data.prepare import PrepareJob
from trainshed.spec.data.sources import Builtin
from trainshed.spec.training.adapters import Lora
from trainshed.spec.training.models import T5, Bart, Bert, Config, Gpt2, Llama, Lstm, Pretrained, Qwen2, Qwen3, Vit
from trainshed.spec.training.optimizers import AdamW
from trainshed.spec.training.preference import Dpo, Orpo, RewardModel
from trainshed.spec.training.tasks import (
    CausalLm,
    ImageClassification,
    LstmClassifier,
    MaskedLm,
    Seq2SeqLm,
    TextClassification,
)
from trainshed.spec.training.train import Training
from trainshed.spec.training.workers import Workers

LABELS = ("bad", "good", "so-so")
WORDS = {"bad": ["dull", "awful", "poor"], "good": ["fine", "lovely", "great"], "so-so": ["plain", "usual", "mixed"]}
SAMPLES = 48


class Memory:
    """Samples that are columns in memory; see `trainshed.runtime.tasks.Samples`."""

    def __init__(self, columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def take(self, ids):
        return {
            name: values[ids] if isinstance(values, np.ndarray) else [values[number] for number in ids]
            for name, values in self.columns.items()
        }


@dataclasses.dataclass
class Case:
    """A task with tiny data: `raw` is what `predict` is asked, `open` what reads an export."""

    training: Training
    facts: tasks.DataFacts
    samples: Memory
    raw: list
    open: object
    steps: int = 24
    falls_to: float = 0.85

    @property
    def task(self):
        return tasks.build(self.training, self.facts)


def made_tokenizer(folder, texts, **examples):
    job = PrepareJob.model_validate(
        {
            "kind": "prepare",
            "name": "text",
            "source": {"kind": "text_files", "path": "unused"},
            "tokenizer": {"kind": "train_bpe", "vocab_size": 300, "special_tokens": ("mask", "cls", "sep")},
            "examples": {"text": "text", "max_tokens": 24},
        }
        | examples
    )
    trained = tokenizer.make(job, texts, folder)
    return trained.get_vocab_size()


def reviews():
    draw = np.random.default_rng(0)
    names = [LABELS[number % 3] for number in range(SAMPLES)]
    texts = [" ".join(draw.choice([*WORDS[name], "the", "film", "was"], draw.integers(2, 7))) for name in names]
    texts = [f"{text} {WORDS[name][0]}" for text, name in zip(texts, names, strict=True)]
    return texts, np.array([LABELS.index(name) for name in names])


def training(task, model, *, rate=0.01, epsilon=1e-8, **more):
    return Training(
        task=task,
        model=model,
        data="run://data",
        optimizer=AdamW(learning_rate=rate, epsilon=epsilon),
        workers=Workers(per_device_batch_size=8),
        global_batch_size=8,
        steps=30,
        **more,
    )


def text_case(folder, task, model, opened, *, labels=None, **more):
    texts, classes = reviews()
    vocab = made_tokenizer(folder, texts)
    facts = tasks.DataFacts(vocab, 24, folder, labels=LABELS, label_counts=(16, 16, 16))
    columns = {"tokens": facts.encoder.texts(texts)}
    if labels == "multi":
        columns["label"] = np.eye(3)[classes] + np.eye(3)[(classes + np.arange(SAMPLES) % 2) % 3] > 0
        columns["label"] = columns["label"].astype(float)
    elif labels == "number":
        columns["label"] = classes / 2
        facts = dataclasses.replace(facts, labels=(), label_counts=())
    elif labels == "class":
        columns["label"] = classes
    raw = [{"text": text} for text in texts[:5]]
    return Case(training(task, model, **more), facts, Memory(columns), raw, opened)


def pair_case(folder):
    """Two texts and how far apart they are, told apart by the types of their tokens."""
    texts, classes = reviews()
    others = [texts[(number * 5 + 1) % SAMPLES] for number in range(SAMPLES)]
    fields = {"text": "text", "text_pair": "other", "label": "label", "max_tokens": 32}
    vocab = made_tokenizer(folder, texts, source={"kind": "jsonl", "path": "unused"}, examples=fields)
    facts = tasks.DataFacts(vocab, 32, folder, labels=LABELS, label_counts=(16, 16, 16))
    made = facts.encoder.pairs(texts, others, cut="right")
    apart = np.array([(classes[number] - classes[(number * 5 + 1) % SAMPLES]) % 3 for number in range(SAMPLES)])
    columns = {"tokens": [ids for ids, _ in made], "type_ids": [types for _, types in made], "label": apart}
    raw = [{"text": text, "text_pair": other} for text, other in zip(texts[:5], others[:5], strict=True)]
    return Case(training(TextClassification(), BERT), facts, Memory(columns), raw, CLASSIFIER)


def packed_case(folder, model, **more):
    texts, _ = reviews()
    job = {"examples": None, "pack": {"block_size": 16}}
    vocab = made_tokenizer(folder, texts, **job)
    facts = tasks.DataFacts(vocab, 16, folder)
    ids = np.concatenate(facts.encoder.texts(texts))
    blocks = np.resize(ids, (SAMPLES, 16))
    raw = [{"text": text} for text in texts[:3]]
    case = training(CausalLm(), model, **more)
    return Case(case, facts, Memory({"tokens": blocks}), raw, AutoModelForCausalLM.from_pretrained)


def chat_case(folder, model, *, blocks=False, **more):
    """Conversations of which the answers are learnt, one a sample or several in a block."""
    texts, _ = reviews()
    shape = {"kind": "train_bpe", "vocab_size": 300, "chat_template": "chatml"}
    vocab = made_tokenizer(folder, texts, tokenizer=shape, examples={"text": "text", "max_tokens": 64})
    encoder = ConversationEncoder.read(folder, obey=False)
    turns = [[{"role": "user", "content": "how?"}, {"role": "assistant", "content": text[:12]}] for text in texts]
    rows = [encoder.learnt(one) for one in turns]
    longest = max(len(row.ids) for row in rows)
    facts = tasks.DataFacts(vocab, 2 * longest if blocks else longest, folder, apart=blocks)
    columns = {"tokens": [row.ids for row in rows], "loss_mask": [row.mask.astype(np.int64) for row in rows]}
    if blocks:
        pairs = [(rows[number], rows[(number + 5) % SAMPLES]) for number in range(SAMPLES)]
        columns = {name: [np.concatenate([getattr(one, of).astype(np.int64) for one in pair]) for pair in pairs]
                   for name, of in (("tokens", "ids"), ("loss_mask", "mask"))}  # fmt: skip
        columns["lengths"] = [np.array([len(one.ids) for one in pair]) for pair in pairs]
    raw = [{"text": text} for text in texts[:3]]
    opened = AutoModelForCausalLM.from_pretrained
    return Case(training(CausalLm(), model, **more), facts, Memory(columns), raw, opened)


def tuned_chat_case(folder, model, **more):
    """Blocks of conversations for a small model that an earlier training exported."""
    first = chat_case(folder, model, blocks=True)
    case = training(CausalLm(), exported(first, folder), rate=0.01, **more)
    return dataclasses.replace(first, training=case, steps=40, falls_to=0.97)


def tuned_case(folder, model=None, **more):
    """Further training of a small model that an earlier training exported."""
    first = packed_case(folder, model or Llama(**SHAPE))
    case = training(CausalLm(), exported(first, folder), rate=0.01, **more)
    return dataclasses.replace(first, training=case, steps=40, falls_to=0.97)  # the embeddings stay as they are


def classifying_case(folder):
    """Classifying with the body of a masked language model, with dropout."""
    first = text_case(folder, MaskedLm(), DROPPING_BERT, AutoModelForMaskedLM.from_pretrained)
    there = exported(first, folder)
    return text_case(folder, TextClassification(), there, CLASSIFIER, labels="class")


def exported(case, folder):
    """The model of a case after some steps, as another one's existing weights."""
    model, _ = model_of(case, steps=12)
    existing = folder.parent / "existing"
    existing.mkdir()
    case.task.export(dict(model.state_dict()), existing)
    return Pretrained(name_or_path=str(existing))


def preference_case(folder, task, model, *, reference=False, **more):
    """Pairs of answers, of which the preferred one ends with a word of its own; the reference is a model untrained."""
    texts, _ = reviews()
    shape = {"kind": "train_bpe", "vocab_size": 300}
    vocab = made_tokenizer(folder, texts, tokenizer=shape, examples={"text": "text", "max_tokens": 48})
    facts = tasks.DataFacts(vocab, 48, folder)
    prompts = facts.encoder.prompts(texts)
    columns = {}
    begun = [text[: 3 + len(text) % 5] for text in texts]
    for ids, mask, end in (("tokens", "loss_mask", " thanks"), ("rejected", "rejected_mask", " rude")):
        answers = facts.encoder.targets([one + end for one in begun], None)
        both = list(zip(prompts, answers, strict=True))
        columns[ids] = [np.concatenate(pair) for pair in both]
        columns[mask] = [np.repeat([0, 1], [len(prompt), len(answer)]) for prompt, answer in both]
    raw = [{"text": text} for text in texts[:3]]
    opened = AutoModelForCausalLM.from_pretrained
    if isinstance(task, RewardModel):
        more["epsilon"] = 1e-4  # fresh scores are all but equal, and Adam would make whole steps of roundings
        opened = CLASSIFIER
        whole = zip(texts, begun, raw, strict=False)
        raw = [{"prompt": text, "completion": f"{answer} thanks", **one} for text, answer, one in whole]
    case = Case(training(task, model, **more), facts, Memory(columns), raw, opened)
    if reference:
        standing, _ = model_of(case)
        whole = batch_of(case, np.arange(SAMPLES))
        with torch.no_grad():
            found = case.task.of_samples(standing, whole)
        case = case_with_reference(case, found.values())
    return case


def case_with_reference(case, figures):
    """The same with these columns of a reference."""
    named = zip(("reference_chosen", "reference_rejected"), figures, strict=True)
    made = {name: np.full(SAMPLES, values, np.float32) for name, values in named}
    return dataclasses.replace(case, samples=Memory({**case.samples.columns, **made}))


def preferring_case(folder, model, *, task=None, **more):
    """Preferences of a small model that an earlier training exported, which is its own reference."""
    task = task or Dpo()
    there = exported(preference_case(folder, Orpo(), model), folder)
    columns = {} if "lora" in more else {"reference": True}
    return preference_case(folder, task, there, rate=0.003, **columns, **more)


def dates_case(folder, task, model, opened):
    rows = builtin.rows(Builtin(name="dates", samples=SAMPLES))
    vocab = made_tokenizer(
        folder,
        [row[name] for row in rows for name in ("text", "target")],
        source={"kind": "builtin", "name": "dates"},
        tokenizer={"kind": "characters"},
        examples={"text": "text", "target": "target", "max_tokens": 32, "max_target_tokens": 12},
    )
    facts = tasks.DataFacts(vocab, 32, folder, max_target_tokens=12)
    texts, targets = [row["text"] for row in rows], [row["target"] for row in rows]
    columns = {"tokens": facts.encoder.texts(texts), "target": facts.encoder.targets(targets, 12)}
    raw = [{"text": text} for text in texts[:5]]
    return Case(training(task, model), facts, Memory(columns), raw, opened)


def image_case(folder):
    rows = builtin.rows(Builtin(name="digits"))[:SAMPLES]
    pixels = np.stack([np.frombuffer(row["image"], dtype=np.uint8).reshape(1, 8, 8) for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    facts = tasks.DataFacts(0, 0, None, labels=tuple("0123456789"), image=(8, 1))
    model = Vit(layers=1, heads=2, width=32, patch=2)
    raw = [{"image": image} for image in pixels[:5]]
    opened = AutoModelForImageClassification.from_pretrained
    return Case(
        training(ImageClassification(), model, rate=0.003),
        facts,
        Memory({"pixels": pixels, "label": labels}),
        raw,
        opened,
    )


BERT = Bert(layers=1, heads=2, width=32)
DROPPING_BERT = Bert(layers=1, heads=2, width=32, dropout=0.1)
SHAPE = {"layers": 1, "heads": 2, "width": 32}
MISTRAL = Config(
    model_type="mistral",
    settings={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
)
CLASSIFIER = AutoModelForSequenceClassification.from_pretrained
CASES = {
    "causal_lm-gpt2": lambda at: packed_case(at, Gpt2(**SHAPE)),
    "causal_lm-llama": lambda at: packed_case(at, Llama(**SHAPE)),
    "causal_lm-qwen2": lambda at: packed_case(at, Qwen2(**SHAPE)),
    "causal_lm-qwen3": lambda at: packed_case(at, Qwen3(**SHAPE)),
    "causal_lm-config": lambda at: packed_case(at, MISTRAL),
    "causal_lm-pretrained": tuned_case,
    "causal_lm-pretrained-lora": lambda at: tuned_case(at, lora=Lora(rank=16, alpha=32, target_modules="all-linear")),
    "causal_lm-pretrained-dropout": lambda at: tuned_case(at, Gpt2(**SHAPE, dropout=0.1)),
    "causal_lm-frozen": lambda at: packed_case(at, Gpt2(**SHAPE), freeze=("transformer.wpe.*",)),
    "causal_lm-conversations": lambda at: chat_case(at, Gpt2(**SHAPE, dropout=0.1)),
    "causal_lm-conversations-blocks": lambda at: chat_case(at, Llama(**SHAPE), blocks=True),
    "causal_lm-conversations-blocks-pretrained": lambda at: tuned_chat_case(at, Llama(**SHAPE)),
    "causal_lm-conversations-blocks-lora": lambda at: tuned_chat_case(
        at, Qwen2(**SHAPE), lora=Lora(rank=16, alpha=32, target_modules="all-linear")
    ),
    "causal_lm-target": lambda at: dates_case(at, CausalLm(), Gpt2(**SHAPE), AutoModelForCausalLM.from_pretrained),
    "dpo": lambda at: preference_case(at, Dpo(), Llama(**SHAPE), reference=True),
    "dpo-ipo-pretrained-dropout": lambda at: preferring_case(at, Gpt2(**SHAPE, dropout=0.1), task=Dpo(loss="ipo")),
    "dpo-lora": lambda at: preferring_case(
        at, Llama(**SHAPE), lora=Lora(rank=16, alpha=32, target_modules="all-linear", dropout=0.1)
    ),
    "orpo": lambda at: preference_case(at, Orpo(), Gpt2(**SHAPE, dropout=0.1)),
    "reward_model": lambda at: preference_case(at, RewardModel(), BERT),
    "masked_lm": lambda at: text_case(at, MaskedLm(), BERT, AutoModelForMaskedLM.from_pretrained),
    "seq2seq_lm-t5": lambda at: dates_case(at, Seq2SeqLm(), T5(**SHAPE), AutoModelForSeq2SeqLM.from_pretrained),
    "seq2seq_lm-bart": lambda at: dates_case(at, Seq2SeqLm(), Bart(**SHAPE), AutoModelForSeq2SeqLM.from_pretrained),
    "text_classification": lambda at: text_case(at, TextClassification(), BERT, CLASSIFIER, labels="class"),
    "text_classification-pairs": pair_case,
    "text_classification-weights": lambda at: text_case(
        at, TextClassification(class_weights=(1.0, 2.0, 0.5)), BERT, CLASSIFIER, labels="class"
    ),
    "text_classification-pretrained-dropout": classifying_case,
    "text_classification-lora": lambda at: text_case(
        at, TextClassification(), BERT, CLASSIFIER, labels="class", lora=Lora()
    ),
    "multi_label": lambda at: text_case(
        at, TextClassification(problem="multi_label", class_weights=(1.0, 2.0, 0.5)), BERT, CLASSIFIER, labels="multi"
    ),
    "regression": lambda at: text_case(at, TextClassification(problem="regression"), BERT, CLASSIFIER, labels="number"),
    "image_classification": image_case,
    "lstm_classifier": lambda at: text_case(
        at, LstmClassifier(class_weights="balanced"), Lstm(width=16, hidden=16), lstm.load, labels="class"
    ),
    "lstm_classifier-both-ways": lambda at: text_case(
        at, LstmClassifier(), Lstm(width=16, hidden=16, bidirectional=True), lstm.load, labels="class"
    ),
}


def model_of(case, *, steps=0):
    """A model after some steps of plain torch, in evaluation mode, and the losses of the steps."""
    torch.manual_seed(0)
    task = case.task
    model = task.make_model().train()  # existing weights come in evaluation mode, and an engine has them learn
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], case.training.optimizer.learning_rate
    )
    losses = []
    for step in range(steps):
        ids = np.arange(step * 16, step * 16 + 16) % len(case.samples)
        batch = batch_of(case, ids)
        loss = task.loss(model, batch, label_smoothing=0.0) / task.weight(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return model.eval(), losses


def batch_of(case, ids):
    return case.task.batch(case.samples.take(ids), keys=[(0, int(number)) for number in ids])
