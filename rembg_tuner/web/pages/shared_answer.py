"""Share the result of a slow function among concurrent callers.

The result is cached for a limited time.
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
    """Calls a function in a separate thread, at most one call at a time."""

    def __init__(self, find: Callable[[], T], *, max_age_s: float) -> None:
        """Cache the answers of a function.

        Args:
            find: the function; its exception is raised to all waiting callers, and the next caller
                calls it again.
            max_age_s: maximum age of a cached answer.
        """
        self._find = find
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._found_at_s = 0.0

    def ask(self) -> Future[T]:
        """Return the future of the cached or pending answer; start the function if there is none.

        Cancelling the future has no effect on other waiting callers.
        """
        with self._lock:
            if self._answer is None or not self._is_current(self._answer):
                self._answer = Future()
                self._answer.set_running_or_notify_cancel()  # prevents cancellation
                threading.Thread(
                    target=self._run, args=(self._answer,), daemon=True, name="ask"
                ).start()
            return self._answer

    def known(self) -> T | None:
        """Return the last answer; None if there is none yet. The function is not started."""
        answer = self._answer
        if answer is None or not answer.done() or answer.exception() is not None:
            return None
        return answer.result()

    def _is_current(self, answer: Future[T]) -> bool:
        """Return whether an answer is pending, or not older than the maximum age."""
        if not answer.done():
            return True
        age_s = time.monotonic() - self._found_at_s
        return answer.exception() is None and age_s < self._max_age_s

    def _run(self, answer: Future[T]) -> None:
        """Call the function, and set the result or the exception of the future."""
        try:
            found = self._find()
        except BaseException as error:  # noqa: BLE001  # raised to the callers
            answer.set_exception(error)
        else:
            self._found_at_s = time.monotonic()
            answer.set_result(found)
