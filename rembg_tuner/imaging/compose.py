"""Combine a picture with its mask and write the cut-out, in one pass from top to bottom.

For PNG, numpy combines them and `png_writer` encodes on several cores. For other formats, libvips
does both. The pixels of both ways are identical.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyvips

from rembg_tuner.base.errors import OutputError, PictureError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.complaints import unwritable_text
from rembg_tuner.imaging.formats import PNG_OUTPUT, OutputFormat, check_output, output_format
from rembg_tuner.imaging.header import PictureHeader
from rembg_tuner.imaging.libvips import Sink, cancelled, encode, fetch_rows, pool_threads
from rembg_tuner.imaging.matte import mask_image
from rembg_tuner.imaging.png_writer import PngLayout, PngWriter
from rembg_tuner.imaging.source import opened

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from rembg_tuner.base.colours import Colour
    from rembg_tuner.imaging.libvips import Rows
    from rembg_tuner.imaging.matte import PictureMatte

    Bytes = npt.NDArray[np.uint8]

_OPAQUE = 255
_PIXEL = np.dtype("<u4")  # the four bytes of a pixel as one number
_PROFILE = "icc-profile-data"
_CHUNK_BYTES = 12  # of a PNG chunk's length, kind and checksum
_AFTER_IHDR = 8 + _CHUNK_BYTES + 13  # of a PNG: its signature, and IHDR with its 13 bytes
# Rows fetched at a time, at most 8: 16 need 1 to 3 MiB more at 1080p and 12 MP, and 32 up to 12
# MiB more, in the same time.
_ROWS, _FETCHED_BYTES = 8, 256 * 1024
_WHOLE_MARGIN = 1.1  # more than the error of the estimate for decoders and encoders
_STRIP_BYTES_PER_PX = (
    4096  # per px of width: rows decoded, composed and compressed, for PNG; a third for JPEG
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A cut-out to write.

    Attributes:
        header: of the picture.
        matte: of the whole picture; provides a mask of any size.
        max_side: the longest side of the result, px; 0: the picture's.
        background: the colour behind it; None: transparent.
    """

    header: PictureHeader
    matte: PictureMatte
    max_side: int
    background: Colour | None


def whole_bytes(header: PictureHeader, max_side: int, output: Path) -> int:
    """Return the estimated memory of a picture that is decoded or encoded whole, bytes.

    0: it is processed in strips.
    """
    width, height = header.scaled(max_side)
    return header.extra_bytes + width * height * output_format(output).whole_bytes_per_pixel


def picture_bytes(header: PictureHeader, max_side: int, output: Path) -> int:
    """Return the estimated part of a run's peak memory that is due to its picture, bytes.

    It covers processing whole and in strips, and tends to be too high.
    """
    strips = max(header.width, *header.scaled(max_side)) * _STRIP_BYTES_PER_PX
    return int(whole_bytes(header, max_side, output) * _WHOLE_MARGIN) + strips


def write_cutout(
    composition: Composition, output: Path, *, is_cancelled: Callable[[], bool]
) -> int:
    """Decode, compose and encode in one pass into a temporary file, then rename it.

    Colours are straight: the picture's own where alpha > 0, black where it is 0. The picture's own
    alpha multiplies the mask. The RGB colour profile is kept; EXIF, GPS and other metadata are
    removed.

    Args:
        composition: picture, matte, size and background.
        output: its suffix selects the format; an existing file is replaced.
        is_cancelled: called for each block written; True cancels the writing.

    Returns:
        The file's size in bytes.

    Raises:
        PictureError: the picture is damaged or truncated.
        OutputError: the file cannot be written.
        CancelledError: `is_cancelled` returned True.
    """
    check_output(output, composition.background)
    sides = composition.header.scaled(composition.max_side)
    _check_sides(output, sides)
    try:
        if output.is_dir():  # the renaming would fail, after all the work
            raise OutputError(Message("{path} is a folder; name a file", path=output))
        with (
            replacing(output) as file,
            opened(composition.header, composition.max_side, output.parent) as picture,
        ):
            if (picture.width, picture.height) != sides:
                raise _changed(composition.header.path, sides)
            _encode(composition, picture, output_format(output), file, is_cancelled)
    except OSError as error:
        raise OutputError(unwritable_text(output, error)) from error
    return output.stat().st_size


def _changed(path: Path, sides: tuple[int, int]) -> PictureError:
    """Return the error for a picture whose sides differ from those of its header, px."""
    return PictureError(
        Message(
            "{path} changed while it was read: it is no longer {width} x {height} px; run it again",
            path=path,
            width=sides[0],
            height=sides[1],
        )
    )


def _check_sides(output: Path, sides: tuple[int, int]) -> None:
    """Check that a format supports a picture of these sides, px.

    Raises:
        OutputError: it does not.
    """
    kind = output_format(output)
    if kind.max_side is not None and max(sides) > kind.max_side:
        raise OutputError(
            Message(
                (
                    "{path}: {format} allows at most {most} px a side, and this is {width} x "
                    "{height}; write .png, or set max_side"
                ),
                path=output,
                format=kind.name,
                most=kind.max_side,
                width=sides[0],
                height=sides[1],
            )
        )


def _encode(
    composition: Composition,
    picture: pyvips.Image,
    kind: OutputFormat,
    file: BinaryIO,
    is_cancelled: Callable[[], bool],
) -> None:
    """Combine an open picture with its mask, and encode it into a file."""
    mask = composition.matte.mask(picture.width, picture.height)
    if kind is PNG_OUTPUT:
        header = composition.header
        is_scaled = (picture.width, picture.height) != header.scaled(0)
        is_chain = header.is_plain_chain and not is_scaled
        rows = CutoutRows(
            mask, has_alpha=bool(picture.hasalpha()), background=composition.background
        )
        write_png(picture, rows, file, is_cancelled, is_chain=is_chain)
    else:
        cutout = join(picture, mask_image(mask), composition.background)
        encode(cutout, Sink(file.write, is_cancelled), kind.suffixes[0], kind.options)


