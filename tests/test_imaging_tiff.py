"""TIFF files of every kind: each is read correctly, or refused with a reason."""

from __future__ import annotations

import functools
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms

from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import compose, source
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.libvips import start_libvips
from rembg_tuner.imaging.matte import PictureMatte

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rembg_tuner.imaging.header import PictureHeader

    Samples = npt.NDArray[Any]  # (h, w) or (h, w, samples)
    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_WIDTH, _HEIGHT = 90, 70
_LUMA = (0.299, 0.587, 0.114)
_FULL = (0, 255, 128, 255, 128, 255)  # codes for black and white: luma, then both chromas
_VIDEO = (16, 235, 128, 240, 128, 240)


@pytest.fixture(autouse=True, scope="module")
def _libvips() -> None:
    """Configure libvips as the worker does; its cache would return a file's former pixels."""
    start_libvips(2)


@functools.cache
def _rgb() -> Pixels:
    """Return a smooth picture of many colours, uint8 (h, w, 3)."""
    blobs = np.random.default_rng(7).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    size = (_WIDTH, _HEIGHT)
    return np.asarray(Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC))


def _grey() -> Pixels:
    return _rgb()[..., 1]


@functools.cache
def _alpha() -> Pixels:
    """Return an alpha channel with every opacity, uint8 (h, w)."""
    return np.tile(np.linspace(0, 255, _WIDTH).round().astype(np.uint8), (_HEIGHT, 1))


def _as_rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _planes(samples: Samples) -> Samples:
    """Return samples as planes, (samples, h, w)."""
    return np.ascontiguousarray(np.moveaxis(samples, 2, 0))


def _deep(samples: Samples, dtype: Any) -> Samples:
    """Scale 8-bit samples to the whole range of an unsigned type."""
    top = np.iinfo(dtype).max
    return np.round(samples / 255 * top).astype(dtype)


def _linear(samples: Samples) -> Samples:
    """Decode sRGB to linear light from 0 to 1 (IEC 61966-2-1)."""
    part = samples / 255
    light: Samples = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return light


def _write(path: Path, samples: Samples, **options: Any) -> Path:
    tifffile.imwrite(path, samples, **{"photometric": "rgb", **options})
    return path


def _read(path: Path) -> tuple[Pixels, PictureHeader]:
    """Read a picture for the cut-out and for the network, and check that they agree."""
    header = read_header(path)
    with source.opened(header, 0, path.parent) as image:
        pixels: Pixels = image.numpy()
    small = source.read_small(header, width=header.width, height=header.height).numpy()
    assert np.array_equal(small, pixels)
    return pixels, header


def _assert_near(ours: Pixels, expected: Pixels, *, mean: float = 0.6, worst: int = 3) -> None:
    """Compare shapes, then differences in steps of 255; colours where alpha is 0 are ignored."""
    assert ours.shape == expected.shape
    difference = np.abs(ours.astype(int) - expected.astype(int))
    if ours.shape[2] == 4:
        difference[..., :3][expected[..., 3] < 16] = 0
    assert difference.mean() <= mean
    assert difference.max() <= worst


# Sample types

