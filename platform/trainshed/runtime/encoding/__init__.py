"""One idea of where a text begins and ends, shared by prepared data, training, `predict` and the endpoint."""

from __future__ import annotations

from trainshed.runtime.encoding.conversations import ConversationEncoder, EncodedConversation, Learn
from trainshed.runtime.encoding.marks import Marks
from trainshed.runtime.encoding.special import GENERATION_CONFIG, MARK_NAMES, TOKENIZER, SpecialIds, named_ends
from trainshed.runtime.encoding.template import ChatTemplate, TemplateRefusal
from trainshed.runtime.encoding.text import Affixes, Ids, TextEncoder

__all__ = [
    "GENERATION_CONFIG",
    "MARK_NAMES",
    "TOKENIZER",
    "Affixes",
    "ChatTemplate",
    "ConversationEncoder",
    "EncodedConversation",
    "Ids",
    "Learn",
    "Marks",
    "SpecialIds",
    "TemplateRefusal",
    "TextEncoder",
    "named_ends",
]
