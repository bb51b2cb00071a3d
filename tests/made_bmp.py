"""BMP files of every kind, built from the definitions of their headers, for tests.

Pillow writes only a few kinds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.uint8]  # (h, w)
    Colours = npt.NDArray[np.uint8]  # (n, 3) or (h, w, 3 or 4): red, green, blue, alpha

PLAIN, RLE8, RLE4, MASKS, ALPHA_MASKS = 0, 1, 2, 3, 6


def make_bmp(
    body: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    header_bytes: int = 40,
    compression: int = PLAIN,
    palette: Colours | None = None,
    masks: tuple[int, ...] = (),
    profile: bytes = b"",
) -> bytes:
    """Return a BMP file: headers, masks, palette and pixels.

    `height` is negative if the rows go from top to bottom.
    """
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        used = 0 if palette is None else len(palette)
        header = struct.pack(
            "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 2835, 2835, used, 0
        )
        header = struct.pack("<I", header_bytes) + header[4:header_bytes]
    written = b"".join(struct.pack("<I", mask) for mask in masks)
    after = b""
    if header_bytes >= 52:
        header += written
    else:
        after = written
    header = header.ljust(header_bytes, b"\0")
    colours = (
        b""
        if palette is None
        else b"".join(
            bytes(colour[::-1]) + (b"" if header_bytes == 12 else b"\0") for colour in palette
        )
    )
    offset = 14 + len(header) + len(after) + len(colours)
    if profile:
        header = (
            header[:56]
            + b"DEBM"
            + header[60:112]
            + struct.pack("<II", offset - 14 + len(body), len(profile))
            + header[120:]
        )
    size = offset + len(body) + len(profile)
    return b"".join(
        (struct.pack("<2sIII", b"BM", size, 0, offset), header, after, colours, body, profile)
    )


def rows(lines: list[bytes], *, is_top_down: bool = False) -> bytes:
    """Join rows, each padded to a multiple of 32 bits."""
    padded = [line + bytes(-len(line) % 4) for line in lines]
    return b"".join(padded if is_top_down else padded[::-1])


def packed(indices: Indices, bits: int) -> list[bytes]:
    """Pack indices of 1, 2, 4 or 8 bits, the highest bit first."""
    spread = (indices[..., np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(line.ravel()).tobytes() for line in spread]


def masked(pixels: Colours, masks: tuple[int, ...], bits: int) -> list[bytes]:
    """Pack colours by masks; each channel is truncated to the bits of its mask."""
    total = np.zeros(pixels.shape[:2], np.uint64)
    for i, mask in enumerate(masks):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            depth = mask.bit_count()
            channel = pixels[..., i].astype(np.uint64) << 8 | pixels[..., i]  # 16 bits
            total |= (channel >> np.uint64(16 - depth)) << np.uint64(shift)
    return [line.tobytes() for line in total.astype(f"<u{bits // 8}")]


def run_length(indices: Indices, bits: int, *, end: bytes = b"\0\1") -> bytes:
    """Encode run lengths, with literals where neighbours differ, from the last row up."""
    code = b""
    for line in indices[::-1].tolist():
        x = 0
        while x < len(line):
            run = 1
            while x + run < len(line) and run < 255 and line[x + run] == line[x]:
                run += 1
            literal = line[x : x + 5]
            if run < 3 and len(literal) == 5:
                content = (
                    bytes(literal)
                    if bits == 8
                    else bytes(
                        (
                            literal[0] << 4 | literal[1],
                            literal[2] << 4 | literal[3],
                            literal[4] << 4,
                        )
                    )
                )
                code += bytes((0, 5)) + content + bytes(len(content) % 2)
                x += 5
            else:
                code += bytes((run, line[x] if bits == 8 else line[x] * 17))
                x += run
        code += b"\0\0"
    return code + end
