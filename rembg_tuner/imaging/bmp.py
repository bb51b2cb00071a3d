"""A BMP's header: what is there and how its pixels lie, checked before any is read.

Of Windows (BITMAPINFOHEADER to V5) and OS/2 (1 and 2), with 1 to 32 bits a pixel, colour masks and
RLE. libvips has no reader for these. Microsoft, "Bitmap Storage" and "BITMAPV5HEADER structure".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import views
from rembg_tuner.imaging.complaints import DAMAGED_HEADER, damaged
from rembg_tuner.imaging.formats import BMP_HEADER_BYTES, MAX_PIXELS_IN_STRIPS, check_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.imaging.views import PictureFile

    Storage = Literal["rows", "rle4", "rle8"]

FILE_HEADER_BYTES = 14
_OS2_1, _OS2_2 = (12,), (16, 64)
_WINDOWS = (40, 52, 56, 108, 124)
_V5_BYTES = 124
_MASKS_FROM = 52  # header bytes from which three masks stand in it; from 56 on a fourth, of alpha
_BITS = (1, 2, 4, 8, 16, 24, 32)
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_REFUSED = {3: "Huffman", 4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_MAX_SIDE = 2**31 - 1
_EMBEDDED = b"DEBM"  # "MBED", little-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class BmpPicture:
    """A BMP that can be read.

    Attributes:
        width, height: px.
        is_bottom_up: the first row of the file is the picture's last.
        bits: of a pixel.
        storage: plain rows, or one of the run-length codes.
        masks: of red, green, blue and alpha; alpha's is 0 where there is none. Used with 16 and 32
            bits.
        palette: red, green, blue of each colour; empty with 16 bits and more.
        offset: where the pixels begin in the file.
        profile: the ICC profile of a version 5 header; empty: none.
    """

    width: int
    height: int
    is_bottom_up: bool
    bits: int
    storage: Storage
    masks: tuple[int, int, int, int]
    palette: bytes
    offset: int
    profile: bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's pixels."""
        return (self.width * self.bits + 7) // 8

    @property
    def stride(self) -> int:
        """Bytes from row to row: whole words of 32 bits."""
        return -(-self.row_bytes // 4) * 4


def read_bmp(path: Path, file: PictureFile) -> BmpPicture:
    """Read the header and the palette.

    Raises:
        PictureError: it is damaged, or of a kind that is not read.
    """
    size = int.from_bytes(file.read_at(FILE_HEADER_BYTES, 4), "little")
    header = file.read_at(FILE_HEADER_BYTES, size) if size in BMP_HEADER_BYTES else b""
    if not header or len(header) < size:
        raise _damaged(path)
    if size in _OS2_1:
        width, height, _, bits = struct.unpack("<4H", header[4:12])
        compression = 0
    else:
        width, height, _, bits = struct.unpack("<iiHH", header[4:16])
        compression = int.from_bytes(header[16:20], "little")
    if not (0 < width <= _MAX_SIDE and 0 < abs(height) <= _MAX_SIDE) or bits not in _BITS:
        raise _damaged(path)
    check_pixels(path, width, abs(height), MAX_PIXELS_IN_STRIPS)
    storage = _storage(path, compression, bits, is_os2=size in _OS2_2)
    masks, masks_bytes = _masks(path, file, header, compression)
    begin = FILE_HEADER_BYTES + size + masks_bytes
    offset = int.from_bytes(file.read_at(10, 4), "little")
    palette = _palette(file, header, bits, begin, offset)
    return BmpPicture(
        width=width,
        height=abs(height),
        is_bottom_up=height > 0,
        bits=bits,
        storage=storage,
        masks=masks,
        palette=palette,
        offset=offset if begin <= offset else begin + _palette_bytes(header, bits),
        profile=_profile(file, header),
    )


def _damaged(path: Path) -> PictureError:
    """Make the refusal of a header that cannot be meant."""
    return damaged(path, DAMAGED_HEADER)


def _storage(path: Path, compression: int, bits: int, *, is_os2: bool) -> Storage:
    """Tell how the pixels are stored.

    Raises:
        PictureError: in a way that is not read.
    """
    if compression == _RLE8 and bits == 8:
        return "rle8"
    if compression == _RLE4 and bits == 4:
        return "rle4"
    allowed = (
        {_PLAIN: _BITS} if is_os2 else {_PLAIN: _BITS, _MASKS: (16, 32), _ALPHA_MASKS: (16, 32)}
    )
    if bits in allowed.get(compression, ()):
        return "rows"
    if compression in _REFUSED and (is_os2 or compression not in (_MASKS,)):
        kind = "RLE24" if is_os2 and compression == 4 else _REFUSED[compression]
        raise PictureError(
            Message(
                "{path} is a BMP with {kind} pixels, which is not read; save it as PNG",
                path=path,
                kind=kind,
            )
        )
    raise _damaged(path)


def _masks(
    path: Path, file: PictureFile, header: bytes, compression: int
) -> tuple[tuple[int, int, int, int], int]:
    """Read the colour masks, and tell how many bytes they take after the header.

    Raises:
        PictureError: they are none.
    """
    bits = int.from_bytes(header[14:16], "little")
    if len(header) not in _WINDOWS or compression not in (_MASKS, _ALPHA_MASKS):
        return _DEFAULT_MASKS.get(bits, (0, 0, 0, 0)), 0
    after = 0 if len(header) >= _MASKS_FROM else 12 + 4 * (compression == _ALPHA_MASKS)
    raw = header[40:56] if not after else file.read_at(FILE_HEADER_BYTES + len(header), after)
    values = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 16, 4)]
    red, green, blue, alpha = values
    is_apart = red & green == 0 and (red | green) & blue == 0 and (red | green | blue) & alpha == 0
    if not is_apart or max(values) >> bits or not all(_is_run(one) for one in values):
        raise _damaged(path)
    return (red, green, blue, alpha), after


def _is_run(mask: int) -> bool:
    """Return whether a mask's ones stand side by side; 0 is such a mask."""
    low = mask & -mask
    return mask & (mask + low) == 0


def _palette_bytes(header: bytes, bits: int) -> int:
    """Count the bytes that the palette should have."""
    if bits > 8:
        return 0
    used = int.from_bytes(header[32:36], "little") if len(header) >= 40 else 0
    count = used if 0 < used <= 2**bits else 2**bits
    return count * (3 if len(header) in _OS2_1 else 4)


def _palette(file: PictureFile, header: bytes, bits: int, begin: int, offset: int) -> bytes:
    """Read the palette as red, green, blue; colours that are not there are black."""
    if bits > 8:
        return b""
    length = _palette_bytes(header, bits)
    if offset > begin:
        length = min(length, offset - begin)
    raw = file.read_at(begin, length)
    step = 3 if len(header) in _OS2_1 else 4
    colours = (raw[i : i + 3][::-1] for i in range(0, len(raw) - 2, step))
    return b"".join(colours).ljust(3 * 2**bits, b"\0")


def _profile(file: PictureFile, header: bytes) -> bytes:
    """Read the ICC profile that a version 5 header embeds; empty: none, or none of RGB."""
    if len(header) < _V5_BYTES or header[56:60] != _EMBEDDED:
        return b""
    start, length = struct.unpack("<II", header[112:120])
    if length > views.MAX_PROFILE_BYTES:
        return b""
    profile = file.read_at(FILE_HEADER_BYTES + start, length)
    return profile if profile[36:40] == b"acsp" and profile[16:20] == b"RGB " else b""
