"""Pictures as they are read, compared with Pillow's pixels.

Every kind, every orientation and every profile.
"""

from __future__ import annotations

import functools
import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pyvips
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from rembg_tuner.base.boxes import Box
from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import source
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.libvips import start_libvips

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_WIDTH, _HEIGHT = 96, 64
_TO_SRGB = ImageCms.Intent.RELATIVE_COLORIMETRIC  # the intent that libvips uses


@pytest.fixture(autouse=True, scope="module")
def _libvips() -> None:
    """Configure libvips as the worker does; its cache would return a file's former pixels."""
    start_libvips(2)


def _colours(width: int = _WIDTH, height: int = _HEIGHT) -> Image.Image:
    """Return a picture that differs from all its rotations and reflections."""
    rng = np.random.default_rng(11)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    return blobs.resize((width, height), Image.Resampling.BICUBIC)


def _with_alpha() -> Image.Image:
    """Return a picture with every opacity, including 0 and 255."""
    picture = _colours().convert("RGBA")
    ramp = np.linspace(0, 255, _WIDTH).round().astype(np.uint8)
    picture.putalpha(Image.fromarray(np.tile(ramp, (_HEIGHT, 1))))
    return picture


def _read(path: Path, *, max_side: int = 0) -> Pixels:
    """Read a picture's pixels as for a cut-out."""
    header = read_header(path)
    with source.opened(header, max_side, path.parent) as image:
        pixels: Pixels = image.numpy()
    return pixels


def _by_pillow(path: Path) -> Pixels:
    """Read the same file with Pillow: the first frame, upright, RGB or RGBA."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        has_alpha = "A" in upright.mode or "transparency" in upright.info
        return np.asarray(upright.convert("RGBA" if has_alpha else "RGB"))


def _scaled_by_pillow(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scale each band separately, so that alpha does not weight the colours."""
    bands = [
        np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.LANCZOS))
        for band in np.moveaxis(pixels, 2, 0)
    ]
    return np.stack(bands, axis=2)


