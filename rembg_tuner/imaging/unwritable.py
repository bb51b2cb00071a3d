"""Why a file could not be written, as a sentence."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from pathlib import Path


def unwritable_text(output: Path, error: OSError) -> Message:
    """Return why a file could not be written, and what to do."""
    advice = {
        errno.ENOSPC: Message("the disk is full; free some space"),
        errno.EACCES: Message("this user may not write there; choose another folder"),
        errno.EROFS: Message("that file system is read-only; choose another folder"),
        errno.ENOENT: Message("its folder is not there; make it first"),
        errno.ENOTDIR: Message("its folder is a file; choose another name"),
        errno.ENAMETOOLONG: Message("the name is too long; choose a shorter one"),
    }
    said = os.strerror(error.errno) if error.errno else Quoted(str(error))
    reason = advice.get(error.errno or 0, said)
    return Message("{path} cannot be written: {reason}", path=output, reason=reason)
