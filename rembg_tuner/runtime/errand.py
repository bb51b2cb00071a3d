"""A thread for what may block, such as a server that says nothing, so that a cancel is seen meanwhile.

A socket's own short timeout would not do: after one, nothing more can be read of the answer.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import threading
from typing import TYPE_CHECKING, Self, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_POLL_S = 0.2
_Value = TypeVar("_Value")


class Errand:
    """One thread that does one thing at a time.

    Use it with `with`, which waits for nothing at its end.
    """

    def __init__(self, on_wait: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            on_wait: called five times a second while somebody waits; what it raises ends the
                waiting.
        """
        self._on_wait = on_wait
        self._asked: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._came: queue.SimpleQueue[tuple[object, Exception | None]] = queue.SimpleQueue()
        # A daemon, since it may block for as long as a server keeps silent, and nobody waits for
        # it.
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        """Hold the thread."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the thread end once it has done what it is doing."""
        self._asked.put(None)

    def do(self, action: Callable[[], _Value]) -> _Value:
        """Have something done, and wait for it; what it raises is raised here."""
        self._asked.put(action)
        while True:
            try:
                value, error = self._came.get(timeout=_POLL_S)
            except queue.Empty:
                self._on_wait()
                continue
            if error is not None:
                raise error
            return cast("_Value", value)

    def _serve(self) -> None:
        """Do what is asked until the end."""
        answer: http.client.HTTPResponse | None = None
        for action in iter(self._asked.get, None):
            try:
                value = action()
            except Exception as error:  # noqa: BLE001  # raised again by whoever asked
                self._came.put((None, error))
                continue
            answer = value if isinstance(value, http.client.HTTPResponse) else answer
            self._came.put((value, None))
        if (
            answer is not None
        ):  # here and not by whoever asked, who would wait for what is being read
            with contextlib.suppress(OSError):
                answer.close()