_LAYOUTS: list[Any] = [
    pytest.param({}, id="one-strip"),
    pytest.param({"rowsperstrip": 27, "byteorder": ">"}, id="strips-big-endian"),
    pytest.param({"tile": (32, 48), "compression": "deflate", "predictor": True}, id="tiles"),
    pytest.param({"rowsperstrip": 9, "compression": "deflate", "bigtiff": True}, id="big-tiff"),
]


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_unsigned_samples_are_scaled(
    tmp_path: Path, dtype: Any, is_planar: bool, layout: dict[str, Any]
) -> None:
    """RGB and RGBA of 8, 16 and 32 bits, interleaved or in planes, give the same picture."""
    rgba = np.dstack([_rgb(), _alpha()])
    for picture, extra in ((_rgb(), {}), (rgba, {"extrasamples": [2]})):
        samples = _deep(picture, dtype)
        options = {**layout, **extra, "planarconfig": "separate" if is_planar else "contig"}
        path = _write(tmp_path / "a.tif", _planes(samples) if is_planar else samples, **options)
        _assert_near(_read(path)[0], picture, worst=1)


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_grey_samples_are_scaled(tmp_path: Path, dtype: Any, layout: dict[str, Any]) -> None:
    """Black may be 0 or the maximum.

    Alpha may be interleaved or in its own plane.
    """
    path = tmp_path / "a.tif"
    _write(path, _deep(_grey(), dtype), photometric="minisblack", **layout)
    _assert_near(_read(path)[0], _as_rgb(_grey()), worst=1)
    _write(path, _deep(255 - _grey(), dtype), photometric="miniswhite", **layout)
    _assert_near(_read(path)[0], _as_rgb(_grey()), worst=1)
    both = _deep(np.dstack([_grey(), _alpha()]), dtype)
    options = {"photometric": "minisblack", "extrasamples": [2], **layout}
    expected = np.dstack([_as_rgb(_grey()), _alpha()])
    _write(path, both, planarconfig="contig", **options)
    _assert_near(_read(path)[0], expected, worst=1)
    _write(path, _planes(both), planarconfig="separate", **options)
    _assert_near(_read(path)[0], expected, worst=1)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_signed_samples_are_refused(tmp_path: Path, dtype: Any, photometric: str) -> None:
    """Signed samples have no defined black point, and programs disagree."""
    picture = (_rgb() if photometric == "rgb" else _grey()) // 2
    path = _write(tmp_path / "a.tif", picture.astype(dtype), photometric=photometric)
    bits = np.iinfo(dtype).bits
    with pytest.raises(
        PictureError, match=rf"with signed {bits}-bit samples, which is not supported; save it"
    ):
        read_header(path)


@functools.cache
def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@functools.cache
def _linear_profile() -> bytes:
    """Return an sRGB profile with linear light.

    Each curve tag becomes a curve without points.
    """
    profile = bytearray(_srgb_profile())
    count = struct.unpack(">I", profile[128:132])[0]
    for i in range(count):
        name, offset, length = struct.unpack(">4sII", profile[132 + 12 * i : 144 + 12 * i])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + length] = (b"curv" + bytes(8)).ljust(length, b"\0")
    return bytes(profile)


@pytest.mark.parametrize("layout", [*_LAYOUTS[:2], pytest.param({"tile": (32, 48)}, id="tiles")])
@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_read_through_their_profile(
    tmp_path: Path, dtype: Any, is_planar: bool, layout: dict[str, Any]
) -> None:
    """Floats with an sRGB profile are read as sRGB, and with a linear profile as linear light.

    The profile does not apply to alpha.
    """
    linear = np.dstack([_linear(_rgb()), _alpha() / 255])
    for samples, profile, expected in (
        (_rgb() / 255, _srgb_profile(), _rgb()),
        (_linear(_rgb()), _linear_profile(), _rgb()),
        (linear, _linear_profile(), np.dstack([_rgb(), _alpha()])),
    ):
        options = {**layout, "iccprofile": profile}
        if samples.shape[2] == 4:
            options["extrasamples"] = [2]
        numbers = samples.astype(dtype)
        path = _write(
            tmp_path / "a.tif",
            _planes(numbers) if is_planar else numbers,
            planarconfig="separate" if is_planar else "contig",
            **options,
        )
        pixels, header = _read(path)
        _assert_near(pixels, expected, worst=2)
        assert header.warnings == ()


def test_floats_without_a_profile_are_linear_and_said_to_be(tmp_path: Path) -> None:
    """Floats without a profile are read as linear light, with a warning.

    NaN and values out of range become black or white.
    """
    numbers = _linear(_rgb()).astype(np.float32)
    numbers[:4], numbers[4:8], numbers[8:12] = np.nan, np.inf, -np.inf
    expected = _rgb().copy()
    expected[:4], expected[4:8], expected[8:12] = 0, 255, 0
    pixels, header = _read(_write(tmp_path / "a.tif", numbers))
    _assert_near(pixels, expected, worst=2)
    assert str(header.warnings[0]).startswith("floating-point samples without a colour profile")


