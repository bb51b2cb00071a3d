"""The cache folder, atomic writes and checksums.

The cache contains files that can be created again: converted graphs, compiled models and rembg's
numba code.
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
# 50 characters of at most 4 bytes: with the rest of the name, below the limit of 255 bytes
_SCRATCH_LETTERS = 50
_SCRATCH_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.part")
_MAKING_PREFIX = ".making-"
_DEVICES = Path("/dev")
_PIECE_BYTES = 256 * 1024
# No write takes longer: TensorRT's build, the longest, has a limit of half an hour.
_STALE_AFTER_S = 7200.0


def user_cache_folder() -> Path:
    """Return the folder of the environment variable, else the one in the user's cache folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rembg-tuner"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rembg-tuner"


def open_cache() -> tuple[Path, tuple[Message, ...]]:
    """Create the cache folder with mode 0700, and delete old unfinished files in it.

    Returns:
        The folder and no warning. If the folder cannot be written: a temporary folder, which is
        deleted when the process ends, and a warning.
    """
    try:
        folder = user_cache_folder()
    except RuntimeError:  # a container's user without HOME and without an entry in /etc/passwd
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


# Kept until the process ends: the folder is deleted with the object.
_scratch: list[tempfile.TemporaryDirectory[str]] = []


def _scratch_folder() -> Path:
    """Return this process's temporary replacement for the cache; it is deleted at exit."""
    if not _scratch:
        _scratch.append(tempfile.TemporaryDirectory(prefix="rembg-tuner-"))
    return Path(_scratch[0].name)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` if the block succeeds, and is deleted if it fails.

    The temporary file is in the same folder, so the rename is atomic. Permissions follow the umask.

    Raises:
        OSError: the file cannot be created, written or renamed, or `path` is a device, a pipe or a
            socket.
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
    """Check that a path is not a special file, which a rename must not replace.

    As root, /dev/stdout would be lost for all processes.

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
    """Create a folder for unfinished files; delete it when the block ends.

    If the process is killed, `sweep_scratch` deletes it later.

    Raises:
        OSError: it cannot be created.
    """
    with tempfile.TemporaryDirectory(
        prefix=_MAKING_PREFIX, dir=folder, ignore_cleanup_errors=True
    ) as made:
        yield Path(made)


def write_sum(path: Path) -> None:
    """Write a file's checksum beside it, for `has_its_sum`.

    The checksum is CRC-32, not a cryptographic digest: it protects against damage by the disk, not
    against an attacker (only the user can write to the folder). It detects every flipped bit. It is
    computed at each load: for 176 MB it takes 0.15 s on a machine where SHA-256 takes 0.36 s and
    BLAKE2b 0.53 s.

    Raises:
        OSError: the file cannot be read, or the checksum cannot be written.
    """
    text = f"{_crc32_of(path):08x} {path.stat().st_size}\n"
    with replacing(_sum_of(path)) as file:
        file.write(text.encode())


def has_its_sum(path: Path) -> bool:
    """Return whether a file exists and matches its checksum.

    A file without a checksum does not match.
    """
    try:
        written, size = _sum_of(path).read_text(encoding="ascii").split()
        return path.stat().st_size == int(size) and _crc32_of(path) == int(written, 16)
    except (OSError, ValueError):
        return False


def _sum_of(path: Path) -> Path:
    """Return the path of a file's checksum."""
    return path.with_name(f"{path.name}.crc32")


def _crc32_of(path: Path) -> int:
    """Compute a file's CRC-32 in pieces, which does not raise a worker's peak memory."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            crc = zlib.crc32(piece, crc)
    return crc


def sweep_scratch(folder: Path) -> None:
    """Delete old temporary files and folders of processes that were killed."""
    now_s = time.time()
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if _SCRATCH_NAME.fullmatch(entry.name) or entry.name.startswith(_MAKING_PREFIX):
                _remove_stale(entry, now_s)


def _remove_stale(path: Path, now_s: float) -> None:
    """Delete a file or folder that was last written more than `_STALE_AFTER_S` ago.

    Another process may delete it first.
    """
    with contextlib.suppress(OSError):
        if now_s - path.stat().st_mtime <= _STALE_AFTER_S:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_scratch(path: Path) -> None:
    """Delete the temporary files of `replacing` for `path` that killed processes left."""
    # The temporary file of a longer name could belong to another name with the same beginning.
    if len(path.name) > _SCRATCH_LETTERS:
        return
    scratch = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{16}\.part")
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            if scratch.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
