"""SIGINT, SIGTERM and SIGHUP end a command as an exception, so that workers and temporary files go first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

# The word for each, the strongest last: of several, the last one's exit code is returned.
_WORDS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
STOP_SIGNALS = tuple(_WORDS)
_STRENGTH = tuple(_WORDS)
# A terminal that closes sends SIGHUP twice, `timeout` SIGTERM twice: that is one wish, and the
# clean-up after it is left alone. Who presses Ctrl-C again later does not want to wait for it.
_REPEATED_WITHIN_S = 2.0
_AGAIN_AFTER_S = 0.01

Handler = Callable[[int, "FrameType | None"], Any] | int | signal.Handlers | None


class StoppedError(KeyboardInterrupt):
    """A signal asked the command to end; its text is the word for that."""

    def __init__(self, number: int) -> None:
        """Keep which signal it was."""
        super().__init__(_WORDS[signal.Signals(number)])
        self.number = number


def stop_word(error: KeyboardInterrupt) -> str:
    """Return how the command was ended: interrupted, terminated, hung up."""
    return str(error) or _WORDS[signal.SIGINT]


def exit_code_of(number: int) -> int:
    """Return the exit code of a command that a signal ended."""
    return 128 + number


@dataclass(slots=True)
class Stops:
    """The signals that asked this command to end.

    Attributes:
        number: the strongest of them; None: none came.
    """

    number: int | None = None
    _at_s: float | None = None
    _process_id: int = field(default_factory=os.getpid)

    @property
    def exit_code(self) -> int | None:
        """The exit code for it; None: no signal came."""
        return None if self.number is None else exit_code_of(self.number)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Raise, unless the same wish was heard just now.

        Raises:
            StoppedError: always, but for a repeated signal.
        """
        if (
            os.getpid() != self._process_id
        ):  # a library forked this process, which has nothing to clean up
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        now_s, before_s = time.monotonic(), self._at_s
        if self.number is None or _STRENGTH.index(number) > _STRENGTH.index(self.number):
            self.number = number
        self._at_s = now_s
        if before_s is None or now_s - before_s > _REPEATED_WITHIN_S:
            raise StoppedError(number)

    def raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send the signal again where its exception was raised in a callback, in which Python drops it."""
        if isinstance(unraisable.exc_value, StoppedError):
            self._at_s = None
            again = threading.Timer(
                _AGAIN_AFTER_S, os.kill, (os.getpid(), unraisable.exc_value.number)
            )
            again.start()  # not now: what is raised in here is dropped too
        else:
            sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def dying_silently() -> Iterator[None]:
    """Let SIGINT end the process at once, as long as there is nothing to clean up.

    While modules are imported.

    Python's own handler would raise an exception in the middle of an import, with a long traceback.
    """
    with _handlers((signal.SIGINT,), signal.SIG_DFL):
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[Stops]:
    """Raise StoppedError for each of the three signals.

    Those that the process was started to ignore stay so.
    """
    stops = Stops()
    hook, sys.unraisablehook = sys.unraisablehook, stops.raise_again
    try:
        with _handlers(STOP_SIGNALS, stops.handle):
            yield stops
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def noting_stops() -> Iterator[list[int]]:
    """Note the first signal instead of raising it: the caller ends at its next good moment.

    The next one is raised.
    """
    noted: list[int] = []
    before: dict[int, Handler] = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        for one, handler in before.items():
            if handler is not None:
                signal.signal(one, handler)

    with _handlers(STOP_SIGNALS, note):
        yield noted


@contextlib.contextmanager
def _handlers(numbers: Sequence[int], handler: Handler) -> Iterator[None]:
    """Set a handler for signals that are not ignored, and the one before again at the end."""
    before: dict[int, Handler] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python lets none be set
        for number in numbers:
            found = signal.getsignal(number)
            if found not in (signal.SIG_IGN, None):
                before[number] = found
                signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
