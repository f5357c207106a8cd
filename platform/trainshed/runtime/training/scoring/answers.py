"""Answers that a model generates for samples, batch by batch: each batch is a file, so a group that is started again
goes on behind the last one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed as dist

from trainshed.runtime.tasks import Samples
from trainshed.runtime.tasks.protocol import Answered, GivesAnswers
from trainshed.runtime.training.ended import Notice
from trainshed.runtime.training.engines.answering import AnsweringModel
from trainshed.runtime.training.host import Host, World
from trainshed.runtime.training.scoring.files import AnswerFiles
from trainshed.runtime.training.scoring.measure import notice_of_any
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
    batches = range(0, asked.answered, asked.answers_at_once)  # the same for any number of workers
    missing = _missing(batches, files, world)
    for turn in range(0, len(missing), world.workers):
        own = missing[turn + world.worker] if turn + world.worker < len(missing) else None
        said: list[Answered] = []
        if own is not None:
            ids = np.arange(own, min(own + asked.answers_at_once, asked.answered))
            with engine.arithmetic():
                said = task.answers(engine.model, samples.take(ids), max_new_tokens=longest)
        given = _of_all((own, said), world)
        if world.worker == 0:
            for start, answers in given:
                if start is not None:
                    files.write(start, [dataclasses.asdict(one) for one in answers])
        left = sum(min(asked.answers_at_once, asked.answered - start) for start in missing[turn + world.workers :])
        host.stepped(asked.samples + asked.answered - left)
        if (notice := notice_of_any(host)) is not None:
            return notice
    return None


def _missing(batches: Sequence[int], files: AnswerFiles, world: World) -> list[int]:
    """The batches that are not answered yet, by their first sample, as worker 0 sees them."""
    found: list[Any] = [start for start in batches if world.worker == 0 and not files.is_there(start)]
    if world.workers > 1:
        told = [found]
        dist.broadcast_object_list(told, src=0)
        found = told[0]
    return found


def _longest(task: GivesAnswers, samples: Samples, asked: Asked) -> int:
    """The same for every batch: an answer may not depend on those beside it."""
    longest = 1
    for start in range(0, asked.answered, asked.answers_at_once):
        ids = np.arange(start, min(start + asked.answers_at_once, asked.answered))
        longest = max(longest, task.longest_answer(samples.take(ids)))
    return longest


def _of_all(said: tuple[int | None, list[Answered]], world: World) -> list[tuple[int | None, list[Answered]]]:
    """The batches of all workers, each by its first sample; None of one that had nothing to do."""
    if world.workers == 1:
        return [said]
    gathered: list[Any] = [None] * world.workers
    dist.all_gather_object(gathered, said)
    return gathered
