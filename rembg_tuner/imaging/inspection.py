"""Look a picture's file through before libvips does.

What it is shown, and whether all pixels are there.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from rembg_tuner.imaging import (
    avif_boxes,
    bmp_pixels,
    complaints,
    gif_blocks,
    heif,
    jpeg_segments,
    png_chunks,
    tiff,
    views,
    webp_chunks,
)
from rembg_tuner.imaging.formats import AVIF, BMP, GIF, HEIC, JPEG, PNG, TIFF, WEBP

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.imaging.formats import PictureFormat
    from rembg_tuner.imaging.views import FileView, PictureFile

_INSPECT = {
    AVIF: avif_boxes.inspect,
    HEIC: heif.inspect,
    BMP: bmp_pixels.inspect,
    GIF: gif_blocks.inspect,
    JPEG: jpeg_segments.inspect,
    PNG: png_chunks.inspect,
    TIFF: tiff.inspect,
    WEBP: webp_chunks.inspect,
}
_SETTLE = {
    BMP: bmp_pixels.settle,
    GIF: gif_blocks.settle,
    JPEG: jpeg_segments.settle,
    PNG: png_chunks.settle,
}


def inspect(path: Path, file: PictureFile, kind: PictureFormat) -> FileView:
    """Choose what of a file is shown to libvips; metadata is stepped over, and no pixel is decoded.

    Raises:
        PictureError: the file holds what no picture needs, or what is not read.
    """
    find = _INSPECT.get(kind)
    return views.WHOLE_FILE if find is None else find(path, file)


def settle(path: Path, file: PictureFile, kind: PictureFormat, view: FileView) -> FileView:
    """Make sure that a file that was cut holds all pixels, and warn of it; others are left alone.

    The pixels are decoded or inflated for this, so the picture's size must have been checked
    before.

    Raises:
        PictureError: pixels are missing.
        pyvips.Error: it does not decode.
    """
    if not view.is_cut:
        return view
    find = _SETTLE.get(kind)
    settled = view if find is None else find(path, file, view)
    if settled is None:
        raise complaints.damaged(path, complaints.ENDS_EARLY)
    if not settled.is_cut:
        return settled
    return dataclasses.replace(settled, warnings=(*settled.warnings, views.END_MISSING))
