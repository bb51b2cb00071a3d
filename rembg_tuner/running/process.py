"""One worker process seen from its parent: pipes, messages, its end.

Knows nothing of settings, deadlines or results; the runner does.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
from typing import TYPE_CHECKING, Any

from rembg_tuner.children.environment import child_environment, numba_environment
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.host import oom_kill_count
from rembg_tuner.running.launching import REAP_TIMEOUT_S, LaunchedWorker, lean_environment

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
    "done": {"stages_s", "renamed_at", "cpu_s", "output_bytes", "warnings", "whole_bytes", "focus"},
    "done_together": {"outcomes"},
    "failed": {"kind", "message", "stage"},
}


class WorkerGoneError(Exception):
    """The worker's end of a pipe is closed."""


class WorkerRubbishError(WorkerGoneError):
    """The worker wrote what is no message: nothing it says can be relied on any more."""


class WorkerProcess:
    """A running `rembg_tuner.worker`."""

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
                raise WorkerRubbishError(f"the worker wrote {line[:80]!r} without end")
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

    def obituary(self) -> str:
        """Say how it ended, and the last line it logged."""
        code = self._exit_code()
        if self._was_ended:
            text = "the worker closed its pipe and ran on, so it was ended"
        elif code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            advice = "; the system may have run out of memory" if name == "SIGKILL" else ""
            text = f"the worker was ended by {name}{advice}"
        else:
            text = f"the worker ended with exit code {code}"
        last = self.log_tail().strip().splitlines()[-1:]
        return f"{text}; its last words: {last[0][:300]}" if last else text

    def log_tail(self) -> str:
        """Give the end of what it wrote to fd 1 and 2."""
        log = self._process.log
        size = os.fstat(log).st_size
        tail = os.pread(log, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return tail.decode(errors="replace")


def _read_message(line: bytes) -> dict[str, Any]:
    """Read one line as a message.

    Raises:
        WorkerRubbishError: it is none.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WorkerRubbishError(f"the worker wrote {line[:80]!r}, which is no message") from error
    event = message.get("event") if isinstance(message, dict) else None
    if not isinstance(event, str) or not _CONTENT.get(event, {"event unknown"}) <= message.keys():
        raise WorkerRubbishError(f"the worker wrote {line[:80]!r}, which is no message")
    return dict(message)


def _environment(engine: str, cache: Path) -> dict[str, str]:
    """Give the worker's environment; the stock pipeline keeps its defaults, since it is there to be measured as it is."""
    if ENGINES[engine].is_stock:
        return {**numba_environment(cache), **child_environment()}
    return lean_environment()
