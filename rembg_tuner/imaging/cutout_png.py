"""Write a cut-out as PNG: libvips decodes, this thread and a pool compose and encode."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import pyvips

from rembg_tuner.imaging.cutout_rows import CutoutRows
from rembg_tuner.imaging.libvips import fetch_rows, pool_threads
from rembg_tuner.imaging.png_writer import PngLayout, PngWriter
from rembg_tuner.imaging.sink import Sink, cancelled, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.base.colours import Colour
    from rembg_tuner.imaging.computed_tiff import Rows

_PROFILE = "icc-profile-data"
_OPAQUE = 255
_AFTER_IHDR = 8 + 12 + 13  # of the file: its signature, and IHDR with its 13 bytes
# Fetched at a time, at most 8 rows: 16 take 1 to 3 MiB more at 1080p and 12 MP, and 32 up to 12, in
# the same time.
_ROWS, _FETCHED_BYTES = 8, 256 * 1024
_CHUNK_BYTES = 12  # a chunk's length, kind and checksum


def write_png(
    picture: pyvips.Image,
    mask: Rows,
    background: Colour | None,
    file: BinaryIO,
    is_cancelled: Callable[[], bool],
    *,
    is_chain: bool,
) -> None:
    """Write a cut-out as PNG.

    Args:
        picture: 8-bit RGB or RGBA, read once from top to bottom.
        mask: one band, as large as the picture.
        background: the colour behind it; None: transparent.
        file: open for writing.
        is_cancelled: asked at every few rows; True ends the writing.
        is_chain: each step of decoding feeds one other, and there is little to do besides decoding;
            otherwise libvips' own threads read the picture, see `PictureHeader.is_plain_chain`.

    Raises:
        pyvips.Error: the picture cannot be decoded.
        OSError: the file cannot be written.
        CancelledError: `is_cancelled` said so.
    """
    own_alpha = bool(picture.hasalpha())
    rgba = picture[:4] if own_alpha else picture.bandjoin(_OPAQUE)
    finish = CutoutRows(mask, has_alpha=own_alpha, background=background)
    layout = PngLayout(
        width=picture.width,
        height=picture.height,
        bands=finish.bands,
        chunks=_metadata_chunks(picture),
    )
    with PngWriter(
        file, layout, finish=finish, row_bytes=4 * picture.width, threads=pool_threads()
    ) as png:
        if is_chain:
            _hand_over(rgba, png, is_cancelled)
        else:
            encode(rgba, Sink(png.write, is_cancelled), ".raw", {})
        png.close()


def _hand_over(rgba: pyvips.Image, png: PngWriter, is_cancelled: Callable[[], bool]) -> None:
    """Decode in this thread and hand the rows over.

    libvips' own writer of raw rows has three threads, too many beside those of `png_writer`, and
    calls Python for each row.
    """
    for rows in fetch_rows(rgba, max(1, min(_ROWS, _FETCHED_BYTES // (4 * rgba.width)))):
        if is_cancelled():
            raise cancelled()
        png.write(rows)


def _metadata_chunks(picture: pyvips.Image) -> bytes:
    """Return the chunks that libvips writes between IHDR and the pixels: iCCP, pHYs.

    libvips writes them for a single pixel, so libpng's checks of a profile hold.
    """
    pixel = pyvips.Image.black(1, 1, bands=3).copy(
        interpretation="srgb", xres=picture.xres, yres=picture.yres
    )
    if picture.get_typeof(_PROFILE):
        pixel.set_type(pyvips.GValue.blob_type, _PROFILE, picture.get(_PROFILE))
    png: bytes = pixel.pngsave_buffer(keep="icc")
    end = _AFTER_IHDR
    while png[end + 4 : end + 8] != b"IDAT":
        end += _CHUNK_BYTES + struct.unpack_from(">I", png, end)[0]
    return png[_AFTER_IHDR:end]
