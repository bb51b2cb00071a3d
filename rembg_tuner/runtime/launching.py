"""Launch a worker's process: its command, its environment, its pipes and its log.

The command line launches a worker before it imports the rest of this program, so that both import
at the same time. Hence this module imports next to nothing, and has no dataclass.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # a part of the interpreter without stubs
import fcntl
import os
import resource
import sys
import time
from _thread import allocate_lock

from rembg_tuner.base.child_environment import child_environment

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

REAP_TIMEOUT_S = 5.0
_POLL_S = 0.001
_REQUEST_FD, _RESULT_FD = 3, 4  # in the worker
_OWN_FDS = frozenset({0, 1, 2, _REQUEST_FD, _RESULT_FD})
_FREE_FD = 10  # from here on no number is one of those
# Not `-m rembg_tuner.worker.worker`, so that the worker's own imports too go on without the garbage
# collector.
_PROGRAM = (
    "import gc, sys; gc.disable(); from rembg_tuner.worker.worker import main; main(sys.argv[1], *map(int,"
    " sys.argv[2:]))"
)
# Native libraries' own thread pools and malloc arenas would count as the setting's memory.
_LEAN_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # glibc's own start (128 KiB) gives every strip back and takes it again: 20 ms a run at 1080p,
    # against 2 MiB. Greater blocks, the network's, are still given back.
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}


def lean_environment() -> dict[str, str]:
    """Return the environment of a worker of every engine but the stock pipeline.

    What the user set stays.
    """
    return {**_LEAN_ENVIRONMENT, **child_environment()}


class LaunchedWorker:
    """A worker's process and the ends of its pipes.

    Attributes:
        engine: whose libraries it imports.
        pid: its process id.
        started_at: `perf_counter` when it was launched.
        request_in, result_out: the descriptors of its pipes.
        log: the descriptor of the file that its fd 1 and 2 are.
        oom_kills: the kernel's count of processes ended for memory, read when it was launched;
            None: unknown.
        exit_code: negative for the signal that ended it; None: it is not known to have ended.
    """

    def __init__(self, engine: str, environment: Mapping[str, str]) -> None:
        """Launch it; it says `ready` when its imports are done.

        Args:
            engine: whose libraries it imports.
            environment: of its process.

        Raises:
            OSError: no process could be started.
        """
        self.engine = engine
        self.oom_kills: int | None = None
        self.exit_code: int | None = None
        self._open: tuple[int, ...] = ()
        self._lock = allocate_lock()
        self.started_at = time.perf_counter()
        kept: list[int] = []
        lent: list[int] = []
        try:
            # Not a pipe: nobody reads while the worker works, and a full pipe would stop it.
            kept.append(_open_log())
            for mine, its in ((1, 0), (0, 1)):
                ends = os.pipe()
                kept.append(ends[mine])
                lent.append(_raised(ends[its]))
            self.log, self.request_in, self.result_out = self._open = tuple(kept)
            self.pid = _spawn(engine, environment, lent, self.log)
        except OSError:
            for descriptor in kept:
                os.close(descriptor)
            raise
        finally:
            for descriptor in lent:
                os.close(descriptor)

    def poll(self) -> int | None:
        """Return its exit code; None: it runs."""
        with self._lock:  # two threads may ask
            if self.exit_code is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except (
                    ChildProcessError
                ):  # this process ignores SIGCHLD, so that the kernel forgot it
                    self.exit_code = 0
                else:
                    self.exit_code = os.waitstatus_to_exitcode(status) if pid else None
            return self.exit_code

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end, and return its exit code; None: it still runs when the time is up."""
        end = time.perf_counter() + timeout_s
        while self.poll() is None and time.perf_counter() < end:
            time.sleep(_POLL_S)
        return self.exit_code

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if (
            self.poll() is None
        ):  # only `poll` lets go of its number, so that it is no other process's
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it at once, and close what belongs to it.

        Its memory and CPU are free when this returns.
        """
        self.kill()
        self.wait(REAP_TIMEOUT_S)
        self.close()

    def close(self) -> None:
        """Close the descriptors."""
        closing, self._open = self._open, ()
        for descriptor in closing:
            os.close(descriptor)


class EarlyWorker:
    """A worker that nobody has asked for yet, or none.

    Use it with `with`: at its end what nobody took is ended.
    """

    def __init__(self, worker: LaunchedWorker | None) -> None:
        """Hold a worker."""
        self._worker = worker

    def __enter__(self) -> Self:
        """Hold the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker, unless it was taken."""
        self._end()

    @property
    def started_at(self) -> float | None:
        """`perf_counter` when the worker was launched; None: there is none."""
        return None if self._worker is None else self._worker.started_at

    def take(self, engine: str) -> LaunchedWorker | None:
        """Return the worker if it is of this engine; end one of another engine."""
        if self._worker is None or self._worker.engine != engine:
            self._end()
            return None
        worker, self._worker = self._worker, None
        return worker

    def _end(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()


def _open_log() -> int:
    """Open a file without a name, for what is written to fd 1 and 2."""
    try:
        log = os.open(os.environ.get("TMPDIR") or "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # not on this system, or not in this folder
        import tempfile

        with tempfile.TemporaryFile() as file:
            log = os.dup(file.fileno())
    return _raised(log)


def _raised(descriptor: int) -> int:
    """Move a descriptor to a number that is none of the worker's.

    Like every one of Python's, no child inherits it.
    """
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FREE_FD)
    finally:
        os.close(descriptor)


def _spawn(engine: str, environment: Mapping[str, str], lent: list[int], log: int) -> int:
    """Start the process with fds 0 to 4 and no other, and return its id."""
    command = [
        sys.executable,
        "-P",  # a file in the user's folder, such as queue.py, must not stand in for a library
        "-c",
        _PROGRAM,
        engine,
        str(_REQUEST_FD),
        str(_RESULT_FD),
    ]
    request_out, result_in = lent
    actions = [
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _closable()),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_DUP2, request_out, _REQUEST_FD),
        (os.POSIX_SPAWN_DUP2, result_in, _RESULT_FD),
    ]
    return os.posix_spawn(
        sys.executable,
        command,
        environment,
        file_actions=actions,
        setpgroup=0,  # the terminal's Ctrl-C is this process's to handle
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
    )


def _closable() -> list[int]:
    """List the descriptors that the child is to close.

    One beyond the limit of open files, which was lowered after it was opened, cannot be named
    there; it is kept from all children.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = _inheritable()
    if limit == resource.RLIM_INFINITY:
        return found
    for descriptor in found:
        if descriptor >= limit:
            os.set_inheritable(descriptor, False)  # noqa: FBT003  # it takes no names
    return [descriptor for descriptor in found if descriptor < limit]


def _inheritable() -> list[int]:
    """List the descriptors that a child would inherit of what started this process.

    Python's own are none.
    """
    found = []
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208  # pathlib takes longer to import than this takes
    except OSError:  # a system that does not list them
        return []
    for descriptor in map(int, names):
        try:
            if descriptor not in _OWN_FDS and os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:  # the listing's own
            continue
    return found
