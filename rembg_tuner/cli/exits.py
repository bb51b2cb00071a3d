"""The exit codes of commands, and the signals that stop a command.

SIGINT, SIGTERM and SIGHUP raise an exception, so that workers and temporary files are cleaned up.
"""

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

from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

DONE, FAILED, MISUSE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 124, 130
# The word for each signal, in ascending precedence: of several received signals, the last in this
# list determines the exit code.
_WORDS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
STOP_SIGNALS = tuple(_WORDS)
# A closing terminal sends SIGHUP twice, and `timeout` sends SIGTERM twice. The second signal must
# not interrupt the clean-up. A Ctrl-C after this interval means that the user does not want to
# wait.
_REPEATED_WITHIN_S = 2.0
_AGAIN_AFTER_S = 0.01

Handler = Callable[[int, "FrameType | None"], Any] | int | signal.Handlers | None


def exit_code(runs: Sequence[Result | Failure], *, is_interrupted: bool) -> int:
    """Return the exit code of several runs; after a signal, `main` returns that of the signal."""
    kinds = {run.kind for run in runs if isinstance(run, Failure)}
    if is_interrupted or "cancelled" in kinds:
        return INTERRUPTED
    if "timeout" in kinds:
        return TIMED_OUT
    return FAILED if kinds else DONE


def exit_code_of(number: int) -> int:
    """Return the exit code of a command that was ended by a signal."""
    return 128 + number


class StoppedError(KeyboardInterrupt):
    """A signal requested the command to end; the text of the error is the word for the signal."""

    def __init__(self, number: int) -> None:
        """Store the signal's number."""
        super().__init__(_WORDS[signal.Signals(number)])
        self.number = number


def stop_word(error: KeyboardInterrupt) -> str:
    """Return the word for how the command was ended: interrupted, terminated or hung up."""
    return str(error) or _WORDS[signal.SIGINT]


@dataclass(slots=True)
class Stops:
    """The signals that requested this command to end.

    Attributes:
        number: the signal with the highest precedence; None: no signal was received.
    """

    number: int | None = None
    _at_s: float | None = None
    _process_id: int = field(default_factory=os.getpid)

    @property
    def exit_code(self) -> int | None:
        """The exit code for the signal; None: no signal was received."""
        return None if self.number is None else exit_code_of(self.number)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: raise an exception, unless another signal was handled just before.

        Raises:
            StoppedError: always, except for a repeated signal.
        """
        if os.getpid() != self._process_id:  # forked by a library, without anything to clean up
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        now_s, before_s = time.monotonic(), self._at_s
        if self.number is None or STOP_SIGNALS.index(number) > STOP_SIGNALS.index(self.number):
            self.number = number
        self._at_s = now_s
        if before_s is None or now_s - before_s > _REPEATED_WITHIN_S:
            raise StoppedError(number)

    def raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send the signal again if Python dropped its exception, as it does in callbacks."""
        if isinstance(unraisable.exc_value, StoppedError):
            self._at_s = None
            number = unraisable.exc_value.number
            # later, since an exception raised in this hook is dropped too
            threading.Timer(_AGAIN_AFTER_S, os.kill, (os.getpid(), number)).start()
        else:
            sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def stoppable() -> Iterator[Stops]:
    """Raise StoppedError for each of the three signals, unless the process ignores it."""
    stops = Stops()
    hook, sys.unraisablehook = sys.unraisablehook, stops.raise_again
    try:
        with _handlers(stops.handle):
            yield stops
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def noting_stops() -> Iterator[list[int]]:
    """Record the first signal instead of raising it, for a caller that stops at a suitable time.

    The next signal raises its exception.
    """
    noted: list[int] = []
    before: dict[int, Handler] = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)
        for one, handler in before.items():
            if handler is not None:
                signal.signal(one, handler)

    with _handlers(note):
        yield noted


@contextlib.contextmanager
def _handlers(handler: Handler) -> Iterator[None]:
    """Set a handler for the stop signals that are not ignored, and restore the previous ones."""
    before: dict[int, Handler] = {}
    if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
        for number in STOP_SIGNALS:
            found = signal.getsignal(number)
            if found not in (signal.SIG_IGN, None):
                before[number] = found
                signal.signal(number, handler)
    try:
        yield
    finally:
        for one, old in before.items():
            signal.signal(one, old)