def test_a_float_pictures_result_is_labelled_srgb(tmp_path: Path) -> None:
    """The pixels were converted, so the output's profile is sRGB."""
    numbers = _linear(_rgb()).astype(np.float32)
    path = _write(tmp_path / "a.tif", numbers, iccprofile=_linear_profile())
    with source.opened(read_header(path), 0, tmp_path) as image:
        profile = bytes(image.get("icc-profile-data"))
    assert profile == bytes(pyvips.Image.profile_load("srgb"))


def _ycbcr(rgb: Pixels, reference: tuple[int, ...] = _FULL) -> Pixels:
    """Encode RGB as YCbCr (TIFF 6.0, sections 20 and 21)."""
    red, green, blue = np.moveaxis(rgb.astype(float), 2, 0)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    parts = (
        luma / 255,
        (blue - luma) / (2 - 2 * _LUMA[2]) / 127,
        (red - luma) / (2 - 2 * _LUMA[0]) / 127,
    )
    codes = [
        part * (white - black) + black
        for part, black, white in zip(parts, reference[::2], reference[1::2], strict=True)
    ]
    return np.clip(np.round(np.dstack(codes)), 0, 255).astype(np.uint8)


def _rationals(numbers: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(part for number in numbers for part in (round(number * 10000), 10000))


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
def test_ycbcr_that_is_no_jpeg_is_read(
    tmp_path: Path, is_planar: bool, layout: dict[str, Any]
) -> None:
    """The file's reference black and white, and its alpha, are used."""
    for reference, alpha in ((_FULL, False), (_VIDEO, False), (_FULL, True)):
        samples = _ycbcr(_rgb(), reference)
        expected = _rgb()
        options = {**layout, "subsampling": (1, 1), "photometric": "ycbcr"}
        if reference is _VIDEO:
            options["extratags"] = [(532, 5, 6, _rationals(reference), True)]
        if alpha:
            samples, expected = np.dstack([samples, _alpha()]), np.dstack([expected, _alpha()])
            options["extrasamples"] = [2]
        path = _write(
            tmp_path / "a.tif",
            _planes(samples) if is_planar else samples,
            planarconfig="separate" if is_planar else "contig",
            **options,
        )
        _assert_near(_read(path)[0], expected, mean=1.2, worst=5)


def _tiff(
    tags: dict[int, tuple[int, tuple[Any, ...]]], data: bytes = b"", *, order: str = "<"
) -> bytes:
    """Write a TIFF file; offsets of strips and tiles count from the start of the data."""
    letters = {1: "B", 3: "H", 4: "I", 5: "II"}
    start = 8 + 2 + 12 * len(tags) + 4
    base = start + 8192
    table, behind = struct.pack(order + "H", len(tags)), b""
    for code in sorted(tags):
        kind, values = tags[code]
        numbers = [value + base for value in values] if code in (273, 324) else values
        count = len(values) // 2 if kind == 5 else len(values)
        field = struct.pack(order + letters[kind] * count, *numbers)
        if len(field) > 4:
            where, behind = struct.pack(order + "I", start + len(behind)), behind + field
            field = where
        table += struct.pack(order + "HHI", code, kind, count) + field.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (head + table + bytes(4) + behind).ljust(base, b"\0") + data


def _subsampled(codes: Pixels, across: int, down: int) -> bytes:
    """Pack YCbCr in units: the lumas of a block, then its two chromas (TIFF 6.0, section 21)."""
    rows, columns = -codes.shape[0] % down, -codes.shape[1] % across
    whole = np.pad(codes, ((0, rows), (0, columns), (0, 0)), mode="edge")
    h, w = whole.shape[0] // down, whole.shape[1] // across
    blocks = whole.reshape(h, down, w, across, 3).transpose(0, 2, 1, 3, 4).reshape(h, w, -1, 3)
    chroma = blocks[..., 1:].mean(axis=2).round().astype(np.uint8)
    return np.concatenate([blocks[..., 0], chroma], axis=2).tobytes()


def _subsampled_tiff(chroma: tuple[int, int], *, order: str, tile: int) -> bytes:
    """Return a subsampled YCbCr TIFF: deflated strips of 16 rows, or tiles of a side."""
    codes = _ycbcr(_smooth())
    blocks = [codes[y : y + 16] for y in range(0, _HEIGHT, 16)]
    tags: dict[int, tuple[int, tuple[Any, ...]]] = {278: (3, (16,))}
    if tile:
        pads = ((0, -_HEIGHT % tile), (0, -_WIDTH % tile), (0, 0))
        whole = np.pad(codes, pads, mode="edge")
        blocks = [
            whole[y : y + tile, x : x + tile]
            for y in range(0, _HEIGHT, tile)
            for x in range(0, _WIDTH, tile)
        ]
        tags = {322: (3, (tile,)), 323: (3, (tile,))}
    pieces = [zlib.compress(_subsampled(block, *chroma)) for block in blocks]
    offsets = tuple(sum(len(piece) for piece in pieces[:i]) for i in range(len(pieces)))
    tags |= {
        256: (3, (_WIDTH,)),
        257: (3, (_HEIGHT,)),
        258: (3, (8, 8, 8)),
        259: (3, (8,)),
        262: (3, (6,)),
        277: (3, (3,)),
        530: (3, chroma),
        532: (5, _rationals(_FULL)),
        324 if tile else 273: (4, offsets),
        325 if tile else 279: (4, tuple(len(piece) for piece in pieces)),
    }
    return _tiff(tags, b"".join(pieces), order=order)


def _smooth() -> Pixels:
    """Return a smooth picture that chroma subsampling preserves."""
    ramp = np.linspace(0, 255, _WIDTH)[None, :] * np.linspace(0.3, 1, _HEIGHT)[:, None]
    return np.dstack([ramp, 255 - ramp, ramp / 2 + 60]).round().astype(np.uint8)


@pytest.mark.parametrize("chroma", [(2, 1), (1, 2), (2, 2), (4, 2)])
@pytest.mark.parametrize(("order", "tile"), [("<", 0), (">", 0), ("<", 32)])
def test_subsampled_ycbcr_is_read(
    tmp_path: Path, chroma: tuple[int, int], order: str, tile: int
) -> None:
    """Subsampled chroma in strips and tiles gives the same picture, without alpha."""
    path = tmp_path / "a.tif"
    path.write_bytes(_subsampled_tiff(chroma, order=order, tile=tile))
    _assert_near(_read(path)[0], _smooth(), mean=3, worst=14)


def _lab(rgb: Pixels) -> npt.NDArray[np.float64]:
    """Convert sRGB to CIELAB with white D50."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(rgb)).copy(interpretation="srgb")
    lab: npt.NDArray[np.float64] = image.icc_import(input_profile="srgb").numpy().astype(float)
    return lab


def _lab_codes(rgb: Pixels, bits: int, *, is_icc: bool) -> Samples:
    """Encode CIELAB as TIFF does: signed a and b, or ICC's shifted values."""
    lab, step = _lab(rgb), 1 if bits == 8 else 256
    white = 255 if bits == 8 else 65280 if is_icc else 65535
    chroma = np.round(lab[..., 1:] * step).astype(int)
    chroma = chroma + 128 * step if is_icc else chroma % 2**bits
    codes = np.dstack([np.round(lab[..., 0] / 100 * white).astype(int), chroma])
    return codes.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("layout", [_LAYOUTS[1], _LAYOUTS[2]])
@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
@pytest.mark.parametrize("bits", [8, 16])
def test_cielab_is_read(
    tmp_path: Path, bits: int, photometric: str, is_planar: bool, layout: dict[str, Any]
) -> None:
    """Both encodings of a and b are read, with and without alpha."""
    codes = _lab_codes(_rgb(), bits, is_icc=photometric == "icclab")
    alpha = _deep(_alpha(), codes.dtype)
    for samples, expected, extra in (
        (codes, _rgb(), {}),
        (np.dstack([codes, alpha]), np.dstack([_rgb(), _alpha()]), {"extrasamples": [2]}),
        (np.dstack([codes, alpha]), _rgb(), {"extrasamples": [0]}),
    ):
        path = _write(
            tmp_path / "a.tif",
            _planes(samples) if is_planar else samples,
            photometric=photometric,
            planarconfig="separate" if is_planar else "contig",
            **{**layout, **extra},
        )
        # 8 bits have few steps of a and b: one step is up to 17 of 255 in blue
        _assert_near(_read(path)[0], expected, mean=1.5 if bits == 8 else 0.7, worst=20)


@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_with_a_fifth_sample_is_read(tmp_path: Path, dtype: Any, is_planar: bool) -> None:
    """The inks are converted without the extra sample, which is alpha if its tag says so."""
    inks = np.asarray(Image.fromarray(_rgb()).convert("CMYK"))
    image = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk")
    rgb = image.icc_transform("srgb", input_profile="cmyk", depth=8).numpy()
    samples = _deep(np.dstack([inks, _alpha()]), dtype)
    for kind, expected in ((2, np.dstack([rgb, _alpha()])), (0, rgb)):
        path = _write(
            tmp_path / "a.tif",
            _planes(samples) if is_planar else samples,
            photometric="separated",
            extrasamples=[kind],
            planarconfig="separate" if is_planar else "contig",
        )
        _assert_near(_read(path)[0], expected, worst=2)


_LEFT_OUT = "extra channels of the TIFF file that are not marked as transparency were left out"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize(
    ("kinds", "alpha", "left_out"),
    [
        pytest.param([2, 0], 0, 1, id="alpha-and-spot"),
        pytest.param([0, 2], 1, 1, id="spot-and-alpha"),
        pytest.param([1, 0], 0, 1, id="premultiplied-and-spot"),
        pytest.param([0, 0], None, 2, id="not-named"),
        pytest.param([0], None, 1, id="saved-selection"),
        pytest.param([2], 0, 0, id="alpha"),
        pytest.param([1], 0, 0, id="premultiplied"),
    ],
)
def test_extra_samples_mean_what_their_tag_says(
    tmp_path: Path, kinds: list[int], alpha: int | None, left_out: int, dtype: Any
) -> None:
    """Alpha is the sample with that tag; a warning names the ignored samples."""
    extra = [_alpha() if i == alpha else _grey() for i in range(len(kinds))]
    colours = _rgb() * (_alpha()[..., None] / 255) if 1 in kinds else _rgb()
    path = _write(
        tmp_path / "a.tif", _deep(np.dstack([colours, *extra]), dtype), extrasamples=kinds
    )
    pixels, header = _read(path)
    expected = _rgb() if alpha is None else np.dstack([_rgb(), _alpha()])
    _assert_near(pixels, expected, mean=1.5, worst=20 if 1 in kinds else 1)
    assert [
        one for one in header.warnings if str(one).startswith(f"{_LEFT_OUT}: {left_out};")
    ] == list(header.warnings)
    assert bool(header.warnings) == bool(left_out)


@pytest.mark.parametrize("kind", [0, 2], ids=["selection", "alpha"])
def test_a_grey_picture_with_another_channel(tmp_path: Path, kind: int) -> None:
    """A saved selection in a grey picture is not read as alpha."""
    samples = np.dstack([_grey(), _alpha()])
    path = _write(
        tmp_path / "a.tif",
        samples,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=[kind],
    )
    pixels, header = _read(path)
    assert pixels.shape[2] == (4 if kind else 3)
    assert bool(header.warnings) == (kind == 0)


def test_a_picture_that_is_transparent_everywhere_is_told(tmp_path: Path) -> None:
    """A TIFF or PNG whose alpha is 0 everywhere gives an empty cut-out and a warning."""
    hidden = np.dstack([_rgb(), np.zeros_like(_alpha())])
    _write(tmp_path / "a.tif", hidden, extrasamples=[2])
    Image.fromarray(hidden).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([_rgb(), _alpha()])).save(tmp_path / "seen.png")
    for name, is_told in (("a.tif", True), ("a.png", True), ("seen.png", False)):
        small = source.read_small(read_header(tmp_path / name), width=64, height=64)
        warning = source.transparency_warning(small)
        assert (warning is not None) == is_told
        assert warning is None or "transparency is 0 everywhere" in str(warning)


