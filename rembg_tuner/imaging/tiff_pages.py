"""Find the picture of a TIFF file among its pages, their SubIFDs, thumbnails and masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.raw_files import raw_name_by_maker
from rembg_tuner.imaging.tiff_tags import Code, Colour, TagError

if TYPE_CHECKING:
    from rembg_tuner.imaging.tiff_tags import Directory, TagReader

MAX_DIRECTORIES = 64  # that are looked at: pages and what lies below them
_MAX_SUB_DIRECTORIES = 16  # of one page
_LARGER = 1.5  # times the pixels: another page that much larger is worth a warning
# NewSubfileType
_IS_REDUCED, _IS_MASK = 0x10001, 0xC
_OLD_REDUCED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A directory and where it stands: page 0, 1, 2 ..., and its SubIFD (-1: none)."""

    directory: Directory
    page: int
    sub_page: int
    width: int
    height: int
    is_reduced: bool
    is_mask: bool

    @property
    def pixels(self) -> int:
        """Return how many pixels it has."""
        return self.width * self.height


def read_pages(reader: TagReader) -> list[Page]:
    """Read the first directories of a file: each page, then what lies below it.

    Raises:
        TagError: the first one cannot be read. Reading ends before a later one that cannot.
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
    """Read the SubIFDs of a page; one that cannot be read is left out."""
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
    """Read what decides whether a directory is the picture."""

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
    """Return a tag's number as an integer, 0 where it is infinite or no number."""
    return int(number) if math.isfinite(number) else 0


def choose_page(pages: list[Page]) -> tuple[Page, tuple[Message, ...]]:
    """Choose the first full page; below thumbnails, the largest full picture; else the largest."""
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
        "the TIFF file also holds a larger picture of {larger_width} x {larger_height} px; its"
        " first page of {width} x {height} px was read; save the larger one as a file of its own if"
        " it is meant",
        code="larger_page",
        larger_width=largest.width,
        larger_height=largest.height,
        width=first.width,
        height=first.height,
    )
    return first, (warning,)


def find_raw(reader: TagReader, pages: list[Page]) -> str | None:
    """Return the name of a camera's raw format, which has sensor data below a small preview, or None if it is not one.

    Raises:
        TagError: a value lies outside the file.
    """
    for page in pages:
        colour = next(iter(reader.numbers(page.directory, Code.PHOTOMETRIC)), -1)
        tags = page.directory.tags
        if Code.DNG_VERSION in tags:
            return "DNG"
        if colour in (Colour.CFA, Colour.LINEAR_RAW) or Code.LEAF_NOTE in tags:
            return raw_name_by_maker(reader.text(pages[0].directory, Code.MAKE))
    return None
