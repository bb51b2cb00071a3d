"""A process that answers lines of JSON, seen from its parent.

Started when first needed, kept, ended when it hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any

from rembg_tuner.base.child_environment import child_environment
from rembg_tuner.base.messages import Message, quoted


class NoAnswerError(OSError):
    """A process ended instead of answering.

    Attributes:
        message: the reason.
    """

    def __init__(self, message: Message) -> None:
        """Keep the reason."""
        super().__init__(str(message))
        self.message = message


class LateAnswerError(NoAnswerError, TimeoutError):
    """An answer took too long."""


@dataclass(slots=True)
class AnsweringProcess:
    """One module run as a process: a request a line in, an answer a line out.

    Attributes:
        module: what `python -m` runs.
        timeout_s: after which an answer is given up and the process ended.
        command: another program to run instead of the module; empty: the module.
        environment: its environment; None: this program's own for its processes.
    """

    module: str
    timeout_s: float
    command: tuple[str, ...] = ()
    environment: dict[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process unless it runs, so that it is ready when it is asked.

        Raises:
            OSError: no process could be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            self.command or (sys.executable, "-P", "-m", self.module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # an answer is read as it comes, so that half of one cannot outwait the deadline
            bufsize=0,
            process_group=0,  # the terminal's Ctrl-C is this process's to handle
            env=_lean_environment() if self.environment is None else self.environment,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            LateAnswerError: it took too long; the process is ended.
            OSError, ValueError: the process is gone, or answers nothing that can be read.
        """
        self.start()
        process = self._process
        assert process is not None  # it was just started
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._read_line(process.stdout.fileno()))
        return answer

    def _read_line(self, pipe: int) -> bytes:
        """Read up to a line's end.

        Raises:
            LateAnswerError: it took too long; the process is ended.
            NoAnswerError: the process is gone, with the last line of its log.
        """
        deadline, read = time.monotonic() + self.timeout_s, b""
        while not read.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                self.close()
                raise LateAnswerError(
                    Message("it took more than {timeout_s:.0f} s", timeout_s=self.timeout_s)
                )
            part = os.read(pipe, 65536)
            if not part:
                raise NoAnswerError(self._last_words())
            read += part
        return read

    def _last_words(self) -> Message:
        """Return the last line that the process wrote to its standard error."""
        lines: list[str] = []
        if self._log is not None:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines()
        return quoted(lines[-1]) if lines else Message("it gave no reason")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        log, self._log = self._log, None
        if log is not None:
            log.close()
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _lean_environment() -> dict[str, str]:
    """Return this program's environment for its processes, with few threads and malloc arenas."""
    return {**child_environment(), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