# Pages


def _pages(path: Path, *pages: tuple[Samples, dict[str, Any]], **options: Any) -> Path:
    with tifffile.TiffWriter(path, **options) as writer:
        for samples, tags in pages:
            writer.write(samples, photometric="rgb", **tags)
    return path


def _thumbnail() -> Pixels:
    return np.ascontiguousarray(_rgb()[::5, ::5])


_REDUCED, _FULL_PAGE = {"subfiletype": 1}, {"subfiletype": 0}


@pytest.mark.parametrize(
    ("pages", "options"),
    [
        pytest.param([(_thumbnail, _REDUCED), (_rgb, _FULL_PAGE)], {}, id="thumbnail-first"),
        pytest.param(
            [(_thumbnail, _REDUCED), (_thumbnail, _REDUCED), (_rgb, {})],
            {"bigtiff": True, "byteorder": ">"},
            id="two-thumbnails",
        ),
        pytest.param(
            [(_thumbnail, {**_REDUCED, "subifds": 1}), (_rgb, {})], {}, id="below-thumbnail"
        ),
        pytest.param([(_rgb, {"subifds": 1}), (_thumbnail, _REDUCED)], {}, id="pyramid"),
        pytest.param([(_rgb, {}), (_thumbnail, {})], {}, id="first-page"),
        pytest.param([(_thumbnail, _REDUCED), (_rgb, _REDUCED)], {}, id="reduced-only"),
        pytest.param([(_rgb, _REDUCED)], {}, id="one-page"),
    ],
)
def test_the_full_page_is_read(tmp_path: Path, pages: list[Any], options: dict[str, Any]) -> None:
    """A page marked as reduced is skipped if there is a full one."""
    made = [(make(), tags) for make, tags in pages]
    pixels, header = _read(_pages(tmp_path / "a.tif", *made, **options))
    assert np.array_equal(pixels, _rgb())
    assert (header.width, header.height) == (_WIDTH, _HEIGHT)
    assert header.warnings == ()


