"""Choose a TIFF file's picture among its pages, and decide how its samples are read.

A TIFF file can contain several pages, thumbnails and masks, and many kinds of samples. This module
reads the tags and returns a `TiffPicture`, or rejects the file with the reason. It does not decode
pixels; `tiff_pixels` does.

Sources: TIFF Revision 6.0 (Adobe, 1992), and the list of tags and their values in libtiff's tiff.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.complaints import damaged
from rembg_tuner.imaging.formats import raw_error
from rembg_tuner.imaging.tiff_tags import (
    Code,
    Colour,
    TagError,
    TagReader,
    choose_page,
    find_raw,
    read_pages,
    whole_number,
)
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.imaging.tiff_tags import Directory, Page
    from rembg_tuner.imaging.views import PictureFile


GREY = (Colour.MIN_IS_WHITE, Colour.MIN_IS_BLACK)
LAB = (Colour.CIELAB, Colour.ICCLAB)
_CHANNELS: dict[int, int] = {
    **dict.fromkeys((*GREY, Colour.PALETTE), 1),
    **dict.fromkeys((Colour.RGB, Colour.YCBCR, *LAB), 3),
    Colour.CMYK: 4,
}
_JPEG = 7
_SGI_LOG = (34676, 34677)
# Compressions that libtiff in pyvips-binary decodes; others are rejected by name.
_DECODED = frozenset(
    {1, 2, 3, 4, 5, 7, 8, 32766, 32771, 32773, 32809, 32909, 32946, 34676, 34677, 50001}
)
_COMPRESSIONS = {
    **dict.fromkeys((9, 10, 34661), "JBIG"),
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
    **{6: "old-style JPEG", 34887: "LERC", 34892: "lossy JPEG", 34925: "LZMA", 34933: "PNG"},
    **{34934: "JPEG XR", 50000: "Zstandard"},
}
_ROWS_AT_ONCE = 128  # of a strip; libvips decodes larger strips row by row if possible
_FEW_BYTES = 32 * 2**20
_UINT, _INT, _FLOAT, _VOID = 1, 2, 3, 4  # SampleFormat
_PREMULTIPLIED, _STRAIGHT = 1, 2  # ExtraSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffPicture:
    """The chosen picture of a TIFF file, and how it is read.

    Attributes:
        directory: of the picture.
        page, sub_page: its position for libvips: the page, and its SubIFD (-1: the page itself).
        order, is_big: byte order ("<" or ">"), BigTIFF.
        colour: meaning of the samples.
        samples: per pixel, including extra ones.
        bits: per sample.
        is_float: samples are IEEE floating-point numbers.
        is_planar: each sample has separate strips or tiles.
        is_plain: libvips reads the samples correctly; otherwise they are read as numbers.
        alpha: index of the sample that is transparency; None: no transparency.
        is_premultiplied: the colours are multiplied by alpha.
        has_profile: it has a colour profile.
        luma: YCbCr's weights of red, green and blue.
        reference: YCbCr's codes for black and white, luma first, then both chromas.
        held_bytes: estimated memory of libvips for large strips or tiles; 0: little.
    """

    directory: Directory
    page: int
    sub_page: int
    order: str
    is_big: bool
    colour: int
    samples: int
    bits: int
    is_float: bool
    is_planar: bool
    is_plain: bool
    alpha: int | None
    is_premultiplied: bool
    has_profile: bool
    luma: tuple[float, ...]
    reference: tuple[float, ...]
    held_bytes: int

    @property
    def is_tiled(self) -> bool:
        """Return whether it is stored in tiles instead of strips."""
        return Code.TILE_WIDTH in self.directory.tags

    @property
    def channels(self) -> int:
        """Return the number of colour samples per pixel."""
        return _CHANNELS.get(self.colour, self.samples)


def inspect(path: Path, file: PictureFile) -> FileView:
    """Read the tags of a TIFF file and choose its picture.

    Raises:
        PictureError: the file is damaged, is a camera's raw file, or has unsupported samples.
        OSError: the file cannot be read.
    """
    try:
        reader = TagReader(file)
        pages = read_pages(reader)
        raw = find_raw(reader, pages)
        if raw is not None:
            raise raw_error(path, raw)
        page, warnings = choose_page(pages)
        samples = _Samples(path, reader, page.directory)
        return FileView(tiff=samples.picture(page), warnings=(*warnings, *samples.warnings()))
    except TagError as error:
        raise damaged(path, error.message) from error


class _Samples:
    """The description of the samples in a directory, and the checks whether they are supported."""

    def __init__(self, path: Path, reader: TagReader, directory: Directory) -> None:
        """Read the tags.

        Raises:
            TagError: values are outside the file.
        """
        self._path, self._reader, self._directory = path, reader, directory
        self.colour = self._value(Code.PHOTOMETRIC, -1)
        self.samples = self._value(Code.SAMPLES, 1)
        self.compression = self._value(Code.COMPRESSION, 1)
        self.all_bits = set(self._values(Code.BITS)) or {1}
        self.bits = min(max(1, *self.all_bits), 128)
        formats = self._values(Code.SAMPLE_FORMAT) or (_UINT,)
        self.formats = {_UINT if n == _VOID else n for n in formats}
        self.is_float = self.formats == {_FLOAT}
        self.is_planar = self._value(Code.PLANAR, 1) == 2 and self.samples > 1
        self.has_profile = Code.ICC_PROFILE in directory.tags
        self.channels = _CHANNELS.get(self.colour, self.samples)
        self.extras = self._extras()
        chroma = self._values(Code.YCBCR_SUBSAMPLING)[:2]
        across, down = chroma if len(chroma) == 2 else (2, 2)
        self.chroma = (max(1, across), max(1, down))
        self.is_subsampled = self.chroma != (1, 1)

    def _values(self, code: Code) -> tuple[int, ...]:
        return tuple(whole_number(n) for n in self._reader.numbers(self._directory, code))

    def _value(self, code: Code, default: int) -> int:
        return next(iter(self._values(code)), default)

    def _extras(self) -> tuple[int, ...]:
        """Return the meaning of each extra sample; 0: not declared."""
        declared = self._values(Code.EXTRA_SAMPLES)
        count = max(0, self.samples - self.channels)
        if not declared and count == 1 and self.colour == Colour.RGB:
            declared = (_STRAIGHT,)  # as libtiff, ImageMagick and Pillow read it
        return (*declared, *[0] * count)[:count]

    def picture(self, page: Page) -> TiffPicture:
        """Decide how the samples are read.

        Raises:
            PictureError: they are not supported.
        """
        self._refuse_compression()
        is_plain = self._is_plain()
        reason = None if is_plain else self._unread()
        if reason:
            raise PictureError(
                Message(
                    "{path} is a TIFF file with {samples}, which is not supported; save it with 8"
                    " or 16 bits a sample, RGB or grey",
                    path=self._path,
                    samples=reason,
                )
            )
        alpha = self._alpha()
        luma, reference = self._ycbcr()
        return TiffPicture(
            directory=self._directory,
            page=page.page,
            sub_page=page.sub_page,
            order=self._reader.order,
            is_big=self._reader.is_big,
            colour=self.colour,
            samples=self.samples,
            bits=self.bits,
            is_float=self.is_float,
            is_planar=self.is_planar,
            is_plain=is_plain,
            alpha=None if alpha is None else self.channels + alpha,
            is_premultiplied=alpha is not None and self.extras[alpha] == _PREMULTIPLIED,
            has_profile=self.has_profile,
            luma=luma,
            reference=reference,
            held_bytes=self._held_bytes(page, is_plain=is_plain),
        )

    def _ycbcr(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return YCbCr's weights, and its codes for black and white.

        Raises:
            TagError: the values cannot be used.
        """
        luma = self._reader.numbers(self._directory, Code.YCBCR_COEFFICIENTS)[:3]
        reference = self._reader.numbers(self._directory, Code.REFERENCE_BLACK_WHITE)[:6]
        if len(luma) < 3:
            luma = (0.299, 0.587, 0.114)
        if len(reference) < 6:
            reference = (0, 255, 128, 255, 128, 255)
        is_usable = all(math.isfinite(number) for number in (*luma, *reference)) and luma[1] > 0
        ranges = zip(reference[::2], reference[1::2], strict=True)
        if self.colour == Colour.YCBCR and not (is_usable and all(b != w for b, w in ranges)):
            raise TagError(Message("its YCbCrCoefficients or ReferenceBlackWhite are not usable"))
        return luma, reference

    def _held_bytes(self, page: Page, *, is_plain: bool) -> int:
        """Return the estimated memory of libvips for strips or tiles, bytes; 0: little.

        libvips keeps two rows of tiles, and twice a strip of a JPEG or of YCbCr with more than 128
        rows. Other strips are decoded row by row. A compressed strip is read into memory before it
        is decoded.
        """
        pixel_bytes = self.samples * self.bits / 8
        rows = min(self._value(Code.ROWS_PER_STRIP, page.height), page.height)
        held = 0.0
        if Code.TILE_WIDTH in self._directory.tags:
            held = 2.5 * self._value(Code.TILE_HEIGHT, 0) * page.width * pixel_bytes
            held = min(held, 1.75 * page.pixels * pixel_bytes)
        elif self.colour == Colour.YCBCR and is_plain and rows > _ROWS_AT_ONCE:
            is_jpeg = self.compression == _JPEG
            held = rows * page.width * (2 * pixel_bytes if is_jpeg else 5.5)
        elif self.compression != 1 and page.height and rows > _ROWS_AT_ONCE:
            held = self._reader.size * rows / page.height
        return int(held) if held > _FEW_BYTES else 0

    def _refuse_compression(self) -> None:
        """Raise an error if libtiff does not support the compression.

        Raises:
            PictureError: it does not.
        """
        if self.compression not in _DECODED:
            number = Message("number {number}", number=self.compression)
            raise PictureError(
                Message(
                    "{path} is a TIFF file with the compression {compression}, which is not"
                    " supported; save it with LZW, ZIP or no compression",
                    path=self._path,
                    compression=_COMPRESSIONS.get(self.compression, number),
                )
            )

    def _is_plain(self) -> bool:
        """Return whether libvips reads the samples correctly."""
        is_uniform = self.formats == {_UINT} and len(self.all_bits) == 1 and not self.is_planar
        if not is_uniform:
            return self.colour == Colour.LOG_LUV and self.compression in _SGI_LOG
        return self._is_plain_colour()

    def _is_plain_colour(self) -> bool:
        """Return whether libvips correctly reads unsigned samples of this colour and bit depth."""
        bits = self.bits if self.bits in (1, 2, 4, 8, 16) else 0
        is_simple = bits >= 8 and self.extras in ((), (_PREMULTIPLIED,), (_STRAIGHT,))
        is_grey = is_simple or (bits > 0 and not self.extras)
        by_colour: dict[int, bool] = {
            Colour.MIN_IS_WHITE: is_grey,
            Colour.MIN_IS_BLACK: is_grey,
            Colour.RGB: is_simple and self.samples >= self.channels,
            Colour.PALETTE: bits > 0 and self.extras in ((), (_STRAIGHT,) if bits == 8 else ()),
            Colour.CMYK: bits >= 8 and not self.extras and self._is_cmyk(),
            Colour.YCBCR: bits == 8 and self.samples == 3 and self._is_ycbcr_decoded(),
        }
        return by_colour.get(self.colour, False)

    def _is_ycbcr_decoded(self) -> bool:
        """Return whether libtiff itself converts YCbCr to RGB.

        It does for JPEG and for subsampled chroma.
        """
        return self.compression == _JPEG or (self.is_subsampled and not self._has_odd_tiles())

    def _has_odd_tiles(self) -> bool:
        """Return whether libtiff rejects the tiles.

        It rejects uncompressed subsampled tiles whose size is not a multiple of 1 KiB.
        """
        across, down = self.chroma
        tile = self._value(Code.TILE_WIDTH, 0) * self._value(Code.TILE_HEIGHT, 0)
        tile_bytes = tile * (across * down + 2) // (across * down)
        return self.compression == 1 and tile_bytes % 1024 != 0

    def _is_cmyk(self) -> bool:
        return self.samples >= 4 and self._value(Code.INK_SET, 1) == 1

    def _unread(self) -> Message | None:
        """Return the reason why the samples cannot be read as numbers; None: they can."""
        reasons = self._unread_types() | self._unread_colours() | self._unread_conversions()
        return next((reason for reason, applies in reasons.items() if applies), None)

    def _unread_types(self) -> dict[Message, bool]:
        """Return each unsupported type of samples, and whether the samples are of this type."""
        bits, is_uint = self.bits, self.formats == {_UINT}
        whole = (1, 2, 4, 8, 16, 32) if self.is_planar else (8, 16, 32)
        is_halved = bits == 64 and self._value(Code.PREDICTOR, 1) == 1
        is_known_float = bits in (16, 32) or is_halved
        is_grey = self.colour in GREY
        return {
            Message("samples of different types"): max(len(self.formats), len(self.all_bits)) > 1,
            Message("signed {bits}-bit samples", bits=bits): self.formats == {_INT},
            Message("samples that are complex or of an unknown type"): not is_uint
            and not self.is_float,
            Message("{bits} bits a sample", bits=bits): is_uint and bits not in whole,
            Message("{bits}-bit floating-point samples of this kind", bits=bits): self.is_float
            and not is_known_float,
            Message("grey floating-point samples and no colour profile"): self.is_float
            and is_grey
            and not self.has_profile,
        }

    def _unread_colours(self) -> dict[Message, bool]:
        """Return each unsupported meaning of samples, and whether it applies."""
        colour, samples, channels = self.colour, self.samples, self.channels
        are_unnamed = len(self.extras) > 1 and not any(self.extras)
        return {
            Message("a palette and extra channels"): colour == Colour.PALETTE,
            Message("no photometric interpretation"): colour < 0,
            Message("the photometric interpretation {number}", number=colour): colour
            not in _CHANNELS,
            Message("{inks} inks that are not CMYK", inks=samples): colour == Colour.CMYK
            and not self._is_cmyk(),
            Message(
                "{samples} of {channels} colour channels", samples=samples, channels=channels
            ): samples < channels,
            Message("{channels} channels whose meaning is not named", channels=samples): colour
            in GREY
            and are_unnamed,
        }

    def _unread_conversions(self) -> dict[Message, bool]:
        """Return each reason for not reading CIELAB or YCbCr, and whether it applies."""
        bits, is_jpeg = self.bits, self.compression == _JPEG
        is_lab, is_ycbcr = self.colour in LAB, self.colour == Colour.YCBCR
        is_byte = self.formats == {_UINT} and bits == 8
        is_known_lab = (is_byte or (self.formats == {_UINT} and bits == 16)) and not is_jpeg
        is_reduced = self.is_subsampled or (is_jpeg and not self.is_planar)
        is_multiplied = _PREMULTIPLIED in self.extras
        return {
            Message("{bits}-bit CIELAB samples of this type or compression", bits=bits): is_lab
            and not is_known_lab,
            Message("{bits}-bit YCbCr samples of this type", bits=bits): is_ycbcr and not is_byte,
            Message("subsampled YCbCr and extra channels, planes or small tiles"): is_ycbcr
            and is_reduced,
            Message("CIELAB or YCbCr colours that are multiplied by their transparency"): (
                is_ycbcr or is_lab
            )
            and is_multiplied,
        }

    def _alpha(self) -> int | None:
        """Return the index of the first extra sample that is declared as transparency."""
        named = (_PREMULTIPLIED, _STRAIGHT)
        return next((i for i, kind in enumerate(self.extras) if kind in named), None)

    def warnings(self) -> tuple[Message, ...]:
        """Return warnings about the reading of the samples, for the user."""
        found = []
        left_out = len(self.extras) - (self._alpha() is not None)
        if left_out:
            found.append(
                Message(
                    "extra channels of the TIFF file that are not marked as transparency were left"
                    " out: {channels}; if one is meant as transparency, save the picture with its"
                    " transparency",
                    code="channels_left_out",
                    channels=left_out,
                )
            )
        if self.is_float and not self.has_profile and self.colour == Colour.RGB:
            found.append(
                Message(
                    "floating-point samples without a colour profile are read as linear light from"
                    " 0 to 1",
                    code="linear_light",
                )
            )
        return tuple(found)
