"""Choose the parts of JPEG and GIF files that a decoder reads, and detect truncated files.

JPEG (ITU-T T.81, annexes B and G): segments before the pixels are skipped by their lengths; the
pixels are searched only if the file does not end with the end marker. GIF (GIF89a, 1990): the
blocks are followed up to the first frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.imaging import views
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.views import PictureFile, Piece


_END = b"\xff\xd9"
_EOI, _SOS, _COM, _APP2 = 0xD9, 0xDA, 0xFE, 0xE2
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended and progressive
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_APPS = range(0xE0, 0xF0)
_NEEDED_APPS = {0xE0: b"", 0xE1: b"Exif\0", _APP2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_MAX_SEGMENTS = 20_000
_BEGINNING_BYTES = 32
_JPEG_BLOCK_BYTES = 2**18
_MARKER_IN_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class _Segment:
    """A marker and its segment.

    Attributes:
        code: the marker's second byte.
        start: offset of the marker in the file.
        length: of marker, length field and content, bytes.
        beginning: the first bytes of the content.
    """

    code: int
    start: int
    length: int
    beginning: bytes

    @property
    def is_skippable(self) -> bool:
        """Return whether pixels, orientation and colours are the same without it."""
        if self.code not in _APPS:
            return self.code == _COM
        needed = _NEEDED_APPS.get(self.code)
        return needed is None or not self.beginning.startswith(needed)

    @property
    def is_profile(self) -> bool:
        """Return whether it is a part of the ICC profile."""
        return self.code == _APP2 and not self.is_skippable


def inspect_jpeg(path: Path, file: PictureFile) -> FileView:
    """Choose the segments that a decoder reads.

    Raises:
        PictureError: there are more segments than a picture needs.
    """
    segments = list(_segments(path, file))
    scan = next((i for i, one in enumerate(segments) if one.code == _SOS), None)
    if scan is None:
        return views.WHOLE_FILE  # no pixels: libvips reports the error
    before = segments[:scan]
    shown, warnings = _choose_segments(before)
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
    return FileView(pieces=pieces, is_cut=is_cut, warnings=warnings)


def _choose_segments(before: list[_Segment]) -> tuple[list[_Segment], tuple[Message, ...]]:
    """Return the segments before the pixels that a decoder reads, and warnings on others."""
    shown = before
    if views.is_costly(one.length for one in before if one.is_skippable):
        shown = [one for one in shown if not one.is_skippable]
    if sum(one.length for one in before if one.is_profile) > views.MAX_PROFILE_BYTES:
        shown = [one for one in shown if not one.is_profile]
        return shown, (views.PROFILE_TOO_LARGE,)
    return shown, ()


def settle_jpeg(path: Path, file: PictureFile, view: FileView) -> FileView | None:
    """Decode a truncated JPEG at an eighth of its sides, and check for warnings.

    Returns:
        The view; None: pixels are missing.

    Raises:
        pyvips.Error: it cannot be decoded.
    """
    if not _has_all_scans(path, file):
        return None
    pyvips.vips_lib.vips_error_clear()
    image = views.load_view(file, view, "jpegload", shrink=8, fail_on="truncated")
    image.avg()
    # libjpeg fills missing pixels and only logs a warning. libvips reports it as an error, but not
    # in the last rows.
    said = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
    pyvips.vips_lib.vips_error_clear()
    return None if said else view


def _has_all_scans(path: Path, file: PictureFile) -> bool:
    """Return whether the scans of a truncated JPEG contain every coefficient, to its last bit.

    The decoder checks whether the last scan is complete.
    """
    left: dict[int, set[int]] = {}
    for one in _segments(path, file):
        content = file.read_at(one.start + 4, one.length - 4)
        if one.code in _FRAMES and len(content) >= 6 + 3 * content[5]:
            left = {content[6 + 3 * i]: set(range(64)) for i in range(content[5])}
        elif one.code == _SOS and len(content) >= 4 + 2 * content[0]:
            first, last, approximation = content[-3:]
            if not approximation & 0x0F:  # nothing of these is left for a later scan
                for i in range(content[0]):
                    left.get(content[1 + 2 * i], set()).difference_update(range(first, last + 1))
    return not any(left.values())


def _segments(path: Path, file: PictureFile) -> Iterator[_Segment]:
    """List the segments; after the first scan only if the file does not end with the end marker.

    The list ends before a segment that exceeds the file.

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
    raise views.too_many_parts(path, _MAX_SEGMENTS)