def test_the_full_page_may_be_of_an_odd_kind_and_turned(tmp_path: Path) -> None:
    """Page, sample type and orientation are combined."""
    turned = [(274, 3, 1, 6, True)]
    path = _pages(
        tmp_path / "a.tif",
        (_thumbnail(), _REDUCED),
        (_deep(_rgb(), np.uint32), {"extratags": turned, "resolution": (300, 300)}),
    )
    pixels, header = _read(path)
    assert np.array_equal(pixels, np.rot90(_rgb(), -1))
    assert (header.width, header.height) == (_HEIGHT, _WIDTH)
    with source.opened(header, 0, tmp_path) as image:
        assert image.xres == pytest.approx(300 / 25.4, abs=0.01)


def test_a_larger_later_page_is_told(tmp_path: Path) -> None:
    """A small first page that is not marked as reduced is read, with a warning."""
    pixels, header = _read(_pages(tmp_path / "a.tif", (_thumbnail(), {}), (_rgb(), {})))
    assert np.array_equal(pixels, _thumbnail())
    assert str(header.warnings[0]).startswith(
        "the TIFF file also contains a larger picture of 90 x 70 px"
    )


def test_a_profile_of_odd_samples_goes_along(tmp_path: Path) -> None:
    """32-bit and planar pictures keep their RGB profile, as 8-bit ones do."""
    path = _write(tmp_path / "a.tif", _deep(_rgb(), np.uint32), iccprofile=_linear_profile())
    with source.opened(read_header(path), 0, tmp_path) as image:
        assert bytes(image.get("icc-profile-data")) == _linear_profile()


