"""Write a PNG file on several cores, strip by strip.

libpng filters and deflates row after row in one thread, which is more than half of the time to
write a cut-out. Here the rows are divided into strips of about 512 KiB, which several threads
process in parallel:

1. The caller passes the picture's rows from top to bottom, in pieces of any size (`write`). They
   are collected in a strip, together with the last row of the previous strip.
2. When a strip is full, a thread finishes its pixels (`finish`: for a cut-out, the mask is applied
   here), filters them, and deflates them. PNG's filter Up replaces a row by its difference from the
   row above, so a strip contains one row more than it writes.
3. A PNG's pixels are one zlib stream. The part of each strip ends with a full flush, so the parts
   can be concatenated (`deflate`). The stream's header precedes the first part. An empty last block
   and the Adler-32 checksum of all filtered rows, combined from those of the strips, follow the
   last part.
4. Each part is a separate IDAT chunk. The thread that calls `write`, and at the end `close`, writes
   the chunks to the file in order.

The thread that calls `write` is one of `threads`; the others are a pool. `write` passes a strip to
the pool, or encodes it itself if the pool is busy or does not exist. With a pool of as many threads
as CPUs, one thread more than CPUs would run, and the thread that produces the rows, on which all
others depend, would lose time slices: 20 % more time at 12 MP on two CPUs.

At most `2 * threads + 1` strips exist at a time, because `write` waits for the oldest. Their
buffers are reused, so memory does not grow with the picture.

The module is independent of masks, libvips and file names. Source: PNG (Third Edition), W3C 2025;
RFC 1950.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    # Arguments: uint8 (1 + n, bytes per row) as passed to `write`, whose first row is the one above
    # or zeros, and the number of the second row. Returns uint8 (1 + n, bytes per row in the file),
    # in the same or another array.
    Finish = Callable[[Bytes, int], Bytes]

_RAW_DEFLATE = -15  # zlib's code for its largest window without header and checksum
# Measured with benchmarks/png_writer.py: the fastest levels whose files are at most 2 % larger than
# those of libvips, in the median of 24 pictures. isal: 3 takes twice as long as 2 and its files are
# larger. zlib: files of level 1 are 4 % larger.
_LEVELS = {"isal": 2, "zlib": 2}


def _load_library() -> tuple[Any, str, str]:
    """Return the module that compresses, its name and its version."""
    try:
        import isal
        from isal import isal_zlib
    except ImportError:  # a platform without a wheel
        return zlib, "zlib", zlib.ZLIB_RUNTIME_VERSION
    return isal_zlib, "isal", str(isal.__version__)


_library, DEFLATE_LIBRARY, DEFLATE_VERSION = _load_library()
adler32 = _library.adler32
crc32 = _library.crc32


def deflate(data: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """Compress bytes to a part of a raw deflate stream.

    The part ends with a full flush: at a byte boundary, and later parts do not refer to it. Parts
    that are compressed independently can therefore be concatenated.

    Args:
        data: uint8, contiguous.

    Returns:
        The part, in two pieces.
    """
    compressor = _library.compressobj(_LEVELS[DEFLATE_LIBRARY], zlib.DEFLATED, _RAW_DEFLATE)
    return compressor.compress(data), compressor.flush(zlib.Z_FULL_FLUSH)


_STRIP_BYTES = 512 * 1024
_UP = 2
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ZLIB_HEAD = b"\x78\x01"
_LAST_BLOCK = b"\x03\x00"  # an empty block of fixed codes
_ADLER_BASE = 65521


@dataclass(frozen=True, slots=True, kw_only=True)
class PngLayout:
    """The content of a PNG file's header.

    Attributes:
        width, height: px.
        bands: 3 RGB, 4 RGBA; 8 bits each.
        chunks: complete chunks between IHDR and the pixels, such as iCCP and pHYs.
    """

    width: int
    height: int
    bands: int
    chunks: bytes = b""

    def head(self) -> bytes:
        """Return the file's bytes before the pixels."""
        colour_type = {3: 2, 4: 6}[self.bands]
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, colour_type, 0, 0, 0)
        return SIGNATURE + b"".join(png_chunk(b"IHDR", header)) + self.chunks


@dataclass(frozen=True, slots=True)
class _Part:
    """A strip's part of the file: an IDAT chunk, with checksum and size of its filtered rows."""

    chunk: tuple[bytes, ...]
    adler: int
    n_bytes: int
    strip: _Strip


class _Strip:
    """The reusable buffers of one strip."""

    def __init__(self, rows: int, row_bytes_in: int, row_bytes_out: int) -> None:
        """Allocate the buffers for a number of rows and the row above them."""
        self.pixels = np.empty((1 + rows, row_bytes_in), np.uint8)
        self.filtered = np.empty((rows, 1 + row_bytes_out), np.uint8)
        self.filtered[:, 0] = _UP

    def encode(self, top: int, bottom: int, finish: Finish) -> _Part:
        """Finish, filter and deflate rows `top` to `bottom`, exclusive."""
        n = bottom - top
        pixels = finish(self.pixels[: 1 + n], top)
        filtered = self.filtered[:n]
        np.subtract(pixels[1:], pixels[:-1], out=filtered[:, 1:])
        data = filtered.reshape(-1)
        start = _ZLIB_HEAD if top == 0 else b""
        return _Part(png_chunk(b"IDAT", start, *deflate(data)), adler32(data), data.size, self)


