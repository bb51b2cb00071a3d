"""Choose the chunks of PNG and WebP files that a decoder reads, and detect truncated files.

Chunks are skipped by their lengths. PNG (third edition, W3C 2025, chapters 5, 8 and 11): only a
colour profile is inflated, up to a limit. If there is more than a little text, all of it is left
out: a decoder inflates all text, and a few hundred KiB can contain gigabytes. WebP (RFC 9649):
libwebp rejects a file that is shorter than its header says. If only data after the pixels is
missing, the last chunk is left out.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import colorimetry, views
from rembg_tuner.imaging.complaints import ENDS_EARLY, damaged
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile, Piece


_SIGNATURE_BYTES = 8
_COLOUR = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_USEFUL = (*_COLOUR, b"iCCP", b"eXIf", b"tRNS")
_COMPRESSED = (b"zTXt", b"iTXt")
_MAX_SKIPPED_COMPRESSED_BYTES = views.MAX_SKIPPED_BYTES // 1032  # deflate's highest ratio
_MAX_PNG_CHUNKS = 250_000
_MAX_COLOUR_BYTES = 64
_IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_BLOCK_BYTES = 2**16
_ZLIB_HEADER_BYTES = 2
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
# Adam7's passes: first column and row, horizontal and vertical step
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_PNG_LIMITS = {b"eXIf": (views.MAX_EXIF_BYTES, views.EXIF_TOO_LARGE)}
_RIFF_BYTES = 12
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_NEEDED = (*_PIXELS, b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF")
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}  # in the first byte of VP8X
_WEBP_LIMITS = {
    b"ICCP": (views.MAX_PROFILE_BYTES, views.PROFILE_TOO_LARGE),
    b"EXIF": (views.MAX_EXIF_BYTES, views.EXIF_TOO_LARGE),
}
_MAX_WEBP_CHUNKS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """A chunk of a PNG or WebP file.

    Attributes:
        name: its type.
        start: offset of its data in the file.
        length: of its data, bytes.
        is_whole: the file contains all of it, including the checksum.
        is_skippable: pixels, orientation and colours are the same without it.
    """

    name: bytes
    start: int
    length: int
    is_whole: bool
    is_skippable: bool


def _too_large(
    chunks: list[_Chunk], limits: dict[bytes, tuple[int, Message]]
) -> dict[bytes, Message]:
    """Return a warning for each name whose chunks together exceed its limit, bytes."""
    return {
        name: warning
        for name, (limit, warning) in limits.items()
        if sum(one.length for one in chunks if one.name == name) > limit
    }


def _choose(
    chunks: list[_Chunk], left_out: Mapping[bytes, object], *, is_costly: bool
) -> list[_Chunk]:
    """Return the chunks that a decoder reads.

    Chunks named in `left_out` are dropped, and skippable chunks too if `is_costly`.
    """
    return [
        one for one in chunks if one.name not in left_out and not (is_costly and one.is_skippable)
    ]


def inspect_png(path: Path, file: PictureFile) -> FileView:
    """Choose the chunks that a decoder reads, and read the colour definition.

    Raises:
        PictureError: there are more chunks than a picture needs, or its colours are not supported.
    """
    chunks = list(_png_chunks(path, file))
    if not chunks or chunks[0].name != b"IHDR":
        return views.WHOLE_FILE  # libvips reports the error
    left_out = _too_large(chunks, _PNG_LIMITS)
    profile = _profile(file, chunks)
    if len(profile) > views.MAX_PROFILE_BYTES:
        left_out[b"iCCP"] = views.PROFILE_TOO_LARGE
        profile = b""
    shown = _choose(chunks, left_out, is_costly=_is_costly(chunks))
    is_cut = chunks[-1].name != b"IEND" or not chunks[-1].is_whole
    return FileView(
        pieces=_png_pieces(file, shown) if is_cut or len(shown) < len(chunks) else (),
        is_cut=is_cut,
        warnings=tuple(left_out.values()),
        colour=colorimetry.read(path, _colour_chunks(file, chunks), profile),
    )


def _png_chunks(path: Path, file: PictureFile) -> Iterator[_Chunk]:
    """List the chunks up to IEND, the file's end, or the first invalid chunk.

    Raises:
        PictureError: there are too many, or the file is in Apple's form of PNG (CgBI).
    """
    offset = _SIGNATURE_BYTES
    for _ in range(_MAX_PNG_CHUNKS):
        head = file.read_at(offset, 8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or not name.isalpha():
            return
        if name == b"CgBI" and offset == _SIGNATURE_BYTES:
            raise PictureError(
                Message(
                    "{path} is a PNG file in the form that Apple's tools make for apps (CgBI),"
                    " which is not supported; save it as an ordinary PNG",
                    path=path,
                )
            )
        end = offset + 12 + length
        is_skippable = bool(name[0] & 0x20) and name not in _USEFUL
        yield _Chunk(
            name=name,
            start=offset + 8,
            length=length,
            is_whole=end <= file.size,
            is_skippable=is_skippable,
        )
        if name == b"IEND" or end >= file.size:
            return
        offset = end
    raise views.too_many_parts(path, _MAX_PNG_CHUNKS)


def _before_pixels(chunks: list[_Chunk]) -> Iterator[_Chunk]:
    """List the chunks before the first IDAT; colour chunks are valid only there."""
    for one in chunks:
        if one.name == b"IDAT":
            return
        yield one


def _colour_chunks(file: PictureFile, chunks: list[_Chunk]) -> dict[bytes, bytes]:
    """Read IHDR and the small colour chunks; the first of each name is used."""
    found: dict[bytes, bytes] = {}
    for one in _before_pixels(chunks):
        if one.name in (b"IHDR", *_COLOUR) and one.name not in found:
            found[one.name] = file.read_at(one.start, min(one.length, _MAX_COLOUR_BYTES))
    return found


def _profile(file: PictureFile, chunks: list[_Chunk]) -> bytes:
    """Inflate the ICC profile, up to one byte more than the limit.

    Empty: there is no profile, or it cannot be inflated.
    """
    one = next((one for one in _before_pixels(chunks) if one.name == b"iCCP"), None)
    if one is None:
        return b""
    _, _, compressed = file.read_at(one.start, min(one.length, views.MAX_PROFILE_BYTES)).partition(
        b"\0"
    )
    try:
        return zlib.decompressobj().decompress(compressed[1:], views.MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""


def _is_costly(chunks: list[_Chunk]) -> bool:
    """Return whether the inflated skippable chunks are more than a little."""
    compressed = (one.length for one in chunks if one.is_skippable and one.name in _COMPRESSED)
    return (
        views.is_costly(one.length for one in chunks if one.is_skippable)
        or sum(compressed) > _MAX_SKIPPED_COMPRESSED_BYTES
    )


def _png_pieces(file: PictureFile, chunks: list[_Chunk]) -> tuple[Piece, ...]:
    """List the pieces of the view.

    They are whole chunks, the existing part of a truncated IDAT chunk, and IEND.
    """
    ranges: list[tuple[int, int]] = [(0, _SIGNATURE_BYTES)]
    for one in (one for one in chunks if one.is_whole and one.name != b"IEND"):
        start, length = one.start - 8, one.length + 12
        if sum(ranges[-1]) == start:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
        else:
            ranges.append((start, length))
    last = chunks[-1]
    if last.name != b"IDAT" or last.is_whole:
        return (*ranges, _IEND)
    there = min(last.length, file.size - last.start)
    head = struct.pack(">I4s", there, b"IDAT")
    check = zlib.crc32(b"IDAT")
    for block in _blocks(file, last.start, there):
        check = zlib.crc32(block, check)
    return (*ranges, head, (last.start, there), struct.pack(">I", check), _IEND)


def _blocks(file: PictureFile, start: int, length: int) -> Iterator[bytes]:
    """Read a part of the file in blocks."""
    for offset in range(start, start + length, _BLOCK_BYTES):
        yield file.read_at(offset, min(_BLOCK_BYTES, start + length - offset))


def settle_png(path: Path, file: PictureFile, view: FileView) -> FileView | None:
    """Inflate the pixels of a truncated PNG in blocks, and count them.

    Returns:
        The view, with the checksum after the pixels added if it is missing; None: pixels are
        missing.
    """
    chunks = list(_png_chunks(path, file))
    expected = _raw_bytes(file.read_at(chunks[0].start, 13))
    inflater, skip = zlib.decompressobj(-zlib.MAX_WBITS), _ZLIB_HEADER_BYTES
    count, check, is_ended, after = 0, 1, False, b""
    for block in _pixel_blocks(file, chunks):
        pending, skip = block[skip:], max(0, skip - len(block))
        if is_ended:
            after += pending
            continue
        while pending and count <= expected and not is_ended:
            try:
                rows = inflater.decompress(pending, _BLOCK_BYTES)
            except zlib.error:
                return None
            count, check = count + len(rows), zlib.adler32(rows, check)
            pending, is_ended = inflater.unconsumed_tail, inflater.eof
        after += inflater.unused_data
    if count < expected:
        return None
    if not is_ended or count > expected:
        # The last bits of deflate are missing, or there is extra data: libpng must not be strict.
        return replace(view, strictness="none")
    return replace(view, pieces=(*view.pieces[:-1], _sum_chunk(check, len(after)), _IEND))


def _pixel_blocks(file: PictureFile, chunks: list[_Chunk]) -> Iterator[bytes]:
    """Read the existing data of the IDAT chunks in blocks."""
    for one in (one for one in chunks if one.name == b"IDAT"):
        yield from _blocks(file, one.start, min(one.length, file.size - one.start))


def _sum_chunk(check: int, there: int) -> bytes:
    """Return a chunk with the missing bytes of zlib's checksum; empty: no byte is missing."""
    missing = struct.pack(">I", check)[there:]
    if not missing:
        return b""
    body = b"IDAT" + missing
    return struct.pack(">I", len(missing)) + body + struct.pack(">I", zlib.crc32(body))


