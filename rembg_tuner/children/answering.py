"""A process that answers lines of JSON, seen from its parent: started when first needed, kept, ended when it hangs."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from rembg_tuner.children.environment import child_environment


@dataclass(slots=True)
class AnsweringProcess:
    """One module run as a process: a request a line in, an answer a line out.

    Attributes:
        module: what `python -m` runs.
        timeout_s: after which an answer is given up and the process ended.
    """

    module: str
    timeout_s: float
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process unless it runs, so that it is ready when it is asked.

        Raises:
            OSError: no process could be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**child_environment(), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            TimeoutError: it took too long; the process is ended.
            OSError, ValueError: the process is gone, or answers nothing that can be read.
        """
        self.start()
        process = self._process
        assert process is not None  # it was just started
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], self.timeout_s)[0]:
            self.close()
            raise TimeoutError(f"it took more than {self.timeout_s:.0f} s")
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
