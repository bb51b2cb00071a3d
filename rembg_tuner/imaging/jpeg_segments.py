"""A JPEG's segments: which of them a decoder is shown, and whether the end is there.

Segments before the pixels are stepped over by their lengths; the pixels themselves are looked
through only where the file does not end with the end marker. ITU-T T.81, annexes B and G.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import views
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile, Piece

_END = b"\xff\xd9"
_EOI, _SOS, _COM, _APP2 = 0xD9, 0xDA, 0xFE, 0xE2
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended and progressive
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_APPS = range(0xE0, 0xF0)
_NEEDED_APPS = {0xE0: b"", 0xE1: b"Exif\0", _APP2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_MAX_SEGMENTS = 20_000
_MAX_SKIPPED_SEGMENTS = 256
_BEGINNING_BYTES = 32
_BLOCK_BYTES = 2**18
_MARKER_IN_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class _Segment:
    """A marker and what belongs to it.

    Attributes:
        code: the marker's second byte.
        start: where the marker stands in the file.
        length: of marker, length field and content, bytes.
        beginning: the first bytes of the content.
    """

    code: int
    start: int
    length: int
    beginning: bytes

    @property
    def is_skippable(self) -> bool:
        """Whether pixels, orientation and colours are the same without it."""
        if self.code not in _APPS:
            return self.code == _COM
        needed = _NEEDED_APPS.get(self.code)
        return needed is None or not self.beginning.startswith(needed)


def inspect(path: Path, file: PictureFile) -> FileView:
    """Choose the segments that a decoder is shown.

    Raises:
        PictureError: there are more segments than a picture needs.
    """
    segments = list(_walk(path, file))
    scan = next((i for i, one in enumerate(segments) if one.code == _SOS), None)
    if scan is None:
        return views.WHOLE_FILE  # no pixels: libvips says what is wrong
    before, shown, warnings = segments[:scan], segments[:scan], []
    profile = [one for one in before if one.code == _APP2 and not one.is_skippable]
    if sum(one.length for one in profile) > views.MAX_PROFILE_BYTES:
        shown = [one for one in shown if one not in profile]
        warnings.append(views.PROFILE_TOO_LARGE)
    skippable = [one for one in before if one.is_skippable]
    if (
        len(skippable) > _MAX_SKIPPED_SEGMENTS
        or sum(one.length for one in skippable) > views.MAX_SKIPPED_BYTES
    ):
        shown = [one for one in shown if not one.is_skippable]
    is_cut = file.read_at(file.size - 2, 2) != _END and segments[-1].code != _EOI
    pieces: tuple[Piece, ...] = ()
    if is_cut or len(shown) < len(before):
        pixels = segments[scan].start
        pieces = (
            b"\xff\xd8",
            *((one.start, one.length) for one in shown),
            (pixels, file.size - pixels),
            *((_END,) if is_cut else ()),
        )
    return FileView(
        pieces=pieces,
        is_cut=is_cut,
        warnings=tuple(warnings),
    )


def settle(path: Path, file: PictureFile, view: FileView) -> FileView | None:
    """Decode a JPEG that was cut, at an eighth of its sides, and look for complaints.

    Returns:
        The view; None: pixels are missing.

    Raises:
        pyvips.Error: it does not decode.
    """
    if not _has_all_scans(path, file):
        return None
    pyvips.vips_lib.vips_error_clear()
    image = views.load_view(file, view, "jpegload", shrink=8, fail_on="truncated")
    image.avg()
    # libjpeg makes up what is missing, and only says so; libvips hears of it, but not in the last
    # rows
    said = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
    pyvips.vips_lib.vips_error_clear()
    return None if said else view


def _has_all_scans(path: Path, file: PictureFile) -> bool:
    """Return whether the scans of a JPEG that was cut give every coefficient, to its last bit.

    Whether the last of them is whole is for the decoder to say.
    """
    left: dict[int, set[int]] = {}
    for one in _walk(path, file):
        content = file.read_at(one.start + 4, one.length - 4)
        if one.code in _FRAMES and len(content) >= 6 + 3 * content[5]:
            left = {content[6 + 3 * i]: set(range(64)) for i in range(content[5])}
        elif one.code == _SOS and len(content) >= 4 + 2 * content[0]:
            first, last, approximation = content[-3:]
            if not approximation & 0x0F:  # nothing of these is left for a later scan
                for i in range(content[0]):
                    left.get(content[1 + 2 * i], set()).difference_update(range(first, last + 1))
    return not any(left.values())


def _walk(path: Path, file: PictureFile) -> Iterator[_Segment]:
    """List the segments; past the first scan only where the file does not end with the end marker.

    A segment that the file does not hold whole ends the list.

    Raises:
        PictureError: there are too many.
    """
    offset = 2
    ends_well = file.read_at(file.size - 2, 2) == _END
    for _ in range(_MAX_SEGMENTS):
        head = file.read_at(offset, 4 + _BEGINNING_BYTES)
        if len(head) < 2 or head[0] != 0xFF:
            return
        code = head[1]
        if code in (0xFF, *_WITHOUT_LENGTH):  # a fill byte, or a marker alone
            offset += 1 if code == 0xFF else 2
            continue
        length = 2 if code == _EOI else 2 + int.from_bytes(head[2:4], "big")
        if offset + length > file.size:
            return
        yield _Segment(code, offset, length, head[4:])
        offset += length
        if code == _EOI or (code == _SOS and ends_well):
            return
        if code == _SOS:
            offset = _next_marker(file, offset)
    raise PictureError(
        Message(
            "{path} has more than {most:,} segments, which no picture needs; save it again",
            path=path,
            most=_MAX_SEGMENTS,
        )
    )


def _next_marker(file: PictureFile, offset: int) -> int:
    """Find the first marker after a scan's pixels; the file's size where there is none."""
    while block := file.read_at(offset, _BLOCK_BYTES):
        found = _MARKER_IN_PIXELS.search(block)
        if found is not None:
            return offset + found.start()
        offset += len(block) - (len(block) > 1)  # the marker may lie across two blocks
        if len(block) < 2 or offset >= file.size - 1:
            break
    return file.size
