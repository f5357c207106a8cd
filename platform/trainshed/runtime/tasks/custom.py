"""A task of the user's own: a class in a module that was uploaded with the job."""

from __future__ import annotations

import importlib
import inspect
from typing import cast

from trainshed.errors import PlatformError
from trainshed.runtime.tasks.facts import DataFacts
from trainshed.runtime.tasks.protocol import Task
from trainshed.spec.training.tasks import Custom
from trainshed.spec.training.train import Training


def load_custom(training: Training, task: Custom, facts: DataFacts) -> Task:
    """`MyTask(training, facts)`, checked to have every member of the protocol.

    Raises:
        PlatformError: no such module or class, or members are missing.
    """
    try:
        made = getattr(importlib.import_module(task.module), task.class_name)
    except ModuleNotFoundError as error:
        raise PlatformError(
            f"task.path: {error}; {task.module}.py lies beside the job file, and uses what is installed"
        ) from error
    except AttributeError:
        raise PlatformError(f"task.path: {task.module} has no class {task.class_name!r}") from None
    wanted = ["unit", *(name for name, _ in inspect.getmembers(Task, inspect.isfunction) if not name.startswith("_"))]
    missing = [name for name in wanted if not hasattr(made, name)]
    if missing:
        raise PlatformError(f"task.path: {task.path} lacks {', '.join(missing)}; see trainshed.runtime.tasks.Task")
    return cast(Task, made(training, facts))
