"""BMP files of every kind, compared with the encoded pixels.

Damaged files and decompression bombs are refused.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_bmp import ALPHA_MASKS, MASKS, RLE4, RLE8, make_bmp, masked, packed, rows, run_length
from PIL import Image, ImageCms

from rembg_tuner.base.errors import PictureError, PictureTooLargeError
from rembg_tuner.imaging import formats, source, views
from rembg_tuner.imaging.header import PictureHeader, read_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_WIDTH, _HEIGHT = 37, 70  # more than two strips, and rows that are padded
_RNG = np.random.default_rng(5)
_RGB = np.asarray(
    Image.fromarray(_RNG.integers(0, 256, (5, 4, 3)).astype(np.uint8)).resize((_WIDTH, _HEIGHT))
)
_ALPHA = np.tile(np.linspace(0, 255, _WIDTH).astype(np.uint8), (_HEIGHT, 1))
_RGBA = np.dstack([_RGB, _ALPHA])
_565, _555 = (0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)
_4444, _1555 = (0x0F00, 0x00F0, 0x000F, 0xF000), (0x7C00, 0x03E0, 0x001F, 0x8000)
_RGBA_ORDER = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
_10_BITS = (0x3FF00000, 0x000FFC00, 0x000003FF)


def _palette(bits: int) -> Pixels:
    return np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)


def _indices(bits: int) -> Pixels:
    """Return indices with runs that contain every index."""
    spread: Pixels = ((np.arange(_WIDTH * _HEIGHT) // 3) % 2**bits).astype(np.uint8)
    spread[::7] = 1
    return spread.reshape(_HEIGHT, _WIDTH)


def _indexed(bits: int, **options: Any) -> tuple[bytes, Pixels]:
    body = rows(packed(_indices(bits), bits))
    content = make_bmp(body, _WIDTH, _HEIGHT, bits, palette=_palette(bits), **options)
    return content, _palette(bits)[_indices(bits)]


def _runs(bits: int, **options: Any) -> tuple[bytes, Pixels]:
    body = run_length(_indices(bits), bits, **options)
    compression = RLE8 if bits == 8 else RLE4
    content = make_bmp(body, _WIDTH, _HEIGHT, bits, palette=_palette(bits), compression=compression)
    return content, _palette(bits)[_indices(bits)]


def _by_masks(
    bits: int, masks: tuple[int, ...], *, compression: int = MASKS, header_bytes: int = 40
) -> tuple[bytes, Pixels]:
    """Encode by masks; each expected channel is truncated to its bits and expanded again."""
    body = rows(masked(_RGBA, masks, bits))
    written = masks if compression else ()
    content = make_bmp(
        body,
        _WIDTH,
        _HEIGHT,
        bits,
        compression=compression,
        masks=written,
        header_bytes=header_bytes,
    )
    depths = np.array([min(8, mask.bit_count()) for mask in masks])
    return content, (
        (_RGBA[..., : len(masks)] >> (8 - depths)) * 255 / (2**depths - 1)
    ).round().astype(np.uint8)


def _bgr(pixels: Pixels) -> list[bytes]:
    return [line[..., ::-1].tobytes() for line in pixels]


def _deltas() -> tuple[bytes, Pixels]:
    """Skip pixels by deltas and by an early end of line; they have colour 0."""
    expected = np.zeros((4, 6), np.uint8)
    code = b"\x02\x07" + b"\0\2\1\1" + b"\x02\x05" + b"\0\0" + b"\x06\x03" + b"\0\1"
    expected[3, :2], expected[2, 3:5], expected[1, :6] = 7, 5, 3
    palette = _palette(8)
    return make_bmp(code, 6, 4, 8, palette=palette, compression=RLE8), palette[expected]


_KINDS: list[Any] = [
    *(pytest.param(_indexed(bits), id=f"{bits}-bit") for bits in (1, 2, 4, 8)),
    *(pytest.param(_indexed(bits, header_bytes=12), id=f"{bits}-bit-os2") for bits in (1, 4, 8)),
    pytest.param(_indexed(8, header_bytes=64), id="8-bit-os2-2"),
    pytest.param((make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24), _RGB), id="24-bit"),
    pytest.param(
        (make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24, header_bytes=12), _RGB), id="24-bit-os2"
    ),
    pytest.param(
        (make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24, header_bytes=16), _RGB), id="24-bit-os2-16"
    ),
    pytest.param(
        (make_bmp(rows(_bgr(_RGB), is_top_down=True), _WIDTH, -_HEIGHT, 24), _RGB),
        id="24-bit-top-down",
    ),
    pytest.param(_by_masks(16, _555, compression=0), id="16-bit"),
    pytest.param(_by_masks(16, _565), id="565"),
    pytest.param(_by_masks(16, _4444, compression=ALPHA_MASKS), id="4444-alpha-masks"),
    pytest.param(_by_masks(16, _1555, header_bytes=56), id="1555-v3"),
    pytest.param(_by_masks(32, (0xFF0000, 0xFF00, 0xFF), compression=0), id="32-bit"),
    pytest.param(_by_masks(32, _RGBA_ORDER, header_bytes=108), id="rgba-v4"),
    pytest.param(_by_masks(32, _RGBA_ORDER, header_bytes=124), id="rgba-v5"),
    pytest.param(_by_masks(32, _RGBA_ORDER[:3], header_bytes=124), id="rgbx-v5"),
    pytest.param(_by_masks(32, _10_BITS), id="10-bits-a-channel"),
    pytest.param(_runs(8), id="rle8"),
    pytest.param(_runs(4), id="rle4"),
    pytest.param(_runs(8, end=b"\0\1appended"), id="rle8-bytes-after"),
    pytest.param(_deltas(), id="rle8-deltas"),
]


def _read(path: Path) -> tuple[PictureHeader, Pixels]:
    header = read_header(path)
    with source.opened(header, 0, path.parent) as image:
        return header, image.numpy()


@pytest.mark.parametrize("case", _KINDS)
def test_a_bmp_is_read(tmp_path: Path, case: tuple[bytes, Pixels]) -> None:
    """Pixels are equal; only run-length files are decoded as a whole."""
    content, expected = case
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    header, pixels = _read(path)
    assert header.format == formats.BMP
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() == 0
    assert header.is_whole == any(
        content[30:34] == struct.pack("<I", kind) for kind in (RLE8, RLE4) if content[14] == 40
    )
    assert views.END_MISSING not in header.warnings
    small = source.read_small(header, width=16, height=16).numpy()
    assert small.shape[:2] == (min(16, len(expected)), min(16, expected.shape[1]))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_pillows_own_bmp_is_read(tmp_path: Path, mode: str) -> None:
    """A BMP that Pillow wrote is read as Pillow reads it.

    The fourth byte of plain 32-bit pixels is unused.
    """
    path = tmp_path / "a.bmp"
    Image.fromarray(_RGBA).convert(mode).save(path)
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(_read(path)[1], expected)


def test_opacity_that_is_0_everywhere_is_none(tmp_path: Path) -> None:
    """An alpha channel of zeros is ignored, as in browsers."""
    path = tmp_path / "a.bmp"
    transparent = np.dstack([_RGB, np.zeros_like(_ALPHA)])
    body = rows(masked(transparent, _RGBA_ORDER, 32))
    path.write_bytes(
        make_bmp(body, _WIDTH, _HEIGHT, 32, compression=MASKS, masks=_RGBA_ORDER, header_bytes=108)
    )
    header, pixels = _read(path)
    assert header.warnings == (views.NO_OPACITY,)
    assert np.array_equal(pixels, _RGB)


def test_an_embedded_profile_goes_along(tmp_path: Path) -> None:
    """A version 5 header's ICC profile is kept, as every RGB profile is."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.bmp"
    path.write_bytes(
        make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24, header_bytes=124, profile=profile)
    )
    with source.opened(read_header(path), 0, tmp_path) as image:
        assert bytes(image.get("icc-profile-data")) == profile
        assert np.array_equal(image.numpy(), _RGB)


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        pytest.param(make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24), 1, id="padding"),
        pytest.param(_runs(8, end=b"")[0], 0, id="rle8-without-end"),
        pytest.param(_runs(4)[0], 1, id="rle4-end-cut"),
    ],
)
def test_a_missing_end_is_a_warning(tmp_path: Path, content: bytes, cut: int) -> None:
    """Padding and the end marker are not required."""
    path = tmp_path / "a.bmp"
    path.write_bytes(content)
    expected = _read(path)[1]
    path.write_bytes(content[: len(content) - cut])
    header, pixels = _read(path)
    assert header.warnings[-1] == views.END_MISSING
    assert np.array_equal(pixels, expected)


