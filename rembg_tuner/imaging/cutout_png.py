"""Write a cut-out as PNG: libvips decodes, a pool of threads composes and encodes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import pyvips

from rembg_tuner.imaging.cutout_rows import CutoutRows
from rembg_tuner.imaging.libvips import pool_threads
from rembg_tuner.imaging.png_writer import PngLayout, PngWriter
from rembg_tuner.imaging.sink import Sink, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.colours import Colour
    from rembg_tuner.imaging.computed_tiff import Rows

_PROFILE = "icc-profile-data"
_OPAQUE = 255
_AFTER_IHDR = 8 + 12 + 13  # of the file: its signature, and IHDR with its 13 bytes
_CHUNK_BYTES = 12  # a chunk's length, kind and checksum


def write_png(
    picture: pyvips.Image,
    mask: Rows,
    background: Colour | None,
    file: BinaryIO,
    is_cancelled: Callable[[], bool],
) -> None:
    """Write a cut-out as PNG.

    Args:
        picture: 8-bit RGB or RGBA, read once from top to bottom.
        mask: one band, as large as the picture.
        background: the colour behind it; None: transparent.
        file: open for writing.
        is_cancelled: asked at every few rows; True ends the writing.

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
        encode(rgba, Sink(png.write, is_cancelled), ".raw", {})
        png.close()


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