class PngWriter:
    """A PNG file that is being written; a context manager, completed by `close`."""

    def __init__(
        self,
        file: BinaryIO,
        layout: PngLayout,
        *,
        finish: Finish,
        row_bytes: int,
        threads: int,
    ) -> None:
        """Write the file's header.

        Args:
            file: open for writing.
            layout: of the picture.
            finish: converts passed rows to the file's pixels; called by several threads at once.
            row_bytes: bytes of a row as passed to `write`.
            threads: number of parallel threads, including the caller's; at least 1.

        Raises:
            OSError: the file cannot be written.
        """
        self._file, self._layout, self._finish = file, layout, finish
        self._row_bytes = row_bytes
        self._rows = rows_per_strip(max(row_bytes, self._out_bytes), layout.height)
        self._pool = ThreadPoolExecutor(threads - 1, "png") if threads > 1 else None
        # While `write` encodes a strip, each thread of the pool may finish one and need the next.
        self._most_pending = 2 * threads - 1
        self._most_waiting = 2 * threads
        self._waiting: deque[Future[_Part]] = deque()
        self._free: list[_Strip] = []
        self._top = 0  # number of the strip's first row
        self._filled = 0  # bytes in it
        self._begin_strip(0)
        self._adler = 1
        file.write(layout.head())

    @property
    def _out_bytes(self) -> int:
        """Return the bytes of a row in the file."""
        return self._layout.width * self._layout.bands

    def __enter__(self) -> Self:
        """Return this writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the pool's threads; strips that were not started are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def write(self, rows: bytes | memoryview) -> int:
        """Write the next bytes of the picture.

        Returns:
            The number of bytes, always all of them.

        Raises:
            OSError: the file cannot be written.
            Exception: an error that `finish` raised.
        """
        rows = memoryview(rows)  # slicing it does not copy
        n, at = len(rows), 0
        while self._filled + n - at >= len(self._room):
            there = at + len(self._room) - self._filled
            self._room[self._filled :] = rows[at:there]
            self._filled, at = len(self._room), there
            self._encode_strip()
        self._room[self._filled : self._filled + n - at] = rows[at:]
        self._filled += n - at
        return n

    def close(self) -> None:
        """Write the remaining rows and the file's end.

        Raises:
            OSError: the file cannot be written.
            ValueError: there are missing or extra rows.
        """
        if self._filled:
            self._encode_strip()
        while self._waiting:
            self._put(self._waiting.popleft().result())
        if self._top != self._layout.height:
            raise ValueError(f"{self._layout.height} rows were to be written, got {self._top}")
        end = (
            *png_chunk(b"IDAT", _LAST_BLOCK, struct.pack(">I", self._adler)),
            *png_chunk(b"IEND"),
        )
        self._file.writelines(end)

    def _encode_strip(self) -> None:
        """Pass a strip to the pool, or encode it here if the pool is busy; start the next strip."""
        strip, n = self._strip, self._filled // self._row_bytes
        top, bottom = self._top, self._top + n
        last_row = strip.pixels[n].copy()  # `finish` may change it
        pending = sum(not part.done() for part in self._waiting)
        if self._pool is not None and pending < self._most_pending:
            self._waiting.append(self._pool.submit(strip.encode, top, bottom, self._finish))
        else:
            done: Future[_Part] = Future()
            done.set_result(strip.encode(top, bottom, self._finish))
            self._waiting.append(done)
        while self._waiting and (
            len(self._waiting) > self._most_waiting or self._waiting[0].done()
        ):
            self._put(self._waiting.popleft().result())
        self._top = bottom
        self._begin_strip(last_row)

    def _begin_strip(self, above: Bytes | int) -> None:
        """Select unused buffers, and copy the row above the strip into them."""
        if self._free:
            self._strip = self._free.pop()
        else:
            self._strip = _Strip(self._rows, self._row_bytes, self._out_bytes)
        self._strip.pixels[0] = above
        self._room = self._strip.pixels[1:].data.cast("B")
        self._filled = 0

    def _put(self, part: _Part) -> None:
        """Write a strip's chunk and release its buffers."""
        self._file.writelines(part.chunk)
        self._adler = combine_adler32(self._adler, part.adler, part.n_bytes)
        self._free.append(part.strip)


def rows_per_strip(row_bytes: int, height: int) -> int:
    """Return the number of rows of a strip: at least 1, at most the picture's."""
    return min(height, max(1, _STRIP_BYTES // row_bytes))


def png_chunk(kind: bytes, *parts: bytes) -> tuple[bytes, ...]:
    """Return a chunk in pieces: its length, kind, content and CRC-32."""
    crc = crc32(kind)
    for part in parts:
        crc = crc32(part, crc)
    return struct.pack(">I", sum(map(len, parts))) + kind, *parts, struct.pack(">I", crc)


def combine_adler32(first: int, second: int, n_second: int) -> int:
    """Return the Adler-32 of two concatenated pieces from their checksums.

    Args:
        first: checksum of the first piece.
        second: checksum of the second piece.
        n_second: length of the second piece, bytes.

    Source: RFC 1950, section 8.2: a is 1 plus the sum of all bytes, b is the sum of a after each
    byte.
    """
    a1, b1 = first & 0xFFFF, first >> 16
    a2, b2 = second & 0xFFFF, second >> 16
    a = (a1 + a2 - 1) % _ADLER_BASE
    b = (b1 + b2 + (a1 - 1) * n_second) % _ADLER_BASE
    return b << 16 | a