def _assert_near(ours: Pixels, theirs: Pixels, *, worst: int, mean: float) -> None:
    """Compare shapes, then the worst and the mean difference in steps of 255."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= worst
    assert difference.mean() <= mean


def _frames() -> list[Image.Image]:
    """Return a first frame, and others that must not be read."""
    first = _colours()
    return [first, first.transpose(Image.Transpose.ROTATE_180), Image.new("RGB", first.size)]


def _grey() -> Image.Image:
    return _colours().convert("L")


def _palette(colours: int = 200) -> Image.Image:
    return _colours().quantize(colours)


_KINDS: list[Any] = [
    pytest.param("a.jpg", _colours, {"quality": 95}, id="jpeg-baseline"),
    pytest.param("a.jpg", _colours, {"progressive": True}, id="jpeg-progressive"),
    pytest.param("a.jpg", _colours, {"subsampling": 2}, id="jpeg-subsampled"),
    pytest.param("a.jpg", _grey, {}, id="jpeg-grey"),
    pytest.param("a.png", _colours, {}, id="png-rgb"),
    pytest.param("a.png", _with_alpha, {}, id="png-rgba"),
    pytest.param("a.png", _grey, {}, id="png-grey"),
    pytest.param("a.png", lambda: _with_alpha().convert("LA"), {}, id="png-grey-alpha"),
    pytest.param("a.png", lambda: _colours().convert("1"), {}, id="png-1-bit"),
    pytest.param("a.png", _palette, {}, id="png-palette"),
    pytest.param("a.png", lambda: _palette(2), {"bits": 1}, id="png-palette-1-bit"),
    pytest.param("a.png", lambda: _palette(16), {"bits": 4}, id="png-palette-4-bit"),
    pytest.param("a.png", _palette, {"transparency": 3}, id="png-palette-one-transparent"),
    pytest.param(
        "a.png",
        lambda: _palette(16),
        {"transparency": bytes(range(0, 256, 16))},
        id="png-palette-half-transparent",
    ),
    pytest.param(
        "a.png",
        lambda: Image.new("RGB", (9, 7), (1, 2, 3)),
        {"transparency": (1, 2, 3)},
        id="png-one-colour-transparent",
    ),
    pytest.param("a.webp", _colours, {"quality": 80}, id="webp-lossy"),
    pytest.param("a.webp", _colours, {"lossless": True}, id="webp-lossless"),
    pytest.param("a.webp", _with_alpha, {"lossless": True, "exact": True}, id="webp-alpha"),
    pytest.param(
        "a.webp",
        _colours,
        {"lossless": True, "save_all": True, "append_images": _frames()[1:]},
        id="webp-animated",
    ),
    pytest.param("a.tif", _colours, {}, id="tiff-rgb"),
    pytest.param("a.tif", _with_alpha, {}, id="tiff-rgba"),
    pytest.param("a.tif", _grey, {}, id="tiff-grey"),
    pytest.param("a.tif", lambda: _colours().convert("1"), {}, id="tiff-1-bit"),
    pytest.param(
        "a.tif", lambda: _colours().convert("1"), {"compression": "group4"}, id="tiff-fax"
    ),
    pytest.param("a.tif", _palette, {}, id="tiff-palette"),
    pytest.param("a.tif", _colours, {"compression": "tiff_lzw"}, id="tiff-lzw"),
    pytest.param("a.tif", _colours, {"compression": "tiff_adobe_deflate"}, id="tiff-deflate"),
    pytest.param("a.tif", _colours, {"compression": "jpeg"}, id="tiff-jpeg"),
    pytest.param("a.tif", _colours, {"big_tiff": True}, id="tiff-big"),
    pytest.param(
        "a.tif",
        _colours,
        {"save_all": True, "append_images": _frames()[1:]},
        id="tiff-first-page",
    ),
    pytest.param("a.gif", _colours, {}, id="gif-interlaced"),
    pytest.param("a.gif", _colours, {"interlace": 0}, id="gif"),
    pytest.param("a.gif", _palette, {"transparency": 5}, id="gif-transparent"),
    pytest.param("a.gif", _grey, {}, id="gif-grey"),
    pytest.param(
        "a.gif", _colours, {"save_all": True, "append_images": _frames()[1:]}, id="gif-first-frame"
    ),
]


@pytest.mark.parametrize(("name", "make", "options"), _KINDS)
def test_pixels_are_pillows(
    tmp_path: Path, name: str, make: Callable[[], Image.Image], options: dict[str, Any]
) -> None:
    """Each kind of picture is read as 8-bit RGB, or RGBA where it has alpha, pixel for pixel."""
    path = tmp_path / name
    make().save(path, **options)
    theirs = _by_pillow(path)
    ours = _read(path)
    assert ours.dtype == np.uint8
    if ours.shape[2] > theirs.shape[2]:  # only a GIF's later frames have transparency
        assert ours[..., 3].min() == 255
        ours = ours[..., :3]
    if theirs.shape[2] == 4:
        seen = theirs[..., 3] > 0  # colours under full transparency are undefined
        ours, theirs = ours * seen[..., np.newaxis], theirs * seen[..., np.newaxis]
    _assert_near(ours, theirs, worst=0, mean=0)


@pytest.mark.parametrize("make", [_colours, _with_alpha], ids=["rgb", "rgba"])
def test_an_avif_is_read(tmp_path: Path, make: Callable[[], Image.Image]) -> None:
    """AVIF equals Pillow's reading within the rounding of two libraries' colour formulas."""
    path = tmp_path / "a.avif"
    make().save(path, quality=95, subsampling="4:4:4")
    _assert_near(_read(path), _by_pillow(path), worst=4, mean=1.0)


def _interlaced_png(picture: Image.Image) -> bytes:
    """Encode an Adam7 PNG, which Pillow does not write."""
    image = pyvips.Image.new_from_array(np.asarray(picture))
    encoded: bytes = image.pngsave_buffer(interlace=True)
    return encoded


@pytest.mark.parametrize("make", [_colours, _with_alpha], ids=["rgb", "rgba"])
def test_an_interlaced_png_is_read(tmp_path: Path, make: Callable[[], Image.Image]) -> None:
    """Adam7 changes the order of the data, not the picture."""
    path = tmp_path / "a.png"
    path.write_bytes(_interlaced_png(make()))
    assert read_header(path).is_whole
    _assert_near(_read(path), np.asarray(make()), worst=0, mean=0)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("bands", "interpretation"),
    [
        pytest.param((0,), "grey16", id="grey"),
        pytest.param((0, 3), "grey16", id="grey-alpha"),
        pytest.param((0, 1, 2), "rgb16", id="rgb"),
        pytest.param((0, 1, 2, 3), "rgb16", id="rgba"),
    ],
)
def test_16_bits_keep_their_upper_8(
    tmp_path: Path, suffix: str, bands: tuple[int, ...], interpretation: str
) -> None:
    """16-bit samples, colour and alpha, become 8-bit ones of the same brightness."""
    deep = np.random.default_rng(4).integers(0, 2**16, (20, 30, 4)).astype(np.uint16)
    chosen = np.ascontiguousarray(deep[..., list(bands)])
    path = tmp_path / f"a{suffix}"
    image = pyvips.Image.new_from_array(chosen)
    image.copy(interpretation=interpretation).write_to_file(str(path))
    grey_as_rgb = [0, 0, 0, *([1] if len(bands) == 2 else [])]
    expected = chosen[..., grey_as_rgb] if len(bands) < 3 else chosen
    _assert_near(_read(path), (expected >> 8).astype(np.uint8), worst=0, mean=0)


def test_pillows_16_bit_grey_png_is_read(tmp_path: Path) -> None:
    """A 16-bit grey PNG by Pillow keeps black, white and the middle."""
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(path)
    assert _read(path)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiled_tiff_is_read(tmp_path: Path, bits: int) -> None:
    """Tiles are joined from top to bottom."""
    picture = np.asarray(_colours(300, 200))
    image = pyvips.Image.new_from_array(picture)
    if bits == 16:
        image = image.colourspace("rgb16")
    path = tmp_path / "a.tif"
    image.tiffsave(str(path), tile=True, tile_width=64, tile_height=48)
    _assert_near(_read(path), picture, worst=0, mean=0)


def test_a_grey_floating_point_tiff_is_refused(tmp_path: Path) -> None:
    """The black and white points of these samples are unknown; the error contains advice."""
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(np.zeros((4, 4), np.float32)).write_to_file(str(path))
    with pytest.raises(PictureError, match="grey floating-point samples and no colour profile"):
        _read(path)


# Profiles


def _cmyk_profile() -> bytes:
    """Return libvips' fallback CMYK profile."""
    return bytes(pyvips.Image.profile_load("cmyk"))