# Refusals


@pytest.mark.parametrize(
    ("tag", "maker", "name"),
    [
        pytest.param((50706, 1, 4, (1, 4, 0, 0), True), "Maker", "DNG", id="dng"),
        pytest.param(None, "NIKON CORPORATION", "Nikon NEF", id="nef"),
        pytest.param(None, "SONY", "Sony ARW", id="arw"),
        pytest.param(None, "Nobody", "camera raw", id="other"),
    ],
)
def test_a_raw_file_is_refused_by_name(
    tmp_path: Path, tag: tuple[Any, ...] | None, maker: str, name: str
) -> None:
    """A preview before raw sensor data is not read as the picture."""
    thumbnail: dict[str, Any] = {**_REDUCED, "subifds": 1, "extratags": [(271, 2, 0, maker, True)]}
    if tag:
        thumbnail["extratags"] = [*thumbnail["extratags"], tag]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(_thumbnail(), photometric="rgb", **thumbnail)
        cfa = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)]
        writer.write(_deep(_grey(), np.uint16), photometric="cfa", extratags=cfa)
    with pytest.raises(
        PictureError, match=rf"is a camera raw file \({name}\), which is not supported"
    ):
        read_header(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"IIU\0\x18\0\0\0", "Panasonic or Leica RW2"),
        (b"IIRO\x08\0\0\0", "Olympus ORF"),
        (b"FUJIFILMCCD-RAW 0201", "Fujifilm RAF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "Canon CR3"),
        (b"II*\0\x10\0\0\0CR\x02\0", "Canon CR2"),
        (b"II*\0\x10\0\0\0IIIITwaR", "Phase One IIQ"),
        (b"II\x1a\0\0\0HEAPCCDR", "Canon CRW"),
        (b"\0MRM\0\0\0\0", "Minolta MRW"),
        (b"FOVb\0\0\x02\0", "Sigma X3F"),
    ],
)
def test_raw_files_with_a_head_of_their_own_are_refused_by_name(
    tmp_path: Path, head: bytes, name: str
) -> None:
    """The format is detected by the first bytes, whatever the name."""
    path = tmp_path / "a.jpg"
    path.write_bytes(head + bytes(200))
    with pytest.raises(PictureError, match=rf"camera raw file \({name}\)"):
        read_header(path)


