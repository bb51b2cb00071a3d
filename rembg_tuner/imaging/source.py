"""Open a picture as 8-bit RGB, upright and optionally scaled down, after checking the limits.

The result is a libvips pipeline; pixels are computed when they are read.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.boxes import Box, stored_box
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import tiff_pixels
from rembg_tuner.imaging.formats import JPEG, WEBP
from rembg_tuner.imaging.header import SIDEWAYS, PictureHeader, load, open_file, reading
from rembg_tuner.imaging.libvips import fetch_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_tuner.base.messages import Message

_IN_MEMORY_PIXELS = (
    4_200_000  # maximum size (16 MiB with alpha) of a rotated picture that is kept in memory
)
_PROBE_BYTES = 2**18  # more than one tile of the temporary file
_OPEN_FILES = Path("/proc/self/fd")
# Factors by which a JPEG's decoder shrinks (DCT), and the minimum factor left for Lanczos: with 1.6
# left after 4, the worst mask's IoU with rembg's decreases from 0.995 to 0.986.
_JPEG_SHRINKS = ((8, 2.0), (4, 2.0), (2, 1.5))
_WEBP_SHRINK_LEFT = 2.0
_LANCZOS_SHRINK = 6.0  # of 0, 2, 4, 6 and 8 the closest to Pillow, for factors from 2 to 32
_STRIP_ROWS = 8  # of a small picture; 3 ms of decoding at 12 MP
_ROWS_AT_ONCE = 8  # of a picture whose colours need many conversion steps


def read_small(
    header: PictureHeader,
    *,
    width: int,
    height: int,
    box: Box | None = None,
    after_strip: Callable[[], None] | None = None,
) -> pyvips.Image:
    """Read a picture or a part of it into memory, upright, scaled down to at most these sides.

    Decoders that can shrink while decoding do so, as long as Lanczos still shrinks enough.

    Args:
        header: of the picture.
        width: maximum width of the result, px.
        height: maximum height of the result, px.
        box: the part of the upright picture; None: the whole picture.
        after_strip: called after each strip. All work is then done in this thread, so its CPU clock
            measures the reading. None: libvips' thread pool reads. The pixels are the same.

    Returns:
        8-bit RGB or RGBA; a side that is smaller than its maximum is not enlarged.

    Raises:
        PictureError: the picture is damaged or truncated.
    """
    sideways = header.orientation in SIDEWAYS
    w, h = (height, width) if sideways else (width, height)
    with reading(header.path):
        image = (
            _open_rgb(header, width=w, height=h)
            if box is None
            else _open_box(header, stored_box(box, header.whole, header.orientation), w, h)
        )
        small = _scale_down(image, w, h)
        # Copied before the rotation: a side that is not scaled can only be read from top to bottom.
        small = small.copy_memory() if after_strip is None else _copy_in_strips(small, after_strip)
        return _upright(small, header.orientation).copy_memory()


def _copy_in_strips(image: pyvips.Image, after_strip: Callable[[], None]) -> pyvips.Image:
    """Read an image into memory from top to bottom, in this thread only."""
    strips = []
    for rows in fetch_rows(image, _STRIP_ROWS):
        strips.append(bytes(rows))
        after_strip()
    copy = pyvips.Image.new_from_memory(
        b"".join(strips), image.width, image.height, image.bands, image.format
    )
    return copy.copy(interpretation=image.interpretation)


def transparency_warning(small: pyvips.Image) -> Message | None:
    """Return a warning if a picture read by `read_small` is transparent everywhere."""
    if not small.hasalpha() or small[small.bands - 1].max() > 0:
        return None
    return Message(
        "the picture's own transparency is 0 everywhere, so the cut-out is empty; save the picture"
        " without transparency if it is not meant",
        code="transparent_everywhere",
    )


@contextlib.contextmanager
def opened(header: PictureHeader, max_side: int, scratch: Path) -> Iterator[pyvips.Image]:
    """Open a picture for one pass from top to bottom: upright, 8-bit RGB or RGBA, scaled down.

    A picture that is rotated by EXIF cannot be read from top to bottom: a small one is rotated in
    memory, a large one is first written to a tiled temporary file.

    Args:
        header: of the picture.
        max_side: the longest side of the result, px; 0: the picture's.
        scratch: the folder for the temporary file.

    Raises:
        PictureError: the picture is damaged or truncated.
    """
    width, height = header.scaled(max_side)
    if header.orientation in (1, 2) and (width, height) == (header.width, header.height):
        with reading(header.path):
            image = _open_rgb(header)
            yield image.fliphor() if header.orientation == 2 else image
        return
    sideways = header.orientation in SIDEWAYS
    w, h = (height, width) if sideways else (width, height)
    with reading(header.path), contextlib.ExitStack() as stack:
        if (width, height) == (header.width, header.height):
            image = _open_rgb(header)
        else:
            image = _scale_down(_open_rgb(header, width=w, height=h), w, h)
        if header.orientation != 1:
            image = (
                image.copy_memory() if w * h <= _IN_MEMORY_PIXELS else _spool(image, scratch, stack)
            )
        yield _upright(image, header.orientation)


def _open_box(header: PictureHeader, box: Box, width: int, height: int) -> pyvips.Image:
    """Open a part of a picture in its stored orientation, shrunk as by `_load_shrunk`."""
    full = stored_box(header.whole, header.whole, header.orientation)
    image = _open_rgb(
        header,
        width=max(1, round(width * full.width / box.width)),
        height=max(1, round(height * full.height / box.height)),
    )
    across, down = image.width / full.width, image.height / full.height
    left, top = round(box.left * across), round(box.top * down)
    right = max(left + 1, min(image.width, round(box.right * across)))
    bottom = max(top + 1, min(image.height, round(box.bottom * down)))
    part: pyvips.Image = image.crop(left, top, right - left, bottom - top)
    return part


def _open_rgb(header: PictureHeader, *, width: int = 0, height: int = 0) -> pyvips.Image:
    """Open a picture as 8-bit RGB or RGBA.

    If sides are given and its decoder can shrink, it is shrunk.
    """
    if header.view.tiff is not None:
        with open_file(header.path) as file:
            colours, alpha = tiff_pixels.open_tiff(file, header.view.tiff)
        rgb = _to_rgb(colours)
        rgb = rgb if alpha is None else rgb.bandjoin(alpha)
        # Scaling down requests many rows at a time: floats of 6 MP would need 200 MiB, and need
        # 40 MiB with this limit.
        return rgb.sequential(tile_height=_ROWS_AT_ONCE) if width and height else rgb
    if width and height:
        return _to_rgb(_load_shrunk(header, width=width, height=height))
    return _to_rgb(load(header.path, header.format, header.view))


def _load_shrunk(header: PictureHeader, *, width: int, height: int) -> pyvips.Image:
    """Open a picture, shrunk by its decoder if it can.

    The factor left for Lanczos is at least that in `_JPEG_SHRINKS`, or `_WEBP_SHRINK_LEFT`.
    """
    full_w, full_h = header.width, header.height
    if header.orientation in SIDEWAYS:
        full_w, full_h = full_h, full_w
    room = min(full_w / width, full_h / height)
    if header.format is JPEG:
        shrink = next((by for by, left in _JPEG_SHRINKS if room / by >= left), 1)
        return load(header.path, JPEG, header.view, shrink=shrink)
    if header.format is WEBP and room >= 2 * _WEBP_SHRINK_LEFT:
        return load(header.path, WEBP, header.view, scale=_WEBP_SHRINK_LEFT / room)
    return load(header.path, header.format, header.view)


def _scale_down(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Scale to at most these sides with Lanczos, each side separately; no side is enlarged.

    libvips' box filter is applied first only if at least a factor of `_LANCZOS_SHRINK` remains for
    Lanczos. With libvips' default of 2, a mask differs twice as much from rembg's. Without the box
    filter, rounding many small weights darkens the picture (2 of 255 at a factor of 32), and
    factors above 333 are rejected. Colours are not weighted by alpha, as in rembg.
    """
    across, down = min(1.0, width / image.width), min(1.0, height / image.height)
    scaled: pyvips.Image = image.resize(across, vscale=down, kernel="lanczos3", gap=_LANCZOS_SHRINK)
    return scaled


