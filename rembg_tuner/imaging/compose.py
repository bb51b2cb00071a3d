"""Join picture and mask and write the cut-out, in one pass from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.errors import OutputError, PictureError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import preview_files
from rembg_tuner.imaging.cutout_png import write_png
from rembg_tuner.imaging.formats import check_output
from rembg_tuner.imaging.matte import mask_image
from rembg_tuner.imaging.sink import Sink, encode
from rembg_tuner.imaging.source import PictureHeader, opened, read_small, reading
from rembg_tuner.imaging.unwritable import unwritable_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.base.colours import Colour
    from rembg_tuner.imaging.placed import PictureMatte

_MOST_PX = {".webp": ("WebP", 16383), ".jpg": ("JPEG", 65500), ".jpeg": ("JPEG", 65500)}  # a side
_OPAQUE = 255
_JPEG: tuple[str, dict[str, object]] = (".jpg", {"Q": 92})
# libvips' target suffix and options, by the suffix of the file; PNG is written by
# `imaging.cutout_png`
ENCODERS: dict[str, tuple[str, dict[str, object]]] = {
    ".webp": (".webp", {"Q": 90, "alpha_q": 100, "effort": 2}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}

# What an encoder takes that holds the whole picture: 253 MiB for 12 MP of WebP.
_ENCODED_BYTES_PER_PIXEL = {".webp": 22}
_WHOLE_MARGIN = 1.1  # what decoders and encoders take differs from the estimate by less
_STRIP_BYTES_PER_PX = (
    4096  # of width: rows decoded, composed and compressed; of PNG, JPEG takes a third
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A cut-out to be written.

    Attributes:
        header: of the picture.
        matte: of the whole picture; its mask can be had at any size.
        max_side: the longest side of the result, px; 0: the picture's.
        background: the colour behind it; None: transparent.
    """

    header: PictureHeader
    matte: PictureMatte
    max_side: int
    background: Colour | None


def whole_bytes(header: PictureHeader, max_side: int, output: Path) -> int:
    """Return about how much memory a picture itself takes, bytes: decoded or encoded whole.

    0: it goes in strips.
    """
    width, height = header.scaled(max_side)
    per_pixel = _ENCODED_BYTES_PER_PIXEL.get(output.suffix.lower(), 0)
    return header.extra_bytes + width * height * per_pixel


def picture_bytes(header: PictureHeader, max_side: int, output: Path) -> int:
    """Return about how much of a run's peak is its picture's own, bytes.

    Whole or in strips, rather too much.
    """
    strips = max(header.width, *header.scaled(max_side)) * _STRIP_BYTES_PER_PX
    return int(whole_bytes(header, max_side, output) * _WHOLE_MARGIN) + strips


def write_cutout(
    composition: Composition, output: Path, *, is_cancelled: Callable[[], bool]
) -> int:
    """Decode, compose and encode in one pass, to a temporary name that is then renamed.

    Colours are straight: the picture's own where alpha > 0, black where it is 0. The picture's own
    alpha multiplies the mask. The RGB colour profile is kept; EXIF, GPS and the like are not.

    Args:
        composition: picture, matte, size and background.
        output: .png, .webp or .jpg; replaced if it is there.
        is_cancelled: asked at every block written; True ends the writing.

    Returns:
        The file's size in bytes.

    Raises:
        PictureError: the picture is damaged or cut short.
        OutputError: the file cannot be written.
        CancelledError: `is_cancelled` said so.
    """
    check_output(output, composition.background)
    width, height = composition.header.scaled(composition.max_side)
    suffix = output.suffix.lower()
    name, most = _MOST_PX.get(suffix, ("", max(width, height)))
    if max(width, height) > most:
        raise OutputError(
            Message(
                "{path}: {format} holds at most {most} px a side, this is {width} x {height}; write"
                " .png, or set max_side",
                path=output,
                format=name,
                most=most,
                width=width,
                height=height,
            )
        )
    mask = composition.matte.mask(width, height)
    try:
        _refuse_folder(output)
        with (
            replacing(output) as file,
            opened(composition.header, composition.max_side, output.parent) as picture,
        ):
            if (picture.width, picture.height) != (width, height):
                raise PictureError(
                    Message(
                        "{path} was changed while it was cut out: it is not {width} x {height} px"
                        " any more; run it again",
                        path=composition.header.path,
                        width=width,
                        height=height,
                    )
                )
            if suffix == ".png":
                is_scaled = (width, height) != composition.header.scaled(0)
                write_png(
                    picture,
                    mask,
                    composition.background,
                    file,
                    is_cancelled,
                    is_chain=composition.header.is_plain_chain and not is_scaled,
                )
            else:
                cutout = _compose(picture, mask_image(mask), composition.background)
                target, options = ENCODERS[suffix]
                encode(cutout, Sink(file.write, is_cancelled), target, options)
    except OSError as error:
        raise OutputError(unwritable_text(output, error)) from error
    return output.stat().st_size


def _compose(picture: pyvips.Image, alpha: pyvips.Image, background: Colour | None) -> pyvips.Image:
    """Join 8-bit RGB or RGBA with a mask: RGBA, or RGB on a colour."""
    rgb = picture[:3] if picture.hasalpha() else picture
    if picture.hasalpha():
        own = picture[3]
        alpha = (own.cast("ushort") * alpha.cast("ushort") / _OPAQUE + 0.5).cast("uchar")
    if background is None:
        cutout = (rgb & (alpha > 0)).bandjoin(alpha)
    else:
        cutout = rgb.bandjoin(alpha).flatten(background=list(background))
    return cutout.copy(interpretation="srgb")


def _refuse_folder(output: Path) -> None:
    """Refuse a folder's name before any work; renaming onto it would fail after all of it."""
    if output.is_dir():
        raise OutputError(Message("{path} is a folder; name a file", path=output))


def write_preview(composition: Composition, target: Path) -> None:
    """Write what a page shows of a cut-out where it cannot lay a mask over the picture.

    At most 1600 px, as WebP.

    Raises:
        PictureError, OutputError: as `write_cutout`.
    """
    header = composition.header
    width, height = preview_files.preview_sides(header, composition.max_side)
    small = read_small(header, width=width, height=height)
    alpha = mask_image(composition.matte.mask(width, height))
    with reading(header.path):
        cutout = _compose(small, alpha, None).copy_memory()
    preview_files.write_webp(cutout, header.path, target)