@functools.cache  # a profile contains its creation second, so two profiles may differ
def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _grey_profile(gamma: float = 1.8) -> bytes:
    """Return a grey ICC profile with a gamma (ICC.1:2001-04, sections 6.1 to 6.5)."""
    white = struct.pack(">3i", *(round(65536 * part) for part in (0.9642, 1.0, 0.8249)))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2),
        b"cprt": b"text" + bytes(4) + b"none" + bytes(4),
    }
    body, table = b"", struct.pack(">I", len(tags))
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(tag))
        body += tag
    head = struct.pack(
        ">I4sI4s4s4s6H4s28x",
        128 + len(table) + len(body),
        b"lcms",
        0x02100000,
        b"mntr",
        b"GRAY",
        b"XYZ ",
        2026,
        1,
        1,
        0,
        0,
        0,
        b"acsp",
    )
    return (head + white).ljust(128, b"\0") + table + body


def _through(profile: bytes, picture: Image.Image) -> Pixels:
    """Convert a picture from its profile to sRGB with LittleCMS, called by Pillow."""
    converted = ImageCms.profileToProfile(
        picture,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=_TO_SRGB,
        outputMode="RGB",
    )
    assert converted is not None
    return np.asarray(converted)


@pytest.mark.parametrize("has_profile", [True, False], ids=["profile", "no-profile"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("a.jpg", {"quality": 95}, id="adobe-inverted-jpeg"),
        pytest.param("a.tif", {}, id="tiff"),
        pytest.param("a.tif", {"compression": "tiff_lzw"}, id="tiff-lzw"),
    ],
)
def test_cmyk_goes_through_its_profile(
    tmp_path: Path, name: str, options: dict[str, Any], has_profile: bool
) -> None:
    """CMYK is converted by its own or a standard profile, not by inverting the inks."""
    path = tmp_path / name
    profile = _cmyk_profile() if has_profile else None
    _colours().convert("CMYK").save(path, **options, icc_profile=profile)
    if name.endswith(".jpg"):
        assert b"Adobe" in path.read_bytes()[:4096]
    with Image.open(path) as inks:
        expected = _through(_cmyk_profile(), inks)
    _assert_near(_read(path), expected, worst=2, mean=0.1)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_paper_is_white_and_full_ink_dark(tmp_path: Path, name: str) -> None:
    """Adobe's inverted inks are handled: no ink is white, full ink is near black."""
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:] = 255
    path = tmp_path / name
    Image.fromarray(inks, "CMYK").save(path)
    pixels = _read(path)
    assert pixels[8, 4].min() >= 250
    assert pixels[8, 28].max() <= 60


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_grey_profile_is_gone_through(tmp_path: Path, name: str) -> None:
    """Grey values with a profile are converted to sRGB."""
    path = tmp_path / name
    _grey().save(path, icc_profile=_grey_profile())
    with Image.open(path) as grey:
        assert grey.info["icc_profile"] == _grey_profile()
        expected, untouched = _through(_grey_profile(), grey), np.asarray(grey.convert("RGB"))
    _assert_near(_read(path), expected, worst=1, mean=0.1)
    assert np.abs(expected.astype(int) - untouched).max() > 10