def _next_marker(file: PictureFile, offset: int) -> int:
    """Return the offset of the first marker after a scan's pixels, or the file's size."""
    while block := file.read_at(offset, _JPEG_BLOCK_BYTES):
        found = _MARKER_IN_PIXELS.search(block)
        if found is not None:
            return offset + found.start()
        offset += len(block) - (len(block) > 1)  # a marker may span two blocks
        if len(block) < 2 or offset >= file.size - 1:
            break
    return file.size


_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
_TAIL_BYTES = 256
_GIF_BLOCK_BYTES = 2**16
_MAX_SHOWN_BYTES = 2**22  # after the first frame
_MAX_EXTENSIONS = 20_000
_MAX_BLOCKS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstFrame:
    """The first frame of a GIF.

    Attributes:
        box: left, top, width and height in the picture, px.
        start: offset of its descriptor.
        end: end of its data in the file.
        cut_block: offset of its truncated sub-block; None: it is complete.
    """

    box: tuple[int, int, int, int]
    start: int
    end: int
    cut_block: int | None


def inspect_gif(path: Path, file: PictureFile) -> FileView:
    """Choose the part of a GIF that a decoder reads.

    A file that is truncated, or that has much data after its first frame, is read up to the end of
    that frame, followed by a trailer.

    Raises:
        PictureError: there are more extensions than a picture needs.
    """
    frame = _first_frame(path, file)
    if frame is None:
        return views.WHOLE_FILE  # no pixels: libvips reports the error
    if file.size - frame.end > _MAX_SHOWN_BYTES:
        return FileView(pieces=_gif_pieces(frame), box=frame.box)  # libvips would list every frame
    tail = file.read_at(max(0, file.size - _TAIL_BYTES), _TAIL_BYTES)
    if tail.rstrip(b"\0").endswith(b";"):
        return FileView(box=frame.box)
    if frame.cut_block is None and _has_trailer(file, frame.end):
        return FileView(box=frame.box)  # bytes after the end
    return FileView(pieces=_gif_pieces(frame), is_cut=True, box=frame.box)


def clear_outside(image: pyvips.Image, box: tuple[int, int, int, int]) -> pyvips.Image:
    """Make the area outside the first frame transparent, as browsers do.

    If no frame has a transparent colour, libvips makes this area black, without alpha.
    """
    left, top, width, height = box
    right, bottom = min(left + width, image.width), min(top + height, image.height)
    is_covered = left == 0 and top == 0 and (right, bottom) == (image.width, image.height)
    if image.hasalpha() or is_covered or right <= left or bottom <= top:
        return image
    inside = pyvips.Image.black(right - left, bottom - top) + 255
    alpha = inside.cast("uchar").embed(left, top, image.width, image.height)
    return image.bandjoin(alpha)


def settle_gif(path: Path, file: PictureFile, view: FileView) -> FileView | None:
    """Decode the first frame of a truncated GIF, and check for missing pixels.

    Missing pixels are transparent in two decodings with different transparent colours.

    Returns:
        The view; None: pixels are missing.

    Raises:
        pyvips.Error: it cannot be decoded.
    """
    frame = _first_frame(path, file)
    if frame is None or frame.cut_block is None:
        return None if frame is None else view
    left, top, width, height = frame.box
    given = _opacity(file, frame, transparent=0) | _opacity(file, frame, transparent=1)
    width, height = min(width, given.width - left), min(height, given.height - top)
    if width <= 0 or height <= 0:
        return None
    return view if given.crop(left, top, width, height).min() > 0 else None


