"""A BMP's pixels as RGB or RGBA, strip by strip; run-length codes are decoded whole first."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from rembg_tuner.imaging import views
from rembg_tuner.imaging.bmp import BmpPicture, read_bmp
from rembg_tuner.imaging.complaints import ENDS_EARLY, damaged
from rembg_tuner.imaging.computed_tiff import STRIP_ROWS, open_rows
from rembg_tuner.imaging.views import FileView

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.views import PictureFile

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)
    Lines = npt.NDArray[np.uint8]  # (h, bytes of a row)

_END_OF_LINE, _DELTA = 0, 2
_END_CODE = b"\0\1"


class BmpRows:
    """A BMP of which any rows can be had without the others."""

    def __init__(self, file: PictureFile, picture: BmpPicture, *, has_alpha: bool) -> None:
        """Read nothing yet: a run-length code is decoded when its first rows are asked for."""
        self.width, self.height = picture.width, picture.height
        self.bands = 4 if has_alpha else 3
        self._picture = picture
        self._palette = np.frombuffer(picture.palette, np.uint8).reshape(-1, 3)
        self._descriptor = os.dup(file.descriptor)
        weakref.finalize(self, os.close, self._descriptor)
        self._indices: Lines | None = None

    def rows(self, top: int, bottom: int) -> Pixels:
        """Give rows `top` to `bottom`, the last not included.

        Uint8 (bottom - top, width, bands).
        """
        first, last = top, bottom
        if self._picture.is_bottom_up:
            first, last = self.height - bottom, self.height - top
        lines = self._lines(first, last)
        if self._picture.is_bottom_up:
            lines = lines[::-1]
        return np.ascontiguousarray(self._colours(lines))

    def _lines(self, first: int, last: int) -> Lines:
        """Read rows in the order of the file."""
        if self._picture.storage != "rows":
            if self._indices is None:
                self._indices = _decode_runs(self._descriptor, self._picture)[0]
            return self._indices[first:last]
        stride = self._picture.stride
        block = os.pread(
            self._descriptor, (last - first) * stride, self._picture.offset + first * stride
        )
        block = block.ljust((last - first) * stride, b"\0")  # padding that the end lacks
        return np.frombuffer(block, np.uint8).reshape(last - first, stride)

    def _colours(self, lines: Lines) -> Pixels:
        """Turn rows of the file into colours."""
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
    """Spread pixels of 1, 2, 4 or 8 bits, the highest first, over bytes."""
    if bits == 8:
        return lines[:, :width]
    if bits == 1:
        return np.unpackbits(lines, axis=1)[:, :width]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    spread = (lines[:, :, np.newaxis] >> shifts) & np.uint8(2**bits - 1)
    indices: Lines = spread.reshape(len(lines), -1)[:, :width]
    return indices


def _channel(values: npt.NDArray[np.unsignedinteger], mask: int) -> Lines:
    """Take a channel out of whole pixels and scale it to 0..255; a mask of 0 gives 0."""
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


def inspect(path: Path, file: PictureFile) -> FileView:
    """Read a BMP's header, and make sure that all rows are there.

    A run-length code is left to `settle`.

    Raises:
        PictureError: it is damaged, of a kind that is not read, or pixels are missing.
        PictureTooLargeError: it has more pixels than any picture may.
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


def settle(path: Path, file: PictureFile, view: FileView) -> FileView | None:  # noqa: ARG001  # as of other formats
    """Decode a run-length code that does not end as it should.

    Returns:
        The view, no longer as that of a file that was cut where only bytes follow the end; None:
        pixels are missing.
    """
    if view.bmp is None or view.bmp.storage == "rows":
        return view
    _, has_end, is_full = _decode_runs(file.descriptor, view.bmp)
    if has_end:
        return replace(view, is_cut=False)
    return view if is_full else None


def _has_opacity(file: PictureFile, picture: BmpPicture) -> bool:
    """Return whether any pixel's alpha is more than 0.

    Read up to the first strip in which one is.
    """
    rows = BmpRows(file, picture, has_alpha=True)
    return any(
        rows.rows(top, min(picture.height, top + STRIP_ROWS))[..., 3].any()
        for top in range(0, picture.height, STRIP_ROWS)
    )


def open_bmp(file: PictureFile, picture: BmpPicture) -> pyvips.Image:
    """Open a BMP for one pass from top to bottom: 8-bit RGB, or RGBA where it has an alpha mask."""
    image = open_rows(BmpRows(file, picture, has_alpha=bool(picture.masks[3])))
    if picture.profile:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", picture.profile)
    return image


def _decode_runs(descriptor: int, picture: BmpPicture) -> tuple[Lines, bool, bool]:
    """Decode RLE4 or RLE8; pixels that are left out have colour 0.

    Returns:
        Indices (h, w) in the order of the file; whether the code says where it ends; whether it
        came to the last pixel.
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

    Indices, and how many bytes of the code follow for them.
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
