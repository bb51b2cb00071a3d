"""Cut-outs composed of picture and mask, and written to files.

Colours, profiles, formats, and the files that remain after a failure.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import enumerate as running_threads
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.errors import CancelledError, OutputError, PictureError
from rembg_tuner.imaging import compose, png_writer, previews, source
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.libvips import start_libvips
from rembg_tuner.imaging.matte import PictureMatte, mask_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from rembg_tuner.base.colours import Colour
    from rembg_tuner.imaging.matte import Matte

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_WIDTH, _HEIGHT = 96, 64


@pytest.fixture(autouse=True, scope="module")
def _libvips() -> None:
    """Configure libvips as the worker does; its cache would return a file's former pixels."""
    start_libvips(2)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Check that the encoder's threads have ended after every test."""
    yield
    assert not [thread for thread in running_threads() if thread.name.startswith("png")]


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode a small picture in many strips, so that a failure occurs in the middle."""
    monkeypatch.setattr(png_writer, "_STRIP_BYTES", 20_000)


def _colours(width: int = _WIDTH, height: int = _HEIGHT) -> Image.Image:
    """Return a picture of many colours."""
    blobs = np.random.default_rng(5).integers(1, 256, (6, 9, 3)).astype(np.uint8)
    return Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)


def _noise(width: int, height: int) -> Image.Image:
    """Return a picture that does not compress."""
    pixels = np.random.default_rng(6).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def _steps(width: int = _WIDTH, height: int = _HEIGHT) -> Pixels:
    """Return a mask of all values from 0 to 255, with many 0 and 255."""
    ramp = np.clip(np.linspace(-80, 335, width), 0, 255).round().astype(np.uint8)
    return np.tile(ramp, (height, 1))


def _matte(steps: Pixels) -> Matte:
    return (steps / 255).astype(np.float32)


def _write(
    picture: Path,
    output: Path,
    *,
    matte: Matte | None = None,
    max_side: int = 0,
    background: Colour | None = None,
) -> int:
    """Write a cut-out as the pipeline does."""
    composition = compose.Composition(
        header=read_header(picture),
        matte=PictureMatte.of(np.ones((8, 8), np.float32) if matte is None else matte),
        max_side=max_side,
        background=background,
    )
    return compose.write_cutout(composition, output, is_cancelled=lambda: False)


def _pixels(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a PNG of many colours in its own folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "picture.png"
    _colours().save(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an empty output folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Contents of a cut-out


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_colours_are_straight(picture: Path, out: Path, suffix: str) -> None:
    """Colours are the picture's own where alpha is above 0, else black; alpha is the mask."""
    cutout = out / f"cutout{suffix}"
    size = _write(picture, cutout, matte=_matte(_steps()))
    assert size == cutout.stat().st_size
    pixels = _pixels(cutout)
    np.testing.assert_array_equal(pixels[..., 3], _steps())
    seen = _steps() > 0
    assert 0 < seen.sum() < seen.size
    np.testing.assert_array_equal(pixels[seen][:, :3], np.asarray(_colours())[seen])
    assert not pixels[~seen].any()
    assert _names(out) == [cutout.name]


def test_a_grey_picture_becomes_rgba(tmp_path: Path, out: Path) -> None:
    """A cut-out has four bands, whatever the picture has."""
    path = tmp_path / "grey.png"
    _colours().convert("L").save(path)
    _write(path, out / "cutout.png")
    pixels = _pixels(out / "cutout.png")
    assert pixels.shape == (_HEIGHT, _WIDTH, 4)
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(_colours().convert("L")))