def join(picture: pyvips.Image, alpha: pyvips.Image, background: Colour | None) -> pyvips.Image:
    """Combine 8-bit RGB or RGBA with a mask: RGBA, or RGB on a background colour."""
    rgb = picture[:3] if picture.hasalpha() else picture
    if picture.hasalpha():
        own = picture[3]
        alpha = (own.cast("ushort") * alpha.cast("ushort") / _OPAQUE + 0.5).cast("uchar")
    if background is None:
        cutout = (rgb & (alpha > 0)).bandjoin(alpha)
    else:
        cutout = rgb.bandjoin(alpha).flatten(background=list(background))
    return cutout.copy(interpretation="srgb")


def write_png(
    picture: pyvips.Image,
    finish: CutoutRows,
    file: BinaryIO,
    is_cancelled: Callable[[], bool],
    *,
    is_chain: bool,
) -> None:
    """Write a cut-out as PNG.

    Args:
        picture: 8-bit RGB or RGBA, read once from top to bottom.
        finish: combines its rows with the mask.
        file: open for writing.
        is_cancelled: called every few rows; True cancels the writing.
        is_chain: each step of decoding feeds one other step, and decoding is most of the work. Then
            this thread decodes: libvips' writer of raw rows has three threads, too many in addition
            to those of `png_writer`, and calls Python for each row. Otherwise libvips' threads read
            the picture; see `PictureHeader.is_plain_chain`.

    Raises:
        pyvips.Error: the picture cannot be decoded.
        OSError: the file cannot be written.
        CancelledError: `is_cancelled` returned True.
    """
    rgba = picture[:4] if picture.hasalpha() else picture.bandjoin(_OPAQUE)
    row_bytes = 4 * picture.width
    layout = PngLayout(
        width=picture.width,
        height=picture.height,
        bands=finish.bands,
        chunks=_metadata_chunks(picture),
    )
    with PngWriter(file, layout, finish=finish, row_bytes=row_bytes, threads=pool_threads()) as png:
        if is_chain:
            for rows in fetch_rows(rgba, max(1, min(_ROWS, _FETCHED_BYTES // row_bytes))):
                if is_cancelled():
                    raise cancelled()
                png.write(rows)
        else:
            encode(rgba, Sink(png.write, is_cancelled), ".raw", {})
        png.close()


def _metadata_chunks(picture: pyvips.Image) -> bytes:
    """Return the chunks that libvips writes between IHDR and the pixels: iCCP, pHYs.

    They are taken from a PNG of one pixel written by libvips, so libpng checks the profile.
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


class CutoutRows:
    """The rows of a cut-out: a callable that converts rows of the picture to rows of the file."""

    def __init__(self, mask: Rows, *, has_alpha: bool, background: Colour | None) -> None:
        """Set the mask and the background.

        Args:
            mask: one band, as large as the picture; any thread may request any rows.
            has_alpha: the picture has an alpha channel, which multiplies the mask; otherwise the
                alpha of its rows is 255.
            background: the colour behind it; None: transparent.
        """
        self._mask, self._has_alpha, self._background = mask, has_alpha, background
        self.bands = 4 if background is None else 3

    def __call__(self, rows: Bytes, top: int) -> Bytes:
        """Combine rows with their mask.

        If the background is transparent, the result is RGBA with the picture's own colours where
        alpha is above 0, and black elsewhere. On a background colour, it is RGB.

        Args:
            rows: uint8 (1 + n, 4 w), RGBA; modified. The first row is the one above row `top`.
            top: number of the second row.

        Returns:
            uint8 (1 + n, bands * w), possibly the same array. The first row is 0 if `top` is 0.
        """
        above = 1 if top else 0
        alpha = self._mask.rows(top - above, top + len(rows) - 1)
        seen = rows[1 - above :]
        if self._has_alpha:
            alpha = multiply_alphas(alpha, seen[:, 3::4])
        if self._background is None:
            seen[:, 3::4] = alpha
            pixels = seen.view(_PIXEL)
            np.multiply(pixels, alpha != 0, out=pixels)
            return rows
        mixed = np.zeros((len(rows), rows.shape[1] // 4 * 3), np.uint8)
        mix_with_colour(seen, alpha, self._background, out=mixed[1 - above :])
        return mixed


def multiply_alphas(one: Bytes, other: Bytes) -> Bytes:
    """Return one * other / 255, rounded; uint8 of their common shape."""
    product = np.multiply(one, other, dtype=np.uint16)
    product += 128
    product += product >> 8
    product >>= 8
    return product.astype(np.uint8)


def mix_with_colour(rows: Bytes, alpha: Bytes, colour: Colour, *, out: Bytes) -> None:
    """Put a colour behind pixels: (rgb * alpha + colour * (255 - alpha)) / 255.

    The result is truncated, as in libvips.

    Args:
        rows: uint8 (n, 4 w), RGBA; its alpha is ignored.
        alpha: uint8 (n, w).
        colour: the background colour.
        out: uint8 (n, 3 w), RGB.
    """
    rest = np.uint8(_OPAQUE) - alpha
    for band in range(3):
        mixed = np.multiply(rows[:, band::4], alpha, dtype=np.uint16)
        mixed += np.multiply(rest, np.uint8(colour[band]), dtype=np.uint16)
        mixed += mixed >> 8  # these three lines divide by 255
        mixed += 1
        mixed >>= 8
        out[:, band::3] = mixed
