"""The disk under uploads: room is checked before, and what a request leaves half written is removed after."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_FREE_BYTES = MIB  # for what a request writes besides the upload
_written: ContextVar[list[Any] | None] = ContextVar("written", default=None)


def check_free_space(folder: Path, wanted_bytes: int) -> None:
    """Check that a folder's disk has room.

    Raises:
        OSError: with ENOSPC: bytes or inodes are used up.
    """
    disk = os.statvfs(folder if folder.is_dir() else folder.parent)  # Gradio makes it again
    is_out_of_inodes = disk.f_files > 0 and disk.f_favail == 0  # some file systems count none
    if is_out_of_inodes or disk.f_bavail * disk.f_frsize < wanted_bytes + _MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def track_uploads() -> Iterator[None]:
    """Remove at the end what this request wrote by `temporary_upload` and did not move to its place."""
    written: list[Any] = []
    token = _written.set(written)
    try:
        yield
    finally:
        _written.reset(token)
        for file in written:
            # A full disk is told again, by what the file still holds back.
            with contextlib.suppress(OSError):
                file.close()  # or the disk would not get its room back
            Path(file.name).unlink(missing_ok=True)


def temporary_upload(**options: Any) -> Any:  # as tempfile.NamedTemporaryFile
    """Make a file for an upload that comes; stands in Gradio for `NamedTemporaryFile`."""
    file = tempfile.NamedTemporaryFile(**options)  # noqa: SIM115  # its user closes it
    if (written := _written.get()) is not None:
        written.append(file)
    return file