@pytest.mark.parametrize("background", [None, (10, 200, 30)], ids=["transparent", "on-a-colour"])
def test_the_pictures_own_alpha_multiplies_the_masks(
    tmp_path: Path, out: Path, background: Colour | None
) -> None:
    """The picture's own alpha is multiplied by the mask."""
    own = np.tile(np.linspace(0, 255, _HEIGHT).round().astype(np.uint8)[:, np.newaxis], (1, _WIDTH))
    rgba = _colours().convert("RGBA")
    rgba.putalpha(Image.fromarray(own))
    path = tmp_path / "rgba.png"
    rgba.save(path)
    _write(path, out / "cutout.png", matte=_matte(_steps()), background=background)
    pixels = _pixels(out / "cutout.png")
    alpha = np.rint(own.astype(float) * _steps() / 255)
    if background is None:
        assert np.abs(pixels[..., 3] - alpha).max() <= 1
        seen = pixels[..., 3] > 0
        np.testing.assert_array_equal(pixels[seen][:, :3], np.asarray(_colours())[seen])
    else:
        part = alpha[..., np.newaxis] / 255
        mixed = np.asarray(_colours()) * part + np.array(background) * (1 - part)
        assert np.abs(pixels - mixed).max() <= 2


@pytest.mark.parametrize(
    ("name", "format_", "worst"),
    [
        pytest.param("cutout.png", "PNG", 1, id="png"),
        pytest.param("cutout.webp", "WEBP", 40, id="webp"),
        pytest.param("cutout.jpg", "JPEG", 40, id="jpg"),
        pytest.param("cutout.jpeg", "JPEG", 40, id="jpeg"),
    ],
)
def test_a_background_is_put_behind(
    picture: Path, out: Path, name: str, format_: str, worst: int
) -> None:
    """On a background colour there is no alpha, and each pixel is blended by alpha."""
    _write(picture, out / name, matte=_matte(_steps()), background=(250, 240, 10))
    with Image.open(out / name) as written:
        assert (written.format, written.mode) == (format_, "RGB")
    part = _steps()[..., np.newaxis] / 255
    mixed = np.asarray(_colours()) * part + np.array((250, 240, 10)) * (1 - part)
    difference = np.abs(_pixels(out / name) - mixed)
    assert difference.max() <= worst
    assert difference.mean() <= 4


def test_a_webp_keeps_alpha_exactly(picture: Path, out: Path) -> None:
    """WebP is lossy in colours and lossless in alpha."""
    _write(picture, out / "cutout.webp", matte=_matte(_steps()))
    with Image.open(out / "cutout.webp") as written:
        assert (written.format, written.mode) == ("WEBP", "RGBA")
    pixels = _pixels(out / "cutout.webp")
    np.testing.assert_array_equal(pixels[..., 3], _steps())
    opaque = _steps() == 255
    assert np.abs(pixels[opaque][:, :3].astype(int) - np.asarray(_colours())[opaque]).mean() < 4


@pytest.mark.parametrize("max_side", [64, 95, 96, 5000])
def test_the_longest_side_is_kept(picture: Path, out: Path, max_side: int) -> None:
    """The picture and its mask are scaled down to max_side, never up."""
    _write(picture, out / "cutout.png", matte=_matte(_steps()), max_side=max_side)
    width = min(max_side, _WIDTH)
    height = round(_HEIGHT * width / _WIDTH)
    pixels = _pixels(out / "cutout.png")
    assert pixels.shape == (height, width, 4)
    scaled = Image.fromarray(_steps()).resize((width, height), Image.Resampling.LANCZOS)
    assert np.abs(pixels[..., 3].astype(int) - np.asarray(scaled)).max() <= 2


