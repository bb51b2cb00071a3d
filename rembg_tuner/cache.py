"""Where things that can be made again are kept: freed graphs, compiled models, rembg's numba code."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "REMBG_TUNER_CACHE"
# 50 letters of at most 4 bytes: with the rest still below the 255 bytes that a name may have
_SCRATCH_LETTERS = 50
_SCRATCH_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part")
_STALE_AFTER_S = (
    7200.0  # nothing is written for longer: TensorRT's build, the longest, has half an hour
)


def user_cache_folder() -> Path:
    """Give the folder that the environment names, else the user's cache folder's."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rembg-tuner"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rembg-tuner"


def open_cache() -> tuple[Path, tuple[str, ...]]:
    """Make the cache folder, mode 0700, and sweep out what was never finished.

    Returns:
        The folder and no warning; or, where it cannot be written, a temporary folder that the
        process leaves behind for its end, and the warning that says so.
    """
    try:
        folder = user_cache_folder()
    except RuntimeError:  # a container's user without HOME and without a line in /etc/passwd
        reason = (
            "the user has no home folder for a cache, so nothing is kept between starts; "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        )
        return _scratch_folder(), (reason,)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = (
            f"the cache folder {folder} cannot be written ({error.strerror}), so nothing is kept "
            f"between starts; set {CACHE_VARIABLE} to a folder that can"
        )
        return _scratch_folder(), (reason,)
    sweep_scratch(folder)
    return folder, ()


_scratch: list[
    tempfile.TemporaryDirectory[str]
] = []  # kept so that it lives as long as the process


def _scratch_folder() -> Path:
    """Give this process's temporary stand-in for the cache; removed at exit."""
    if not _scratch:
        _scratch.append(tempfile.TemporaryDirectory(prefix="rembg-tuner-"))
    return Path(_scratch[0].name)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes `path`'s place when the block ends well, and vanishes when it does not.

    The temporary name is in the same folder, so the rename is atomic; permissions follow the umask.

    Raises:
        OSError: the file cannot be made, written or renamed.
    """
    scratch = path.with_name(f".{path.name[:_SCRATCH_LETTERS]}.{secrets.token_hex(8)}.part")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def sweep_scratch(folder: Path) -> None:
    """Remove what processes that were killed left under temporary names, long enough ago to be sure."""
    now_s = time.time()
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if _SCRATCH_NAME.fullmatch(entry.name):
                _remove_stale(entry, now_s)


def _remove_stale(path: Path, now_s: float) -> None:
    """Remove a file that was last written too long ago; another process may be quicker."""
    with contextlib.suppress(OSError):
        if now_s - path.stat().st_mtime > _STALE_AFTER_S:
            path.unlink()


def remove_scratch(path: Path) -> None:
    """Remove what a process that was killed left of `path` under a temporary name of `replacing`."""
    # A longer name's scratch could be another file's, with the same beginning.
    if len(path.name) > _SCRATCH_LETTERS:
        return
    scratch = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{16}\.part")
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if scratch.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
