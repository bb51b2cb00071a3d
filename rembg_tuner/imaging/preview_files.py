"""Write what a page shows: a picture as JPEG, and a cut-out's alpha as a small PNG that is laid over it as a CSS mask.

The browser puts the two together, so that a run only has to encode its alpha: 4 ms of CPU where a
lossy WebP with lossless alpha takes 114 ms. The PNG's palette holds black 256 times with the
opacities 0 to 255, so that a mask needs no conversion of colours (`mask-mode: alpha`).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.files import replacing
from rembg_tuner.imaging.cutout_rows import multiply_alphas
from rembg_tuner.imaging.formats import PREVIEW_SIDE
from rembg_tuner.imaging.png_writer import SIGNATURE, png_chunk
from rembg_tuner.imaging.source import read_small, reading
from rembg_tuner.imaging.unwritable import unwritable_text

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.imaging.matte import Mask
    from rembg_tuner.imaging.source import PictureHeader

_JPEG_QUALITY = 90  # from here on libvips keeps the colours at full resolution
_WEBP = {"Q": 90, "alpha_q": 100, "effort": 0}
_OPACITIES = 256
_OPAQUE = 255


def preview_sides(header: PictureHeader, max_side: int) -> tuple[int, int]:
    """Return width and height of a preview, px.

    At most 1600, and at most a run's `max_side` unless that is 0.
    """
    return header.scaled(min(max_side or PREVIEW_SIDE, PREVIEW_SIDE))


def write_original(header: PictureHeader, target: Path, *, max_side: int) -> None:
    """Write a picture's colours as JPEG; one that is transparent anywhere also as WebP beside it.

    Args:
        header: of the picture.
        target: of the JPEG; the WebP has its name with the suffix .webp.
        max_side: of a run, px; 0: the picture's.

    Raises:
        PictureError: the picture is damaged or cut short.
        OutputError: a file cannot be written.
    """
    width, height = preview_sides(header, max_side)
    small = read_small(header, width=width, height=height)
    with reading(header.path):
        colours = small[:3] if small.hasalpha() else small
        files = {target: colours.jpegsave_buffer(Q=_JPEG_QUALITY, keep="icc")}
        # WebP keeps no alpha that is opaque everywhere, and such a picture needs none.
        if small.hasalpha() and small[small.bands - 1].min() < _OPAQUE:
            files[target.with_suffix(".webp")] = small.webpsave_buffer(keep="icc", **_WEBP)
    for path, content in files.items():
        _write(path, content)


def write_webp(image: pyvips.Image, path: Path, target: Path) -> None:
    """Write a small picture, or a cut-out, as WebP with lossless alpha.

    Args:
        image: 8-bit RGB or RGBA.
        path: of what it was read from, for the message.
        target: replaced if it is there.

    Raises:
        PictureError: what it was read from is damaged or cut short.
        OutputError: the file cannot be written.
    """
    with reading(path):
        content = image.webpsave_buffer(keep="icc", **_WEBP)
    _write(target, content)


def write_mask(mask: Mask, target: Path, *, own: Path) -> None:
    """Write a cut-out's alpha as PNG.

    The mask, multiplied by the picture's own alpha where it has one.

    Args:
        mask: uint8 (h, w) in 0..255, of the preview's size.
        target: replaced if it is there.
        own: the WebP that `write_original` wrote of a picture with transparency of its own; not
            there for others.

    Raises:
        PictureError: that WebP is damaged.
        OutputError: the file cannot be written.
    """
    if own.is_file():
        with reading(own):
            alpha = pyvips.Image.webpload(str(own))[3].write_to_memory()
        mask = multiply_alphas(mask, np.frombuffer(alpha, np.uint8).reshape(mask.shape))
    _write(target, encode_alpha(mask))


def encode_alpha(mask: Mask) -> bytes:
    """Encode a mask as an 8-bit palette PNG: black of 256 opacities, rows filtered with Up.

    Args:
        mask: uint8 (h, w) in 0..255; 255 is opaque.

    Returns:
        The file.
    """
    height, width = mask.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = 2  # each row holds its difference from the one above
    rows[:1, 1:] = mask[:1]
    np.subtract(mask[1:], mask[:-1], out=rows[1:, 1:])
    # A mask is smooth: runs of equal differences are all that is worth looking for.
    deflate = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    data = deflate.compress(rows.tobytes()) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    return b"".join(
        (
            SIGNATURE,
            *png_chunk(b"IHDR", header),
            *png_chunk(b"PLTE", bytes(3 * _OPACITIES)),
            *png_chunk(b"tRNS", bytes(range(_OPACITIES))),
            *png_chunk(b"IDAT", data),
            *png_chunk(b"IEND"),
        )
    )


def _write(target: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(target) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(unwritable_text(target, error)) from error
