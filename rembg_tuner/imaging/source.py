"""Open a picture: limits before decoding, colours as 8-bit RGB, upright, scaled down if asked.

What comes out is a libvips pipeline; pixels move when somebody reads it.
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
    4_200_000  # up to here (16 MiB with alpha) a turned or scaled picture is kept in memory
)
_PROBE_BYTES = 2**18  # more than one tile of the temporary file
_OPEN_FILES = Path("/proc/self/fd")
# How far a JPEG's decoder shrinks (DCT), and how far Lanczos must still shrink after it: with 1.6
# left after 4, the worst mask's IoU with rembg's falls from .995 to .986.
_JPEG_SHRINKS = ((8, 2.0), (4, 2.0), (2, 1.5))
_WEBP_SHRINK_LEFT = 2.0
_LANCZOS_SHRINK = 6.0  # nearest to Pillow's, of 0, 2, 4, 6 and 8, over factors from 2 to 32
_STRIP_ROWS = 8  # of a small picture: 3 ms of decoding at 12 MP
_ROWS_AT_ONCE = 8  # of a picture whose colours take many steps to convert


def read_small(
    header: PictureHeader,
    *,
    width: int,
    height: int,
    box: Box | None = None,
    after_strip: Callable[[], None] | None = None,
) -> pyvips.Image:
    """Read a picture, or a part of it, scaled down to at most these sides, upright, in memory.

    Decoders that can shrink while decoding do so, as far as Lanczos still has to halve.

    Args:
        header: of the picture.
        width: of the result at most, px.
        height: of the result at most, px.
        box: the part of the upright picture; None: the whole.
        after_strip: called after each strip; all work is then done in this thread, so that its CPU
            clock shows what the reading took. None: libvips' pool reads. The pixels are the same.

    Returns:
        8-bit RGB or RGBA; a side that is smaller than asked stays as it is.

    Raises:
        PictureError: the picture is damaged or cut short.
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
        # in memory before it is turned: a side that is not scaled is read from top to bottom only
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
    """Return a warning where a picture, as `read_small` read it, is transparent everywhere."""
    if not small.hasalpha() or small[small.bands - 1].max() > 0:
        return None
    return Message(
        "the picture's own transparency is 0 everywhere, so the cut-out is empty; save the picture"
        " without transparency if it is not meant",
        code="transparent_everywhere",
    )


@contextlib.contextmanager
def opened(header: PictureHeader, max_side: int, scratch: Path) -> Iterator[pyvips.Image]:
    """Open a picture for one pass from top to bottom.

    Upright, 8-bit RGB or RGBA, scaled down if asked.

    A picture that EXIF turns cannot be read from top to bottom: a small one is turned in memory, a
    large one is spooled to a tiled temporary file first.

    Args:
        header: of the picture.
        max_side: the longest side it is scaled down to, px; 0: as it is.
        scratch: the folder for the temporary file.

    Raises:
        PictureError: the picture is damaged or cut short.
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
    """Open a part of a picture as it is stored.

    Shrunk by its decoder no further than `_load_shrunk` does.
    """
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

    Shrunk by its decoder where sides are given and it can.
    """
    if header.view.tiff is not None:
        with open_file(header.path) as file:
            colours, alpha = tiff_pixels.open_tiff(file, header.view.tiff)
        rgb = _to_rgb(colours)
        rgb = rgb if alpha is None else rgb.bandjoin(alpha)
        # scaling down asks for many rows at a time: floats of 6 MP take 40 MiB row by row, and else
        # 200
        return rgb.sequential(tile_height=_ROWS_AT_ONCE) if width and height else rgb
    if width and height:
        return _to_rgb(_load_shrunk(header, width=width, height=height))
    return _to_rgb(load(header.path, header.format, header.view))


def _load_shrunk(header: PictureHeader, *, width: int, height: int) -> pyvips.Image:
    """Open a picture no smaller than twice the sides wanted, shrunk by its decoder where it can."""
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
    """Scale to at most these sides with Lanczos, each side on its own; no side is enlarged.

    libvips' box filter comes before only where Lanczos still has to shrink `_LANCZOS_SHRINK` times:
    at its usual 2 a mask moves twice as far from rembg's, and with none, the rounding of many small
    weights darkens the picture (2 of 255 at 32 times) and factors above 333 are refused. Colours
    are not weighed by alpha, neither here nor in stock rembg.
    """
    across, down = min(1.0, width / image.width), min(1.0, height / image.height)
    scaled: pyvips.Image = image.resize(across, vscale=down, kernel="lanczos3", gap=_LANCZOS_SHRINK)
    return scaled


def _to_rgb(image: pyvips.Image) -> pyvips.Image:
    """Make any picture 8-bit RGB or RGBA; an RGB profile is kept, others are converted to sRGB."""
    if tiff_pixels.profile_space(image) not in (b"", b"RGB "):
        # a CMYK or grey profile says nothing of RGB numbers: go through it to sRGB
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
    """Turn a picture that can be read in any order as EXIF says."""
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
    # Without a name where the system allows that: then nothing is left even if this process is
    # killed.
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
        # libvips gives no errno: a write of our own tells a full disk from a damaged picture
        file.seek(0, os.SEEK_END)
        file.write(bytes(_PROBE_BYTES))
        raise
    return pyvips.Image.tiffload(name, access="random")