@pytest.mark.parametrize("threshold", [10**9, 0], ids=["in-memory", "spooled"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cutout_stands_upright(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, orientation: int, threshold: int
) -> None:
    """The picture and its mask are turned upright, and the output has no EXIF orientation."""
    monkeypatch.setattr(source, "_IN_MEMORY_PIXELS", threshold)
    upright = np.asarray(_colours())
    lying = Image.fromarray(upright)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes EXIF's
    if orientation > 1:
        lying = lying.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    lying.save(path, exif=exif)
    _write(path, out / "cutout.png", matte=_matte(_steps()))
    pixels = _pixels(out / "cutout.png")
    np.testing.assert_array_equal(pixels[..., 3], _steps())
    np.testing.assert_array_equal(pixels[..., :3], upright * (_steps() > 0)[..., np.newaxis])
    with Image.open(out / "cutout.png") as written:
        assert written.getexif().get(0x0112, 1) == 1
    assert _names(out) == ["cutout.png"]


@pytest.mark.parametrize(
    "sides",
    [(1, 1), (1, 5000), (5000, 1), (2, 3), (17, 16), (16, 17)],
    ids=lambda sides: f"{sides[0]}x{sides[1]}",
)
@pytest.mark.parametrize("name", ["cutout.png", "cutout.webp"])
def test_a_picture_of_any_shape_is_written(
    tmp_path: Path, out: Path, sides: tuple[int, int], name: str
) -> None:
    """Pictures of one row or one column are written."""
    path = tmp_path / "picture.png"
    Image.new("RGB", sides, (40, 90, 200)).save(path)
    _write(path, out / name)
    with Image.open(out / name) as written:
        pixels = np.asarray(written.convert("RGBA"))  # an opaque WebP is written without alpha
    assert pixels.shape == (sides[1], sides[0], 4)
    assert (pixels[..., 3] == 255).all()
    assert np.abs(pixels[..., :3].astype(int) - (40, 90, 200)).max() <= 3


# PNG is composed and encoded without libvips, with the same pixels and metadata


def _libvips_png(picture: Path, matte: Matte, background: Colour | None) -> pyvips.Image:
    """Compose a cut-out in libvips, write it as PNG with libvips, and read it."""
    header = read_header(picture)
    with source.opened(header, 0, picture.parent) as image:
        mask = PictureMatte.of(matte).mask(header.width, header.height)
        cutout = compose.join(image, mask_image(mask), background)
        return pyvips.Image.pngload_buffer(cutout.pngsave_buffer(keep="icc"))


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("background", [None, (250, 13, 77)], ids=["transparent", "on-a-colour"])
@pytest.mark.parametrize("height", [1, 31, 32, 33, 200])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_a_png_has_the_pixels_that_libvips_composes(
    tmp_path: Path, out: Path, mode: str, height: int, background: Colour | None
) -> None:
    """Colours, alpha and backgrounds equal libvips' exactly, at every strip boundary."""
    picture = tmp_path / "picture.png"
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 256, (height, 150, 4)).astype(np.uint8)
    pixels[:, 40:60, 3], pixels[:, 60:80, 3] = 0, 255
    Image.fromarray(pixels).convert(mode).save(picture)
    matte = np.clip(rng.normal(0.5, 0.6, (40, 30)), 0, 1).astype(np.float32)
    _write(picture, out / "cutout.png", matte=matte, background=background)
    expected = _libvips_png(picture, matte, background).numpy()
    np.testing.assert_array_equal(_pixels(out / "cutout.png"), expected)


def test_all_alphas_are_multiplied_as_libvips_does() -> None:
    """The product of each pair of alphas is rounded as in libvips."""
    one, other = (np.ascontiguousarray(x) for x in np.mgrid[0:256, 0:256].astype(np.uint8))
    a, b = (pyvips.Image.new_from_array(x).cast("ushort") for x in (one, other))
    expected = (a * b / 255 + 0.5).cast("uchar").numpy()
    np.testing.assert_array_equal(compose.multiply_alphas(one, other), expected)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (1, 128, 254)])
def test_all_colours_are_mixed_as_libvips_does(colour: Colour) -> None:
    """The blend of each colour and each alpha is truncated as in libvips."""
    value, alpha = np.mgrid[0:256, 0:256].astype(np.uint8)
    rows = np.stack((value, value, value, alpha), axis=-1)
    image = pyvips.Image.new_from_array(rows, interpretation="srgb")
    out = np.empty((256, 768), np.uint8)
    compose.mix_with_colour(rows.reshape(256, -1), alpha, colour, out=out)
    expected = image.flatten(background=list(colour)).numpy()
    np.testing.assert_array_equal(out.reshape(256, 256, 3), expected)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "grey.png", "inks.jpg"])
