"""PNG files written strip by strip.

They are read back by other libraries at any size; errors of a write reach the caller.
"""

from __future__ import annotations

import importlib
import io
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rembg_tuner.imaging import png_writer
from rembg_tuner.imaging.formats import MAX_PIXELS_IN_STRIPS
from rembg_tuner.imaging.png_writer import PngLayout, PngWriter, combine_adler32, rows_per_strip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

_MAX_CHUNK_BYTES = 2**31 - 1
_ROWS = 32  # rows of a strip in tests that set it


def _as_it_is(rows: Bytes, top: int) -> Bytes:
    """Return the rows unchanged."""
    return rows


def _picture(width: int, height: int, bands: int) -> Bytes:
    """Return a picture of smooth, noisy and empty parts: uint8 (h, w, bands)."""
    rng = np.random.default_rng(width * 1000 + height)
    pixels = rng.integers(0, 256, (height, width, bands)).astype(np.uint8)
    pixels[height // 3 : height // 2] = np.arange(width)[:, np.newaxis] % 256
    pixels[:, : width // 3] = 0
    return pixels


def _write(
    pixels: Bytes,
    *,
    threads: int = 2,
    piece: int | None = None,
    finish: Callable[[Bytes, int], Bytes] = _as_it_is,
    chunks: bytes = b"",
) -> bytes:
    """Write a picture in pieces of `piece` bytes, or all at once; return the file."""
    height, width, bands = pixels.shape
    layout = PngLayout(width=width, height=height, bands=bands, chunks=chunks)
    file, whole = io.BytesIO(), pixels.tobytes()
    step = piece or len(whole)
    with PngWriter(file, layout, finish=finish, row_bytes=width * bands, threads=threads) as png:
        for start in range(0, len(whole), step):
            part = whole[start : start + step]
            assert png.write(part) == len(part)
        png.close()
    return file.getvalue()


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG file into chunks, and check each checksum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(png):
        (n,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + n]
        assert struct.unpack_from(">I", png, at + 8 + n) == (zlib.crc32(kind + content),)
        found.append((kind, content))
        at += 12 + n
    return found


def _decode_by_hand(png: bytes) -> Bytes:
    """Decode with zlib and the definition of the filter Up; zlib checks the Adler-32."""
    chunks = _chunks(png)
    width, height, depth, colour_type = struct.unpack(">IIBB", chunks[0][1][:10])
    assert depth == 8
    bands = {2: 3, 6: 4}[colour_type]
    rows = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    table = np.frombuffer(rows, np.uint8).reshape(height, 1 + width * bands)
    assert (table[:, 0] == 2).all()
    return np.cumsum(table[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, bands)


def _readers() -> dict[str, Callable[[bytes], Bytes]]:
    """Return the PNG readers: zlib, Pillow (with its own zlib) and libvips (with libpng)."""
    return {
        "zlib": _decode_by_hand,
        "Pillow": lambda png: np.asarray(Image.open(io.BytesIO(png))),
        "libpng": lambda png: pyvips.Image.pngload_buffer(png, fail_on="warning").numpy(),
    }


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Check that the pool's threads have ended after every test."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("png")] == []


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set strips to 32 rows of 40 RGBA pixels."""
    monkeypatch.setattr(png_writer, "_STRIP_BYTES", _ROWS * 40 * 4)


# Pixels and strips


@given(
    width=st.integers(1, 50),
    height=st.integers(1, 100),
    bands=st.sampled_from([3, 4]),
    threads=st.integers(1, 3),
    piece=st.integers(1, 5000),
    strip_bytes=st.integers(1, 20_000),
)
def test_any_picture_is_read_back_the_same(
    width: int, height: int, bands: int, threads: int, piece: int, strip_bytes: int
) -> None:
    """All readers return the written pixels, for every size, strip and piece."""
    pixels = _picture(width, height, bands)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_writer, "_STRIP_BYTES", strip_bytes)
        png = _write(pixels, threads=threads, piece=piece)
    for name, read in _readers().items():
        np.testing.assert_array_equal(read(png), pixels, err_msg=name)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("height", [1, 31, 32, 33, 63, 64, 65, 500])
def test_strips_end_anywhere(height: int, threads: int) -> None:
    """A picture may end before, at and after the end of a strip."""
    pixels = _picture(40, height, 4)
    png = _write(pixels, threads=threads, piece=40 * 4 * 7)
    for read in _readers().values():
        np.testing.assert_array_equal(read(png), pixels)
    kinds = [kind for kind, _ in _chunks(png)]
    strips = -(-height // _ROWS)
    assert kinds == [b"IHDR", *[b"IDAT"] * (strips + 1), b"IEND"]


@pytest.mark.usefixtures("small_strips")
def test_each_strip_can_be_inflated_alone() -> None:
    """A strip ends at a whole byte with a full flush, and does not refer to earlier data."""
    pixels = _picture(40, 100, 4)
    parts = [content for kind, content in _chunks(_write(pixels)) if kind == b"IDAT"]
    assert parts[0][:2] == b"\x78\x01"
    inflated = b"".join(
        zlib.decompressobj(-15).decompress(p[2 * (not i) :]) for i, p in enumerate(parts[:-1])
    )
    assert all(part.endswith(b"\x00\x00\xff\xff") for part in parts[:-1])
    assert len(inflated) == 100 * (1 + 40 * 4)
    assert parts[-1] == b"\x03\x00" + struct.pack(">I", zlib.adler32(inflated))


@pytest.mark.usefixtures("small_strips")
def test_pixels_are_finished_once() -> None:
    """`finish` gets each strip once, with the row above as it was passed in."""
    pixels = _picture(40, 100, 4)
    seen: dict[int, tuple[int, bytes]] = {}

    def finish(rows: Bytes, top: int) -> Bytes:
        seen[top] = len(rows), rows[0].tobytes()
        rows ^= 0xFF
        if top == 0:
            rows[0] = 0
        return rows

    png = _write(pixels, threads=2, finish=finish)
    np.testing.assert_array_equal(_decode_by_hand(png), pixels ^ 0xFF)
    assert {top: n for top, (n, _) in seen.items()} == {0: 33, 32: 33, 64: 33, 96: 5}
    assert seen[0][1] == bytes(160)
    assert [seen[top][1] for top in (32, 64, 96)] == [pixels[r].tobytes() for r in (31, 63, 95)]


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("threads", [2, 3])
def test_the_callers_thread_is_one_of_them(threads: int) -> None:
    """The pool's threads and the caller finish strips, and no more threads than requested."""
    pixels = _picture(40, 32 * 60, 4)
    names: set[str] = set()

    def finish(rows: Bytes, top: int) -> Bytes:
        names.add(threading.current_thread().name)
        time.sleep(0.002)
        return rows

    png = _write(pixels, threads=threads, finish=finish)
    np.testing.assert_array_equal(_decode_by_hand(png), pixels)
    assert threading.current_thread().name in names
    assert len(names) == threads


@pytest.mark.usefixtures("small_strips")
def test_a_stuck_strip_does_not_let_others_pile_up() -> None:
    """While the oldest strip is delayed, the caller continues for a few strips, then waits."""
    begun: list[int] = []
    meanwhile: list[int] = []

    def finish(rows: Bytes, top: int) -> Bytes:
        begun.append(top)
        if top == 0:
            time.sleep(0.3)
            meanwhile.extend(begun[1:])
        return rows

    pixels = _picture(40, 32 * 60, 4)
    np.testing.assert_array_equal(_decode_by_hand(_write(pixels, threads=2, finish=finish)), pixels)
    assert len(meanwhile) == 2  # and two wait for the pool's thread: five with the first


def test_pixels_may_be_finished_into_fewer_bands() -> None:
    """Rows passed in with four bands may be written with three."""
    pixels = _picture(300, 700, 4)
    file = io.BytesIO()
    layout = PngLayout(width=300, height=700, bands=3)

    def drop(rows: Bytes, top: int) -> Bytes:
        return rows.reshape(len(rows), -1, 4)[..., :3].reshape(len(rows), -1)

    with PngWriter(file, layout, finish=drop, row_bytes=1200, threads=2) as png:
        png.write(pixels.tobytes())
        png.close()
    np.testing.assert_array_equal(_decode_by_hand(file.getvalue()), pixels[..., :3])


def test_one_thread_has_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only one CPU may be used, `write` does all the work without a pool."""
    monkeypatch.setattr(png_writer, "ThreadPoolExecutor", None)
    pixels = _picture(300, 700, 4)
    np.testing.assert_array_equal(_decode_by_hand(_write(pixels, threads=1)), pixels)


@pytest.mark.skipif(shutil.which("pngcheck") is None, reason="pngcheck is not installed")
def test_pngcheck_finds_nothing(tmp_path: Path) -> None:
    """The strictest reader accepts files of one strip and of many."""
    files = []
    for i, sides in enumerate([(1, 1), (1, 3000), (3000, 1), (700, 900)]):
        files.append(tmp_path / f"{i}.png")
        files[-1].write_bytes(_write(_picture(*sides, 4)))
    checked = subprocess.run(
        ["pngcheck", *map(str, files)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("OK: ") == 4


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_checksums_are_combined(first: bytes, second: bytes) -> None:
    """The checksum of two pieces is computed from each one's checksum."""
    combined = combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert combined == zlib.adler32(first + second)


def test_checksums_of_long_pieces_are_combined() -> None:
    """Checksums of pieces whose sums wrap around many times are combined correctly."""
    piece = b"\xff" * 1_000_003
    combined = combine_adler32(zlib.adler32(piece), zlib.adler32(piece), len(piece))
    assert combined == zlib.adler32(piece + piece)


@given(width=st.integers(1, MAX_PIXELS_IN_STRIPS), height=st.integers(1, MAX_PIXELS_IN_STRIPS))
def test_no_chunk_is_too_long(width: int, height: int) -> None:
    """A strip that does not compress fits into one chunk, for every width."""
    height = max(1, min(height, MAX_PIXELS_IN_STRIPS // width))
    rows = rows_per_strip(width * 4, height)
    assert 1 <= rows <= height
    assert _most_deflated(rows * (1 + width * 4)) <= _MAX_CHUNK_BYTES


def _most_deflated(n: int) -> float:
    """Return the maximum size of n incompressible bytes after compression."""
    return n * 1.01 + 300


@pytest.mark.parametrize("n", [1, 100, 65_535, 65_536, 3_000_000])
def test_noise_hardly_grows(n: int) -> None:
    """Incompressible data takes at most the maximum above."""
    noise = np.random.default_rng(n).integers(0, 256, n).astype(np.uint8)
    part = b"".join(png_writer.deflate(noise))
    assert len(part) <= _most_deflated(n)


# Memory and failures


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_strips_are_bounded(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """At any height there are at most two strips per thread, and one more."""
    made: list[png_writer._Strip] = []

    class Counted(png_writer._Strip):
        def __init__(self, rows: int, row_bytes_in: int, row_bytes_out: int) -> None:
            super().__init__(rows, row_bytes_in, row_bytes_out)
            made.append(self)

    monkeypatch.setattr(png_writer, "_Strip", Counted)
    pixels = _picture(40, 32 * 200, 4)
    np.testing.assert_array_equal(_decode_by_hand(_write(pixels, threads=threads)), pixels)
    assert len(made) <= (2 * threads + 1 if threads > 1 else 1)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fault_in_the_pool_is_raised(threads: int) -> None:
    """An error in a pool thread is raised by the next write or by close."""

    def finish(rows: Bytes, top: int) -> Bytes:
        if top == 64:
            raise MemoryError("no room for this strip")
        return rows

    for height in (70, 6400):
        with pytest.raises(MemoryError, match="no room for this strip"):
            _write(_picture(40, height, 4), threads=threads, finish=finish, piece=160)


@pytest.mark.usefixtures("small_strips")
def test_leaving_waits_for_few_strips() -> None:
    """An early exit waits only for the strips that threads have begun."""
    begun: list[int] = []

    def finish(rows: Bytes, top: int) -> Bytes:
        begun.append(top)
        time.sleep(0.05)
        return rows

    layout = PngLayout(width=40, height=6400, bands=4)
    pixels = _picture(40, 96, 4).tobytes()

    def leave() -> None:
        with PngWriter(io.BytesIO(), layout, finish=finish, row_bytes=160, threads=2) as png:
            png.write(pixels)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert len(begun) <= 2  # the third strip waited for a thread


class _FullDisk(io.BytesIO):
    """A file on a full disk."""

    def writelines(self, _: object) -> None:
        """Raise an error for a full disk."""
        raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("height", [3, 3000], ids=["at-the-end", "in-the-middle"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_disk_is_raised(height: int, threads: int) -> None:
    """The system's error reaches the caller unchanged."""
    layout = PngLayout(width=40, height=height, bands=4)

    def write() -> None:
        with PngWriter(
            _FullDisk(), layout, finish=_as_it_is, row_bytes=160, threads=threads
        ) as png:
            png.write(_picture(40, height, 4).tobytes())
            png.close()

    with pytest.raises(OSError, match="No space left"):
        write()


def test_missing_rows_are_told() -> None:
    """A file with missing rows raises an error."""
    layout = PngLayout(width=40, height=10, bands=4)
    with PngWriter(io.BytesIO(), layout, finish=_as_it_is, row_bytes=160, threads=2) as png:
        png.write(bytes(160 * 9))
        with pytest.raises(ValueError, match="10 rows were to be written, got 9"):
            png.close()


# Without isal


@pytest.fixture
def without_isal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make isal unavailable, as on a platform without a wheel."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "isal", None)
        importlib.reload(png_writer)
        yield
    importlib.reload(png_writer)


@pytest.mark.usefixtures("without_isal")
def test_zlib_stands_in_for_isal() -> None:
    """Without isal, zlib writes the same pixels in the same pool, and its name is reported."""
    assert (png_writer.DEFLATE_LIBRARY, png_writer.DEFLATE_VERSION) == (
        "zlib",
        zlib.ZLIB_RUNTIME_VERSION,
    )
    pixels = _picture(500, 700, 4)
    file = io.BytesIO()
    layout = png_writer.PngLayout(width=500, height=700, bands=4)
    with png_writer.PngWriter(file, layout, finish=_as_it_is, row_bytes=2000, threads=2) as png:
        png.write(pixels.tobytes())
        png.close()
    for read in _readers().values():
        np.testing.assert_array_equal(read(file.getvalue()), pixels)


def test_isal_is_used_where_it_is_installed() -> None:
    """The reported version is that of the installed package."""
    isal = pytest.importorskip("isal", reason="isal is not installed")
    assert ("isal", isal.__version__) == (png_writer.DEFLATE_LIBRARY, png_writer.DEFLATE_VERSION)
