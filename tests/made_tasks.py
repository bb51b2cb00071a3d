"""Tasks in a given state, created without running them in a lane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.runtime.lanes import Lane, PlainSlot
from rembg_tuner.runtime.slots import RunProgress
from rembg_tuner.runtime.tasks import Done, Task, TaskFailure
from rembg_tuner.web.pages.long_tasks import LongTask

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.settings.results import Failure, Result


def unfinished_task() -> Task[Any]:
    """Create a task that waits or runs."""
    return Task(Lane([PlainSlot()]), lambda *_: None)


def stopped_task() -> Task[Any]:
    """Create a task that was stopped and kept its results."""
    task = unfinished_task()
    task.cancel()
    task.finish(Done(result=None, is_stopped=True))
    return task


def failed_task(message: Message, kind: str = "engine_error") -> Task[Any]:
    """Create a task that failed."""
    task = unfinished_task()
    task.finish(TaskFailure(kind=kind, message=message))
    return task


def task_of_runs(*runs: Result | Failure) -> Task[Any]:
    """Create a task of the slots lane that finished with these runs."""
    task = unfinished_task()
    task.progress = RunProgress(runs=list(runs))
    task.finish(Done(result=runs))
    return task


def unfinished_long_task(folder: Path = Path("/nowhere"), **fields: Any) -> LongTask:
    """Create a long task that runs."""
    return LongTask(folder=folder, task=unfinished_task(), **fields)