@pytest.mark.parametrize(
    "options", [{}, {"dpi": (300, 150)}, {"icc": True}], ids=["bare", "dpi", "icc"]
)
@pytest.mark.parametrize("background", [None, (1, 2, 3)], ids=["transparent", "on-a-colour"])
def test_a_png_has_the_metadata_that_libvips_writes(
    tmp_path: Path, out: Path, name: str, options: dict[str, Any], background: Colour | None
) -> None:
    """Resolution and colour profile, and no other chunk, are those of libvips' own PNG."""
    mode = {"grey.png": "L", "inks.jpg": "CMYK"}.get(name, "RGB")
    if options.get("icc") and mode == "RGB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        options = {"icc_profile": profile}
    picture = tmp_path / name
    _colours().convert(mode).save(picture, **{k: v for k, v in options.items() if k != "icc"})
    _write(picture, out / "cutout.png", background=background)
    written = pyvips.Image.pngload(str(out / "cutout.png"))
    expected = _libvips_png(picture, np.ones((8, 8), np.float32), background)
    assert (written.xres, written.yres) == (expected.xres, expected.yres)
    assert written.get_fields() == expected.get_fields()
    if expected.get_typeof("icc-profile-data"):
        assert written.get("icc-profile-data") == expected.get("icc-profile-data")


# Metadata


def _exif_with_gps() -> Image.Exif:
    """Return EXIF with an artist, a camera and a place."""
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x013B] = "SecretArtist"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0)})
    return exif


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("max_side", [0, 64])
@pytest.mark.parametrize(
    "names",
    [
        ("picture.jpg", "cutout.png"),
        ("picture.jpg", "cutout.webp"),
        ("picture.jpg", "cutout.jpg"),
        ("picture.png", "cutout.png"),
        ("picture.webp", "cutout.webp"),
        ("picture.tif", "cutout.png"),
    ],
    ids=" to ".join,
)
def test_the_profile_goes_along_and_nothing_else(
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, str],
    max_side: int,
    orientation: int,
) -> None:
    """The RGB profile is in the cut-out, byte for byte; EXIF, GPS and XMP are not."""
    monkeypatch.setattr(source, "_IN_MEMORY_PIXELS", 0)
    input_name, output_name = names
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = _exif_with_gps()
    exif[0x0112] = orientation
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SecretXmp</x:xmpmeta>"
    extra: dict[str, Any] = {} if input_name.endswith(".tif") else {"xmp": xmp}
    path = tmp_path / input_name
    _colours().save(path, icc_profile=profile, exif=exif, **extra)
    assert b"SecretCamera" in path.read_bytes()
    background = (255, 255, 255) if output_name.endswith(".jpg") else None
    _write(path, out / output_name, max_side=max_side, background=background)
    with Image.open(out / output_name) as written:
        assert written.info["icc_profile"] == profile
        assert not dict(written.getexif())
        assert not written.info.keys() & {"exif", "xmp", "XML:com.adobe.xmp"}
    assert b"Secret" not in (out / output_name).read_bytes()


def test_a_cmyk_picture_is_written_with_an_rgb_profile(tmp_path: Path, out: Path) -> None:
    """Colours that were converted to sRGB do not keep the CMYK profile."""
    path = tmp_path / "inks.jpg"
    _colours().convert("CMYK").save(path)
    _write(path, out / "cutout.png")
    with Image.open(out / "cutout.png") as written:
        assert written.mode == "RGBA"
        assert written.info["icc_profile"][16:20] == b"RGB "


# Names and colours


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        pytest.param("white", (255, 255, 255), id="name"),
        pytest.param(" Grey ", (128, 128, 128), id="name-untidy"),
        pytest.param("#fff", (255, 255, 255), id="three-digits"),
        pytest.param("0a1B2c", (10, 27, 44), id="six-digits"),
        pytest.param("#0A1B2C", (10, 27, 44), id="six-digits-hash"),
    ],
)
def test_a_colour_is_read(text: str, colour: Colour) -> None:
    """A name, three digits or six digits are parsed."""
    assert parse_colour(text) == colour


