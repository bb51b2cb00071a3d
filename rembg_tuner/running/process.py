"""One worker process seen from its parent: pipes, messages, its end.

Knows nothing of settings, deadlines or results; the runner does.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from rembg_tuner.children.environment import child_environment, numba_environment
from rembg_tuner.host import oom_kill_count
from rembg_tuner.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from pathlib import Path

_LOG_TAIL_BYTES = 2000
_REAP_TIMEOUT_S = 5.0
_READ_BYTES = 65536
_MOST_LINE_BYTES = 2**20  # a message has some thousand bytes; more than this is none
# What each message must carry; the worker's own docstring tells the events.
_CONTENT = {
    "ready": {"versions"},
    "loaded": {"load_s", "effective", "warnings"},
    "stage": {"stage"},
    "done": {"stages_s", "renamed_at", "cpu_s", "output_bytes", "warnings", "whole_bytes"},
    "done_together": {"outcomes"},
    "failed": {"kind", "message", "stage"},
}
# Native libraries' own thread pools and malloc arenas would count as the setting's memory. The stock
# pipeline keeps its defaults, since it is there to be measured as it is.
_LEAN_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # glibc's own start (128 KiB) gives every strip back and takes it again: 20 ms a run at 1080p,
    # against 2 MiB. Greater blocks, the network's, are still given back.
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}
# Not `-m rembg_tuner.worker`, so that the worker's own imports too go on without the garbage collector.
_PROGRAM = "import gc, sys; gc.disable(); from rembg_tuner.worker import main; main(sys.argv[1], *map(int, sys.argv[2:]))"


class WorkerGoneError(Exception):
    """The worker's end of a pipe is closed."""


class WorkerRubbishError(WorkerGoneError):
    """The worker wrote what is no message: nothing it says can be relied on any more."""


class WorkerProcess:
    """A running `rembg_tuner.worker`."""

    def __init__(self, engine: str, *, cache: Path) -> None:
        """Start it; it says `ready` when its imports are done.

        Args:
            engine: whose libraries it imports.
            cache: this program's cache folder.

        Raises:
            OSError: no process could be started.
        """
        self.started_at = time.perf_counter()
        self._oom_kills = oom_kill_count()
        self._was_ended = False
        request_out, self._request_in = os.pipe()
        self._result_out, result_in = os.pipe()
        # Not a pipe: nobody reads while the worker works, and a full pipe would stop it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        command = [
            sys.executable,
            "-P",  # a file in the user's folder, such as queue.py, must not stand in for a library
            "-c",
            _PROGRAM,
            engine,
            str(request_out),
            str(result_in),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=(request_out, result_in),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=_environment(engine, cache),
                process_group=0,  # the terminal's Ctrl-C is this process's to handle
            )
        except OSError:
            os.close(self._request_in)
            os.close(self._result_out)
            self._log.close()
            raise
        finally:
            os.close(request_out)
            os.close(result_in)
        self.pid = self._process.pid
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
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_TIMEOUT_S)

    def close(self) -> None:
        """End it and close what belongs to it."""
        self.kill()
        self._selector.close()
        for descriptor in (self._request_in, self._result_out):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._log.close()

    def was_killed_for_memory(self) -> bool:
        """Tell whether the kernel's out-of-memory killer ended it, by the cgroup's counter."""
        before, now = self._oom_kills, oom_kill_count()
        return (
            self._exit_code() == -signal.SIGKILL
            and not self._was_ended
            and before is not None
            and now is not None
            and now > before
        )

    def _exit_code(self) -> int | None:
        """Give the exit code; it is ended first if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        self._was_ended = self._was_ended or self._process.poll() is None
        self.kill()
        return self._process.returncode

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
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
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
    """Give the worker's environment; what the user set stays."""
    if engine == STOCK_ENGINE:
        return {**numba_environment(cache), **child_environment()}
    return {**_LEAN_ENVIRONMENT, **child_environment()}
