"""Read a picture's header and check it against the limits, before any pixel is decoded."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips

from rembg_tuner.base.boxes import Box
from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import (
    bmp,
    chunks,
    colorimetry,
    complaints,
    formats,
    heif,
    segments,
    tiff,
    tiff_pixels,
    views,
)
from rembg_tuner.imaging.formats import AVIF, BMP, GIF, HEIC, JPEG, PNG, TIFF, WEBP, PictureFormat
from rembg_tuner.imaging.tiff_tags import TagError
from rembg_tuner.imaging.views import WHOLE_FILE, FileView, PictureFile

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
# Functions that choose the parts of a file that libvips reads. They do not decode pixels.
_INSPECT = {
    AVIF: heif.inspect_avif,
    HEIC: heif.inspect_heic,
    BMP: bmp.inspect_bmp,
    GIF: segments.inspect_gif,
    JPEG: segments.inspect_jpeg,
    PNG: chunks.inspect_png,
    TIFF: tiff.inspect,
    WEBP: chunks.inspect_webp,
}
# Functions that check whether a truncated file contains all pixels, by decoding or inflating them.
_SETTLE = {
    BMP: bmp.settle_bmp,
    GIF: segments.settle_gif,
    JPEG: segments.settle_jpeg,
    PNG: chunks.settle_png,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHeader:
    """The content of a picture's header.

    Attributes:
        path: of the picture.
        format: of the file.
        width, height: px, upright.
        orientation: EXIF's, 1 to 8.
        is_whole: the decoder keeps the whole picture in memory, so memory grows with its size.
        extra_bytes: estimated memory for this; 0 if it is decoded in strips.
        warnings: about the picture, for the user.
        view: the parts of the file that libvips reads.
    """

    path: Path
    format: PictureFormat
    width: int
    height: int
    orientation: int
    is_whole: bool
    extra_bytes: int
    warnings: tuple[Message, ...]
    view: FileView = field(default=WHOLE_FILE, repr=False, compare=False)

    @property
    def is_plain_chain(self) -> bool:
        """Return whether each step from the file to 8-bit RGB feeds exactly one other step.

        If two steps request the same rows, libvips computes them once in its own threads, and twice
        in a caller's thread.
        """
        tiff = self.view.tiff
        if tiff is not None:
            return tiff.is_plain and tiff.bits == 8 and not tiff.is_float and tiff.alpha is None
        return self.format in (JPEG, PNG, WEBP) and self.view.colour is None

    @property
    def whole(self) -> Box:
        """Return the box of the whole upright picture."""
        return Box(0, 0, self.width, self.height)

    def scaled(self, max_side: int) -> tuple[int, int]:
        """Return (width, height) scaled down to a longest side; 0: not scaled."""
        longest = max(self.width, self.height)
        if not max_side or longest <= max_side:
            return self.width, self.height
        factor = max_side / longest
        return max(1, round(self.width * factor)), max(1, round(self.height * factor))


def read_header(path: Path, *, max_pixels: int | None = None) -> PictureHeader:
    """Read a picture's header and check it against the limits.

    Args:
        path: of the picture.
        max_pixels: the host's limit; None: the format's.

    Raises:
        PictureError: the file is not a supported picture, is damaged, or lacks pixels.
        PictureTooLargeError: it has more pixels than the limit.
    """
    kind = formats.sniff(path)
    with open_file(path) as file:
        view = _INSPECT[kind](path, file)
    image = heif.blank(view.heif) if view.heif is not None else load(path, kind, view)
    width, height = image.width, image.height
    per_pixel = _whole_bytes_per_pixel(kind, view, image)
    limit = formats.MAX_PIXELS_WHOLE if per_pixel else formats.MAX_PIXELS_IN_STRIPS
    formats.check_pixels(path, width, height, min(limit, max_pixels or limit))
    view = _settle(path, kind, view)
    orientation = int(image.get("orientation")) if image.get_typeof("orientation") else 1
    orientation = orientation if 1 <= orientation <= 8 else 1
    extra = int(width * height * per_pixel)
    if orientation in SIDEWAYS:
        width, height = height, width
    return PictureHeader(
        path=path,
        format=kind,
        width=width,
        height=height,
        orientation=orientation,
        is_whole=bool(per_pixel),
        extra_bytes=extra,
        warnings=(*([_whole_warning(kind, extra)] if per_pixel else []), *view.warnings),
        view=view,
    )


def _whole_bytes_per_pixel(kind: PictureFormat, view: FileView, image: pyvips.Image) -> float:
    """Return the memory of decoding a picture whole, bytes per pixel; 0: decoded in strips."""
    if view.tiff is not None:
        return view.tiff.held_bytes / float(image.width * image.height)
    is_interlaced = bool(image.get_typeof("interlaced")) and bool(image.get("interlaced"))
    interlaced = kind.interlaced_bytes_per_pixel if is_interlaced or view.is_whole else 0.0
    return max(kind.whole_bytes_per_pixel, interlaced)


def _settle(path: Path, kind: PictureFormat, view: FileView) -> FileView:
    """Check that a truncated file contains all pixels, and add a warning; return others unchanged.

    Pixels are decoded for this, so the picture's size must be checked first.

    Raises:
        PictureError: pixels are missing, or the picture cannot be decoded.
    """
    if not view.is_cut or kind not in _SETTLE:
        settled: FileView | None = view
    else:
        with open_file(path) as file:
            settled = _SETTLE[kind](path, file, view)
    if settled is None:
        raise complaints.damaged(path, complaints.ENDS_EARLY)
    if not settled.is_cut:
        return settled
    return dataclasses.replace(settled, warnings=(*settled.warnings, views.END_MISSING))


def _whole_warning(kind: PictureFormat, extra_bytes: int) -> Message:
    """Return the warning for a picture that is decoded whole."""
    return Message(
        "{format} pictures are decoded whole: this one takes about {extra:bytes} more than a"
        " baseline JPEG of its size",
        code="decoded_whole",
        format=kind.whole_name or kind.name,
        extra=extra_bytes,
    )


def is_cut(path: Path) -> bool:
    """Return whether a file is truncated, so `read_header` decodes its pixels.

    Raises:
        PictureError: the file is not a supported picture, or cannot be read.
    """
    kind = formats.sniff(path)
    with open_file(path) as file:
        return _INSPECT[kind](path, file).is_cut


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert libvips' errors about a picture to PictureError."""
    try:
        yield
    except pyvips.Error as error:
        raise complaints.explain(path, error) from error
    except TagError as error:
        raise complaints.damaged(path, error.message) from error


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[PictureFile]:
    """Open a picture's file to read its structure.

    Raises:
        PictureError: it cannot be read, or is damaged.
    """
    try:
        with reading(path), PictureFile(path) as file:
            yield file
    except OSError as error:
        raise PictureError(
            Message("{path} cannot be read: {reason}", path=path, reason=error.strerror)
        ) from error


def load(
    path: Path, kind: PictureFormat, view: FileView = WHOLE_FILE, **options: Any
) -> pyvips.Image:
    """Open a file with its format's loader for one pass from top to bottom; damage is an error."""
    strictness = view.strictness or "truncated"
    with open_file(path) as file:
        if view.tiff is not None:
            return tiff_pixels.open_tiff(file, view.tiff)[0]
        if view.bmp is not None:
            return bmp.open_bmp(file, view.bmp)
        if view.heif is not None:
            image = heif.decode(path, file, view.heif)
        else:
            image = views.load_view(file, view, kind.loader, fail_on=strictness, **options)
        if view.box is not None:
            image = segments.clear_outside(image, view.box)
        return image if view.colour is None else colorimetry.apply(image, view.colour)
