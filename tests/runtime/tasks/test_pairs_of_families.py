"""Pairs of texts for classification, as tokenizers of BERT, RoBERTa and DeBERTa join them, read by their models."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from task_cases import LABELS, training
from trainshed.runtime import tasks
from trainshed.spec.training.models import Pretrained
from trainshed.spec.training.tasks import TextClassification

WORDS = ["the", "film", "was", "dull", "awful", "fine", "lovely", "plain", "a", "an", "not", "and"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 40, "num_labels": 3,
}  # fmt: skip
TYPED = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
MARKS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
FAMILIES = {
    "bert": (TYPED, MARKS, lambda vocab: BertConfig(vocab_size=vocab, **SIZES)),
    "roberta": (
        processors.RobertaProcessing(("</s>", 3), ("<s>", 2)),
        {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"},
        lambda vocab: RobertaConfig(vocab_size=vocab, pad_token_id=0, type_vocab_size=1, **SIZES),
    ),
    "deberta-v2": (
        TYPED,
        MARKS,
        lambda vocab: DebertaV2Config(
            vocab_size=vocab, relative_attention=True, pos_att_type="p2c|c2p", type_vocab_size=0, **SIZES
        ),
    ),
}
PAIRS = [
    ("the film was dull", "a lovely film"),
    ("not awful", "the film was not plain and not dull and not fine"),
    ("fine", "fine"),
    ("the the the the the the the the the the the the", "a an"),
]


@pytest.fixture(params=FAMILIES)
def existing(request, tmp_path):
    """A classifier of the family in a folder, its tokenizer beside it."""
    processor, marks, config = FAMILIES[request.param]
    vocab = {word: number for number, word in enumerate([*marks.values(), *WORDS])}
    made = Tokenizer(models.WordLevel(vocab, unk_token=marks["unk_token"]))
    made.pre_tokenizer, made.post_processor = pre_tokenizers.Whitespace(), processor
    PreTrainedTokenizerFast(tokenizer_object=made, **marks).save_pretrained(tmp_path)
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config(len(vocab))).save_pretrained(tmp_path)
    return tmp_path, len(vocab)


def task_of(folder, vocab, longest):
    facts = tasks.DataFacts(vocab, longest, folder, labels=LABELS, label_counts=(2, 1, 1))
    return tasks.build(training(TextClassification(), Pretrained(name_or_path=str(folder))), facts), facts


@pytest.mark.parametrize("longest", [32, 9], ids=["whole", "cut"])
def test_a_pair_is_what_the_family_s_own_tokenizer_makes_of_it_and_is_judged_so(existing, longest):
    folder, vocab = existing
    task, facts = task_of(folder, vocab, longest)
    own = PreTrainedTokenizerFast.from_pretrained(folder)
    first, second = (list(texts) for texts in zip(*PAIRS, strict=True))
    expected = own(first, second, truncation="longest_first", max_length=longest, return_token_type_ids=True)
    found = facts.encoder.pairs(first, second, cut="right")
    assert [ids.tolist() for ids, _ in found] == expected["input_ids"]
    assert [types.tolist() for _, types in found] == expected["token_type_ids"]

    reference = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    typed = reference.config.type_vocab_size > 1
    batch = own(first, second, truncation="longest_first", max_length=longest, padding=True, return_tensors="pt",
                return_token_type_ids=typed)  # fmt: skip
    with torch.no_grad():
        logits = reference(**batch).logits
    model = task.make_model().eval()
    said = task.predict(model, [{"text": one, "text_pair": other} for one, other in PAIRS])
    for answer, row in zip(said, logits.softmax(-1), strict=True):
        assert list(answer["scores"].values()) == pytest.approx(row.tolist(), abs=1e-6)


def test_pairs_are_learnt_whichever_text_comes_first(existing):
    """The label is which of the two is longer: a model that mixed them up could not tell."""
    folder, vocab = existing
    task, facts = task_of(folder, vocab, 32)
    model = task.make_model()
    rows = [("fine film", "fine"), ("fine", "fine film"), ("a an a", "the"), ("the", "a an a")] * 2
    columns = facts.encoder.pairs(*(list(texts) for texts in zip(*rows, strict=True)))
    data = {"tokens": [ids for ids, _ in columns], "type_ids": [types for _, types in columns]}
    batch = task.batch({**data, "label": torch.tensor([0, 1, 0, 1] * 2).numpy()}, keys=[])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    losses = []
    for _ in range(150):
        loss = task.loss(model, batch, label_smoothing=0.0) / task.weight(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert min(losses) < 0.1 < losses[0]
