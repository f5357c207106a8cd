"""Answers that a model generates for samples, batch by batch: each batch is a file, so a group that is started again
goes on behind the last one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch.distributed as dist

from trainshed.runtime.tasks import Samples
from trainshed.runtime.tasks.protocol import Answered, GivesAnswers
from trainshed.runtime.training.ended import Notice
from trainshed.runtime.training.engines.answering import AnsweringModel
from trainshed.runtime.training.host import Host, World
from trainshed.runtime.training.scoring.files import AnswerFiles
from trainshed.runtime.training.scoring.measure import agreed, notice_of_any
from trainshed.spec.evaluation.asked import Asked


def answer_samples(
    task: GivesAnswers,
    samples: Samples,
    engine: AnsweringModel,
    host: Host,
    *,
    asked: Asked,
    files: AnswerFiles,
) -> Notice | None:
    """Answers what is not answered yet; why it ended before the last, if it did. Every worker calls it."""
    world = host.world
    longest = asked.max_new_tokens or _longest(task, samples, asked)
    at_once = asked.answers_at_once * world.workers
    for start in range(0, asked.answered, at_once):
        ids = np.arange(start, min(start + at_once, asked.answered))
        if not agreed(files.is_there(start), world):
            own = ids[world.worker * asked.answers_at_once : (world.worker + 1) * asked.answers_at_once]
            said: list[Answered] = []
            if len(own):
                with engine.arithmetic():
                    said = task.answers(engine.model, samples.take(own), max_new_tokens=longest)
            whole = _of_all(said, world)
            if world.worker == 0:
                files.write(start, [dataclasses.asdict(one) for one in whole])
        host.stepped(asked.samples + start + len(ids))
        if (notice := notice_of_any(host)) is not None:
            return notice
    return None


def _longest(task: GivesAnswers, samples: Samples, asked: Asked) -> int:
    """The same for every batch: an answer may not depend on those beside it."""
    longest = 1
    for start in range(0, asked.answered, asked.answers_at_once):
        ids = np.arange(start, min(start + asked.answers_at_once, asked.answered))
        longest = max(longest, task.longest_answer(samples.take(ids)))
    return longest


def _of_all(said: list[Answered], world: World) -> list[Answered]:
    """The answers of all workers, in their order."""
    if world.workers == 1:
        return said
    gathered: list[Any] = [None] * world.workers
    dist.all_gather_object(gathered, said)
    return [one for own in gathered for one in own]
