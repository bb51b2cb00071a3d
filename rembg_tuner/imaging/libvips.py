"""Configure libvips, and connect it with Python: computed rows as input, encoded bytes as output.

libvips is configured to use little memory: no operation cache, few threads, low strips. Rows
computed in Python are read by libvips as an uncompressed TIFF file whose strips are computed on
request.
"""

from __future__ import annotations

import ctypes
import math
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyvips

from rembg_tuner.base.errors import CancelledError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

# By default, libvips keeps three strips of 128 rows in each cache of a picture that is read from
# top to bottom. At 48 MP this needs 30 MiB more than these options, in the same time.
_LOW_STRIPS = (b"--vips-tile-height=16", b"--vips-fatstrip-height=8")


def start_libvips(threads: int) -> None:
    """Configure libvips: no operation cache, a limited thread pool, low strips.

    Args:
        threads: of its pool, at least 1.
    """
    pyvips.cache_set_max(0)
    use_threads(threads)
    library = _loaded_library()
    if library is not None:
        _parse_options(library, _LOW_STRIPS)


def use_threads(threads: int) -> None:
    """Set the size of libvips' thread pool, for pictures opened from now on.

    Args:
        threads: at least 1.
    """
    pyvips.voperation.vips_lib.vips_concurrency_set(max(1, threads))


def pool_threads() -> int:
    """Return the number of threads of libvips' pool.

    The default is one per CPU, until `start_libvips` or `use_threads` sets it.
    """
    return int(pyvips.voperation.vips_lib.vips_concurrency_get())


def fetch_rows(image: pyvips.Image, rows: int) -> Iterator[memoryview]:
    """Compute an image from top to bottom in this thread only, a number of rows at a time.

    Raises:
        pyvips.Error: it cannot be decoded.
    """
    region = pyvips.Region.new(image)
    for top in range(0, image.height, rows):
        yield memoryview(region.fetch(0, top, image.width, min(rows, image.height - top)))


def libvips_version() -> str:
    """Return libvips' version."""
    return ".".join(str(pyvips.version(part)) for part in range(3))


def binding_version() -> str:
    """Return pyvips' version."""
    return str(pyvips.__version__)


def _loaded_library() -> ctypes.CDLL | None:
    """Return the libvips that pyvips has loaded; None if the system or the build hides it.

    Only Linux is supported, and only builds that export `vips_add_option_entries`.
    """
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith("libvips") and ".so" in path:
            library = ctypes.CDLL(path)
            return library if hasattr(library, "vips_add_option_entries") else None
    return None


def _parse_options(library: ctypes.CDLL, options: tuple[bytes, ...]) -> None:
    """Set libvips' command-line options with its public function `vips_add_option_entries`.

    pyvips does not provide this function, so it is called through ctypes, as libvips' own tools do.
    """
    library.g_option_context_new.restype = ctypes.c_void_p
    library.g_option_group_new.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.g_option_context_new(None))
    group = ctypes.c_void_p(library.g_option_group_new(b"vips", b"", b"", None, None))
    library.vips_add_option_entries(group)
    library.g_option_context_add_group(context, group)
    words = (ctypes.c_char_p * (len(options) + 2))(b"rembg-tuner", *options, None)
    count = ctypes.c_int(len(options) + 1)
    error = ctypes.c_void_p(None)
    pointer = ctypes.cast(words, ctypes.POINTER(ctypes.c_char_p))
    library.g_option_context_parse(
        context, ctypes.byref(count), ctypes.byref(pointer), ctypes.byref(error)
    )
    library.g_option_context_free(context)


STRIP_ROWS = 32
_LONG, _SHORT = 4, 3
_BLACK_IS_ZERO, _RGB = 1, 2
_BYTES_PER_ENTRY = 12
_STRAIGHT_ALPHA = 2


class Rows(Protocol):
    """A picture whose rows can be computed in any order.

    Attributes:
        width, height: px.
        bands: 1 grey, 3 RGB, 4 RGBA.
    """

    width: int
    height: int
    bands: int

    def rows(self, top: int, bottom: int) -> npt.NDArray[np.uint8]:
        """Return rows `top` to `bottom`, exclusive: uint8 (h, w) or (h, w, bands)."""