def _raw_bytes(header: bytes) -> int:
    """Return the bytes of the pixels before compression, including one filter byte per row."""
    width, height, depth, colour_type, _, _, interlace = struct.unpack(">IIBBBBB", header)
    bits = depth * _SAMPLES.get(colour_type, 1)
    total = 0
    for left, top, across, down in _PASSES if interlace else ((0, 0, 1, 1),):
        w, h = -(-(width - left) // across), -(-(height - top) // down)
        if w > 0 and h > 0:
            total += h * (1 + (w * bits + 7) // 8)
    return total


def inspect_webp(path: Path, file: PictureFile) -> FileView:
    """Choose the chunks that a decoder reads.

    Raises:
        PictureError: there are more chunks than a picture needs, or pixels are missing.
    """
    announced = 8 + int.from_bytes(file.read_at(4, 4), "little")
    is_cut = announced > file.size
    chunks = list(_webp_chunks(path, file, announced))
    # a truncated EXIF chunk may still contain the orientation
    shown = [one for one in chunks if one.is_whole or one.name == b"EXIF"]
    if not any(one.name in _PIXELS for one in shown):
        if is_cut:
            raise damaged(path, ENDS_EARLY)
        return views.WHOLE_FILE  # no pixels: libvips reports the error
    left_out = _too_large(shown, _WEBP_LIMITS)
    cut_exif = () if shown[-1].is_whole else (views.EXIF_CUT,)  # only the last can be truncated
    is_costly = views.is_costly(one.length for one in shown if one.is_skippable)
    shown = _choose(shown, left_out, is_costly=is_costly)
    return FileView(
        pieces=_webp_pieces(file, shown) if is_cut or len(shown) < len(chunks) else (),
        is_cut=is_cut,
        warnings=(*cut_exif, *left_out.values()),
    )


def _webp_chunks(path: Path, file: PictureFile, announced: int) -> Iterator[_Chunk]:
    """List the chunks up to the end of the file, or the end that the header declares.

    Raises:
        PictureError: there are too many.
    """
    offset, end = _RIFF_BYTES, min(announced, file.size)
    for _ in range(_MAX_WEBP_CHUNKS):
        if offset + 8 > end:
            return
        head = file.read_at(offset, 8)
        length = int.from_bytes(head[4:], "little")
        there = min(length, file.size - offset - 8)
        yield _Chunk(
            name=head[:4],
            start=offset + 8,
            length=there,
            is_whole=there == length,
            is_skippable=head[:4] not in _NEEDED,
        )
        offset += 8 + length + length % 2
    raise views.too_many_parts(path, _MAX_WEBP_CHUNKS)


def _webp_pieces(file: PictureFile, chunks: list[_Chunk]) -> tuple[Piece, ...]:
    """List the pieces of the view: a header with its size, and the chunks.

    The flags of VP8X are cleared for chunks that are left out.
    """
    names = {one.name for one in chunks}
    pieces: list[Piece] = []
    for one in chunks:
        if one.name == b"VP8X" and one.length:
            flags = file.read_at(one.start, 1)[0]
            for name, flag in _FLAGS.items():
                flags &= 0xFF if name in names else ~flag
            rest = (one.start + 1, one.length - 1)
            pieces += [(one.start - 8, 8), bytes([flags]), rest]
        else:
            pieces += [one.name + struct.pack("<I", one.length), (one.start, one.length)]
        pieces.append(bytes(one.length % 2))
    size = 4 + sum(8 + one.length + one.length % 2 for one in chunks)
    return struct.pack("<4sI4s", b"RIFF", size, b"WEBP"), *pieces
