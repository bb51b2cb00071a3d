"""An answer that is slow to find.

Found once for all who ask at the same time, and kept for a while.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """Calls a function in a thread of its own, at most one call at a time."""

    def __init__(self, find: Callable[[], T], *, max_age_s: float) -> None:
        """Keep answers of a function.

        Args:
            find: the function; what it raises is raised to all who wait, and the next caller tries
                again.
            max_age_s: how long an answer is returned again.
        """
        self._find = find
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._found_at_s = 0.0

    def ask(self) -> Future[T]:
        """Return the answer, or the one that is being found.

        Starts the function if there is neither.

        Cancelling the future has no effect on others who wait.
        """
        with self._lock:
            if self._answer is None or not self._is_current(self._answer):
                self._answer = Future()
                self._answer.set_running_or_notify_cancel()  # from here on it cannot be cancelled
                threading.Thread(
                    target=self._run, args=(self._answer,), daemon=True, name="ask"
                ).start()
            return self._answer

    def known(self) -> T | None:
        """Return the last answer; None where there is none yet. Nothing is started."""
        answer = self._answer
        if answer is None or not answer.done() or answer.exception() is not None:
            return None
        return answer.result()

    def _is_current(self, answer: Future[T]) -> bool:
        """Return whether an answer is awaited, or young enough."""
        if not answer.done():
            return True
        age_s = time.monotonic() - self._found_at_s
        return answer.exception() is None and age_s < self._max_age_s

    def _run(self, answer: Future[T]) -> None:
        """Call the function."""
        try:
            found = self._find()
        except BaseException as error:  # noqa: BLE001  # a thread's edge: it is raised to those who wait
            answer.set_exception(error)
        else:
            self._found_at_s = time.monotonic()
            answer.set_result(found)
