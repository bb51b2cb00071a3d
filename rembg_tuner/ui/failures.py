"""What is said of an error at the page's and the server's edges: nothing that a visitor sent."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

DISK_FULL = "the server's disk is full; try again later"
UNEXPECTED = "unexpected error; the server log says where"
_MAX_FRAMES = 6


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that a disk, or a user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def trail_of(error: BaseException) -> str:
    """Return an error's class and the places it came through, without its message: that holds values."""
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} at {places}"
