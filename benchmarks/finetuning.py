"""F1 and F3: conversations as training rows, and how many of them fit into a block.

    .venv/bin/python benchmarks/finetuning.py [--conversations 400] [--pairs 5]

F1: of each family's chat template, conversations of several turns, with and without a system's turn: rows whose ids are
those of `apply_chat_template`, and whose every masked span ends on an end token of the model, of all rows, in percent.
F3: conversations of mixed lengths (log-normal, 20 to 1,000 tokens) in blocks of 1,024: real tokens of all, in percent;
tokens per CPU-second of a training step over packed blocks, over that of the same conversations padded to the longest
of their batch (A packed, B padded; A B A B); and the largest relative difference of a block's loss and its
conversations' alone, over families and attention implementations. Writes F1.json, F3-real.json, F3.json, F3-loss.json.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from results import write_result
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from chat_shapes import SHAPES
from runtime.tasks.test_blocks import DOCUMENTS, SIZE, documents, loss_of, model_of
from trainshed.runtime.data.apart import BlockFitter
from trainshed.runtime.data.tokens import Tokens
from trainshed.runtime.encoding import ConversationEncoder
from trainshed.runtime.modalities.text.collation import IGNORED, inputs, pad
from trainshed.runtime.tasks.blocks import block_batch
from trainshed.runtime.tasks.tokens import token_loss
from trainshed.spec.training.models.blocks import KEEPS_APART

BLOCK = 1024
VOCABULARY = 4096
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    command = f"python benchmarks/finetuning.py --conversations {options.conversations} --pairs {options.pairs}"
    torch.set_num_threads(1)
    shares = [rows_right(name, options.conversations) for name in SHAPES]
    what = f"rows equal to the model's own template, {len(SHAPES)} families x {options.conversations}"
    write_result("F1", what, ">= 100 %", shares, command=command, pairs=[])
    own = mixed_lengths(2000)
    blocks = fitted(own)
    real = sum(map(len, own)) / (BLOCK * len(blocks))
    write_result("F3-real", "real tokens in blocks of mixed lengths", ">= 97 %", [real], command=command, pairs=[])
    ratios = [speed(packed(blocks[number : number + 6])) / speed(padded(own[number * 9 :][:48]))
              for number in range(options.pairs)]  # fmt: skip
    what = "tokens per CPU-s of a step over packed blocks / over padded rows"
    write_result("F3", what, ">= 1.5", ratios, command=command, pairs=[])
    worst = [difference(kind, attention) for kind in sorted(KEEPS_APART) for attention in ("eager", "sdpa")]
    found = [one for one in worst if one is not None]
    what = f"loss of a block against its documents alone, relative, {len(found)} families x attentions"
    write_result("F3-loss", what, "<= 1e-5", found, command=command, pairs=[])


def rows_right(name: str, count: int) -> float:
    """The share of a family's rows that are right."""
    shape = SHAPES[name]
    rng = random.Random(17)
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = shape.tokenizer()
        tokenizer.save_pretrained(folder)
        encoder = ConversationEncoder.read(Path(folder), obey=False)
        assert encoder is not None
        for _ in range(count):
            turns = [{"role": "system", "content": said(rng)}] if shape.has_system and rng.random() < 0.5 else []
            for _ in range(rng.randint(1, 5)):
                turns += [{"role": "user", "content": said(rng)}, {"role": "assistant", "content": said(rng)}]
            row = encoder.learnt(turns)
            ends = np.flatnonzero(np.diff(np.concatenate([row.mask.astype(int), [0]])) == -1)
            closed = len(ends) == len(turns) // 2 and all(row.ids[end] in encoder.ends for end in ends)
            same = row.ids.tolist() == list(tokenizer.apply_chat_template(turns, return_dict=False))
            right += same and closed
    return right / count


def said(rng: random.Random) -> str:
    words = ("You", "are", "short", "7", "é", "\n", "  ", "number!", "<", "the answer is", "[/")
    return "".join(rng.choice(words) for _ in range(rng.randint(1, 12))) + rng.choice(["a", "a\n", " b ", "."])


def mixed_lengths(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    sizes = np.clip(rng.lognormal(5.0, 0.9, count).astype(int), 20, 1000)
    return [rng.integers(3, VOCABULARY, size) for size in sizes]


def fitted(own: list[np.ndarray]) -> list[list[Tokens]]:
    fitter = BlockFitter(BLOCK)
    return [block for ids in own for block in fitter.add(Tokens(ids))] + list(fitter.close())


def packed(blocks: list[list[Tokens]]) -> list[dict[str, torch.Tensor]]:
    """A batch of one block each: as many tokens a pass as a padded batch has places."""
    made = []
    for block in blocks:
        ids = np.concatenate([one.ids for one in block])
        made.append(block_batch([ids], [np.array([len(one.ids) for one in block])], None, size=BLOCK, fill=0))
    return made


def padded(own: list[np.ndarray]) -> list[dict[str, torch.Tensor]]:
    """Rows in batches of eight, padded to the longest of each."""
    batches = [own[first : first + BATCH] for first in range(0, len(own), BATCH)]
    return [{**inputs(rows, 0), "labels": pad(rows, IGNORED)} for rows in batches]


def speed(batches: list[dict[str, torch.Tensor]]) -> float:
    """Learnt tokens per CPU-second of forward and backward passes."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=BLOCK, **sizes))
    step(model, batches[0])
    began = time.process_time()
    for batch in batches:
        step(model, batch)
    tokens = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
    return tokens / (time.process_time() - began)


def step(model: LlamaForCausalLM, batch: dict[str, torch.Tensor]) -> None:
    given = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = model(**given, use_cache=False).logits
    token_loss(logits[:, :-1], batch["labels"][:, 1:]).backward()
    model.zero_grad()


def difference(kind: str, attention: str) -> float | None:
    """None where a family has no such attention."""
    try:
        model = model_of(kind, attention)
    except BaseException as error:
        if "attention" not in str(error):
            raise
        return None
    own = documents()
    block = block_batch([np.concatenate(own)], [np.array(DOCUMENTS)], None, size=SIZE, fill=0)
    rows = [torch.from_numpy(document)[None] for document in own if len(document) > 1]
    alone = sum(loss_of(model, {"input_ids": ids, "labels": ids}) for ids in rows)
    return abs(loss_of(model, block) - alone) / statistics.fmean([abs(alone)])


if __name__ == "__main__":
    main()
