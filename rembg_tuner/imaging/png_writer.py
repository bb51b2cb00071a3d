"""Write a PNG file on several cores, strip by strip.

libpng filters and deflates row after row in one thread: more than half of the time that a cut-out
takes to write. Here the rows are cut into strips of about 512 KiB, and several threads work on them
at once:

1. The caller hands the picture's rows over from top to bottom, in pieces of any size (`write`).
   They are collected in a strip, with the last row of the strip before on top.
2. When a strip is full, a thread finishes its pixels (`finish`: for a cut-out, the mask is joined
   here), filters them, and deflates them. PNG's filter Up replaces a row by its difference from the
   row above, which is why a strip holds one row more than it writes.
3. A PNG's pixels are one zlib stream. Each strip's part ends with a full flush, so that the parts
   can follow each other (`imaging.deflate`). The stream's head comes before the first part; an
   empty last block and the Adler-32 checksum of all filtered rows, combined from the strips' own,
   come after the last.
4. Each part is an IDAT chunk of its own. The thread that calls `write`, and at the end `close`,
   puts them into the file, in order.

The thread that calls `write` is one of `threads`; the others are a pool. `write` gives a strip to
the pool, and does it itself while the pool has enough to do, or if there is none. With a pool of as
many threads as CPUs, one more would want to run, and the thread that makes the rows, for which all
others wait, would lose time slices: a fifth more time at 12 MP on two CPUs.

At most `2 * threads + 1` strips exist at a time, since `write` waits for the oldest. Their buffers
are used again, so memory does not grow with the picture.

The module knows nothing of masks, libvips or files' names. Source: PNG (Third Edition), W3C 2025;
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
    # Takes uint8 (1 + n, bytes of a row) as handed over, and the number of the second row; the
    # first is the one above, or zeros. Returns uint8 (1 + n, bytes of a row in the file), in the
    # same or another array.
    Finish = Callable[[Bytes, int], Bytes]

_RAW_DEFLATE = -15  # zlib's code for its largest window without header and checksum
# By measurement (benchmarks/png_writer.py): the fastest whose files are at most 2 % larger than
# those of libvips before, by the median of 24 pictures. isal: 3 takes twice as long as 2 and makes
# larger files. zlib: 1 is at 4 %.
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

    The part ends with a full flush: at a whole byte, and with nothing after it referring to it.
    Parts that are compressed independently can therefore follow each other in one stream.

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
    """What a PNG file's head says.

    Attributes:
        width, height: px.
        bands: 3 RGB, 4 RGBA; 8 bits each.
        chunks: whole chunks between IHDR and the pixels, such as iCCP and pHYs.
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
    """A strip's part of the file.

    An IDAT chunk, and the checksum and size of the filtered rows in it.
    """

    chunk: tuple[bytes, ...]
    adler: int
    n_bytes: int
    strip: _Strip


class _Strip:
    """The buffers of one strip, used again and again."""

    def __init__(self, rows: int, row_bytes_in: int, row_bytes_out: int) -> None:
        """Reserve room for some rows and the one above them."""
        self.pixels = np.empty((1 + rows, row_bytes_in), np.uint8)
        self.filtered = np.empty((rows, 1 + row_bytes_out), np.uint8)
        self.filtered[:, 0] = _UP

    def encode(self, top: int, bottom: int, finish: Finish) -> _Part:
        """Finish, filter and deflate rows `top` to `bottom`, the last not included."""
        n = bottom - top
        pixels = finish(self.pixels[: 1 + n], top)
        filtered = self.filtered[:n]
        np.subtract(pixels[1:], pixels[:-1], out=filtered[:, 1:])
        data = filtered.reshape(-1)
        start = _ZLIB_HEAD if top == 0 else b""
        return _Part(png_chunk(b"IDAT", start, *deflate(data)), adler32(data), data.size, self)


class PngWriter:
    """A PNG file that is being written; used as a context, ended by `close`."""

    def __init__(
        self,
        file: BinaryIO,
        layout: PngLayout,
        *,
        finish: Finish,
        row_bytes: int,
        threads: int,
    ) -> None:
        """Write the file's head.

        Args:
            file: opened for writing.
            layout: of the picture.
            finish: makes the file's pixels of those handed over; called by several threads at once.
            row_bytes: of a row as it is handed over.
            threads: that work at the same time, the caller's included; at least 1.

        Raises:
            OSError: the file cannot be written.
        """
        self._file, self._layout, self._finish = file, layout, finish
        self._row_bytes = row_bytes
        self._rows = rows_per_strip(max(row_bytes, self._out_bytes), layout.height)
        self._pool = ThreadPoolExecutor(threads - 1, "png") if threads > 1 else None
        # While `write` does a strip itself, each thread of the pool ends one and needs the next.
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
        """Bytes of a row in the file."""
        return self._layout.width * self._layout.bands

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the pool's threads; strips that no thread has begun are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def write(self, rows: bytes | memoryview) -> int:
        """Take the next bytes of the picture.

        Returns:
            How many were taken: all.

        Raises:
            OSError: the file cannot be written.
            Exception: whatever `finish` raised.
        """
        rows = memoryview(rows)  # slices of it are no copies
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
        """Write what is left, and the file's end.

        Raises:
            OSError: the file cannot be written.
            ValueError: rows are missing, or are too many.
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
        """Hand a strip to the pool, or encode it here if the pool has enough; begin the next."""
        strip, n = self._strip, self._filled // self._row_bytes
        top, bottom = self._top, self._top + n
        last_row = strip.pixels[n].copy()  # before `finish` changes it
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
        """Take buffers that no thread uses, and put the row above the strip into them."""
        if self._free:
            self._strip = self._free.pop()
        else:
            self._strip = _Strip(self._rows, self._row_bytes, self._out_bytes)
        self._strip.pixels[0] = above
        self._room = self._strip.pixels[1:].data.cast("B")
        self._filled = 0

    def _put(self, part: _Part) -> None:
        """Write a strip's chunk and take its buffers back."""
        self._file.writelines(part.chunk)
        self._adler = combine_adler32(self._adler, part.adler, part.n_bytes)
        self._free.append(part.strip)


def rows_per_strip(row_bytes: int, height: int) -> int:
    """Return how many rows make a strip; one at least, and no more than the picture has."""
    return min(height, max(1, _STRIP_BYTES // row_bytes))


def png_chunk(kind: bytes, *parts: bytes) -> tuple[bytes, ...]:
    """Return a chunk in pieces: its length, kind, content and CRC-32."""
    crc = crc32(kind)
    for part in parts:
        crc = crc32(part, crc)
    return struct.pack(">I", sum(map(len, parts))) + kind, *parts, struct.pack(">I", crc)


def combine_adler32(first: int, second: int, n_second: int) -> int:
    """Return the Adler-32 of two pieces that follow each other, from each piece's own.

    Args:
        first: of the first piece.
        second: of the second.
        n_second: length of the second, bytes.

    Source: RFC 1950, section 8.2: a is 1 plus the sum of all bytes, b is the sum of a after each
    byte.
    """
    a1, b1 = first & 0xFFFF, first >> 16
    a2, b2 = second & 0xFFFF, second >> 16
    a = (a1 + a2 - 1) % _ADLER_BASE
    b = (b1 + b2 + (a1 - 1) * n_second) % _ADLER_BASE
    return b << 16 | a
