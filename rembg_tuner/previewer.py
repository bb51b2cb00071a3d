"""The previews' process seen from its parent: started when first needed, kept, ended when it hangs."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.children import child_environment
from rembg_tuner.settings import STOCK_ENGINE

if TYPE_CHECKING:
    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings

TIMEOUT_S = 30.0  # for a picture of the greatest size, decoded whole


@dataclass(slots=True)
class Previewer:
    """Makes previews of runs that are done."""

    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process unless it runs, so that it is ready when a run is done.

        Raises:
            OSError: no process could be started.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rembg_tuner.imaging.previews"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**child_environment(), "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        )

    def make(self, job: Job, settings: Settings) -> str | None:
        """Make the previews that a job wants.

        Returns:
            Why there are none, as a sentence; None: they are there.
        """
        request = {
            "input": job.input,
            "output": job.output,
            # the stock pipeline leaves no matte: its cut-out itself is scaled down
            "matte": None if settings.engine == STOCK_ENGINE else job.matte,
            "preview": job.preview,
            "before": job.before_preview,
            "max_side": settings.max_side,
        }
        try:
            return self._ask(json.dumps(request) + "\n")
        except (OSError, ValueError) as error:
            self.close()
            return f"the previews' process ended: {error}"

    def _ask(self, line: str) -> str | None:
        """Send a request and wait for its answer.

        Raises:
            OSError, ValueError: the process is gone, or answers nothing that can be read.
        """
        self.start()
        process = self._process
        assert process is not None  # it was just started
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], TIMEOUT_S)[0]:
            self.close()
            return f"it took more than {TIMEOUT_S:.0f} s"
        answer = json.loads(process.stdout.readline())
        error: str | None = answer["error"]
        return error

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
