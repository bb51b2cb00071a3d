"""Read the directories (IFDs) of a TIFF file: tags and their values, within fixed limits.

Files are not trusted, so there are limits for the number of directories and of their entries, for
the values of one tag, and for the bytes read in total. Offsets outside the file are rejected.
libvips reads the pixels.

Sources: TIFF Revision 6.0 (Adobe, 1992), section 2; BigTIFF (AWare Systems, 2011); the numbers of
tags and their values in libtiff's tiff.h.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.formats import raw_name_by_maker

if TYPE_CHECKING:
    from rembg_tuner.imaging.views import PictureFile

MAX_READ_BYTES = 2**21  # of one file's directories
MAX_ENTRIES = 1024  # of one directory; cameras write about 100
MAX_VALUES = 64  # read of one tag
# Format characters of `struct` for a value, by its type: BYTE to DOUBLE, IFD, LONG8, SLONG8, IFD8.
_LETTERS = dict(
    zip(
        (*range(1, 14), 16, 17, 18),
        ("B", "c", "H", "I", "II", "b", "B", "h", "i", "ii", "f", "d", "I", "Q", "q", "Q"),
        strict=True,
    )
)
_BYTES = {kind: struct.calcsize(f"={letters}") for kind, letters in _LETTERS.items()}
_TEXT = 2
_RATIONALS = (5, 10)


class Code(IntEnum):
    """Numbers of the tags that are read."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    MAKE = 271
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    T4_OPTIONS = 292
    T6_OPTIONS = 293
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SUB_IFDS = 330
    INK_SET = 332
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    YCBCR_COEFFICIENTS = 529
    YCBCR_SUBSAMPLING = 530
    REFERENCE_BLACK_WHITE = 532
    LEAF_NOTE = 34310
    ICC_PROFILE = 34675
    DNG_VERSION = 50706


class Colour(IntEnum):
    """PhotometricInterpretation: the meaning of the samples."""

    MIN_IS_WHITE = 0
    MIN_IS_BLACK = 1
    RGB = 2
    PALETTE = 3
    MASK = 4
    CMYK = 5
    YCBCR = 6
    CIELAB = 8
    ICCLAB = 9
    CFA = 32803
    LOG_LUV = 32845
    LINEAR_RAW = 34892


class TagError(Exception):
    """A directory cannot be read.

    Attributes:
        message: the reason.
    """

    def __init__(self, message: Message) -> None:
        """Store the reason."""
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One entry of a directory.

    Attributes:
        type: TIFF's number of the values' type.
        count: number of values.
        field: the entry's last 4 (BigTIFF: 8) bytes: the values, or their offset.
        offset: of the values in the file, bytes; None: they are in `field`.
    """

    type: int
    count: int
    field: bytes
    offset: int | None

    @property
    def value_bytes(self) -> int:
        """Return the size of one value, bytes."""
        return _BYTES[self.type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory: its entries by tag number, and the offset of the next one (0: the last)."""

    offset: int
    tags: dict[int, Tag]
    next_offset: int


