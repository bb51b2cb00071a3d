"""What an AVIF's container says of its numbers: the colour property of its primary item.

libheif decodes the numbers and passes on only an ICC profile, which counts before these code points
(ISO/IEC 23000-22, 7.3.6.4). ISO/IEC 14496-12 and 23008-12 give the boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.imaging import png_colour, views
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile

_MAX_BOXES = 1_000
_MAX_META_BYTES = 2**22
_FULL_BOX_BYTES = 4  # version and flags
_UNSPECIFIED = 2  # of ITU-T H.273; read as sRGB's
_SRGB_PRIMARIES, _SRGB_TRANSFER = 1, 13
_VIDEO_TRANSFERS = (
    1,
    6,
    14,
    15,
)  # BT.709's curve; as Chromium 156 does, shown as sRGB's in an AVIF
_PROFILES = (b"prof", b"rICC")


def inspect(path: Path, file: PictureFile) -> FileView:
    """Read what the container says of the colours; nothing is decoded.

    Raises:
        PictureError: it is an HDR picture.
    """
    colours = [content for name, content in _primary_properties(_meta(file)) if name == b"colr"]
    if any(one[:4] in _PROFILES for one in colours):
        return views.WHOLE_FILE
    numbers = next((one for one in colours if one[:4] == b"nclx" and len(one) >= 8), None)
    if numbers is None:
        return views.WHOLE_FILE
    primaries, transfer = (int.from_bytes(numbers[i : i + 2], "big") for i in (4, 6))
    primaries = _SRGB_PRIMARIES if primaries == _UNSPECIFIED else primaries
    if transfer in (_UNSPECIFIED, *_VIDEO_TRANSFERS):
        transfer = _SRGB_TRANSFER
    if max(primaries, transfer) > 255 or (primaries, transfer) == (_SRGB_PRIMARIES, _SRGB_TRANSFER):
        return views.WHOLE_FILE
    return FileView(colour=png_colour.read_cicp(path, bytes((primaries, transfer, 0, 1))))


def _meta(file: PictureFile) -> bytes:
    """Read the box `meta`, without its version.

    Empty: there is none, or it is larger than any needs.
    """
    offset = 0
    for _ in range(_MAX_BOXES):
        head = file.read_at(offset, 16)
        size, name, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), 16
        if name == b"meta" and begin < size <= _MAX_META_BYTES:
            return file.read_at(offset + begin, size - begin)[_FULL_BOX_BYTES:]
        if size < begin:
            return b""
        offset += size
    return b""


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List the boxes in a box: name and content; what is no box ends the list."""
    offset = 0
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset : offset + 4], "big")
        if size < 8:
            return
        yield content[offset + 4 : offset + 8], content[offset + 8 : offset + size]
        offset += size


def _primary_properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """List the properties that belong to the primary item."""
    boxes = dict(_boxes(meta))
    item = int.from_bytes(boxes.get(b"pitm", b"")[_FULL_BOX_BYTES:], "big")
    parts = list(_boxes(boxes.get(b"iprp", b"")))
    properties = [one for name, part in parts if name == b"ipco" for one in _boxes(part)]
    indices = (i for name, part in parts if name == b"ipma" for i in _associations(part, item))
    return [properties[i - 1] for i in indices if 0 < i <= len(properties)]


def _associations(content: bytes, item: int) -> Iterator[int]:
    """List the numbers of an item's properties, from 1; `content` is of the box `ipma`."""
    id_bytes = 4 if content[:1] > b"\0" else 2
    index_bytes = 2 if content[3:4] and content[3] & 1 else 1
    offset = _FULL_BOX_BYTES + 4
    while offset + id_bytes < len(content):
        found = int.from_bytes(content[offset : offset + id_bytes], "big")
        count = content[offset + id_bytes]
        offset += id_bytes + 1
        if found == item:
            for i in range(offset, offset + count * index_bytes, index_bytes):
                # the highest bit says that a reader must know the property
                one = int.from_bytes(content[i : i + index_bytes], "big")
                yield one & (2 ** (8 * index_bytes - 1) - 1)
        offset += count * index_bytes
