"""An uncompressed TIFF that exists only as far as it is being read.

Rows that Python computes, for libvips.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Protocol

import pyvips

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

STRIP_ROWS = 32
_LONG, _SHORT = 4, 3
_BLACK_IS_ZERO, _RGB = 1, 2
_BYTES_PER_ENTRY = 12
_STRAIGHT_ALPHA = 2


class Rows(Protocol):
    """A picture of which any rows can be had without the others.

    Attributes:
        width, height: px.
        bands: 1 grey, 3 RGB, 4 RGBA.
    """

    width: int
    height: int
    bands: int

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Give rows `top` to `bottom`, the last not included: (h, w) or (h, w, bands)."""


class _ComputedTiff:
    """The bytes of the file; read and seek as a file's."""

    def __init__(self, picture: Rows) -> None:
        """Lay the file out; no pixel is computed yet."""
        self._picture = picture
        self._row_bytes = picture.width * picture.bands
        self._strips = math.ceil(picture.height / STRIP_ROWS)
        self._header = self._layout()
        self._size = len(self._header) + self._row_bytes * picture.height
        self._position = 0
        self._current: tuple[int, memoryview] | None = None

    def _layout(self) -> bytes:
        """Write the header and the one directory (TIFF 6.0, sections 2, 3 and 18)."""
        width, height, bands = self._picture.width, self._picture.height, self._picture.bands
        extra = [(338, _SHORT, 1, _STRAIGHT_ALPHA)] if bands == 4 else []
        tables = 8 + 2 + (9 + len(extra)) * _BYTES_PER_ENTRY + 4
        bits = struct.pack(f"<{bands}H", *([8] * bands)) if bands > 2 else b""
        pixels = tables + 8 * self._strips + len(bits)
        strip_bytes = STRIP_ROWS * self._row_bytes
        offsets = [pixels + i * strip_bytes for i in range(self._strips)]
        whole = self._row_bytes * height
        counts = [min(strip_bytes, whole - i * strip_bytes) for i in range(self._strips)]
        alone = self._strips == 1  # a single value stands in the entry itself
        entries = [
            (256, _LONG, 1, width),
            (257, _LONG, 1, height),
            (258, _SHORT, bands, pixels - len(bits) if bits else 8),
            (259, _SHORT, 1, 1),  # no compression
            (262, _SHORT, 1, _RGB if bits else _BLACK_IS_ZERO),
            (273, _LONG, self._strips, offsets[0] if alone else tables),
            (277, _SHORT, 1, bands),
            (278, _LONG, 1, STRIP_ROWS),
            (279, _LONG, self._strips, counts[0] if alone else tables + 4 * self._strips),
            *extra,
        ]
        directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"".join(
            (
                struct.pack("<2sHIH", b"II", 42, 8, len(entries)),
                directory,
                struct.pack("<I", 0),
                struct.pack(f"<{self._strips}I", *offsets),
                struct.pack(f"<{self._strips}I", *counts),
                bits,
            )
        )

    def read(self, length: int) -> bytes:
        """Give up to `length` bytes from here; fewer at the end of a strip."""
        start = self._position - len(self._header)
        if start >= self._size - len(self._header):
            return b""
        if start < 0:
            piece = self._header[self._position : self._position + length]
        else:
            index, offset = divmod(start, STRIP_ROWS * self._row_bytes)
            piece = bytes(self._strip(index)[offset : offset + length])
        self._position += len(piece)
        return piece

    def _strip(self, index: int) -> memoryview:
        """Compute a strip, or give the one that was computed last."""
        if self._current is None or self._current[0] != index:
            top = index * STRIP_ROWS
            rows = self._picture.rows(top, min(self._picture.height, top + STRIP_ROWS))
            self._current = (index, rows.data.cast("B"))
        return self._current[1]

    def seek(self, offset: int, whence: int) -> int:
        """Move as `io.IOBase.seek` does."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position


def open_rows(picture: Rows) -> pyvips.Image:
    """Give computed rows as a libvips image that is read once from top to bottom; 8 bits a band."""
    file = _ComputedTiff(picture)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    image = pyvips.Image.tiffload_source(source, access="sequential", fail_on="error")
    # as pyvips' own new_from_source: whatever is made of the image keeps the callbacks alive
    image._references.append(source)
    return image