def _header(**changes: int) -> bytes:
    """Return a 24-bit BMP with some fields of its header changed."""
    fields = {"width": 8, "height": 8, "bits": 24, "compression": 0, **changes}
    return make_bmp(
        bytes(200),
        fields["width"],
        fields["height"],
        fields["bits"],
        compression=fields["compression"],
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(
            make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24)[:-2],
            "the file ends before",
            id="a-pixel-missing",
        ),
        pytest.param(
            make_bmp(rows(_bgr(_RGB)), _WIDTH, _HEIGHT, 24)[:3000],
            "the file ends before",
            id="half",
        ),
        pytest.param(_runs(8, end=b"")[0][:-40], "the file ends before", id="rle-cut"),
        pytest.param(_header()[:40], "its header is damaged", id="header-cut"),
        pytest.param(_header(width=0), "its header is damaged", id="width-0"),
        pytest.param(_header(width=-8), "its header is damaged", id="width-negative"),
        pytest.param(_header(height=0), "its header is damaged", id="height-0"),
        pytest.param(
            _header(height=-(2**31)), "its header is damaged", id="height-without-positive"
        ),
        pytest.param(_header(bits=7), "its header is damaged", id="bits"),
        pytest.param(_header(compression=RLE8), "its header is damaged", id="rle-of-24-bits"),
        pytest.param(_header(compression=99), "its header is damaged", id="compression"),
        pytest.param(
            _header(compression=4), "is a BMP with JPEG pixels, which is not supported", id="jpeg"
        ),
        pytest.param(
            _header(compression=5), "is a BMP with PNG pixels, which is not supported", id="png"
        ),
        pytest.param(
            make_bmp(bytes(99), 8, 8, 1, header_bytes=64, compression=3),
            "is a BMP with Huffman pixels",
            id="os2-huffman",
        ),
        pytest.param(
            make_bmp(bytes(99), 8, 8, 24, header_bytes=64, compression=4),
            "is a BMP with RLE24 pixels",
            id="os2-rle24",
        ),
        pytest.param(
            make_bmp(bytes(200), 4, 4, 16, compression=MASKS, masks=(0xF00F, 0xF0, 0xF00)),
            "its header is damaged",
            id="mask-with-a-hole",
        ),
        pytest.param(
            make_bmp(bytes(200), 4, 4, 16, compression=MASKS, masks=(0xF0, 0xF0, 0xF00)),
            "its header is damaged",
            id="masks-overlap",
        ),
        pytest.param(
            make_bmp(bytes(200), 4, 4, 16, compression=MASKS, masks=(0xF0000, 0xF0, 0xF00)),
            "its header is damaged",
            id="mask-too-high",
        ),
    ],
)
def test_a_damaged_bmp_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """Both ways of reading raise an error with a clear message."""
    path = tmp_path / "a.bmp"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=reason) as caught:
        _read(path)
    assert str(caught.value).startswith(f"{path} ")


@pytest.mark.parametrize(
    ("width", "height", "bits", "compression", "reason"),
    [
        pytest.param(60_000, 60_000, 24, 0, "more than the 268 MP", id="rows"),
        pytest.param(2**31 - 1, -(2**31 - 1), 1, 0, "more than the 268 MP", id="sides"),
        pytest.param(12_000, 12_000, 8, RLE8, "more than the 100 MP", id="runs"),
    ],
)
def test_a_bmp_bomb_is_refused_at_once(
    tmp_path: Path, width: int, height: int, bits: int, compression: int, reason: str
) -> None:
    """A small file that declares too many pixels is refused."""
    path = tmp_path / "a.bmp"
    path.write_bytes(make_bmp(b"\0\1", width, height, bits, compression=compression))
    started = time.process_time()
    with pytest.raises(PictureTooLargeError, match=reason):
        read_header(path)
    assert time.process_time() - started < 1
