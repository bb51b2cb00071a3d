"""Launch a worker: its command and its environment.

The command line launches a worker before it imports the rest of this program, so that both import
at the same time. Therefore this module imports very little.
"""

from __future__ import annotations

import sys

from rembg_tuner.base.child_process import PRIVATE, ChildProcess
from rembg_tuner.base.spawning import child_environment

TYPE_CHECKING = False  # importing `typing` is slow
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

# Not `-m rembg_tuner.worker.worker`: the garbage collector must be off during the worker's imports
# too.
_PROGRAM = (
    "import gc, sys; gc.disable(); from rembg_tuner.worker.worker import main; main(sys.argv[1], *map(int,"
    " sys.argv[2:]))"
)
# The thread pools and malloc arenas of native libraries would count as the setting's memory.
_LEAN_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # With glibc's default (128 KiB), each strip is returned to the system and requested again: 20
    # ms per run at 1080p, to save 2 MiB. Larger blocks, such as the network's, are still returned.
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}


def lean_environment() -> dict[str, str]:
    """Return the environment of a worker of every engine except the stock pipeline.

    Variables set by the user take precedence.
    """
    return {**_LEAN_ENVIRONMENT, **child_environment()}


def launch_worker(engine: str, environment: Mapping[str, str]) -> ChildProcess:
    """Start a worker; it sends `ready` when its imports are done.

    Args:
        engine: the engine whose libraries it imports.
        environment: the environment of its process.

    Raises:
        OSError: the process could not be started.
    """
    # -P: a file in the user's folder, such as queue.py, must not replace a library
    command = [sys.executable, "-P", "-c", _PROGRAM, engine, *map(str, PRIVATE)]
    worker = ChildProcess(command, environment, descriptors=PRIVATE)
    worker.start()
    return worker


class EarlyWorker:
    """An optional worker that was started before it is needed.

    Use it with `with`: on exit, a worker that was not taken is killed.
    """

    def __init__(self, engine: str = "", worker: ChildProcess | None = None) -> None:
        """Store a worker of an engine; without one, `take` returns None."""
        self._engine, self._worker = engine, worker

    def __enter__(self) -> Self:
        """Return the object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the worker, unless it was taken."""
        self._end()

    @property
    def started_at(self) -> float | None:
        """The `perf_counter` value when the worker was started; None: there is no worker."""
        return None if self._worker is None else self._worker.started_at

    def take(self, engine: str) -> ChildProcess | None:
        """Return the worker if it has this engine; kill a worker of another engine."""
        if self._engine != engine:
            self._end()
        worker, self._worker = self._worker, None
        return worker

    def _end(self) -> None:
        """Kill the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
