"""One worker process seen from its parent: pipes, messages, its end.

Knows nothing of settings, deadlines or results; the runner does.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.child_environment import child_environment, numba_environment
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.runtime.launching import REAP_TIMEOUT_S, LaunchedWorker, lean_environment
from rembg_tuner.settings.host import oom_kill_count

if TYPE_CHECKING:
    from pathlib import Path

_LOG_TAIL_BYTES = 2000
_READ_BYTES = 65536
_MOST_LINE_BYTES = 2**20  # a message has some thousand bytes; more than this is none
# What each message must carry; the worker's own docstring tells the events.
_CONTENT = {
    "ready": {"versions", "ready_at"},
    "loaded": {"load_s", "effective", "warnings"},
    "stage": {"stage"},
    "done": {
        "stages_s",
        "renamed_at",
        "cpu_s",
        "output_bytes",
        "warnings",
        "picture_bytes",
        "focus",
    },
    "done_together": {"outcomes"},
    "failed": {"kind", "message", "stage"},
}


class WorkerGoneError(Exception):
    """The worker's end of a pipe is closed."""


class WorkerRubbishError(WorkerGoneError):
    """The worker wrote what is no message: nothing it says can be relied on any more."""

    def __init__(self, message: Message) -> None:
        """Keep what is said of it."""
        super().__init__(str(message))
        self.message = message


class WorkerProcess:
    """A running `rembg_tuner.worker.worker`."""

    def __init__(self, engine: str, *, cache: Path, launched: LaunchedWorker | None = None) -> None:
        """Start it, or adopt one; it says `ready` when its imports are done.

        Args:
            engine: whose libraries it imports.
            cache: this program's cache folder.
            launched: a process of this engine that was launched before; None: one is launched now.

        Raises:
            OSError: no process could be started.
        """
        if launched is None:
            oom_kills = oom_kill_count()
            launched = LaunchedWorker(engine, _environment(engine, cache))
            launched.oom_kills = oom_kills
        self._process = launched
        self._was_ended = False
        self._request_in, self._result_out = launched.request_in, launched.result_out
        self.started_at, self.pid = launched.started_at, launched.pid
        os.set_blocking(self._result_out, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._result_out, selectors.EVENT_READ)
        self._pending = b""

    def send(self, message: dict[str, Any]) -> None:
        """Send one request.

        Raises:
            WorkerGoneError: nobody is there to take it.
        """
        try:
            os.write(self._request_in, json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise WorkerGoneError(str(error)) from error

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait for one message; None when the time is up.

        Raises:
            WorkerGoneError: the worker closed its end, as it does when it ends.
            WorkerRubbishError: it wrote what is no message.
        """
        if b"\n" not in self._pending:
            if not self._selector.select(timeout_s):
                return None
            piece = os.read(self._result_out, _READ_BYTES)
            if not piece:
                raise WorkerGoneError("the worker closed its pipe")
            self._pending += piece
        line, newline, rest = self._pending.partition(b"\n")
        if not newline:
            if len(line) > _MOST_LINE_BYTES:
                raise WorkerRubbishError(
                    Message("the worker wrote {text} without end", text=_shown(line))
                )
            return None
        self._pending = rest
        return _read_message(line)

    def is_alive(self) -> bool:
        """Tell whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once; its memory and CPU are free when this returns."""
        self._process.kill()
        self._process.wait(REAP_TIMEOUT_S)

    def close(self) -> None:
        """End it and close what belongs to it."""
        self.kill()
        self._selector.close()
        self._process.close()

    def was_killed_for_memory(self) -> bool:
        """Tell whether the kernel's out-of-memory killer ended it, by the cgroup's counter."""
        before, now = self._process.oom_kills, oom_kill_count()
        return (
            self._exit_code() == -signal.SIGKILL
            and not self._was_ended
            and before is not None
            and now is not None
            and now > before
        )

    def _exit_code(self) -> int | None:
        """Give the exit code; it is ended first if it still runs."""
        self._was_ended = self._process.wait(0.5) is None or self._was_ended
        self.kill()
        return self._process.exit_code

    def obituary(self) -> Message:
        """Say how it ended, and the last line it logged."""
        code = self._exit_code()
        if self._was_ended:
            how = Message("the worker closed its pipe and ran on, so it was ended")
        elif code is not None and code < 0:
            how = _killed_by(-code)
        else:
            how = Message("the worker ended with exit code {number}", number=code)
        last = self.log_tail().strip().splitlines()[-1:]
        if not last:
            return how
        return Message("{how}; its last words: {line}", how=how, line=Quoted(last[0][:300]))

    def log_tail(self) -> str:
        """Give the end of what it wrote to fd 1 and 2."""
        log = self._process.log
        size = os.fstat(log).st_size
        tail = os.pread(log, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return tail.decode(errors="replace")


def _killed_by(number: int) -> Message:
    """Return that a signal ended the worker."""
    is_known = number in set(signal.Signals)
    name = signal.Signals(number).name if is_known else Message("signal {number}", number=number)
    if number == signal.SIGKILL:
        return Message(
            "the worker was ended by {signal}; the system may have run out of memory", signal=name
        )
    return Message("the worker was ended by {signal}", signal=name)


def _shown(line: bytes) -> Quoted:
    """Return the beginning of what a worker wrote."""
    return Quoted(repr(line[:80]))


def _rubbish(line: bytes) -> WorkerRubbishError:
    """Return that a line is no message."""
    said = Message("the worker wrote {text}, which is no message", text=_shown(line))
    return WorkerRubbishError(said)


def _read_message(line: bytes) -> dict[str, Any]:
    """Read one line as a message.

    Raises:
        WorkerRubbishError: it is none.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _rubbish(line) from error
    event = message.get("event") if isinstance(message, dict) else None
    if not isinstance(event, str) or not _CONTENT.get(event, {"event unknown"}) <= message.keys():
        raise _rubbish(line)
    try:
        return _with_messages(message)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _rubbish(line) from error


def _with_messages(content: dict[str, Any]) -> dict[str, Any]:
    """Return what came through the pipe with its failure and warnings as `Message`s, those of its outcomes too.

    Raises:
        ValueError, TypeError, AttributeError: they are none.
    """
    read = dict(content)
    if "message" in read:
        read["message"] = Message.from_json(read["message"])
    if "warnings" in read:
        read["warnings"] = tuple(Message.from_json(one) for one in read["warnings"])
    if "outcomes" in read:
        read["outcomes"] = [_with_messages(one) for one in read["outcomes"]]
    return read


def _environment(engine: str, cache: Path) -> dict[str, str]:
    """Give the worker's environment.

    The stock pipeline keeps its defaults, since it is there to be measured as it is.
    """
    if ENGINES[engine].is_stock:
        return {**numba_environment(cache), **child_environment()}
    return lean_environment()