class _ComputedTiff:
    """The bytes of the TIFF file, with the methods `read` and `seek` of a file."""

    def __init__(self, picture: Rows) -> None:
        """Create the header; no pixel is computed yet."""
        self._picture = picture
        self._row_bytes = picture.width * picture.bands
        self._strips = math.ceil(picture.height / STRIP_ROWS)
        self._header = self._layout()
        self._size = len(self._header) + self._row_bytes * picture.height
        self._position = 0
        self._current: tuple[int, memoryview] | None = None

    def _layout(self) -> bytes:
        """Return the header and the directory (TIFF 6.0, sections 2, 3 and 18)."""
        width, height, bands = self._picture.width, self._picture.height, self._picture.bands
        extra = [(338, _SHORT, 1, _STRAIGHT_ALPHA)] if bands == 4 else []
        tables = 8 + 2 + (9 + len(extra)) * _BYTES_PER_ENTRY + 4
        bits = struct.pack(f"<{bands}H", *([8] * bands)) if bands > 2 else b""
        pixels = tables + 8 * self._strips + len(bits)
        strip_bytes = STRIP_ROWS * self._row_bytes
        offsets = [pixels + i * strip_bytes for i in range(self._strips)]
        whole = self._row_bytes * height
        counts = [min(strip_bytes, whole - i * strip_bytes) for i in range(self._strips)]
        alone = self._strips == 1  # a single value is stored in the entry itself
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
        """Return up to `length` bytes from the current position; fewer at the end of a strip."""
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
        """Compute a strip, or return the last computed one."""
        if self._current is None or self._current[0] != index:
            top = index * STRIP_ROWS
            rows = self._picture.rows(top, min(self._picture.height, top + STRIP_ROWS))
            self._current = (index, rows.data.cast("B"))
        return self._current[1]

    def seek(self, offset: int, whence: int) -> int:
        """Change the position, as `io.IOBase.seek` does."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position


def open_rows(picture: Rows) -> pyvips.Image:
    """Return computed rows as a libvips image, 8 bits per band, read once from top to bottom."""
    file = _ComputedTiff(picture)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    image = pyvips.Image.tiffload_source(source, access="sequential", fail_on="error")
    # As in pyvips' new_from_source: images derived from this one keep the callbacks alive.
    image._references.append(source)
    return image


def cancelled() -> CancelledError:
    """Return the error for a run that was cancelled while its cut-out was written."""
    return CancelledError(Message("the run was cancelled while its cut-out was written"))


class Sink:
    """A target for libvips' output; stores the error of a failed write."""

    def __init__(self, take: Callable[[bytes], int], is_cancelled: Callable[[], bool]) -> None:
        """Create a sink that writes to a function.

        Args:
            take: writes bytes and returns their number, as a file's `write` does.
            is_cancelled: called for each block; True cancels the writing.
        """
        self._take = take
        self._is_cancelled = is_cancelled
        self.error: Exception | None = None

    def write(self, block: bytes) -> int:
        """Write a block; return -1 to make libvips stop."""
        if self._is_cancelled():
            self.error = cancelled()
            return -1
        try:
            return self._take(block)
        except Exception as error:  # noqa: BLE001  # libvips calls this; `encode` raises it again
            self.error = error
            return -1


def encode(image: pyvips.Image, sink: Sink, suffix: str, options: Mapping[str, object]) -> None:
    """Encode an image into a sink.

    Of the metadata, only the colour profile and the resolution are kept.

    Raises:
        pyvips.Error: the image cannot be decoded or encoded.
        CancelledError: the sink's `is_cancelled` returned True.
        Exception: the error that the sink's `take` raised.
    """
    target = pyvips.TargetCustom()
    target.on_write(sink.write)
    try:
        image.write_to_target(target, suffix, keep="icc", **options)
    except pyvips.Error:
        if sink.error is not None:
            raise sink.error from None
        raise
    if sink.error is not None:
        raise sink.error