@pytest.mark.parametrize(
    "text", ["", "#", "mauve", "#12", "#1234", "#12345", "#12345678", "ggg", "1,2,3"]
)
def test_what_is_no_colour_is_refused(text: str) -> None:
    """The message lists the allowed forms and quotes the input."""
    with pytest.raises(ValueError, match="a colour is white, black") as caught:
        parse_colour(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "background", "reason"),
    [
        pytest.param("x.bmp", None, "does not name an output format", id="bmp"),
        pytest.param("x.tif", None, "use one of the suffixes .png, .webp, .jpg", id="tif"),
        pytest.param("x", None, "does not name an output format", id="no-suffix"),
        pytest.param("x.jpg", None, "has no transparency; give a background", id="jpg"),
        pytest.param("x.JPEG", None, "has no transparency; give a background", id="jpeg"),
        pytest.param("folder.png", None, "is a folder; name a file", id="folder"),
        pytest.param("no/x.png", None, "its folder does not exist; create it first", id="absent"),
        pytest.param("file/x.png", None, "its folder is a file", id="under-a-file"),
        pytest.param("n" * 300 + ".png", None, "the name is too long", id="long-name"),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    picture: Path, out: Path, name: str, background: Colour | None, reason: str
) -> None:
    """A file name that cannot be written raises an error that begins with it."""
    (out / "file").write_bytes(b"kept")
    (out / "folder.png").mkdir()
    with pytest.raises(OutputError, match=re.escape(reason)) as caught:
        _write(picture, out / name, background=background)
    assert str(caught.value).startswith(str(out / name))
    assert caught.value.kind == "bad_output"
    assert _names(out) == ["file", "folder.png"]


def test_a_name_as_long_as_they_go_is_written(picture: Path, out: Path) -> None:
    """The temporary name is not longer than a file name may be."""
    name = "ä" * 125 + ".png"  # 254 bytes
    _write(picture, out / name)
    assert _names(out) == [name]


@pytest.mark.parametrize(
    ("name", "sides", "most"),
    [
        pytest.param("x.webp", (16_384, 1), 16_383, id="webp-wide"),
        pytest.param("x.webp", (1, 16_384), 16_383, id="webp-tall"),
        pytest.param("x.jpg", (65_501, 1), 65_500, id="jpeg-wide"),
    ],
)
def test_a_side_longer_than_the_format_holds_is_refused(
    tmp_path: Path, out: Path, name: str, sides: tuple[int, int], most: int
) -> None:
    """A side above the format's limit is refused with advice; one at the limit is written."""
    path = tmp_path / "long.png"
    Image.new("RGB", sides, (40, 90, 200)).save(path)
    text = (
        f"allows at most {most} px a side, and this is {sides[0]} x {sides[1]}; write .png, or set"
        " max_side"
    )
    with pytest.raises(OutputError, match=text):
        _write(path, out / name, background=(0, 0, 0))
    assert _names(out) == []
    longest = tuple(min(most, side) for side in sides)
    Image.new("RGB", (longest[0], longest[1]), (40, 90, 200)).save(path)
    _write(path, out / name, background=(0, 0, 0))
    with Image.open(out / name) as written:
        assert written.size == longest


