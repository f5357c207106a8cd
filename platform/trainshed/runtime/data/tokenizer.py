"""Training a byte-level BPE tokenizer, and keeping it so that `AutoTokenizer.from_pretrained` opens it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from trainshed.spec.prepare import TrainBpe

END_OF_TEXT = "<|endoftext|>"
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")


def train(spec: TrainBpe, texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE (Radford et al. 2019) with at most `vocab_size` entries; any text survives it unchanged."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, *(CHAT_TOKENS if spec.chat_template else ())]
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, spec: TrainBpe, context: int, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json, and the chat template where the job gives one."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    if spec.chat_template:
        config["chat_template"] = spec.chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
