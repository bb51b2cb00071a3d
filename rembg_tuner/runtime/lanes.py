"""A lane: a bounded queue of tasks in front of one or more slots.

Each slot is a thread, so a waiting task does not need one. A page polls its task, and cancels it
when its visitor leaves.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from rembg_tuner.base.errors import CancelledError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.tasks import Done, Task, TaskFailure, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from rembg_tuner.runtime.tasks import OnLeave

S = TypeVar("S", bound="Slot")
SlotUsed = TypeVar("SlotUsed", bound="Slot", contravariant=True)
T = TypeVar("T")
MAX_WAITING = 16
CANCELLED = Message("the run was cancelled")
UNEXPECTED = Message("unexpected error, recorded in the server log; try again")
_REMEMBERED_TASKS = 9  # the median of their durations estimates the wait
_CLOSE_TIMEOUT_S = 3.0
_LOG = logging.getLogger(__name__)


class Slot(Protocol):
    """A resource that the tasks of one thread share; opened and closed with the thread."""

    def __enter__(self) -> Any:
        """Open the slot."""

    def __exit__(self, *_: object) -> None:
        """Close the slot."""

    def cancel(self) -> None:
        """Stop the run in progress in the slot; called from other threads."""

    def settle(self) -> None:
        """Clean up after a task, once its outcome is known."""


class PlainSlot:
    """A slot without shared state."""

    def __enter__(self) -> Self:
        """Open the slot."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the slot."""

    def cancel(self) -> None:
        """Do nothing: the work checks `Task.is_stopped`."""

    def settle(self) -> None:
        """Do nothing."""


class Preparation(Protocol[SlotUsed]):
    """Work for the first slot while it is idle; a suitable task can join while it runs."""

    def run(self, slot: SlotUsed, on_progress: Callable[[Any], None]) -> None:
        """Prepare the slot; `on_progress` raises CancelledError when it is no longer needed."""

    def suits(self, slot: SlotUsed, task: Task[Any]) -> bool:
        """Return whether a task can use what is being prepared."""

    def note(self, task: Task[Any], progress: Any) -> None:
        """Record the progress in the task that joined."""