def test_a_grey_profile_leaves_alpha_alone(tmp_path: Path) -> None:
    """The profile applies to grey and not to alpha."""
    path = tmp_path / "a.png"
    picture = _with_alpha().convert("LA")
    picture.save(path, icc_profile=_grey_profile())
    _assert_near(_read(path)[..., 3:], np.asarray(picture)[..., 1:], worst=0, mean=0)


@pytest.mark.parametrize("max_side", [0, 64])
def test_an_rgb_profile_is_kept_and_the_numbers_are_not_touched(
    tmp_path: Path, max_side: int
) -> None:
    """An RGB profile is kept with unchanged pixels, scaled down or not."""
    path, bare = tmp_path / "a.png", tmp_path / "bare.png"
    _colours().save(path, icc_profile=_srgb_profile())
    _colours().save(bare)
    header = read_header(path)
    with source.opened(header, max_side, tmp_path) as image:
        assert bytes(image.get("icc-profile-data")) == _srgb_profile()
        _assert_near(image.numpy(), _read(bare, max_side=max_side), worst=0, mean=0)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"rubbish" * 40, id="rubbish"),
        pytest.param(b"x", id="one-byte"),
        pytest.param(_grey_profile(), id="grey"),
        pytest.param(_cmyk_profile(), id="cmyk"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_passed_over(
    tmp_path: Path, name: str, profile: bytes
) -> None:
    """RGB with a damaged or unsuitable profile is read without it, as in browsers."""
    path = tmp_path / name
    _colours().save(path, icc_profile=profile)
    _assert_near(_read(path), _by_pillow(path), worst=1, mean=0.1)


# Orientation and scaling


@pytest.fixture(params=["in-memory", "spooled"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn pictures in memory, then with the temporary file for large ones."""
    if request.param == "spooled":
        monkeypatch.setattr(source, "_IN_MEMORY_PIXELS", 0)


def _turned(path: Path, orientation: int, picture: Image.Image) -> None:
    """Save a picture with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, lossless=True)  # only WebP uses it


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("max_side", [0, 100, 64, 30])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_every_orientation_is_upright(
    tmp_path: Path, name: str, orientation: int, max_side: int
) -> None:
    """The orientation equals Pillow's `exif_transpose`, at full size and scaled down."""
    path = tmp_path / name
    _turned(path, orientation, _colours(192, 128))
    upright = _by_pillow(path)
    header = read_header(path)
    assert (header.width, header.height) == upright.shape[1::-1]
    width, height = header.scaled(max_side)
    assert max(width, height) == (max_side or 192)
    ours = _read(path, max_side=max_side)
    if not max_side:
        _assert_near(ours, upright, worst=0, mean=0)
    else:
        _assert_near(ours, _scaled_by_pillow(upright, width, height), worst=12, mean=1.5)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.tif"])
def test_other_formats_orientations_are_upright(
    tmp_path: Path, name: str, orientation: int
) -> None:
    """WebP and TIFF have an EXIF orientation, AVIF its own; each is applied once."""
    path = tmp_path / name
    _turned(path, orientation, _colours(192, 128))
    worst, mean = (30, 4.0) if name == "a.avif" else (0, 0)
    _assert_near(_read(path), _by_pillow(path), worst=worst, mean=mean)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("a.png", _with_alpha, id="rgba"),
        pytest.param("a.png", _grey, id="grey"),
        pytest.param("a.png", _palette, id="palette"),
        pytest.param("a.jpg", _grey, id="grey-jpeg"),
    ],
)
@pytest.mark.parametrize("orientation", [2, 6, 7])
def test_a_turned_picture_of_any_colours_is_upright(
    tmp_path: Path, name: str, make: Callable[[], Image.Image], orientation: int
) -> None:
    """The orientation is kept when colours are converted."""
    path = tmp_path / name
    _turned(path, orientation, make())
    _assert_near(_read(path), _by_pillow(path), worst=0, mean=0)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_cmyk_jpeg_is_upright(tmp_path: Path, orientation: int) -> None:
    """The orientation is kept when a profile is applied."""
    path = tmp_path / "a.jpg"
    _turned(path, orientation, _colours().convert("CMYK"))
    with Image.open(path) as inks:
        expected = _through(_cmyk_profile(), ImageOps.exif_transpose(inks))
    _assert_near(_read(path), expected, worst=2, mean=0.1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_left_alone(tmp_path: Path, orientation: int) -> None:
    """Unknown EXIF orientations leave the picture unchanged."""
    path = tmp_path / "a.png"
    _turned(path, orientation, _colours())
    assert read_header(path).orientation == 1
    _assert_near(_read(path), np.asarray(_colours()), worst=0, mean=0)


@pytest.mark.parametrize("side", [16, 32, 64, 500])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_the_small_picture_is_upright_at_every_size(
    tmp_path: Path, name: str, orientation: int, side: int
) -> None:
    """The network input equals Pillow's, turned, and is never larger than the picture."""
    path = tmp_path / name
    _turned(path, orientation, _colours(192, 128))
    upright = _by_pillow(path)
    height, width = (min(side, length) for length in upright.shape[:2])
    small = source.read_small(read_header(path), width=side, height=side).numpy()
    _assert_near(small, _scaled_by_pillow(upright, width, height), worst=16, mean=2.0)


def test_a_turned_picture_taller_than_one_pass_is_read_small(tmp_path: Path) -> None:
    """A side that is not scaled is read sequentially, so it is buffered before it is turned."""
    path = tmp_path / "a.png"
    _turned(path, 6, _colours(700, 900))
    small = source.read_small(read_header(path), width=1000, height=320)
    assert (small.width, small.height) == (900, 320)


def test_scaling_does_not_weigh_colours_by_alpha(tmp_path: Path) -> None:
    """Alpha does not weight the colours when a picture is scaled, as in stock rembg."""
    path = tmp_path / "a.png"
    _with_alpha().save(path)
    expected = _scaled_by_pillow(np.asarray(_with_alpha()), 64, 43)
    _assert_near(_read(path, max_side=64), expected, worst=8, mean=1.0)


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 60),
    is_tall=st.booleans(),
    max_side=st.integers(64, 400),
)
@example(width=1, height=1, is_tall=False, max_side=64)
@example(width=5000, height=1, is_tall=False, max_side=64)
@example(width=5000, height=1, is_tall=True, max_side=64)
def test_the_scaled_sides_are_the_ones_told(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    height: int,
    is_tall: bool,
    max_side: int,
) -> None:
    """A picture of any shape is read with the sides of `scaled`: at most the limit, at least 1."""
    sides = (height, width) if is_tall else (width, height)
    path = tmp_path_factory.getbasetemp() / "sides.png"
    Image.new("RGB", sides, (9, 99, 199)).save(path)
    header = read_header(path)
    pixels = _read(path, max_side=max_side)
    assert pixels.shape[1::-1] == header.scaled(max_side)
    assert (
        1 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= max(min(max_side, *sides), max_side)
    )
    # libvips' weights are fixed-point: one step in each of the two passes
    assert np.abs(pixels.astype(int) - (9, 99, 199)).max() <= 2


