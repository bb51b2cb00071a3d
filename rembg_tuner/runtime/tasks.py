"""A task: one piece of background work, its status, its outcome, and how to cancel it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from rembg_tuner.base.messages import Message

T = TypeVar("T")
State = Literal["waiting", "running", "done"]
OnLeave = Literal["cancel", "keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[T]):
    """The outcome of a task whose work returned.

    Attributes:
        result: the value that its work returned.
        is_stopped: whether the task was cancelled or exceeded its time limit; the result is then
            partial.
    """

    result: T
    is_stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailure:
    """The outcome of a task that did not start, or whose work raised an exception.

    Attributes:
        kind: as in a failed run: busy, cancelled, crash, or the kind of the error.
        message: the reason.
    """

    kind: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """The status of a task at one moment.

    Attributes:
        queue_position: 1: next; 0: no longer in the queue.
        queue_length: number of tasks in the queue.
        wait_s: estimate of the remaining wait; None: the task is not in the queue, or there are no
            earlier durations.
        elapsed_s: seconds since the task started.
        progress: the value reported by the work.
        running_kinds: the kinds of the tasks that run in the lane now.
    """

    state: State
    queue_position: int
    queue_length: int
    wait_s: float | None
    elapsed_s: float
    progress: Any
    running_kinds: frozenset[str] = frozenset()


class TaskLane(Protocol):
    """The parts of a lane that its tasks use."""

    lock: threading.Lock
    time_limit_s: float | None

    def cancel(self, task: Task[Any]) -> None:
        """Remove a task from the queue, or stop it."""

    def look(self, task: Task[Any]) -> TaskStatus:
        """Return the status of a task."""


class Task(Generic[T]):
    """One piece of work in a lane. Every method may be called from any thread.

    Attributes:
        work: called in a thread of the lane.
        kind: what the task does, shown in the status of other tasks.
        key: tasks with an equal key are one shared task; None: not shared.
        progress: the value reported by the work; only the work writes it.
        outcome: None until the task is done.
        is_cancelled: set by `cancel`; checked by the work.
        ran_alone: whether no other task ran in the lane at the same time.
        is_typical: whether its duration counts for estimates of the wait.
    """

    def __init__(
        self,
        lane: TaskLane,
        work: Callable[[Task[T], Any], T],
        *,
        owner: Hashable = None,
        kind: str = "",
        key: Hashable = None,
        on_leave: OnLeave = "cancel",
    ) -> None:
        """Create a task; see `Lane.submit`."""
        self._lane = lane
        self.work: Any = work
        self.kind, self.key = kind, key
        self.progress: Any = None
        self.owners, self._on_leave = {owner}, on_leave
        self.state: State = "waiting"
        self.outcome: Done[T] | TaskFailure | None = None
        self.is_cancelled = False
        self.ran_alone = self.is_typical = True
        self.done = threading.Event()
        self.stop: Callable[[], None] | None = None  # read and written under the lane's lock
        self._submitted_at = time.perf_counter()
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._on_done: list[Callable[[], None]] = []

    def look(self) -> TaskStatus:
        """Return the status of the task."""
        return self._lane.look(self)

    def cancel(self) -> None:
        """Remove the task from the queue, or stop it; returns at once."""
        self._lane.cancel(self)

    def leave(self, owner: Hashable) -> None:
        """Remove an owner; cancel the task if it has no owners left and is not kept."""
        self.owners.discard(owner)
        if not self.owners and self._on_leave == "cancel":
            self.cancel()

    def stop_with(self, stop: Callable[[], None]) -> None:
        """Set the function that stops the work; it is called at once if the task is cancelled."""
        with self._lane.lock:
            self.stop = stop
            if self.is_cancelled:
                stop()

    def call_when_done(self, callback: Callable[[], None]) -> None:
        """Call a function in the lane's thread when the task is done, or immediately if it is."""
        with self._lane.lock:
            if not self.done.is_set():
                self._on_done.append(callback)
                return
        callback()

    @property
    def is_running(self) -> bool:
        """Whether the task is queued or running."""
        return not self.done.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether the task was cancelled, or exceeded the lane's time limit."""
        limit_s = self._lane.time_limit_s
        return self.is_cancelled or (limit_s is not None and self.elapsed_s() > limit_s)

    @property
    def failure(self) -> TaskFailure | None:
        """The failure; None: the task is not done, or its work returned."""
        return self.outcome if isinstance(self.outcome, TaskFailure) else None

    def elapsed_s(self) -> float:
        """Return the seconds from the start to the end, or until now."""
        if self._started_at is None:
            return 0.0
        return (self._ended_at or time.perf_counter()) - self._started_at

    def queued_s(self) -> float:
        """Return the seconds from the request to the start, or until now."""
        return (self._started_at or time.perf_counter()) - self._submitted_at

    def start(self) -> None:
        """Change the state to running."""
        self.state, self._started_at = "running", time.perf_counter()

    def finish(self, outcome: Done[T] | TaskFailure) -> None:
        """Change the state to done, and call the callbacks."""
        with self._lane.lock:
            self._ended_at, self.outcome, self.state = time.perf_counter(), outcome, "done"
            self.done.set()
            callbacks, self._on_done = self._on_done, []
        for callback in callbacks:
            callback()