def _to_rgb(image: pyvips.Image) -> pyvips.Image:
    """Convert any picture to 8-bit RGB or RGBA.

    An RGB profile is kept; pictures with another profile are converted to sRGB.
    """
    if tiff_pixels.profile_space(image) not in (b"", b"RGB "):
        # A CMYK or grey profile does not apply to RGB values: convert with it to sRGB.
        image = image.icc_transform("srgb", embedded=True, depth=8)
        image = image.colourspace("srgb")
    elif image.interpretation == "cmyk":
        image = image.icc_transform("srgb", input_profile="cmyk", depth=8)
    elif image.interpretation != "srgb" or image.format != "uchar":
        image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    return image


def _upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    """Apply an EXIF orientation to a picture that can be read in any order."""
    if orientation == 1:
        return image
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    turned: pyvips.Image = image.autorot()
    return turned


def _spool(image: pyvips.Image, folder: Path, stack: contextlib.ExitStack) -> pyvips.Image:
    """Write a picture to a tiled temporary file and open it for reading in any order.

    Raises:
        OSError: the file cannot be written.
    """
    # Without a name if the system supports it: then no file remains if this process is killed.
    make = tempfile.TemporaryFile if _OPEN_FILES.is_dir() else tempfile.NamedTemporaryFile
    file = stack.enter_context(make(dir=folder, suffix=".tif", buffering=0))
    name = str(_OPEN_FILES / str(file.fileno())) if _OPEN_FILES.is_dir() else file.name
    try:
        image.tiffsave(
            name,
            tile=True,
            tile_width=256,
            tile_height=256,
            compression="none",
            keep="icc",
            bigtiff=True,
        )
    except pyvips.Error:
        # libvips does not return errno: this write fails if the disk is full
        file.seek(0, os.SEEK_END)
        file.write(bytes(_PROBE_BYTES))
        raise
    return pyvips.Image.tiffload(name, access="random")
