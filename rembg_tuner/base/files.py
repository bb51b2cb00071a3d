"""Where things that can be made again are kept.

Freed graphs, compiled models, rembg's numba code.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE_VARIABLE = "REMBG_TUNER_CACHE"
# 50 letters of at most 4 bytes: with the rest still below the 255 bytes that a name may have
_SCRATCH_LETTERS = 50
_SCRATCH_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part")
_MAKING_PREFIX = ".making-"
_DEVICES = Path("/dev")
_PIECE_BYTES = 256 * 1024
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


def open_cache() -> tuple[Path, tuple[Message, ...]]:
    """Make the cache folder, mode 0700, and sweep out what was never finished.

    Returns:
        The folder and no warning; or, where it cannot be written, a temporary folder that the
        process leaves behind for its end, and the warning that says so.
    """
    try:
        folder = user_cache_folder()
    except RuntimeError:  # a container's user without HOME and without a line in /etc/passwd
        warning = Message(
            "the user has no home folder for a cache, so nothing is kept between starts; set"
            " {variable} to a folder that can be written",
            code="cache_unavailable",
            variable=CACHE_VARIABLE,
        )
        return _scratch_folder(), (warning,)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        warning = Message(
            "the cache folder {folder} cannot be written ({reason}), so nothing is kept between"
            " starts; set {variable} to a folder that can",
            code="cache_unavailable",
            folder=folder,
            reason=error.strerror,
            variable=CACHE_VARIABLE,
        )
        return _scratch_folder(), (warning,)
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
        OSError: the file cannot be made, written or renamed, or a device, a pipe or a socket is in
        its place.
    """
    _refuse_special_file(path)
    scratch = path.with_name(f".{path.name[:_SCRATCH_LETTERS]}.{os.urandom(8).hex()}.part")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _refuse_special_file(path: Path) -> None:
    """Refuse a path whose file a rename must not replace.

    As root, /dev/stdout would be lost for everyone.

    Raises:
        OSError: it is a device, a pipe or a socket, or in /dev.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    is_special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    if is_special or path.parent.resolve() == _DEVICES:
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket; name a regular file")


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for what is not whole yet; it goes when the block ends, or in a later sweep.

    Raises:
        OSError: it cannot be made.
    """
    with tempfile.TemporaryDirectory(
        prefix=_MAKING_PREFIX, dir=folder, ignore_cleanup_errors=True
    ) as made:
        yield Path(made)


def write_sum(path: Path) -> None:
    """Keep a file's checksum beside it, for `has_its_sum`.

    CRC-32 and not a cryptographic digest: it is held against a disk's damage and not against a
    person's (the folder is its user's alone), finds every flipped bit, and reads 176 MB in 0.15 s
    on the machine where SHA-256 takes 0.36 and BLAKE2b 0.53, at each load.

    Raises:
        OSError: it cannot be read or written.
    """
    text = f"{_crc32_of(path):08x} {path.stat().st_size}\n"
    with replacing(_sum_of(path)) as file:
        file.write(text.encode())


def has_its_sum(path: Path) -> bool:
    """Tell whether a file is there and as it was written.

    One without a checksum is not known to be.
    """
    try:
        written, size = _sum_of(path).read_text(encoding="ascii").split()
        return path.stat().st_size == int(size) and _crc32_of(path) == int(written, 16)
    except (OSError, ValueError):
        return False


def _sum_of(path: Path) -> Path:
    """Name the file that holds a file's checksum."""
    return path.with_name(f"{path.name}.crc32")


def _crc32_of(path: Path) -> int:
    """Compute a file's CRC-32; read in pieces, so that it adds nothing to a worker's peak."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            crc = zlib.crc32(piece, crc)
    return crc


def sweep_scratch(folder: Path) -> None:
    """Remove what processes that were killed left under temporary names, long enough ago to be sure."""
    now_s = time.time()
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if _SCRATCH_NAME.fullmatch(entry.name) or entry.name.startswith(_MAKING_PREFIX):
                _remove_stale(entry, now_s)


def _remove_stale(path: Path, now_s: float) -> None:
    """Remove a file or folder that was last written too long ago.

    Another process may be quicker.
    """
    with contextlib.suppress(OSError):
        if now_s - path.stat().st_mtime <= _STALE_AFTER_S:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
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
