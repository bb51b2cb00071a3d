"""What libvips and its decoders say of a picture that they cannot read, in plain words."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pyvips

ENDS_EARLY = "the file ends before all of its pixels do; copy or save the picture again"
_DAMAGED_PIXELS = "its pixels are damaged; copy or save the picture again"
DAMAGED_HEADER = "its header is damaged; copy or save the picture again"
_TOO_MUCH = "its header asks for more than a picture needs; save the picture again"
_NOT_SUPPORTED = "it is stored in a way that is not read here; save it as PNG or baseline JPEG"
NOT_DECODED = "it cannot be decoded; copy or save the picture again"
# Of libjpeg, libpng, nsgif, libwebp, libheif and libtiff, as libvips passes them on; the first that is found counts.
_MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
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


def explain(path: Path, error: pyvips.Error) -> str:
    """Say in plain words why a picture does not decode; the decoder's own words go to the log."""
    if not error.message.startswith("unable to "):
        # a sentence of this program's own
        return f"{path} is damaged or cut short: {error.message}"
    lines = [" ".join(line.split()) for line in str(error.detail or error.message).splitlines()]
    said = [line for line in lines if line and not line.startswith("unable to ")]
    _LOG.info("libvips: %s", "; ".join(said))
    # libheif looks for the end of its file on its way: only its last word counts
    meaning = meaning_of(said[-1] if any("heif:" in line for line in said) else " ".join(said))
    if meaning in (_TOO_MUCH, _NOT_SUPPORTED):
        return f"{path} cannot be read: {meaning}"
    return f"{path} is damaged or cut short: {meaning}"


def meaning_of(said: str) -> str:
    """Give the plain meaning of a decoder's words."""
    return next((meaning for pattern, meaning in _MEANINGS if pattern.search(said)), NOT_DECODED)
