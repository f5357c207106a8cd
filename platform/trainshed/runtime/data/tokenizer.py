"""Training a tokenizer, and keeping it so that `AutoTokenizer.from_pretrained` opens it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, assert_never

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from trainshed.errors import PlatformError
from trainshed.spec.data.prepare import Characters, PrepareJob, PretrainedTokenizer, SharedTokenizer, TrainBpe
from trainshed.spec.data.tokenizers import template_of, tokens_in

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unknown|>"


def make(job: PrepareJob, texts: Iterable[str], folder: Path) -> Tokenizer:
    """Trains or fetches the tokenizer of a job and writes it to `folder`.

    Raises:
        PlatformError: an existing tokenizer cannot be read.
    """
    match job.tokenizer:
        case PretrainedTokenizer(name_or_path=place):
            from trainshed.runtime.models.locate import save_tokenizer  # torch: not in every worker of Ray Data

            save_tokenizer(place, folder)
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        case TrainBpe() | Characters() as spec:
            trained = train(spec, texts, special_tokens=job.special_tokens)
            if job.examples is not None:
                _enclose(trained, job.special_tokens)
            save(trained, spec, job.context, folder, special_tokens=job.special_tokens)
            return trained
        case SharedTokenizer(data=data):
            raise PlatformError(
                f"tokenizer.data: {data} is looked up when the job is handed over; look at its run then"
            )
        case None:
            raise ValueError("a job without text has no tokenizer")
        case _:
            assert_never(job.tokenizer)


def train(spec: TrainBpe | Characters, texts: Iterable[str], *, special_tokens: tuple[str, ...] = ()) -> Tokenizer:
    """A tokenizer of a kind. Any text survives a byte-level BPE unchanged; of characters those that were seen do."""
    template = template_of(spec)
    of_template = tokens_in(template) if template else ()
    special = list(dict.fromkeys([END_OF_TEXT, *of_template, *map(_mark, special_tokens)]))
    match spec:
        case TrainBpe():
            return _train_bpe(spec.vocab_size, special, texts)
        case Characters():
            return _characters(special, texts)
        case _:
            assert_never(spec)


def save(
    tokenizer: Tokenizer,
    spec: TrainBpe | Characters,
    context: int,
    folder: Path,
    *,
    special_tokens: tuple[str, ...] = (),
) -> None:
    """Writes tokenizer.json and tokenizer_config.json, and the chat template where the job gives one."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    config |= {f"{token}_token": _mark(token) for token in special_tokens}
    if isinstance(spec, Characters):
        config["unk_token"] = UNKNOWN
    if template := template_of(spec):
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _train_bpe(vocab_size: int, special: list[str], texts: Iterable[str]) -> Tokenizer:
    """A byte-level BPE (Radford et al. 2019) with at most `vocab_size` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _characters(special: list[str], texts: Iterable[str]) -> Tokenizer:
    """A word for each character, in the order of their code points."""
    seen = sorted({character for text in texts for character in text})
    vocab = {token: number for number, token in enumerate([*special, UNKNOWN, *seen])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([*special, UNKNOWN])
    return tokenizer


def _enclose(tokenizer: Tokenizer, special_tokens: tuple[str, ...]) -> None:
    """A sample is `<|cls|> text <|sep|>`, or text and end mark where there are no such tokens."""
    before = [_mark("cls")] if "cls" in special_tokens else []
    after = [_mark("sep")] if "sep" in special_tokens else [END_OF_TEXT]
    marks = [(token, tokenizer.token_to_id(token)) for token in [*before, *after]]
    single = [*before, "$A", *after]
    pair = [*single, "$B:1", *(f"{token}:1" for token in after)]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=marks)


def _mark(token: str) -> str:
    return f"<|{token}|>"