@pytest.mark.parametrize("sides", [(25_000, 2), (2, 25_000)], ids=["wide", "tall"])
def test_a_very_long_picture_is_scaled(tmp_path: Path, sides: tuple[int, int]) -> None:
    """A strip that shrinks 390 times, more than libvips' Lanczos supports, keeps its colour."""
    path = tmp_path / "a.png"
    Image.new("RGB", sides, (10, 200, 30)).save(path)
    small = source.read_small(read_header(path), width=64, height=64).numpy()
    assert sorted(small.shape[:2]) == [2, 64]
    assert np.abs(small.astype(int) - (10, 200, 30)).max() <= 1


@pytest.mark.parametrize("factor", [3, 8, 12.5, 20, 32])
def test_scaling_down_is_pillows_lanczos(tmp_path: Path, factor: float) -> None:
    """At every scale a picture equals Pillow's within one step, without a brightness shift."""
    side = round(64 * factor)
    path = tmp_path / "a.png"
    _colours(side, side).save(path, compress_level=1)
    small = source.read_small(read_header(path), width=64, height=64).numpy()
    theirs = _scaled_by_pillow(np.asarray(_colours(side, side)), 64, 64)
    _assert_near(small, theirs, worst=10, mean=1.3)
    assert abs(float(small.mean()) - float(theirs.mean())) < 1.2


