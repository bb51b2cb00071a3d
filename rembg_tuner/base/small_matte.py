"""A matte of at most 32 px per side, as stored in a record.

It fits on a line of YAML, and is detailed enough to detect a different cut-out.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass

MAX_SIDE = 32  # px, the longest side
_LEVELS = 255  # the level of a pixel that is entirely foreground
_MAX_BYTES = MAX_SIDE * MAX_SIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallMatte:
    """The mean opacity of each cell of a matte.

    Attributes:
        width, height: px, from 1 to `MAX_SIDE`.
        levels: row by row, 0 (background) to 255 (foreground) each.
    """

    width: int
    height: int
    levels: bytes

    def to_text(self) -> str:
        """Return it as one word: its size, and its levels compressed by zlib, in Base64."""
        packed = base64.b64encode(zlib.compress(self.levels, 9)).decode()
        return f"{self.width}x{self.height}:{packed}"

    def overlap(self, other: SmallMatte) -> float:
        """Return the intersection over union of the opacities, 0 to 1; 1 if both are empty.

        It is the sum of the lower opacity of each cell, divided by the sum of the higher one. For
        masks of 0 and 1, it is the usual intersection over union.

        Raises:
            ValueError: the sizes differ.
        """
        if (self.width, self.height) != (other.width, other.height):
            raise ValueError(
                f"small mattes of one size can be compared, got {self.width} x {self.height} and"
                f" {other.width} x {other.height}"
            )
        pairs = list(zip(self.levels, other.levels, strict=True))
        union = sum(max(pair) for pair in pairs)
        return 1.0 if union < _LEVELS else sum(min(pair) for pair in pairs) / union


def read_small_matte(text: str) -> SmallMatte:
    """Read what `to_text` returned.

    Raises:
        ValueError: the text is not a small matte.
    """
    try:
        size, _, packed = text.partition(":")
        width, height = (int(side) for side in size.split("x"))
        reader = zlib.decompressobj()
        levels = reader.decompress(base64.b64decode(packed, validate=True), _MAX_BYTES)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"a small matte cannot be {text!r:.60}") from error
    fits = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and len(levels) == width * height
    if not fits:
        raise ValueError(f"a small matte cannot be {text!r:.60}")
    return SmallMatte(width=width, height=height, levels=levels)