def _opacity(file: PictureFile, frame: _FirstFrame, *, transparent: int) -> pyvips.Image:
    """Decode a frame's opacity with the given colour index transparent; one band, 0 or 255."""
    control = bytes([_EXTENSION, _GRAPHIC_CONTROL, 4, 1, 0, 0, transparent, 0])
    before, *rest = _gif_pieces(frame)
    assert isinstance(before, tuple)
    pieces = ((0, frame.start), control, (frame.start, before[1] - frame.start), *rest)
    image = views.load_view(file, FileView(pieces=pieces), "gifload", fail_on="truncated")
    return image[image.bands - 1].copy_memory()


def _first_frame(path: Path, file: PictureFile) -> _FirstFrame | None:
    """Find the first frame; None: the file ends before its pixels.

    Raises:
        PictureError: there are too many extensions before it.
    """
    screen = file.read_at(0, 13)
    if len(screen) < 13:
        return None
    offset = 13 + _table_bytes(screen[10])
    for _ in range(_MAX_EXTENSIONS):
        head = file.read_at(offset, 10)
        if len(head) == 10 and head[0] == _FRAME:
            box = [int.from_bytes(head[i : i + 2], "little") for i in (1, 3, 5, 7)]
            pixels = offset + 10 + _table_bytes(head[9]) + 1
            end, cut_block = _skip_sub_blocks(file, pixels)
            left, top, width, height = box
            return _FirstFrame(
                box=(left, top, width, height),
                start=offset,
                end=end,
                cut_block=cut_block,
            )
        if len(head) < 10 or head[0] != _EXTENSION:
            return None
        offset, cut_block = _skip_sub_blocks(file, offset + 2)
        if cut_block is not None:
            return None
    raise views.too_many_parts(path, _MAX_EXTENSIONS)


def _has_trailer(file: PictureFile, offset: int) -> bool:
    """Return whether the blocks from `offset` lead to the trailer."""
    for _ in range(_MAX_BLOCKS):
        head = file.read_at(offset, 10)
        if not head or head[0] not in (_EXTENSION, _FRAME):
            return head[:1] == bytes([_TRAILER])
        is_frame = head[0] == _FRAME and len(head) == 10
        offset += 11 + _table_bytes(head[9]) if is_frame else 2
        offset, cut_block = _skip_sub_blocks(file, offset)
        if cut_block is not None:
            return False
    return False


def _table_bytes(packed: int) -> int:
    """Return the size of the colour table that a packed field declares, bytes."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _skip_sub_blocks(file: PictureFile, offset: int) -> tuple[int, int | None]:
    """Skip sub-blocks.

    Returns:
        Their end, and the offset of the truncated one; None: they are complete.
    """
    begin, block = offset, b""
    while True:
        if offset - begin >= len(block):
            begin, block = offset, file.read_at(offset, _GIF_BLOCK_BYTES)
            if not block:
                return file.size, min(offset, file.size)
        length = block[offset - begin]
        if not length:
            return offset + 1, None
        if offset + 1 + length > file.size:
            return file.size, offset
        offset += 1 + length


def _gif_pieces(frame: _FirstFrame) -> tuple[Piece, ...]:
    """List the pieces of the view: the file up to its first frame's end, and a trailer.

    The length of a truncated sub-block is corrected.
    """
    if frame.cut_block is None:
        return (0, frame.end), bytes([_TRAILER])
    there = frame.end - frame.cut_block - 1
    if there <= 0:
        return (0, frame.cut_block), bytes([0, _TRAILER])
    rest = (frame.cut_block + 1, there)
    return (0, frame.cut_block), bytes([there]), rest, bytes([0, _TRAILER])
