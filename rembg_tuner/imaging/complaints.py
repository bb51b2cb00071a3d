"""Convert errors of reading and writing pictures into messages for users."""

from __future__ import annotations

import errno
import logging
import os
import re
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from pathlib import Path

    import pyvips


ENDS_EARLY = Message("the file ends before all of its pixels do; copy or save the picture again")
_DAMAGED_PIXELS = Message("its pixels are damaged; copy or save the picture again")
DAMAGED_HEADER = Message("its header is damaged; copy or save the picture again")
_TOO_MUCH = Message("its header asks for more than a picture needs; save the picture again")
_NOT_SUPPORTED = Message("its encoding is not supported; save it as PNG or baseline JPEG")
NOT_DECODED = Message("it cannot be decoded; copy or save the picture again")
# Patterns of the errors of libjpeg, libpng, nsgif, libwebp, libheif and libtiff, as libvips returns
# them. The first pattern that matches is used.
_MEANINGS: tuple[tuple[re.Pattern[str], Message], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"security.limit|exceeds|too.large|dimension", _TOO_MUCH),
        (r"not.supported|unsupported|not.implemented|not.enabled|cannot.handle", _NOT_SUPPORTED),
        (
            r"premature.end|truncated|unexpected.end|insufficient.input|outside.of.file|libpng.read.error"
            r"|not.enough.data|bad.seek|read.error|seek.error|short.read",
            ENDS_EARLY,
        ),
        (
            r"huffman.code|pixels|frame.data|corrupt.frame|scanline|code.not.yet|strip|tile|decod",
            _DAMAGED_PIXELS,
        ),
        (
            r"bogus|invalid|not.defined|header|directory|tag|field|box|item|count|marker|parse|frames",
            DAMAGED_HEADER,
        ),
    )
)
_LOG = logging.getLogger(__name__)


def damaged(path: Path, reason: Message | Quoted) -> PictureError:
    """Return the error for a damaged picture."""
    return PictureError(
        Message("{path} is damaged or cut short: {reason}", path=path, reason=reason)
    )


def explain(path: Path, error: pyvips.Error) -> PictureError:
    """Return the error for a picture that cannot be decoded, in plain words.

    The decoder's messages are logged.
    """
    if not error.message.startswith("unable to "):  # an error of pyvips itself
        return damaged(path, Quoted(error.message))
    lines = [" ".join(line.split()) for line in str(error.detail or error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith("unable to ")]
    _LOG.info("libvips: %s", "; ".join(said))
    # libheif reports the end of the file before the actual error: use the last line only
    meaning = meaning_of(said[-1] if any("heif:" in line for line in said) else " ".join(said))
    if meaning in (_TOO_MUCH, _NOT_SUPPORTED):
        return PictureError(Message("{path} cannot be read: {reason}", path=path, reason=meaning))
    return damaged(path, meaning)


def meaning_of(said: str) -> Message:
    """Return the plain meaning of a decoder's message."""
    return next((meaning for pattern, meaning in _MEANINGS if pattern.search(said)), NOT_DECODED)


def unwritable_text(output: Path, error: OSError) -> Message:
    """Return the reason why a file could not be written, and advice."""
    advice = {
        errno.ENOSPC: Message("the disk is full; free some space"),
        errno.EACCES: Message("this user is not allowed to write there; choose another folder"),
        errno.EROFS: Message("that file system is read-only; choose another folder"),
        errno.ENOENT: Message("its folder does not exist; create it first"),
        errno.ENOTDIR: Message("its folder is a file; choose another name"),
        errno.ENAMETOOLONG: Message("the name is too long; choose a shorter one"),
    }
    said = os.strerror(error.errno) if error.errno else Quoted(str(error))
    reason = advice.get(error.errno or 0, said)
    return Message("{path} cannot be written: {reason}", path=output, reason=reason)
