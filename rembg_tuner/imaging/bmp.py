"""Read BMP files, which libvips does not support: the header, then the pixels strip by strip.

Supported are Windows files (BITMAPINFOHEADER to V5) and OS/2 files (1 and 2), with 1 to 32 bits per
pixel, colour masks and RLE. Run-length encoded files are decoded whole. Source: Microsoft, "Bitmap
Storage" and "BITMAPV5HEADER structure".
"""

from __future__ import annotations

import os
import struct
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyvips

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import views
from rembg_tuner.imaging.complaints import DAMAGED_HEADER, ENDS_EARLY, damaged
from rembg_tuner.imaging.formats import BMP_HEADER_BYTES, MAX_PIXELS_IN_STRIPS, check_pixels
from rembg_tuner.imaging.libvips import STRIP_ROWS, open_rows
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.views import PictureFile

    Storage = Literal["rows", "rle4", "rle8"]

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)
    Lines = npt.NDArray[np.uint8]  # (h, bytes of a row)

FILE_HEADER_BYTES = 14
_OS2_1, _OS2_2 = (12,), (16, 64)
_WINDOWS = (40, 52, 56, 108, 124)
_V5_BYTES = 124
_MASKS_FROM = 52  # bytes; such headers contain three masks, and from 56 bytes on one for alpha
_BITS = (1, 2, 4, 8, 16, 24, 32)
_PLAIN, _MASKS, _ALPHA_MASKS = 0, 3, 6  # compressions
_RUN_LENGTH: dict[tuple[int, int], Storage] = {(1, 8): "rle8", (2, 4): "rle4"}
_REFUSED = {3: "Huffman", 4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_MAX_SIDE = 2**31 - 1
_EMBEDDED = b"DEBM"  # "MBED", little-endian
_END_OF_LINE, _DELTA = 0, 2  # escape codes of RLE
_END_CODE = b"\0\1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BmpPicture:
    """The header of a supported BMP.

    Attributes:
        width, height: px.
        is_bottom_up: the first row of the file is the picture's last.
        bits: per pixel.
        storage: plain rows, or the kind of run-length encoding.
        masks: of red, green, blue and alpha; alpha's is 0 if there is no alpha. Used with 16 and 32
            bits.
        palette: red, green, blue of each colour; empty with 16 bits and more.
        offset: of the pixels in the file, bytes.
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
        """Return the size of a row's pixels, bytes."""
        return (self.width * self.bits + 7) // 8

    @property
    def stride(self) -> int:
        """Return the distance between rows, bytes; a multiple of 4."""
        return -(-self.row_bytes // 4) * 4


def read_bmp(path: Path, file: PictureFile) -> BmpPicture:
    """Read the header and the palette.

    Raises:
        PictureError: they are damaged, or of an unsupported kind.
        PictureTooLargeError: the picture has more than `MAX_PIXELS_IN_STRIPS`.
    """
    size = int.from_bytes(file.read_at(FILE_HEADER_BYTES, 4), "little")
    header = file.read_at(FILE_HEADER_BYTES, size) if size in BMP_HEADER_BYTES else b""
    if not header or len(header) < size:
        raise damaged(path, DAMAGED_HEADER)
    if size in _OS2_1:
        width, height, _, bits = struct.unpack("<4H", header[4:12])
        compression = 0
    else:
        width, height, _, bits = struct.unpack("<iiHH", header[4:16])
        compression = int.from_bytes(header[16:20], "little")
    if not (0 < width <= _MAX_SIDE and 0 < abs(height) <= _MAX_SIDE) or bits not in _BITS:
        raise damaged(path, DAMAGED_HEADER)
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


def _storage(path: Path, compression: int, bits: int, *, is_os2: bool) -> Storage:
    """Return how the pixels are stored.

    Raises:
        PictureError: in an unsupported way.
    """
    if (compression, bits) in _RUN_LENGTH:
        return _RUN_LENGTH[compression, bits]
    with_masks = () if is_os2 else (_MASKS, _ALPHA_MASKS)
    if compression == _PLAIN or (compression in with_masks and bits in (16, 32)):
        return "rows"
    kind = "RLE24" if is_os2 and compression == 4 else _REFUSED.get(compression)
    if kind is None or compression in with_masks:
        raise damaged(path, DAMAGED_HEADER)
    raise PictureError(
        Message(
            "{path} is a BMP with {kind} pixels, which is not supported; save it as PNG",
            path=path,
            kind=kind,
        )
    )


def _masks(
    path: Path, file: PictureFile, header: bytes, compression: int
) -> tuple[tuple[int, int, int, int], int]:
    """Read the colour masks, and return them and the bytes they occupy after the header.

    Raises:
        PictureError: the masks are invalid.
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
        raise damaged(path, DAMAGED_HEADER)
    return (red, green, blue, alpha), after


def _is_run(mask: int) -> bool:
    """Return whether a mask's ones are adjacent; True for 0."""
    low = mask & -mask
    return mask & (mask + low) == 0


def _palette_bytes(header: bytes, bits: int) -> int:
    """Return the size of the palette according to the header, bytes."""
    if bits > 8:
        return 0
    used = int.from_bytes(header[32:36], "little") if len(header) >= 40 else 0
    count = used if 0 < used <= 2**bits else 2**bits
    return count * (3 if len(header) in _OS2_1 else 4)


def _palette(file: PictureFile, header: bytes, bits: int, begin: int, offset: int) -> bytes:
    """Read the palette as red, green, blue; missing colours are black."""
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
    """Read the ICC profile in a version 5 header; empty: no profile, or not an RGB profile."""
    if len(header) < _V5_BYTES or header[56:60] != _EMBEDDED:
        return b""
    start, length = struct.unpack("<II", header[112:120])
    if length > views.MAX_PROFILE_BYTES:
        return b""
    profile = file.read_at(FILE_HEADER_BYTES + start, length)
    return profile if profile[36:40] == b"acsp" and profile[16:20] == b"RGB " else b""


class BmpRows:
    """A BMP whose rows can be read in any order."""

    def __init__(self, file: PictureFile, picture: BmpPicture, *, has_alpha: bool) -> None:
        """Open the pixels; run-length codes are decoded when rows are first requested.

        Args:
            file: the file; it may be closed afterwards.
            picture: its header.
            has_alpha: return RGBA instead of RGB.
        """
        self.width, self.height = picture.width, picture.height
        self.bands = 4 if has_alpha else 3
        self._picture = picture
        self._palette = np.frombuffer(picture.palette, np.uint8).reshape(-1, 3)
        self._descriptor = os.dup(file.descriptor)
        weakref.finalize(self, os.close, self._descriptor)
        self._indices: Lines | None = None

    def rows(self, top: int, bottom: int) -> Pixels:
        """Return rows `top` to `bottom`, exclusive: uint8 (rows, width, bands)."""
        first, last = top, bottom
        if self._picture.is_bottom_up:
            first, last = self.height - bottom, self.height - top
        lines = self._lines(first, last)
        if self._picture.is_bottom_up:
            lines = lines[::-1]
        return np.ascontiguousarray(self._colours(lines))

    def _lines(self, first: int, last: int) -> Lines:
        """Return rows `first` to `last`, exclusive, in the order of the file."""
        if self._picture.storage != "rows":
            if self._indices is None:
                self._indices = _decode_runs(self._descriptor, self._picture)[0]
            return self._indices[first:last]
        stride = self._picture.stride
        block = os.pread(
            self._descriptor, (last - first) * stride, self._picture.offset + first * stride
        )
        block = block.ljust((last - first) * stride, b"\0")  # the last row's padding may be missing
        return np.frombuffer(block, np.uint8).reshape(last - first, stride)

    def _colours(self, lines: Lines) -> Pixels:
        """Convert rows of the file to colours: uint8 (rows, width, bands)."""
        bits, width = self._picture.bits, self.width
        colours: Pixels
        if bits == 24:
            colours = lines[:, : 3 * width].reshape(-1, width, 3)[..., ::-1]
        elif bits > 8:
            values = np.ascontiguousarray(lines[:, : width * bits // 8]).view(f"<u{bits // 8}")
            masks = self._picture.masks[: self.bands]
            colours = np.stack([_channel(values, mask) for mask in masks], axis=2)
        else:
            indices = lines if self._indices is not None else _unpack(lines, bits, width)
            colours = self._palette[indices]
        return colours


def _unpack(lines: Lines, bits: int, width: int) -> Lines:
    """Convert pixels of 1, 2, 4 or 8 bits, highest bits first, to one byte each."""
    if bits == 8:
        return lines[:, :width]
    if bits == 1:
        return np.unpackbits(lines, axis=1)[:, :width]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = (lines[:, :, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    indices: Lines = spread.reshape(len(lines), -1)[:, :width]
    return indices


def _channel(values: npt.NDArray[np.unsignedinteger], mask: int) -> Lines:
    """Extract a channel from whole pixels and scale it to [0, 255]; a mask of 0 gives 0."""
    channel: Lines
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    parts = (values & values.dtype.type(mask)) >> values.dtype.type(shift)
    if most == 255:
        channel = parts.astype(np.uint8)
    elif most < 2**16:
        table = (np.arange(most + 1) * 255 / most).round().astype(np.uint8)
        channel = table[parts]
    else:
        channel = (parts >> values.dtype.type(most.bit_length() - 8)).astype(np.uint8)
    return channel


def inspect_bmp(path: Path, file: PictureFile) -> FileView:
    """Read a BMP's header, and check that all rows are present.

    Run-length encoded files are checked by `settle_bmp`.

    Raises:
        PictureError: the file is damaged, of an unsupported kind, or pixels are missing.
        PictureTooLargeError: it has more than `MAX_PIXELS_IN_STRIPS`.
    """
    picture = read_bmp(path, file)
    if picture.storage != "rows":
        return FileView(
            bmp=picture, is_whole=True, is_cut=file.read_at(file.size - 2, 2) != _END_CODE
        )
    there = file.size - picture.offset
    if there < picture.stride * (picture.height - 1) + picture.row_bytes:
        raise damaged(path, ENDS_EARLY)
    warnings: tuple[Message, ...] = ()
    if picture.masks[3] and not _has_opacity(file, picture):
        picture = replace(picture, masks=(*picture.masks[:3], 0))
        warnings = (views.NO_OPACITY,)
    is_cut = there < picture.stride * picture.height
    return FileView(bmp=picture, is_cut=is_cut, warnings=warnings)


def settle_bmp(path: Path, file: PictureFile, view: FileView) -> FileView | None:  # noqa: ARG001
    """Decode a run-length encoded file that does not end with the end code.

    `path` is unused; the functions of other formats need it.

    Returns:
        The view, no longer marked as truncated if only extra bytes follow the end code; None:
        pixels are missing.
    """
    if view.bmp is None or view.bmp.storage == "rows":
        return view
    _, has_end, is_full = _decode_runs(file.descriptor, view.bmp)
    if has_end:
        return replace(view, is_cut=False)
    return view if is_full else None


def _has_opacity(file: PictureFile, picture: BmpPicture) -> bool:
    """Return whether any pixel's alpha is above 0.

    It reads up to the first strip with such a pixel.
    """
    rows = BmpRows(file, picture, has_alpha=True)
    return any(
        rows.rows(top, min(picture.height, top + STRIP_ROWS))[..., 3].any()
        for top in range(0, picture.height, STRIP_ROWS)
    )


def open_bmp(file: PictureFile, picture: BmpPicture) -> pyvips.Image:
    """Open a BMP for one pass from top to bottom: 8-bit RGB, or RGBA if it has an alpha mask."""
    image = open_rows(BmpRows(file, picture, has_alpha=bool(picture.masks[3])))
    if picture.profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", picture.profile)
    return image


def _decode_runs(descriptor: int, picture: BmpPicture) -> tuple[Lines, bool, bool]:
    """Decode RLE4 or RLE8; skipped pixels have colour 0.

    Returns:
        Indices, uint8 (h, w), in the order of the file; whether the end code was found; whether
        the last pixel was reached.
    """
    width, height = picture.width, picture.height
    size = os.fstat(descriptor).st_size
    code = os.pread(descriptor, size - picture.offset, picture.offset)
    pixels = bytearray(width * height)
    x = y = i = 0
    has_end = False
    while i + 1 < len(code) and y <= height and not has_end:
        count, value = code[i], code[i + 1]
        i += 2
        if count or value > _DELTA:
            run, length = _run(code, i, picture.bits)
            run = run[: max(0, width - x)] if y < height else b""
            pixels[y * width + x : y * width + x + len(run)] = run
            x, i = x + len(run), i + length
        elif value == _DELTA:
            x, y, i = x + sum(code[i : i + 1]), y + sum(code[i + 1 : i + 2]), i + 2
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
        else:
            has_end = True
    is_full = y >= height or (y == height - 1 and x >= width)
    return np.frombuffer(pixels, np.uint8).reshape(height, width), has_end, is_full


def _run(code: bytes, i: int, bits: int) -> tuple[bytes, int]:
    """Decode the run whose two bytes end at `i`.

    Returns:
        Its colour indices, and the number of further bytes of the code that it uses.
    """
    count, value = code[i - 2], code[i - 1]
    if count and bits == 8:
        return bytes((value,)) * count, 0
    if count:
        return (bytes((value >> 4, value & 15)) * (count // 2 + 1))[:count], 0
    length = value if bits == 8 else (value + 1) // 2
    literal = code[i : i + length]
    if bits == 4:
        literal = bytes(half for byte in literal for half in (byte >> 4, byte & 15))
    return literal[:value], length + length % 2
