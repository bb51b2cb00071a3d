"""HEIC pictures, by pi-heif where it is installed.

The extra `heif`, since libheif and libde265 are LGPL.

The worker imports it, and Pillow with it, only for such a picture. The file's own turning (irot,
imir) is applied while decoding; EXIF's orientation is not to be applied again (ISO/IEC 23008-12,
6.5.10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyvips

from rembg_tuner.imaging import png_colour, views
from rembg_tuner.imaging.complaints import NOT_DECODED, damaged
from rembg_tuner.imaging.formats import MAX_PIXELS_WHOLE, check_pixels
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.views import PictureFile

_BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_FAULTS = (OSError, ValueError, SyntaxError, RuntimeError, EOFError, MemoryError)  # pi-heif's
_WIDE = {9, 12}  # BT.2020 and Display P3 among ITU-T H.273's ColourPrimaries
_SRGB_TRANSFER = 13


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


def inspect(path: Path, file: PictureFile) -> FileView:
    """Read what the container says; nothing is decoded.

    Raises:
        PictureError: it is damaged, or an HDR picture.
        PictureTooLargeError: it has more pixels than any picture may that is decoded whole.
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
        if transfer not in png_colour.HDR_TRANSFERS:
            transfer = _SRGB_TRANSFER  # what cameras write for BT.709 is meant as sRGB
        if primaries in _WIDE or transfer != _SRGB_TRANSFER:
            colour = png_colour.read_cicp(path, bytes((primaries, transfer, 0, 1)))
    picture = HeifPicture(width=width, height=height, bands=bands, profile=profile)
    return FileView(heif=picture, colour=colour, warnings=warnings)


def blank(picture: HeifPicture) -> pyvips.Image:
    """Give a picture's sides and bands, with no pixel decoded."""
    return pyvips.Image.black(picture.width, picture.height, bands=picture.bands)


def decode(path: Path, file: PictureFile, picture: HeifPicture) -> pyvips.Image:
    """Decode the picture whole; 8 bits a band.

    Raises:
        PictureError: it is damaged.
    """
    try:
        found = _open(file)
        pixels = found.data
    except _FAULTS as error:
        raise damaged(path, NOT_DECODED) from error
    image = pyvips.Image.new_from_memory(pixels, *found.size, picture.bands, "uchar")
    image._references.append(found)  # pi-heif's memory goes with it
    image = image.copy(interpretation="srgb" if picture.bands > 2 else "b-w")
    if picture.profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", picture.profile)
    return image


def _open(file: PictureFile) -> Any:
    """Open the container and give its first picture, of 8 bits a band when it is decoded."""
    import pi_heif

    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return pi_heif.open_heif(file.read_at(0, file.size), convert_hdr_to_8bit=True)
