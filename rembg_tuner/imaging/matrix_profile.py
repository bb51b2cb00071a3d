"""An ICC profile of three primaries and sRGB's curve, written out (ICC.1:2022, version 4.4)."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np

Chromaticity = tuple[float, float]
Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]  # white, red, green, blue

SRGB_PRIMARIES: Primaries = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D50 = np.array((0.9642, 1.0, 0.8249))  # the white of the profile connection space
_BRADFORD = np.array(
    ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
)
# g, a, b, c, d of y = (a x + b) ** g above d, c x below: IEC 61966-2-1
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_HEADER_BYTES = 128


@cache
def make_profile(primaries: Primaries) -> bytes:
    """Write the profile of these primaries with sRGB's curve."""
    white = _xyz(primaries[0])
    adapted = (
        np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    )
    columns = np.array([_xyz(one) for one in primaries[1:]]).T
    matrix = adapted @ (columns * np.linalg.solve(columns, white))
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(*_SRGB_CURVE)
    return _assemble(
        {
            b"desc": _text("Own-primaries RGB"),
            b"cprt": _text("CC0"),
            b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_D50),
            b"chad": b"sf32\0\0\0\0" + _fixed(*adapted.ravel()),
            **{
                name: b"XYZ \0\0\0\0" + _fixed(*matrix[:, i])
                for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
            },
            b"rTRC": curve,
            b"gTRC": curve,
            b"bTRC": curve,
        }
    )


def _xyz(chromaticity: Chromaticity) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Give XYZ with Y = 1."""
    x, y = chromaticity
    return np.array((x / y, 1.0, (1 - x - y) / y))


def _fixed(*values: float) -> bytes:
    """Write numbers as ICC's s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(value * 2**16) for value in values))


def _text(text: str) -> bytes:
    """Write a text as ICC's multiLocalizedUnicode, in English."""
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(encoded), 28) + encoded


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    """Lay header, table and tags out; equal tags are written once."""
    offsets: dict[bytes, int] = {}
    body = b""
    begin = _HEADER_BYTES + 4 + 12 * len(tags)
    for content in tags.values():
        if content not in offsets:
            offsets[content] = begin + len(body)
            body += content + bytes(-len(content) % 4)
    table = struct.pack(">I", len(tags)) + b"".join(
        struct.pack(">4sII", name, offsets[content], len(content)) for name, content in tags.items()
    )
    size = begin + len(body)
    header = struct.pack(">I4xI", size, 0x04400000) + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(*_D50)
    return header.ljust(_HEADER_BYTES, b"\0") + table + body