# Failures


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("name", ["cutout.png", "cutout.webp", "cutout.jpg"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_a_damaged_picture_leaves_nothing(tmp_path: Path, out: Path, kind: str, name: str) -> None:
    """A truncated picture leaves no partial or temporary file, and keeps an older output."""
    path = tmp_path / "cut"
    _noise(300, 200).save(path, kind)
    header = read_header(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    (out / name).write_bytes(b"an older cut-out")
    composition = compose.Composition(
        header=header,
        matte=PictureMatte.of(np.ones((8, 8), np.float32)),
        max_side=0,
        background=(0, 0, 0),
    )
    with pytest.raises(PictureError, match="is damaged or cut short") as caught:
        compose.write_cutout(composition, out / name, is_cancelled=lambda: False)
    assert str(path) in str(caught.value)
    assert _names(out) == [name]
    assert (out / name).read_bytes() == b"an older cut-out"


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_picture_that_changed_size_meanwhile_is_refused(
    picture: Path, tmp_path: Path, suffix: str
) -> None:
    """A picture whose size changed after its header was read leaves no file."""
    composition = compose.Composition(
        header=read_header(picture),
        matte=PictureMatte.of(_matte(_steps())),
        max_side=0,
        background=None,
    )
    _colours(_WIDTH + 8).save(picture)
    before = _names(tmp_path)
    with pytest.raises(PictureError, match="changed while it was read: it is no longer 96 x 64 px"):
        compose.write_cutout(composition, tmp_path / f"new{suffix}", is_cancelled=lambda: False)
    assert _names(tmp_path) == before


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every cut-out to /dev/full, so that the kernel reports a full disk."""
    open_ = os.open

    def open_on_full_disk(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        descriptor = open_(path, flags, mode, **options)
        if not str(path).endswith(".part"):
            return descriptor
        os.close(descriptor)
        return open_("/dev/full", os.O_WRONLY)

    monkeypatch.setattr("rembg_tuner.base.files.os.open", open_on_full_disk)


@pytest.mark.usefixtures("full_disk", "small_strips")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("sides", [(8, 8), (400, 300)], ids=["at-the-end", "in-the-middle"])
@pytest.mark.parametrize("name", ["cutout.png", "cutout.webp", "cutout.jpg"])
def test_a_full_disk_is_told(tmp_path: Path, out: Path, name: str, sides: tuple[int, int]) -> None:
    """A disk that fills during the write or at close is reported and leaves no file."""
    path = tmp_path / "picture.png"
    _noise(*sides).save(path)
    with pytest.raises(OutputError, match="the disk is full; free some space") as caught:
        _write(path, out / name, background=(0, 0, 0))
    assert str(caught.value).startswith(f"{out / name} cannot be written")
    assert _names(out) == []


_WRITE_LITTLE = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from rembg_tuner.base.errors import TunerError
from rembg_tuner.imaging import compose, source
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import PictureMatte
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
source._IN_MEMORY_PIXELS = 0
composition = compose.Composition(
    header=read_header(Path(sys.argv[1])),
    matte=PictureMatte.of(np.zeros((8, 8), np.float32)), max_side=0, background=None,
)
try:
    compose.write_cutout(composition, Path(sys.argv[2]), is_cancelled=lambda: False)
except TunerError as error:
    sys.stdout.write(f"{error.kind}: {error}")
"""


def test_a_spool_that_does_not_fit_is_the_outputs_fault(tmp_path: Path, out: Path) -> None:
    """A turned picture whose temporary file cannot be written is not reported as damaged."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    _noise(300, 200).save(path, exif=exif)
    ended = subprocess.run(
        [sys.executable, "-c", _WRITE_LITTLE, str(path), str(out / "cutout.png")],
        capture_output=True,
        text=True,
        check=True,
    )
    reason = os.strerror(errno.EFBIG)
    assert ended.stdout == f"bad_output: {out / 'cutout.png'} cannot be written: {reason}"
    assert _names(out) == []


_WRITE_AS_NOBODY = """
import os, sys
from pathlib import Path
import numpy as np
from rembg_tuner.base.errors import TunerError
from rembg_tuner.imaging import compose
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import PictureMatte
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
folder = Path(sys.argv[1])
composition = compose.Composition(
    header=read_header(folder / "picture.png"),
    matte=PictureMatte.of(np.ones((8, 8), np.float32)), max_side=0, background=None,
)
try:
    compose.write_cutout(composition, folder / "closed" / "x.png", is_cancelled=lambda: False)
except TunerError as error:
    sys.stdout.write(f"{error.kind}: {error}")
"""


def test_a_folder_that_may_not_be_written_is_told() -> None:
    """A missing permission is reported, and no file is left."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path's own parents are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        _colours().save(folder / "picture.png")
        closed = folder / "closed"
        closed.mkdir()
        closed.chmod(0o555)
        ended = subprocess.run(
            [sys.executable, "-c", _WRITE_AS_NOBODY, name],
            capture_output=True,
            text=True,
            check=True,
        )
        left = _names(closed)
        closed.chmod(0o700)
    text = "cannot be written: this user is not allowed to write there; choose another folder"
    assert ended.stdout == f"bad_output: {closed / 'x.png'} {text}"
    assert left == []


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        pytest.param(errno.EROFS, "that file system is read-only; choose", id="read-only"),
        pytest.param(
            errno.EACCES, "this user is not allowed to write there; choose", id="permission"
        ),
        pytest.param(errno.ENOSPC, "the disk is full; free some space", id="full"),
        pytest.param(errno.EIO, os.strerror(errno.EIO), id="any-other"),
    ],
)
def test_a_file_that_cannot_be_made_is_told(
    picture: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """Each known system error has its own advice; other errors have the system's text."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("rembg_tuner.base.files.os.open", refuse)
    with pytest.raises(OutputError, match=re.escape(advice)):
        _write(picture, out / "cutout.png")
    assert _names(out) == []


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize(
    ("name", "block", "max_side"),
    [
        pytest.param("cutout.png", 1, 0, id="png-at-once"),
        pytest.param("cutout.png", 9, 0, id="png-later"),
        pytest.param("cutout.png", 38, 0, id="png-last-rows"),
        pytest.param("cutout.png", 1, 200, id="png-scaled-at-once"),
        pytest.param("cutout.png", 9, 200, id="png-scaled-later"),
        pytest.param("cutout.jpg", 1, 0, id="jpg-at-once"),
        pytest.param("cutout.jpg", 3, 0, id="jpg-later"),
        pytest.param("cutout.webp", 1, 0, id="webp"),
    ],
)
def test_a_cancel_in_the_middle_leaves_nothing(
    tmp_path: Path, out: Path, name: str, block: int, max_side: int
) -> None:
    """A cancel ends the write at any block and keeps an older file unchanged."""
    path = tmp_path / "picture.png"
    _noise(400, 300).save(path)
    (out / name).write_bytes(b"an older cut-out")
    composition = compose.Composition(
        header=read_header(path),
        matte=PictureMatte.of(np.ones((8, 8), np.float32)),
        max_side=max_side,
        background=(0, 0, 0),
    )
    asked: list[int] = []

    def is_cancelled() -> bool:
        asked.append(len(asked) + 1)
        return len(asked) >= block

    with pytest.raises(CancelledError, match="the run was cancelled while its cut-out was written"):
        compose.write_cutout(composition, out / name, is_cancelled=is_cancelled)
    assert len(asked) >= block
    assert _names(out) == [name]
    assert (out / name).read_bytes() == b"an older cut-out"


# Previews


@pytest.mark.parametrize(
    ("sides", "max_side", "shown"),
    [
        pytest.param((2000, 1000), 0, (1600, 800), id="scaled"),
        pytest.param((1000, 2000), 0, (800, 1600), id="scaled-tall"),
        pytest.param((2000, 1000), 400, (400, 200), id="as-the-cutout"),
        pytest.param((2000, 1000), 1800, (1600, 800), id="less-than-the-cutout"),
        pytest.param((90, 60), 0, (90, 60), id="never-enlarged"),
        pytest.param((1, 1), 0, (1, 1), id="one-pixel"),
        pytest.param((5000, 1), 0, (1600, 1), id="a-line"),
    ],
)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_previews_are_small_and_upright(
    tmp_path: Path,
    out: Path,
    sides: tuple[int, int],
    max_side: int,
    shown: tuple[int, int],
    orientation: int,
) -> None:
    """All previews are upright and at most 1600 px.

    The picture is a JPEG, the cut-out a WebP with alpha, and its alpha a PNG.
    """
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture.png"
    upright = _colours(*sides)
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    (upright if turn is None else upright.transpose(turn)).save(path, exif=exif)
    composition = compose.Composition(
        header=read_header(path),
        matte=PictureMatte.of(np.full((8, 8), 0.4, np.float32)),
        max_side=max_side,
        background=None,
    )
    cutout, before = out / "cutout.webp", out / "before.jpg"
    previews.write_preview(composition, cutout)
    previews.write_original(composition.header, before, max_side=max_side)
    expected = np.asarray(upright.resize(shown, Image.Resampling.LANCZOS)).astype(int)
    with Image.open(before) as picture, Image.open(cutout) as with_alpha:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", shown)
        assert (with_alpha.format, with_alpha.mode, with_alpha.size) == ("WEBP", "RGBA", shown)
        assert np.abs(np.asarray(picture) - expected).mean() < 8
        pixels = np.asarray(with_alpha)
    assert np.unique(pixels[..., 3]).tolist() == [102]
    assert np.abs(pixels[..., :3] - expected).mean() < 8


@pytest.mark.usefixtures("full_disk")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_preview_on_a_full_disk_is_told(picture: Path, out: Path) -> None:
    """A preview that does not fit raises OutputError, and no file is left."""
    composition = compose.Composition(
        header=read_header(picture),
        matte=PictureMatte.of(np.ones((8, 8), np.float32)),
        max_side=0,
        background=None,
    )
    with pytest.raises(OutputError, match=r"after\.webp cannot be written: the disk is full"):
        previews.write_preview(composition, out / "after.webp")
    assert _names(out) == []


# Memory

_MEASURE = """
import sys
from pathlib import Path
import numpy as np
from rembg_tuner.imaging import compose, libvips
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import PictureMatte
libvips.start_libvips(2)
for name in sys.argv[1:]:
    composition = compose.Composition(
        header=read_header(Path(name)),
        matte=PictureMatte.of(np.tile(np.linspace(0, 1, 320, dtype=np.float32), (320, 1))),
        max_side=0, background=None,
    )
    compose.write_cutout(composition, Path(name).with_suffix(".png"), is_cancelled=lambda: False)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write(status["VmHWM"].split()[0] + "\\n")
"""


def _peaks_kib(*pictures: Path) -> list[int]:
    """Cut out pictures in turn in a separate process; return the peak RSS after each, KiB."""
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE, *map(str, pictures)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_ARENA_MAX": "2"},
    )
    return [int(line) for line in ended.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
@pytest.mark.parametrize("orientation", [1, 6], ids=["upright", "turned"])
@pytest.mark.alone
def test_memory_hardly_grows_with_a_baseline_jpeg(tmp_path: Path, orientation: int) -> None:
    """A 48 MP JPEG takes at most 24 MiB more than a 1080p one, since it is processed in strips."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    grain = np.random.default_rng(1).integers(-9, 10, (750, 1000, 3))
    block = np.clip(np.asarray(_colours(1000, 750)).astype(int) + grain, 0, 255).astype(np.uint8)
    large, small = tmp_path / "48mp.jpg", tmp_path / "1080p.jpg"
    pixels = np.tile(block, (8, 8, 1))
    Image.fromarray(pixels).save(large, exif=exif, quality=90)
    Image.fromarray(np.ascontiguousarray(pixels[:1080, :1920])).save(small, exif=exif, quality=90)
    # How far decoding runs ahead depends on the threads' timing, so the lowest of three counts.
    growths_mib: list[float] = []
    while len(growths_mib) < 3 and min(growths_mib, default=25.0) > 24:
        peaks = _peaks_kib(small, small, large)
        growths_mib.append((peaks[2] - peaks[1]) / 1024)
    with Image.open(tmp_path / "48mp.png") as written:
        assert sorted(written.size) == [6000, 8000]
    assert min(growths_mib) <= 24, growths_mib