def _plain_tags(**changes: Any) -> dict[int, tuple[int, tuple[Any, ...]]]:
    """Return the tags of an uncompressed 8-bit grey picture, with changes by name."""
    numbers = {"bits": 8, "compression": 1, "photometric": 1, "samples": 1, "sample_format": 1}
    numbers |= changes
    return {
        256: (3, (16,)),
        257: (3, (16,)),
        258: (3, (numbers["bits"],)),
        259: (3, (numbers["compression"],)),
        262: (3, (numbers["photometric"],)),
        273: (4, (0,)),
        277: (3, (numbers["samples"],)),
        278: (3, (16,)),
        279: (4, (256 * numbers["samples"] * max(1, numbers["bits"] // 8),)),
        339: (3, (numbers["sample_format"],)),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"bits": 12}, "with 12 bits a sample", id="12-bit"),
        pytest.param({"bits": 64}, "with 64 bits a sample", id="64-bit"),
        pytest.param(
            {"bits": 24, "sample_format": 3, "photometric": 2, "samples": 3},
            "24-bit floating",
            id="float24",
        ),
        pytest.param(
            {"bits": 32, "sample_format": 3},
            "grey floating-point samples and no colour profile",
            id="grey-float",
        ),
        pytest.param(
            {"bits": 64, "sample_format": 6}, "complex or of an unknown type", id="complex"
        ),
        pytest.param({"samples": 5}, "5 channels whose meaning is not named", id="channels"),
        pytest.param({"photometric": 5, "samples": 3}, "3 inks that are not CMYK", id="inks"),
        pytest.param({"photometric": 2}, "1 of 3 colour channels", id="rgb-of-one"),
        pytest.param(
            {"photometric": 10, "samples": 3}, "the photometric interpretation 10", id="itu-lab"
        ),
        pytest.param(
            {"photometric": 6, "samples": 4},
            "subsampled YCbCr and extra channels",
            id="ycbcr-alpha",
        ),
        pytest.param(
            {"photometric": 3, "samples": 3}, "a palette and extra channels", id="palette"
        ),
        pytest.param({"compression": 34925}, "with the compression LZMA", id="lzma"),
        pytest.param({"compression": 50000}, "with the compression Zstandard", id="zstd"),
        pytest.param({"compression": 6}, "with the compression old-style JPEG", id="old-jpeg"),
        pytest.param({"compression": 34712}, "with the compression JPEG 2000", id="jpeg-2000"),
        pytest.param({"compression": 999}, "with the compression number 999", id="unknown"),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    tmp_path: Path, changes: dict[str, int], reason: str
) -> None:
    """The message says what the file is and how to save it instead."""
    path = tmp_path / "a.tif"
    path.write_bytes(_tiff(_plain_tags(**changes), bytes(20_000)))
    with pytest.raises(
        PictureError, match=f"{reason}.*, which is not supported; save it with"
    ) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path} is a TIFF file with ")