# A part of a picture


@pytest.mark.parametrize(("name", "make", "options"), _KINDS)
def test_a_part_is_read_as_it_lies_in_the_whole(
    tmp_path: Path, name: str, make: Callable[[], Image.Image], options: dict[str, Any]
) -> None:
    """Each format gives the box's own pixels, unscaled if the box is no larger than requested."""
    path = tmp_path / name
    make().save(path, **options)
    header = read_header(path)
    w, h = header.width // 2, header.height // 3
    part = source.read_small(header, width=64, height=64, box=Box(w // 2, h, w, h)).numpy()
    assert np.array_equal(part, _read(path)[h : 2 * h, w // 2 : w // 2 + w])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("side", [24, 320])
def test_a_part_of_a_turned_picture_is_upright(
    tmp_path: Path, name: str, orientation: int, side: int
) -> None:
    """The box refers to the upright picture; the pixels equal Pillow's crop of it, scaled."""
    path = tmp_path / name
    _turned(path, orientation, _colours(192, 128))
    upright = _by_pillow(path)
    h, w = upright.shape[:2]
    box = Box(w // 4, h // 3, w // 2, h // 2)
    part = upright[box.top : box.bottom, box.left : box.right]
    small = source.read_small(read_header(path), width=side, height=side, box=box).numpy()
    width, height = min(side, box.width), min(side, box.height)
    _assert_near(small, _scaled_by_pillow(part, width, height), worst=16, mean=2.0)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png"])
@pytest.mark.parametrize("factor", [1.2, 3.1, 9.7, 17.3])
def test_a_part_is_shrunk_by_its_decoder_no_further_than_a_picture(
    tmp_path: Path, name: str, factor: float
) -> None:
    """A box much larger than requested equals Pillow's crop, scaled.

    Its edges are off by at most half a shrunk pixel.
    """
    path = tmp_path / name
    side = round(40 * factor)
    picture = _colours(side * 2 + 37, side + 53)
    picture.save(path, quality=95)
    box = Box(side // 2 + 3, 21, side, side).aligned(8, Box(0, 0, side * 2 + 37, side + 53))
    small = source.read_small(read_header(path), width=40, height=40, box=box).numpy()
    part = _by_pillow(path)[box.top : box.bottom, box.left : box.right]
    _assert_near(small, _scaled_by_pillow(part, 40, 40), worst=24, mean=2.5)


# Damage

_DAMAGED: list[Any] = [
    pytest.param("JPEG", {}, id="jpeg"),
    pytest.param("JPEG", {"progressive": True}, id="progressive-jpeg"),
    pytest.param("PNG", {}, id="png"),
    pytest.param("WEBP", {}, id="webp"),
    pytest.param("WEBP", {"lossless": True}, id="webp-lossless"),
    pytest.param("AVIF", {}, id="avif"),
    pytest.param("TIFF", {}, id="tiff"),
    pytest.param("TIFF", {"compression": "tiff_lzw"}, id="tiff-lzw"),
    pytest.param("GIF", {}, id="gif"),
]


@pytest.mark.parametrize("part", [0.002, 0.05, 0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("kind", "options"), _DAMAGED)
def test_a_picture_cut_short_is_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], part: float
) -> None:
    """A truncated file raises an error at every length, without grey pixels."""
    file = io.BytesIO()
    noise = np.random.default_rng(2).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    whole = file.getvalue()
    path = tmp_path / "cut"
    path.write_bytes(whole)
    assert _read(path).shape == (120, 160, 3)
    path.write_bytes(whole[: max(24, int(len(whole) * part))])
    with pytest.raises(PictureError, match=r"is damaged or cut short: \S") as caught:
        _read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(PictureError, match="is damaged or cut short"):
        source.read_small(read_header(path), width=320, height=320)


@pytest.mark.usefixtures("_way")
def test_a_turned_picture_cut_short_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Both ways of turning refuse a damaged picture and leave no temporary file."""
    path = tmp_path / "a.png"
    _turned(path, 6, _colours())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(PictureError, match="is damaged or cut short"):
        _read(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "form", "is_chain"),
    [
        ("a.jpg", "uchar", True),
        ("a.png", "uchar", True),
        ("a.tif", "uchar", True),
        ("a.tif", "ushort", False),
        ("a.tif", "float", False),
    ],
)
def test_what_is_computed_with_is_no_plain_chain(
    tmp_path: Path, name: str, form: str, is_chain: bool
) -> None:
    """A picture that needs computation is not a plain chain, so libvips' threads read it.

    In the caller's thread, 12 MP of floats with alpha took 18 s.
    """
    path = tmp_path / name
    pyvips.Image.black(9, 7, bands=3).cast(form).write_to_file(str(path))
    assert read_header(path).is_plain_chain is is_chain