class Lane(Generic[S]):
    """A bounded queue in front of one or more slots. Use it with `with`."""

    def __init__(
        self,
        slots: Sequence[S],
        *,
        max_waiting: int = MAX_WAITING,
        full_text: Callable[[Lane[S]], Message] | None = None,
        time_limit_s: float | None = None,
    ) -> None:
        """Create a lane; the first thread starts with the first task.

        Args:
            slots: one for each task that may run at the same time.
            max_waiting: maximum number of queued tasks while all slots are busy; more are refused.
            full_text: returns the reason of a refusal.
            time_limit_s: time after which `Task.is_stopped` is true; None: no limit.
        """
        self.lock = threading.Lock()
        self.slots = tuple(slots)
        self.max_waiting = max_waiting
        self.time_limit_s = time_limit_s
        self._full_text = full_text or _full_text
        self._changed = threading.Condition(self.lock)
        self._waiting: deque[Task[Any]] = deque()
        self._running: dict[S, Task[Any]] = {}
        self._durations_s: deque[float] = deque(maxlen=_REMEMBERED_TASKS)
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._next_preparation: Preparation[S] | None = None
        self._preparation: Preparation[S] | None = None  # that runs now

    def __enter__(self) -> Self:
        """Return the lane."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the lane."""
        self.close()

    def submit(
        self,
        work: Callable[[Task[T], S], T],
        *,
        owner: Hashable = None,
        kind: str = "",
        key: Hashable = None,
        on_leave: OnLeave = "cancel",
        progress: Any = None,
    ) -> Task[T]:
        """Put work into the queue.

        Args:
            work: called with its task and the slot, in the slot's thread.
            owner: the caller that waits for the task; see `Task.leave`.
            kind: what the task does, shown in the status of other tasks.
            key: a queued or running task with this key is shared; None: never shared.
            on_leave: whether the task is cancelled when its last owner leaves.
            progress: the first value of `Task.progress`.

        Returns:
            The task. If the queue is full, it is done, with a failure of kind busy.
        """
        with self.lock:
            shared = next(
                (
                    one
                    for one in self.tasks
                    if key is not None and one.key == key and not one.is_cancelled
                ),
                None,
            )
            if shared is not None:
                shared.owners.add(owner)
                return shared
            task = Task(
                self,
                work,
                owner=owner,
                kind=kind,
                key=key,
                on_leave=on_leave,
            )
            task.progress = progress
            refusal = self._refusal()
            if refusal is None:
                self._waiting.append(task)
                self._join_preparation()
                self._wake_slot()
        if refusal is not None:
            task.finish(TaskFailure(kind="busy", message=refusal))
        return task

    def _refusal(self) -> Message | None:
        """Return the reason why tasks are refused now; None: the next task is accepted."""
        if self._is_closed:
            return Message("this server is closing; come back later")
        is_full = self.running + self.waiting >= len(self.slots) + self.max_waiting
        return self._full_text(self) if is_full else None

    def prepare(self, preparation: Preparation[S]) -> None:
        """Run a preparation in the first slot, unless tasks are queued or running."""
        with self.lock:
            if not self._is_closed and not self.tasks:
                self._next_preparation = preparation
                self._wake_slot()

    def _wake_slot(self) -> None:
        """Wake a free slot; threads start one by one, so that the first slot is the warm one."""
        wanted = max(1, self.running + self.waiting)
        if len(self._threads) < min(len(self.slots), wanted):
            slot = self.slots[len(self._threads)]
            name = f"slot-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, args=(slot,), daemon=True, name=name)
            self._threads.append(thread)
            thread.start()
        self._changed.notify_all()

    def _join_preparation(self) -> bool:
        """Start the next task in the slot that is being prepared, if the task suits.

        Returns:
            Whether the preparation is still useful.
        """
        slot = self.slots[0]
        if self._preparation is None or self._is_closed:
            return False
        if slot not in self._running and self._waiting:
            if not self._preparation.suits(slot, self._waiting[0]):
                slot.cancel()  # a running conversion checks only the slot's cancellation
                return False
            self._start_next(slot)
        task = self._running.get(slot)
        return task is None or not task.is_cancelled

    @property
    def tasks(self) -> list[Task[Any]]:
        """The queued and running tasks."""
        return [*self._waiting, *self._running.values()]

    @property
    def waiting(self) -> int:
        """The number of queued tasks."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """The number of running tasks."""
        return len(self._running)

    @property
    def is_busy(self) -> bool:
        """Whether the next task must wait."""
        return self.running >= len(self.slots) or self.waiting > 0

    @property
    def is_preparing(self) -> bool:
        """Whether a preparation runs."""
        return self._preparation is not None

    def look(self, task: Task[Any]) -> TaskStatus:
        """Return the status of a task."""
        with self.lock:
            position = self._waiting.index(task) + 1 if task in self._waiting else 0
            return TaskStatus(
                state=task.state,
                queue_position=position,
                queue_length=len(self._waiting),
                wait_s=self.wait_s(position - 1) if position else None,
                elapsed_s=task.elapsed_s(),
                progress=task.progress,
                running_kinds=frozenset(one.kind for one in self._running.values()),
            )

    def wait_s(self, before: int) -> float | None:
        """Estimate the wait behind a number of tasks from the median of the last durations."""
        if not self._durations_s:
            return None
        median_s = statistics.median(self._durations_s)
        left = [max(0.0, median_s - task.elapsed_s()) for task in self._running.values()]
        first_free_s = min(left) if len(left) >= len(self.slots) else 0.0
        return first_free_s + median_s * before / len(self.slots)

    def cancel(self, task: Task[Any]) -> None:
        """Remove a task from the queue, or stop it if it runs."""
        with self.lock:
            if task.state == "done":
                return
            task.is_cancelled = True
            was_waiting = task in self._waiting
            if was_waiting:
                self._waiting.remove(task)
            elif task.stop is not None:
                task.stop()  # under the lock, or the slot could start its next task first
        if was_waiting:
            task.finish(TaskFailure(kind="cancelled", message=CANCELLED))

    def close(self) -> None:
        """Cancel all tasks and close the slots."""
        with self.lock:
            self._is_closed = True
            if self._preparation is not None:
                self.slots[0].cancel()
            tasks = self.tasks
            self._changed.notify_all()
        for task in tasks:
            self.cancel(task)
        for thread in self._threads:
            thread.join(_CLOSE_TIMEOUT_S)

    def _serve(self, slot: S) -> None:
        """Run tasks in one slot until the lane closes."""
        with slot:
            while (task := self._next_task(slot)) is not None:
                outcome = _outcome_of(task, slot)
                with self.lock:
                    del self._running[slot]
                    task.stop = None
                    if task.is_typical and isinstance(outcome, Done):
                        self._durations_s.append(task.elapsed_s())
                task.finish(outcome)
                slot.settle()

    def _next_task(self, slot: S) -> Task[Any] | None:
        """Wait for the next task, and run a preparation meanwhile; None: the lane is closed."""
        is_first = slot is self.slots[0]
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._is_closed or self._waiting or (is_first and self._next_preparation)
                    )
                )
                if self._is_closed:
                    return None
                preparation, self._next_preparation = self._next_preparation, None
                if self._waiting:
                    return self._start_next(slot)
                self._preparation = preparation
            assert preparation is not None  # guaranteed by wait_for
            if (task := self._prepare(slot, preparation)) is not None:
                return task

    def _start_next(self, slot: S) -> Task[Any]:
        """Start the next task of the queue."""
        task = self._waiting.popleft()
        task.start()
        self._running[slot], task.stop = task, slot.cancel
        if len(self._running) > 1:
            for one in self._running.values():
                one.ran_alone = False
        return task

    def _prepare(self, slot: S, preparation: Preparation[S]) -> Task[Any] | None:
        """Run a preparation; errors are logged, and the task that needs it reports its own.

        Returns:
            The task that joined meanwhile.
        """

        def check(progress: Any) -> None:
            with self.lock:
                is_of_use, task = self._join_preparation(), self._running.get(slot)
            if not is_of_use:  # the exception makes the start end its worker
                raise CancelledError(CANCELLED)
            if task is not None:
                preparation.note(task, progress)

        try:
            preparation.run(slot, check)
        except Exception:  # noqa: BLE001  # the slot's edge: it must run the next task
            _LOG.exception("a slot could not be prepared; its first task does it")
        with self.lock:
            self._preparation = None
            task = self._running.get(slot)
        if task is None:
            slot.settle()
        return task


def _outcome_of(task: Task[Any], slot: Any) -> Done[Any] | TaskFailure:
    """Run the work of a task, and return its outcome."""
    try:
        return Done(result=task.work(task, slot), is_stopped=task.is_stopped)
    except TunerError as error:
        if task.is_stopped:  # errors caused by the cancellation are not reported
            return TaskFailure(kind="cancelled", message=CANCELLED)
        return TaskFailure(kind=error.kind, message=error.message)
    except Exception:  # noqa: BLE001  # the slot's edge: it must run the next task
        _LOG.exception("a task raised an unexpected error")
        return TaskFailure(kind="crash", message=UNEXPECTED)


def _full_text(lane: Lane[Any]) -> Message:
    """Return the message that the queue is full, with an estimate of the wait."""
    when, wait_s = Message("later"), lane.wait_s(lane.waiting)
    if wait_s is not None:
        when = Message("in about {duration:seconds}", duration=max(1.0, wait_s))
    return Message(
        "{waiting} pictures are waiting already and no more are taken; come back {when}",
        waiting=lane.waiting,
        when=when,
    )
