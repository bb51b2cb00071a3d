"""Show libvips a TIFF file with another directory, in which the samples are plain numbers."""

from __future__ import annotations

import os
import struct
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.tiff_tags import Code, Colour, TagError

if TYPE_CHECKING:
    from rembg_tuner.imaging.tiff import TiffPicture
    from rembg_tuner.imaging.tiff_tags import Tag
    from rembg_tuner.imaging.views import PictureFile

_SHORT = 3
_KEPT = (
    Code.WIDTH,
    Code.HEIGHT,
    Code.COMPRESSION,
    Code.FILL_ORDER,
    Code.STRIP_OFFSETS,
    Code.ORIENTATION,
    Code.ROWS_PER_STRIP,
    Code.STRIP_BYTES,
    Code.X_RESOLUTION,
    Code.Y_RESOLUTION,
    Code.T4_OPTIONS,
    Code.T6_OPTIONS,
    Code.RESOLUTION_UNIT,
    Code.PREDICTOR,
    Code.TILE_WIDTH,
    Code.TILE_HEIGHT,
    Code.TILE_OFFSETS,
    Code.TILE_BYTES,
    Code.JPEG_TABLES,
    Code.ICC_PROFILE,
)
_BY_PLANE = (Code.STRIP_OFFSETS, Code.STRIP_BYTES, Code.TILE_OFFSETS, Code.TILE_BYTES)
_GAP_BYTES = 64  # between the file's end and the directory: a strip cut short ends there


def load_substitute(
    file: PictureFile, picture: TiffPicture, plane: int | None, **options: object
) -> pyvips.Image:
    """Open a picture's samples as numbers, reading from top to bottom.

    The file may be closed afterwards.

    Args:
        file: the file.
        picture: what was chosen from it.
        plane: the only sample that is shown; None: all of them.
        options: of libvips' loader.

    Raises:
        TagError: it is damaged, or too large.
        pyvips.Error: it is damaged.
        OSError: it cannot be read.
    """
    shown = _Substitute(file, picture, plane)
    source = pyvips.SourceCustom()
    source.on_read(shown.read)
    source.on_seek(shown.seek)
    image = pyvips.Image.tiffload_source(source, access="sequential", **options)
    # as pyvips' own new_from_source: whatever is made of the image keeps the callbacks alive
    image._references.append(source)
    return image


class _Substitute:
    """A TIFF file whose directory is replaced by one that names its samples as plain numbers.

    The new directory stands behind the file's end; only the header's offset of the first directory
    differs. Strips, tiles and other values stay where they are.
    """

    def __init__(self, file: PictureFile, picture: TiffPicture, plane: int | None) -> None:
        """Open the file anew; plane: the only sample that is shown, None: all of them.

        Raises:
            TagError: it is damaged, or too large.
            OSError: it cannot be read.
        """
        self._file = file
        self._start = (file.size + _GAP_BYTES + 7) // 8 * 8
        self._tail = self._directory(picture, plane)
        if not picture.is_big and self._start + len(self._tail) > 2**32:
            raise TagError(
                Message("it has more than 4 GiB and is not a BigTIFF; save it as a BigTIFF")
            )
        pointer = struct.pack(picture.order + ("Q" if picture.is_big else "I"), self._start)
        self._head = file.read_at(0, len(pointer)) + pointer
        self._size = file.size
        self._position = 0
        self._descriptor = os.dup(file.descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, length: int) -> bytes | None:
        """Return up to `length` bytes from here; None at the file's end, and at the directory's."""
        start = self._position
        if start >= self._start:
            data = self._tail[start - self._start :][:length]
        elif start < len(self._head):
            data = self._head[start : start + length]
        else:
            left = max(0, self._size - start)
            data = os.pread(self._descriptor, min(length, left), start) if left else b""
        self._position += len(data)
        return data or None

    def seek(self, offset: int, whence: int) -> int:
        """Move as `io.IOBase.seek` does."""
        end = self._start + len(self._tail)
        self._position = max(0, offset + (0, self._position, end)[whence])
        return self._position

    def _directory(self, picture: TiffPicture, plane: int | None) -> bytes:
        """Write the directory, which names samples as grey or RGB numbers."""
        samples = 1 if plane is not None else picture.samples
        bits, sample_format = picture.bits, 3 if picture.is_float else 1
        if bits == 64:
            samples, bits, sample_format = 2 * samples, 32, 1
        colour, named = (Colour.RGB, 3) if samples >= 3 else (Colour.MIN_IS_BLACK, 1)
        entries: dict[int, tuple[int, int, bytes]] = {}  # tag: type, count, values or their offset
        for code in _KEPT:
            tag = picture.directory.tags.get(code)
            if tag is not None:
                if plane is not None and code in _BY_PLANE:
                    tag = self._plane_values(tag, plane, picture)
                entries[code] = (tag.type, tag.count, tag.field)
        shorts: dict[int, list[int]] = {
            Code.BITS: [bits] * samples,
            Code.PHOTOMETRIC: [colour],
            Code.SAMPLES: [samples],
            Code.PLANAR: [1],
            Code.SAMPLE_FORMAT: [sample_format] * samples,
        }
        if samples > named:
            shorts[Code.EXTRA_SAMPLES] = [0] * (samples - named)
        for number, values in shorts.items():
            data = struct.pack(f"{picture.order}{len(values)}H", *values)
            entries[number] = (_SHORT, len(values), data)
        return _write_directory(entries, picture, self._start)

    def _plane_values(self, tag: Tag, plane: int, picture: TiffPicture) -> Tag:
        """Return the part of a list of strips or tiles that belongs to one plane."""
        count = tag.count // picture.samples
        if count * picture.samples != tag.count or not count:
            raise TagError(Message("its planes have no strips or tiles"))
        skipped, length = plane * count * tag.value_bytes, count * tag.value_bytes
        if tag.offset is None:
            return replace(tag, count=count, field=tag.field[skipped : skipped + length])
        where = tag.offset + skipped
        if length <= len(tag.field):
            field = self._file.read_at(where, length)
            return replace(tag, count=count, field=field, offset=None)
        field = struct.pack(picture.order + ("Q" if picture.is_big else "I"), where)
        return replace(tag, count=count, field=field, offset=where)


def _write_directory(
    entries: dict[int, tuple[int, int, bytes]], picture: TiffPicture, start: int
) -> bytes:
    """Lay entries out as a directory, with the values that are too long behind it."""
    letter, count_letter, width = ("Q", "Q", 8) if picture.is_big else ("I", "H", 4)
    order = picture.order
    table = struct.pack(order + count_letter, len(entries))
    values_start = start + len(table) + len(entries) * (4 + 2 * width) + width
    behind = b""
    for code in sorted(entries):
        kind, count, field = entries[code]
        if len(field) > width:
            where, behind = values_start + len(behind), behind + field + bytes(len(field) % 2)
            field = struct.pack(order + letter, where)
        table += struct.pack(f"{order}HH{letter}", code, kind, count) + field.ljust(width, b"\0")
    return table + bytes(width) + behind
