"""Tokenizers that carry chat templates, in the shapes that those of real models have."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = "You are short. Say a number, and then another one! The answer is 7.\n" * 5


def byte_level(added: list[AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))  # type: ignore[attr-defined]
    tokenizer.add_tokens(added)
    return tokenizer


def sentence_pieces(added: list[AddedToken]) -> Tokenizer:
    """As the tokenizers of Llama 2, Mistral and Gemma: marks are pieces of the vocabulary, blanks are U+2581."""
    pieces = [("<unk>", 0.0), *((token.content, 0.0) for token in added)]
    letters = set(string.printable) - {" "} | set("▁é😀")
    tokenizer = Tokenizer(models.Unigram([*pieces, *((letter, -5.0) for letter in sorted(letters))], 0, False))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.add_tokens(added)
    return tokenizer


@dataclass(frozen=True)
class Shape:
    """A chat template, its marks (`plain` ones are added without being called special), and its tokenizer."""

    template: str
    marks: tuple[str, ...]
    make: Callable[[list[AddedToken]], Tokenizer] = byte_level
    plain: tuple[str, ...] = ()
    has_system: bool = True
    words: tuple[str, ...] = ()
    has_tools: bool = False

    def tokenizer(self) -> Any:
        added = [AddedToken(mark, special=True, normalized=False) for mark in self.marks]
        added += [AddedToken(mark, special=False, normalized=False) for mark in (*self.plain, *self.words)]
        fast = PreTrainedTokenizerFast(
            tokenizer_object=self.make(added), bos_token=self.marks[0], eos_token=self.marks[1]
        )
        fast.chat_template = self.template
        return fast


SHAPES = {
    "chatml": Shape(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
    ),
    "chatml with marks that are not called special": Shape(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        ("<|startoftext|>", "<|endoftext|>"),
        plain=("<|im_start|>", "<|im_end|>"),
    ),
    "qwen with thoughts": Shape(
        "{% for m in messages %}{% set text = m.content %}"
        "{% if m.role == 'assistant' and '</think>' in text %}"
        "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ text }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        words=("<think>", "</think>"),
    ),
    "llama 3": Shape(
        "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
        " + m['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
        "{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "llama 2": Shape(
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system = messages[0]['content'] %}"
        "{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}"
        "{% for m in loop_messages %}{% if loop.index0 == 0 and system %}"
        "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
        "{% else %}{% set content = m['content'] %}{% endif %}"
        "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        sentence_pieces,
    ),
    "mistral": Shape(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
        "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]"),
        sentence_pieces,
        has_system=False,
    ),
    "gemma": Shape(
        "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        sentence_pieces,
        words=("\n\n",),
    ),
    "phi 3": Shape(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        ("<s>", "<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"),
    ),
    "zephyr": Shape(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        sentence_pieces,
    ),
    "deepseek": Shape(
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
        "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
        "{% else %}{{ '<｜Assistant｜>' + m['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        plain=("<｜User｜>", "<｜Assistant｜>"),
        words=("<think>",),
    ),
    "qwen 3": Shape(
        "{%- if tools %}{{- '<|im_start|>system\n' }}{%- if messages[0].role == 'system' %}"
        "{{- messages[0].content + '\n\n' }}{%- endif %}{{- '# Tools\n<tools>' }}"
        "{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}{{- '\n</tools><|im_end|>\n' }}"
        "{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
        "{%- endif %}{%- set ns = namespace(last=messages | length - 1, looking=true) %}"
        "{%- for m in messages[::-1] %}{%- set index = (messages | length - 1) - loop.index0 %}"
        "{%- if ns.looking and m.role == 'user' %}{%- set ns.looking = false %}{%- set ns.last = index %}"
        "{%- endif %}{%- endfor %}"
        "{%- for m in messages %}{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
        "{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
        "{%- elif m.role == 'assistant' %}{%- set content = m.content or '' %}{%- set thought = '' %}"
        "{%- if '</think>' in content %}"
        "{%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>assistant\n' }}"
        "{%- if loop.index0 > ns.last and (loop.last or thought) %}"
        "{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
        "{%- else %}{{- content }}{%- endif %}"
        "{%- for call in m.tool_calls or [] %}{{- '\n<tool_call>\n' }}{{- call.function | tojson }}"
        "{{- '\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}"
        "{%- elif m.role == 'tool' %}"
        "{{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"
        "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
        ("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
        words=("<think>", "</think>", "<tool_call>", "</tool_call>"),
        has_tools=True,
    ),
    "mistral 3": Shape(
        "{%- set system = '' %}{%- if messages[0].role == 'system' %}{%- set system = messages[0].content + '\n\n' %}"
        "{%- set messages = messages[1:] %}{%- endif %}{{- bos_token }}"
        "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}"
        "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
        "{%- for m in messages %}{%- if m.role == 'user' %}{%- if loop.index0 == ns.last and tools %}"
        "{{- '[AVAILABLE_TOOLS] ' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif %}"
        "{{- '[INST] ' + (system if loop.index0 == ns.last else '') + m.content + '[/INST]' }}"
        "{%- elif m.role == 'assistant' %}"
        "{%- if m.tool_calls %}{{- '[TOOL_CALLS] ' + (m.tool_calls | tojson) + eos_token }}"
        "{%- else %}{{- ' ' + m.content + eos_token }}{%- endif %}"
        "{%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS] ' + m.content + '[/TOOL_RESULTS]' }}"
        "{%- endif %}{%- endfor %}",
        (
            "<s>",
            "</s>",
            "[INST]",
            "[/INST]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_CALLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        sentence_pieces,
        has_tools=True,
    ),
}
"""Chat templates in the shape of those of the families that people tune, each with its marks and kind of tokenizer."""