# Damage


@pytest.mark.parametrize("is_planar", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
@pytest.mark.parametrize(
    "layout", [{"rowsperstrip": 10}, {"tile": (16, 32)}], ids=["strips", "tiles"]
)
def test_a_tiff_that_is_cut_short_is_refused(
    tmp_path: Path, layout: dict[str, Any], dtype: Any, is_planar: bool
) -> None:
    """Missing strips and tiles are errors, not black pixels or bytes of the directory."""
    samples = _deep(_rgb(), dtype)
    path = _write(
        tmp_path / "a.tif",
        _planes(samples) if is_planar else samples,
        planarconfig="separate" if is_planar else "contig",
        **layout,
    )
    whole = path.read_bytes()
    _read(path)
    for missing in (1, 30, len(whole) // 2):
        path.write_bytes(whole[:-missing])
        header = read_header(path)
        with pytest.raises(PictureError, match="is damaged or cut short"):
            source.read_small(header, width=32, height=32)


def test_a_damaged_tile_is_refused(tmp_path: Path) -> None:
    """A tile that cannot be inflated is an error, not a black square."""
    noise = np.random.default_rng(1).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    path = _write(tmp_path / "a.tif", noise, tile=(32, 32), compression="deflate")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(PictureError, match="is damaged or cut short"):
        source.read_small(read_header(path), width=32, height=32)


def test_tall_strips_with_transparency_are_read_in_order(tmp_path: Path) -> None:
    """Two threads read colours and alpha separately; neither requests a discarded strip."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 150, 4)).astype(np.uint8)
    path = _write(tmp_path / "a.tif", noise, extrasamples=[2], rowsperstrip=27)
    header = read_header(path)
    cutout = compose.Composition(
        header=header,
        matte=PictureMatte.of(np.ones((8, 8), np.float32)),
        max_side=0,
        background=None,
    )
    for _ in range(8):
        compose.write_cutout(cutout, tmp_path / "a.png", is_cancelled=lambda: False)
    with Image.open(tmp_path / "a.png") as made:
        assert np.array_equal(np.asarray(made)[..., 3], noise[..., 3])


def test_large_strips_and_tiles_are_counted(tmp_path: Path) -> None:
    """Their memory grows with the picture, so it is reported and limited as for others."""
    small = np.zeros((64, 64, 3), np.uint8)
    assert not read_header(_write(tmp_path / "a.tif", small, tile=(64, 64))).is_whole
    large = np.zeros((4000, 4000, 3), np.uint8)
    path = _write(tmp_path / "b.tif", large, tile=(4096, 4096), compression="deflate")
    header = read_header(path)
    assert header.is_whole
    assert 2**26 < header.extra_bytes < 2**27
    assert str(header.warnings[0]).startswith(
        "TIFF (large strips or tiles) pictures are decoded whole"
    )
