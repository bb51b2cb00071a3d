"""Interpret a picture's sample values as colours, as browsers do, and convert them to sRGB's curve.

PNG defines colours by cICP, iCCP, sRGB, or gAMA with cHRM, in this order of precedence (PNG
specification, third edition, 4.3). Each value is converted to sRGB's curve with a lookup table. If
the primaries differ from sRGB's, an ICC profile of these primaries (ICC.1:2022, version 4.4) is
attached, so the gamut is kept. As in Chromium 156, cHRM is used only with gAMA, and cICP only with
full range and without a matrix; BT.709's curve is read as a power of 2.4 (BT.1886).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


Chromaticity = tuple[float, float]
Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]  # white, red, green, blue

SRGB_PRIMARIES: Primaries = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D65 = (0.3127, 0.3290)
# White, red, green, blue of ITU-T H.273's ColourPrimaries
_CICP_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
_SRGB = 0.0  # represents sRGB's curve, which is not a power function
# Exponent that converts a value to linear light, by TransferCharacteristics
_CICP_POWERS = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 13: _SRGB, 14: 2.4, 15: 2.4, 17: 2.6}
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_SRGB_GAMA = 45455  # 100,000 / 2.2, written by software for sRGB
_SRGB_GAMA_MARGIN = 200  # less than a step of 255
_MIN_GAMA, _MAX_GAMA = 1_000, 10_000_000
_SAME_PRIMARIES = 0.002
_PROFILE = "icc-profile-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersColour:
    """How a picture's sample values become colours.

    Attributes:
        power: the exponent that converts a value in [0, 1] to linear light; 0: sRGB's curve.
        primaries: chromaticities of white, red, green and blue.
    """

    power: float
    primaries: Primaries


def read(path: Path, chunks: dict[bytes, bytes], profile: bytes) -> NumbersColour | None:
    """Read the colour definition from the chunks before the pixels.

    Args:
        path: of the picture.
        chunks: IHDR and, if present, cICP, sRGB, gAMA and cHRM.
        profile: iCCP's ICC profile; empty: none.

    Returns:
        The colour definition; None: the profile is used, or the colours are sRGB.

    Raises:
        PictureError: cICP defines an HDR picture.
    """
    colour = read_cicp(path, chunks.get(b"cICP", b""))
    if colour is not None or b"sRGB" in chunks or _fits(profile, chunks[b"IHDR"]):
        return colour
    if len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gama = int.from_bytes(chunks[b"gAMA"], "big")
    primaries = _read_chrm(chunks.get(b"cHRM", b""))
    is_srgb_curve = primaries == SRGB_PRIMARIES and abs(gama - _SRGB_GAMA) <= _SRGB_GAMA_MARGIN
    if not gama or is_srgb_curve:
        return None
    return NumbersColour(power=100_000 / min(max(gama, _MIN_GAMA), _MAX_GAMA), primaries=primaries)


def _fits(profile: bytes, header: bytes) -> bool:
    """Return whether a profile is valid and of the picture's kind: grey or colour."""
    is_grey = header[9:10] in (b"\0", b"\4")
    return profile[36:40] == b"acsp" and profile[16:20] == (b"GRAY" if is_grey else b"RGB ")


def read_cicp(path: Path, content: bytes) -> NumbersColour | None:
    """Read cICP; None: it is missing, or browsers ignore it.

    Raises:
        PictureError: it names an HDR curve.
    """
    if len(content) != 4 or content[2] != 0 or content[3] != 1:
        return None
    primaries, transfer = _CICP_PRIMARIES.get(content[0]), content[1]
    if primaries is not None and transfer in HDR_TRANSFERS:
        raise PictureError(
            Message(
                "{path} is an HDR picture ({transfer}), which is not supported; save it as sRGB or"
                " Display P3",
                path=path,
                transfer=HDR_TRANSFERS[transfer],
            )
        )
    if primaries is None or transfer not in _CICP_POWERS:
        return None
    return NumbersColour(power=_CICP_POWERS[transfer], primaries=primaries)


def _read_chrm(content: bytes) -> Primaries:
    """Read cHRM; return sRGB's primaries if it is missing, invalid or close to sRGB's."""
    if len(content) != 32:
        return SRGB_PRIMARIES
    x = [value / 100_000 for value in struct.unpack(">8I", content)]
    white, red, green, blue = zip(x[::2], x[1::2], strict=True)
    area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1])
    is_possible = all(y > 0 and u + y <= 1 for u, y in (white, red, green)) and abs(area) > 0.001
    spread = max(
        abs(a - b)
        for one, other in zip((white, red, green, blue), SRGB_PRIMARIES, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    if not is_possible or blue[1] <= 0 or spread <= _SAME_PRIMARIES:
        return SRGB_PRIMARIES
    return white, red, green, blue


def apply(image: pyvips.Image, colour: NumbersColour) -> pyvips.Image:
    """Convert a PNG's colours to sRGB's curve, and attach the profile of its primaries.

    Alpha is not changed.
    """
    count = image.bands - 1 if image.hasalpha() else image.bands
    if colour.power != _SRGB:
        table = pyvips.Image.new_from_array(_table(colour.power, image.format))
        colours = image[:count] if count > 1 else image[0]
        mapped = colours.maplut(table)
        mapped = mapped.bandjoin(image[count:]) if count < image.bands else mapped
        image = mapped.copy(interpretation=image.interpretation)
    else:
        image = image.copy()
    if image.get_typeof(_PROFILE):
        image.remove(_PROFILE)
    if count > 1 and colour.primaries != SRGB_PRIMARIES:
        image.set_type(pyvips.GValue.blob_type, _PROFILE, make_profile(colour.primaries))
    return image


def _table(power: float, kind: str) -> npt.NDArray[Any]:
    """Return the lookup table from values with an exponent to values of sRGB's curve.

    Returns:
        uint8 (1, 256), or uint16 (1, 65536) if `kind` is "ushort".
    """
    dtype = np.uint16 if kind == "ushort" else np.uint8
    most = np.iinfo(dtype).max
    light = (np.arange(most + 1) / most) ** power
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: npt.NDArray[Any] = np.rint(curve * most).astype(dtype)[np.newaxis]
    return table


_D50 = np.array((0.9642, 1.0, 0.8249))  # white point of the profile connection space
_BRADFORD = np.array(
    ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
)
# g, a, b, c, d of y = (a x + b) ** g above d, c x below: IEC 61966-2-1
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_HEADER_BYTES = 128


@cache
def make_profile(primaries: Primaries) -> bytes:
    """Return an ICC profile with these primaries and sRGB's curve."""
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
    """Return XYZ of a chromaticity, with Y = 1."""
    x, y = chromaticity
    return np.array((x / y, 1.0, (1 - x - y) / y))


def _fixed(*values: float) -> bytes:
    """Convert numbers to ICC's s15Fixed16."""
    return struct.pack(f">{len(values)}i", *(round(value * 2**16) for value in values))


def _text(text: str) -> bytes:
    """Convert a text to ICC's multiLocalizedUnicode, in English."""
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(encoded), 28) + encoded


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    """Assemble header, tag table and tags; tags with equal content share it."""
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
