"""A GIF's blocks up to its first frame, and whether the end is there.

GIF89a specification, 1990.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import views
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile, Piece

_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
_TAIL_BYTES = 256
_BLOCK_BYTES = 2**16
_MAX_SHOWN_BYTES = 2**22  # after the first frame
_MAX_EXTENSIONS = 20_000
_MAX_BLOCKS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstFrame:
    """The first frame.

    Attributes:
        box: left, top, width and height in the picture, px.
        start: where its descriptor begins.
        end: where what is there of it ends.
        cut_block: where its last sub-block begins that is not whole; None: it is whole.
    """

    box: tuple[int, int, int, int]
    start: int
    end: int
    cut_block: int | None


def inspect(path: Path, file: PictureFile) -> FileView:
    """Show a file that was cut, or that has much after its first frame, up to that and with an end.

    Raises:
        PictureError: there are more extensions than a picture needs.
    """
    frame = _first_frame(path, file)
    if frame is None:
        return views.WHOLE_FILE  # no pixels: libvips says what is wrong
    if file.size - frame.end > _MAX_SHOWN_BYTES:
        return FileView(pieces=_pieces(frame), box=frame.box)  # libvips would list every frame
    tail = file.read_at(max(0, file.size - _TAIL_BYTES), _TAIL_BYTES)
    if tail.rstrip(b"\0").endswith(b";"):
        return FileView(box=frame.box)
    if frame.cut_block is None and _has_trailer(file, frame.end):
        return FileView(box=frame.box)  # bytes after the end
    return FileView(pieces=_pieces(frame), is_cut=True, box=frame.box)


def clear_outside(image: pyvips.Image, box: tuple[int, int, int, int]) -> pyvips.Image:
    """Make what lies outside the first frame transparent, as browsers do.

    libvips gives it black, and no alpha, where no frame has a transparent colour.
    """
    left, top, width, height = box
    right, bottom = min(left + width, image.width), min(top + height, image.height)
    is_covered = left == 0 and top == 0 and (right, bottom) == (image.width, image.height)
    if image.hasalpha() or is_covered or right <= left or bottom <= top:
        return image
    inside = pyvips.Image.black(right - left, bottom - top) + 255
    alpha = inside.cast("uchar").embed(left, top, image.width, image.height)
    return image.bandjoin(alpha)


def settle(path: Path, file: PictureFile, view: FileView) -> FileView | None:
    """Decode the first frame of a GIF that was cut, and look for pixels that it does not give.

    A pixel that is missing is transparent, whichever colour the frame is told to be transparent.

    Returns:
        The view; None: pixels are missing.

    Raises:
        pyvips.Error: it does not decode.
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
    """Decode a frame's opacity with one of its colours transparent; one band, 0 or 255."""
    control = bytes([_EXTENSION, _GRAPHIC_CONTROL, 4, 1, 0, 0, transparent, 0])
    before, *rest = _pieces(frame)
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
    raise PictureError(
        Message(
            "{path} has more than {most:,} extensions, which no picture needs; save it again",
            path=path,
            most=_MAX_EXTENSIONS,
        )
    )


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
    """Give the bytes of the colour table that a packed field announces."""
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _skip_sub_blocks(file: PictureFile, offset: int) -> tuple[int, int | None]:
    """Step over sub-blocks.

    Returns:
        Where they end, and where the one begins that is cut; None: they end as they should.
    """
    begin, block = offset, b""
    while True:
        if offset - begin >= len(block):
            begin, block = offset, file.read_at(offset, _BLOCK_BYTES)
            if not block:
                return file.size, min(offset, file.size)
        length = block[offset - begin]
        if not length:
            return offset + 1, None
        if offset + 1 + length > file.size:
            return file.size, offset
        offset += 1 + length


def _pieces(frame: _FirstFrame) -> tuple[Piece, ...]:
    """List the file up to its first frame, with a last sub-block as long as it is, and an end."""
    if frame.cut_block is None:
        return (0, frame.end), bytes([_TRAILER])
    there = frame.end - frame.cut_block - 1
    if there <= 0:
        return (0, frame.cut_block), bytes([0, _TRAILER])
    rest = (frame.cut_block + 1, there)
    return (0, frame.cut_block), bytes([there]), rest, bytes([0, _TRAILER])
