"""Why a file could not be written, as a sentence."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def unwritable_text(output: Path, error: OSError) -> str:
    """Return why a file could not be written, and what to do."""
    advice = {
        errno.ENOSPC: "the disk is full; free some space",
        errno.EACCES: "this user may not write there; choose another folder",
        errno.EROFS: "that file system is read-only; choose another folder",
        errno.ENOENT: "its folder is not there; make it first",
        errno.ENOTDIR: "its folder is a file; choose another name",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    }
    reason = advice.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))
    return f"{output} cannot be written: {reason}"
