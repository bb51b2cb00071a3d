"""A WebP's chunks: which of them a decoder is shown, and whether the end is there (RFC 9649).

libwebp takes no file that is shorter than its header says. Where what is missing lies after the
pixels, the file is shown without its last chunk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import views
from rembg_tuner.imaging.complaints import ENDS_EARLY, damaged
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile, Piece

_HEADER_BYTES = 12
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_NEEDED = (*_PIXELS, b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF")
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # in the first byte of VP8X
_LIMITS = {
    b"ICCP": (views.MAX_PROFILE_BYTES, views.PROFILE_TOO_LARGE),
    b"EXIF": (views.MAX_EXIF_BYTES, views.EXIF_TOO_LARGE),
}
_MAX_CHUNKS = 20_000
_MAX_SKIPPED_CHUNKS = 256


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk: its name, where it begins, how many bytes of its content are there, and whether that is all."""

    name: bytes
    start: int
    length: int
    is_whole: bool


def inspect(path: Path, file: PictureFile) -> FileView:
    """Choose the chunks that a decoder is shown.

    Raises:
        PictureError: there are more chunks than a picture needs, or pixels are missing.
    """
    announced = 8 + int.from_bytes(file.read_at(4, 4), "little")
    chunks = list(_walk(path, file, announced))
    # what is there of cut EXIF may still tell the orientation
    shown = [one for one in chunks if one.is_whole or one.name == b"EXIF"]
    warnings = [views.EXIF_CUT for one in shown if not one.is_whole]
    if not any(one.name in _PIXELS for one in shown):
        if announced > file.size:
            raise damaged(path, ENDS_EARLY)
        return views.WHOLE_FILE  # no pixels: libvips says what is wrong
    for name, (limit, warning) in _LIMITS.items():
        if sum(one.length for one in shown if one.name == name) > limit:
            shown = [one for one in shown if one.name != name]
            warnings.append(warning)
    skippable = [one for one in shown if one.name not in _NEEDED]
    if (
        len(skippable) > _MAX_SKIPPED_CHUNKS
        or sum(one.length for one in skippable) > views.MAX_SKIPPED_BYTES
    ):
        shown = [one for one in shown if one.name in _NEEDED]
    is_cut = announced > file.size
    return FileView(
        pieces=_pieces(file, shown) if is_cut or len(shown) < len(chunks) else (),
        is_cut=is_cut,
        warnings=tuple(warnings),
    )


def _walk(path: Path, file: PictureFile, announced: int) -> Iterator[_Chunk]:
    """List the chunks up to the end that the header announces, or the file's.

    Raises:
        PictureError: there are too many.
    """
    offset, end = _HEADER_BYTES, min(announced, file.size)
    for _ in range(_MAX_CHUNKS):
        if offset + 8 > end:
            return
        head = file.read_at(offset, 8)
        length = int.from_bytes(head[4:], "little")
        there = min(length, file.size - offset - 8)
        yield _Chunk(head[:4], offset, there, is_whole=there == length)
        offset += 8 + length + length % 2
    raise PictureError(
        Message(
            "{path} has more than {most:,} chunks, which no picture needs; save it again",
            path=path,
            most=_MAX_CHUNKS,
        )
    )


def _pieces(file: PictureFile, chunks: list[_Chunk]) -> tuple[Piece, ...]:
    """List a header of the right size and the chunks; what is not shown is not announced either."""
    names = {one.name for one in chunks}
    pieces: list[Piece] = []
    for one in chunks:
        if one.name == b"VP8X" and one.length:
            flags = file.read_at(one.start + 8, 1)[0]
            for name, flag in _FLAGS.items():
                flags &= 0xFF if name in names else ~flag
            rest = (one.start + 9, one.length - 1)
            pieces += [(one.start, 8), bytes([flags]), rest]
        else:
            pieces += [one.name + struct.pack("<I", one.length), (one.start + 8, one.length)]
        pieces.append(bytes(one.length % 2))
    size = 4 + sum(8 + one.length + one.length % 2 for one in chunks)
    return struct.pack("<4sI4s", b"RIFF", size, b"WEBP"), *pieces