class TagReader:
    """A reader of a TIFF file's directories.

    Attributes:
        order: "<" or ">", as in `struct`.
        is_big: a BigTIFF, with offsets of 8 bytes.
        size: of the file, bytes.
        first_offset: of the first directory, bytes.
    """

    def __init__(self, file: PictureFile) -> None:
        """Read the file's header.

        Raises:
            TagError: the header is invalid.
            OSError: the file cannot be read.
        """
        self._file = file
        self._left = MAX_READ_BYTES
        self.size = file.size
        head = self._read(0, 8)
        self.order = "<" if head[:2] == b"II" else ">"
        version = self._unpack("H", head[2:4])[0]
        if head[:2] not in (b"II", b"MM") or version not in (42, 43):
            raise TagError(Message("it has no TIFF header"))
        self.is_big = version == 43
        field = self._read(8, 8) if self.is_big else head[4:8]
        self.first_offset = int(self._unpack(self._offset_letter, field)[0])

    @property
    def _offset_letter(self) -> str:
        return "Q" if self.is_big else "I"

    def _read(self, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes.

        Raises:
            TagError: they are outside the file, or exceed `MAX_READ_BYTES` in total.
        """
        if offset < 0 or offset + length > self.size:
            raise TagError(Message("a TIFF directory lies outside the file"))
        if length > self._left:
            raise TagError(Message("its TIFF directories are too large"))
        self._left -= length
        data = self._file.read_at(offset, length)
        if len(data) != length:
            raise TagError(Message("a TIFF directory lies outside the file"))
        return data

    def _unpack(self, letters: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + letters, data)

    def directory(self, offset: int) -> Directory:
        """Read the directory at an offset; entries of unknown types are ignored.

        Raises:
            TagError: it is outside the file, or has too many entries.
            OSError: the file cannot be read.
        """
        count_bytes, entry_bytes = (8, 20) if self.is_big else (2, 12)
        count = self._unpack("Q" if self.is_big else "H", self._read(offset, count_bytes))[0]
        if not 0 < count <= MAX_ENTRIES:
            raise TagError(
                Message(
                    "a TIFF directory has {count} entries, from 1 to {most} are read",
                    count=count,
                    most=MAX_ENTRIES,
                )
            )
        width = 8 if self.is_big else 4
        start = offset + count_bytes
        table = self._read(start, count * entry_bytes)
        tags: dict[int, Tag] = {}
        for i in range(count):
            entry = table[i * entry_bytes : (i + 1) * entry_bytes]
            number, kind = self._unpack("HH", entry[:4])
            values = self._unpack(self._offset_letter, entry[4 : 4 + width])[0]
            if kind not in _BYTES or number in tags:
                continue
            field = entry[4 + width :]
            is_inside = values * _BYTES[kind] <= width
            where = None if is_inside else self._unpack(self._offset_letter, field)[0]
            tags[number] = Tag(type=kind, count=values, field=field, offset=where)
        # some files end after the last entry, without an offset of a next directory
        end = start + len(table)
        has_next = end + width <= self.size
        following = self._unpack(self._offset_letter, self._read(end, width))[0] if has_next else 0
        return Directory(offset=offset, tags=tags, next_offset=following)

    def numbers(self, directory: Directory, number: int) -> tuple[float, ...]:
        """Return a tag's values, at most `MAX_VALUES`; empty if the tag is missing or a text.

        Raises:
            TagError: they are outside the file.
            OSError: the file cannot be read.
        """
        tag = directory.tags.get(number)
        if tag is None or tag.type == _TEXT:
            return ()
        count = min(tag.count, MAX_VALUES)
        data = self._values(tag, count * tag.value_bytes)
        parts = self._unpack(_LETTERS[tag.type] * count, data)
        if tag.type in _RATIONALS:
            return tuple(
                over / under if under else float("nan")
                for over, under in zip(parts[::2], parts[1::2], strict=True)
            )
        return tuple(parts)

    def text(self, directory: Directory, number: int) -> str:
        """Return a tag's text, at most `MAX_VALUES` characters; "" if it is missing.

        Raises:
            TagError: it is outside the file.
            OSError: the file cannot be read.
        """
        tag = directory.tags.get(number)
        if tag is None or tag.type != _TEXT:
            return ""
        data = self._values(tag, min(tag.count, MAX_VALUES))
        return data.split(b"\0")[0].decode("latin-1").strip()

    def _values(self, tag: Tag, length: int) -> bytes:
        return tag.field[:length] if tag.offset is None else self._read(tag.offset, length)


MAX_DIRECTORIES = 64  # pages and their SubIFDs; no further page is read from there on
_MAX_SUB_DIRECTORIES = 16  # of one page
_LARGER = 1.5  # ratio of pixels above which a larger page causes a warning
# NewSubfileType
_IS_REDUCED, _IS_MASK = 0x10001, 0xC
_OLD_REDUCED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A directory and its position: page 0, 1, 2 ..., and its SubIFD (-1: the page itself)."""

    directory: Directory
    page: int
    sub_page: int
    width: int
    height: int
    is_reduced: bool
    is_mask: bool

    @property
    def pixels(self) -> int:
        """Return the number of pixels."""
        return self.width * self.height


def read_pages(reader: TagReader) -> list[Page]:
    """Read the first directories of a file: each page, followed by its SubIFDs.

    Reading stops at a later page that cannot be read.

    Raises:
        TagError: the first page cannot be read.
    """
    pages: list[Page] = []
    seen: set[int] = set()
    offset, number = reader.first_offset, 0
    while offset and offset not in seen and len(pages) < MAX_DIRECTORIES:
        seen.add(offset)
        try:
            page = _page(reader, reader.directory(offset), number, -1)
        except TagError:
            if not pages:
                raise
            break
        pages += [page, *_sub_pages(reader, page, seen)]
        offset, number = page.directory.next_offset, number + 1
    if not pages:
        raise TagError(Message("it has no TIFF directory"))
    return pages


def _sub_pages(reader: TagReader, page: Page, seen: set[int]) -> list[Page]:
    """Read the SubIFDs of a page; those that cannot be read are ignored."""
    found: list[Page] = []
    try:
        offsets = reader.numbers(page.directory, Code.SUB_IFDS)
    except TagError:
        return found
    for i, number in enumerate(offsets[:_MAX_SUB_DIRECTORIES]):
        offset = whole_number(number)
        if offset in seen:
            continue
        seen.add(offset)
        try:
            found.append(_page(reader, reader.directory(offset), page.page, i))
        except TagError:
            continue
    return found


def _page(reader: TagReader, directory: Directory, page: int, sub_page: int) -> Page:
    """Read the tags that decide whether a directory is the picture."""

    def value(code: Code, default: int) -> int:
        return whole_number(next(iter(reader.numbers(directory, code)), default))

    kind = value(Code.SUBFILE, 0)
    return Page(
        directory=directory,
        page=page,
        sub_page=sub_page,
        width=value(Code.WIDTH, 0),
        height=value(Code.HEIGHT, 0),
        is_reduced=bool(kind & _IS_REDUCED) or value(Code.OLD_SUBFILE, 0) == _OLD_REDUCED,
        is_mask=bool(kind & _IS_MASK) or value(Code.PHOTOMETRIC, -1) == Colour.MASK,
    )


def whole_number(number: float) -> int:
    """Convert a tag's number to an integer; 0 if it is infinite or NaN."""
    return int(number) if math.isfinite(number) else 0


def choose_page(pages: list[Page]) -> tuple[Page, tuple[Message, ...]]:
    """Choose the first full page, or else the largest full SubIFD, or else the largest picture.

    Returns:
        The page, and a warning if another full picture is much larger.
    """
    whole = [page for page in pages if not page.is_mask]
    full = [page for page in whole if not page.is_reduced]
    first = next((page for page in full if page.sub_page < 0), None)
    if first is None:
        found = max(full or whole or pages, key=lambda page: page.pixels)
        return found, ()
    largest = max(full, key=lambda page: page.pixels)
    if largest.pixels <= _LARGER * first.pixels:
        return first, ()
    warning = Message(
        (
            "the TIFF file also contains a larger picture of {larger_width} x "
            "{larger_height} px; its first page of {width} x {height} px was read; save the "
            "larger one as a separate file to use it"
        ),
        code="larger_page",
        larger_width=largest.width,
        larger_height=largest.height,
        width=first.width,
        height=first.height,
    )
    return first, (warning,)


def find_raw(reader: TagReader, pages: list[Page]) -> str | None:
    """Return the name of a camera's raw format, or None if the file is not one.

    Raw files contain sensor data and a small preview.

    Raises:
        TagError: a value is outside the file.
    """
    for page in pages:
        colour = next(iter(reader.numbers(page.directory, Code.PHOTOMETRIC)), -1)
        tags = page.directory.tags
        if Code.DNG_VERSION in tags:
            return "DNG"
        if colour in (Colour.CFA, Colour.LINEAR_RAW) or Code.LEAF_NOTE in tags:
            return raw_name_by_maker(reader.text(pages[0].directory, Code.MAKE))
    return None
