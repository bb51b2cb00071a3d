"""Start a process with its environment, its log and only its own descriptors.

Imports almost nothing; see `child_process`.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # a part of the interpreter without stubs
import fcntl
import os
import resource
import sys

TYPE_CHECKING = False  # `typing` and `pathlib` take a while to import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ROOT = __file__.rsplit(os.sep, 3)[0]
_FREE_FD = 10  # the child uses only lower descriptors


def child_environment() -> dict[str, str]:
    """Return the environment of this process, with this program first on the module path.

    Both processes must use the same encoding for file names: otherwise a name that is not UTF-8 is
    a different file in each of them. Messages are UTF-8, whatever encoding the terminal uses.
    """
    paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUTF8": "1" if sys.getfilesystemencoding() == "utf-8" else "0",
    }


def numba_environment(cache: Path) -> dict[str, str]:
    """Return the environment variable for the folder of the code that numba compiles for rembg.

    By default numba uses the library's own folder, else one below the home folder, else a folder
    called `~` in the working folder. If the library's folder is not writable, the folder is in this
    program's cache.

    Args:
        cache: this program's cache folder.
    """
    from importlib.util import find_spec

    spec = find_spec("pymatting")  # the library whose functions are compiled
    places = spec.submodule_search_locations if spec is not None else None
    if places and all(os.access(place, os.W_OK) for place in places):
        return {}
    return {"NUMBA_CACHE_DIR": str(cache / "numba")}


def spawn(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    lent: Sequence[int],
    descriptors: tuple[int, int],
) -> int:
    """Start a process with only the given descriptors, and return its id.

    Args:
        command: the program and its arguments.
        environment: of the process.
        lent: the descriptors in this process of its log, requests and answers.
        descriptors: of requests and answers in the new process. Its standard output and standard
            error go to the log, except a descriptor that is used for the answers.

    Raises:
        OSError: the process could not be started.
    """
    log, requests, answers = lent
    outputs = [descriptor for descriptor in (1, 2) if descriptor != descriptors[1]]
    actions = [
        *((os.POSIX_SPAWN_CLOSE, one) for one in _closable({0, 1, 2, *descriptors})),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, log, descriptor) for descriptor in outputs),
        (os.POSIX_SPAWN_DUP2, requests, descriptors[0]),
        (os.POSIX_SPAWN_DUP2, answers, descriptors[1]),
    ]
    return os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=actions,
        setpgroup=0,  # the terminal's Ctrl-C is for this process only
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
    )


def open_log() -> int:
    """Open an unnamed file for the log."""
    try:
        log = os.open(os.environ.get("TMPDIR") or "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # not supported by this system or by this folder
        import tempfile

        with tempfile.TemporaryFile() as file:
            log = os.dup(file.fileno())
    return raised(log)


def raised(descriptor: int) -> int:
    """Move a descriptor to a number that the child does not use; children do not inherit it."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FREE_FD)
    finally:
        os.close(descriptor)


def _closable(kept: set[int]) -> list[int]:
    """List the descriptors that the child must close.

    A descriptor above the limit of open files, if the limit was lowered after it was opened, cannot
    be closed this way. It is made non-inheritable instead.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = _inheritable(kept)
    if limit == resource.RLIM_INFINITY:
        return found
    for descriptor in found:
        if descriptor >= limit:
            os.set_inheritable(descriptor, False)  # noqa: FBT003  # it takes positional arguments only
    return [descriptor for descriptor in found if descriptor < limit]


def _inheritable(kept: set[int]) -> list[int]:
    """List the inheritable descriptors of this process, except those in `kept`."""
    found = []
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208  # pathlib takes longer to import than this takes
    except OSError:  # a system that does not list them
        return []
    for descriptor in map(int, names):
        try:
            if descriptor not in kept and os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:  # the descriptor of the listing itself
            continue
    return found
