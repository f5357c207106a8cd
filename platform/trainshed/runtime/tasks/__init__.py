"""What is learnt. A task builds its model, gives the loss of a batch, and writes an export that others can open."""

from __future__ import annotations

from typing import assert_never

from trainshed.runtime.tasks.causal_lm import CausalLmTask
from trainshed.runtime.tasks.classification import ClassificationTask
from trainshed.runtime.tasks.custom import load_custom
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.lstm import LstmTask
from trainshed.runtime.tasks.masked_lm import MaskedLmTask
from trainshed.runtime.tasks.preference import PreferenceTask
from trainshed.runtime.tasks.protocol import Batch, Forward, Meter, Samples, Task
from trainshed.runtime.tasks.reward_model import RewardModelTask
from trainshed.runtime.tasks.seq2seq_lm import Seq2SeqLmTask
from trainshed.spec.training.preference import Dpo, Orpo, RewardModel
from trainshed.spec.training.tasks import (
    CausalLm,
    Custom,
    ImageClassification,
    LstmClassifier,
    MaskedLm,
    Seq2SeqLm,
    TextClassification,
)
from trainshed.spec.training.train import Training

__all__ = ["Batch", "DataFacts", "Forward", "Meter", "Samples", "Task", "build"]


def build(training: Training, facts: DataFacts) -> Task:
    """The task that a training names."""
    match training.task:
        case CausalLm():
            return CausalLmTask(training, facts)
        case MaskedLm() as task:
            return MaskedLmTask(training, task, facts)
        case Seq2SeqLm() as task:
            return Seq2SeqLmTask(training, task, facts)
        case TextClassification() | ImageClassification() as task:
            return ClassificationTask(training, task, facts)
        case LstmClassifier() as task:
            return LstmTask(training, task, facts)
        case Dpo() | Orpo() as task:
            return PreferenceTask(training, task, facts)
        case RewardModel():
            return RewardModelTask(training, facts)
        case Custom() as task:
            return load_custom(training, task, facts)
        case _:
            assert_never(training.task)
