"""Read AVIF and HEIC, which are pictures in HEIF containers (ISO/IEC 14496-12 and 23008-12).

libvips decodes AVIF, but returns only an ICC profile. The profile has precedence over the code
points of the container's colour property (ISO/IEC 23000-22, 7.3.6.4), which are read here. HEIC is
decoded by pi-heif if it is installed (the extra `heif`, since libheif and libde265 are LGPL). The
worker imports pi-heif and Pillow only for HEIC pictures. The rotation in the container (irot, imir)
is applied while decoding; EXIF's orientation must not be applied too (ISO/IEC 23008-12, 6.5.10).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyvips

from rembg_tuner.imaging import colorimetry, views
from rembg_tuner.imaging.complaints import NOT_DECODED, damaged
from rembg_tuner.imaging.formats import MAX_PIXELS_WHOLE, check_pixels
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.views import PictureFile


_MAX_BOXES = 1_000
_MAX_META_BYTES = 2**22
_FULL_BOX_BYTES = 4  # version and flags
_UNSPECIFIED = 2  # of ITU-T H.273; read as sRGB's
_SRGB_PRIMARIES, _SRGB_TRANSFER = 1, 13
# Read as sRGB's curve: unspecified, and BT.709's, as Chromium 156 does for AVIF.
_SRGB_TRANSFERS = (2, 1, 6, 14, 15)
_PROFILES = (b"prof", b"rICC")


def inspect_avif(path: Path, file: PictureFile) -> FileView:
    """Read the container's colour definition, without decoding.

    Raises:
        PictureError: it is an HDR picture.
    """
    colours = [content for name, content in _primary_properties(_meta(file)) if name == b"colr"]
    by_kind = {one[:4]: one for one in reversed(colours)}
    codes = by_kind.get(b"nclx", b"")
    if len(codes) < 8 or not by_kind.keys().isdisjoint(_PROFILES):
        return views.WHOLE_FILE
    primaries, transfer = struct.unpack_from(">HH", codes, 4)
    if primaries == _UNSPECIFIED:
        primaries = _SRGB_PRIMARIES
    if transfer in _SRGB_TRANSFERS:
        transfer = _SRGB_TRANSFER
    if max(primaries, transfer) > 255 or (primaries, transfer) == (_SRGB_PRIMARIES, _SRGB_TRANSFER):
        return views.WHOLE_FILE
    return FileView(colour=colorimetry.read_cicp(path, bytes((primaries, transfer, 0, 1))))


def _meta(file: PictureFile) -> bytes:
    """Read the content of the box `meta`, without version and flags.

    Empty: the box is missing, or larger than any picture needs.
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
    """List name and content of each box in a box, up to the first invalid one."""
    offset = 0
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset : offset + 4], "big")
        if size < 8:
            return
        yield content[offset + 4 : offset + 8], content[offset + 8 : offset + size]
        offset += size


def _primary_properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """List name and content of the primary item's properties."""
    boxes = dict(_boxes(meta))
    item = int.from_bytes(boxes.get(b"pitm", b"")[_FULL_BOX_BYTES:], "big")
    parts = list(_boxes(boxes.get(b"iprp", b"")))
    properties = [one for name, part in parts if name == b"ipco" for one in _boxes(part)]
    indices = (i for name, part in parts if name == b"ipma" for i in _associations(part, item))
    return [properties[i - 1] for i in indices if 0 < i <= len(properties)]


def _associations(content: bytes, item: int) -> Iterator[int]:
    """List the numbers of an item's properties, from 1; `content` is the content of box `ipma`."""
    id_bytes = 4 if content[:1] > b"\0" else 2
    index_bytes = 2 if content[3:4] and content[3] & 1 else 1
    offset = _FULL_BOX_BYTES + 4
    while offset + id_bytes < len(content):
        found = int.from_bytes(content[offset : offset + id_bytes], "big")
        count = content[offset + id_bytes]
        offset += id_bytes + 1
        if found == item:
            for i in range(offset, offset + count * index_bytes, index_bytes):
                # the highest bit marks properties that a reader must support
                one = int.from_bytes(content[i : i + index_bytes], "big")
                yield one & (2 ** (8 * index_bytes - 1) - 1)
        offset += count * index_bytes


_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_FAULTS = (OSError, ValueError, SyntaxError, RuntimeError, EOFError, MemoryError)  # of pi-heif
_WIDE = {9, 12}  # BT.2020 and Display P3 in ITU-T H.273's ColourPrimaries


@dataclass(frozen=True, slots=True, kw_only=True)
class HeifPicture:
    """The first picture of a HEIC file, upright.

    Attributes:
        width, height: px.
        bands: 1 grey, 2 grey with alpha, 3 RGB, 4 RGBA.
        profile: its ICC profile; empty: none.
    """

    width: int
    height: int
    bands: int
    profile: bytes


def inspect_heic(path: Path, file: PictureFile) -> FileView:
    """Read the container's header, without decoding.

    Raises:
        PictureError: it is damaged, or an HDR picture.
        PictureTooLargeError: it has more than `MAX_PIXELS_WHOLE`.
    """
    try:
        found = _open(file)
        profile = found.info.get("icc_profile") or b""
        nclx = found.info.get("nclx_profile") or {}
        (width, height), bands = found.size, _BANDS[found.mode]
    except (*_FAULTS, KeyError) as error:
        raise damaged(path, NOT_DECODED) from error
    check_pixels(path, width, height, MAX_PIXELS_WHOLE)
    colour = None
    warnings: tuple[Message, ...] = ()
    if len(profile) > views.MAX_PROFILE_BYTES:
        profile, warnings = b"", (views.PROFILE_TOO_LARGE,)
    if not profile:
        primaries, transfer = (
            nclx.get(name, 0) for name in ("color_primaries", "transfer_characteristics")
        )
        if transfer not in colorimetry.HDR_TRANSFERS:
            transfer = _SRGB_TRANSFER  # cameras write BT.709 for sRGB
        if primaries in _WIDE or transfer != _SRGB_TRANSFER:
            colour = colorimetry.read_cicp(path, bytes((primaries, transfer, 0, 1)))
    picture = HeifPicture(width=width, height=height, bands=bands, profile=profile)
    return FileView(heif=picture, colour=colour, warnings=warnings)


def blank(picture: HeifPicture) -> pyvips.Image:
    """Return a black image with a picture's sides and bands, without decoding it."""
    return pyvips.Image.black(picture.width, picture.height, bands=picture.bands)


def decode(path: Path, file: PictureFile, picture: HeifPicture) -> pyvips.Image:
    """Decode the whole picture, 8 bits per band.

    Raises:
        PictureError: it is damaged.
    """
    try:
        found = _open(file)
        pixels = found.data
    except _FAULTS as error:
        raise damaged(path, NOT_DECODED) from error
    image = pyvips.Image.new_from_memory(pixels, *found.size, picture.bands, "uchar")
    image._references.append(found)  # keeps pi-heif's memory as long as the image
    image = image.copy(interpretation="srgb" if picture.bands > 2 else "b-w")
    if picture.profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", picture.profile)
    return image


def _open(file: PictureFile) -> Any:
    """Open the container and return its first picture, decoded later to 8 bits per band."""
    import pi_heif

    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return pi_heif.open_heif(file.read_at(0, file.size), convert_hdr_to_8bit=True)
