"""The parts of a file that libvips reads.

Missing ends, oversized metadata, and names of any bytes.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pyvips
from made_png import chunk, iccp, make_png
from PIL import Image, ImageCms

from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import complaints, source, views
from rembg_tuner.imaging.compose import Composition, write_cutout
from rembg_tuner.imaging.header import PictureHeader, read_header
from rembg_tuner.imaging.libvips import start_libvips
from rembg_tuner.imaging.matte import PictureMatte

if TYPE_CHECKING:
    import numpy.typing as npt

    from rembg_tuner.base.messages import Message

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_CUT_SHORT = r"is damaged or cut short: the file ends before all of its pixels do; copy or save"


@pytest.fixture(autouse=True, scope="module")
def _libvips() -> None:
    """Configure libvips as the worker does; its cache would return a file's former pixels."""
    start_libvips(2)


def _colours() -> Image.Image:
    """Return a picture whose last rows are unique."""
    rng = np.random.default_rng(11)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    return blobs.resize((96, 61), Image.Resampling.BICUBIC)


def _encoded(kind: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture or _colours()).save(file, kind, **options)
    return file.getvalue()


def _both(path: Path) -> tuple[PictureHeader, Pixels, Pixels]:
    """Read a picture as the cut-out's colours and as the network's input."""
    header = read_header(path)
    small = source.read_small(header, width=40, height=40).numpy()
    with source.opened(header, 0, path.parent) as image:
        return header, image.numpy(), small


def _split(png: bytes, length: int) -> bytes:
    """Split the only chunk of pixels of a PNG into many."""
    at = png.index(b"IDAT")
    size = int.from_bytes(png[at - 4 : at], "big")
    pixels = png[at + 4 : at + 4 + size]
    parts = b"".join(chunk(b"IDAT", pixels[i : i + length]) for i in range(0, size, length))
    return png[: at - 4] + parts + png[at + 8 + size :]


def _interlaced(picture: Image.Image) -> bytes:
    encoded: bytes = pyvips.Image.new_from_array(np.asarray(picture)).pngsave_buffer(interlace=True)
    return encoded


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


_ANIMATED: dict[str, Any] = {"save_all": True, "append_images": [_colours().rotate(180)]}
# A file, the number of bytes at its end that are not pixels, and a number that cuts pixels off.
_ENDS: list[Any] = [
    pytest.param(_encoded("JPEG"), 2, 3, id="jpeg"),
    pytest.param(_encoded("JPEG", progressive=True), 2, 3, id="jpeg-progressive"),
    pytest.param(_encoded("JPEG", _colours().convert("L")), 2, 8, id="jpeg-grey"),
    pytest.param(_encoded("JPEG", _colours().convert("CMYK")), 2, 8, id="jpeg-cmyk"),
    pytest.param(_encoded("JPEG", restart_marker_rows=1), 2, 8, id="jpeg-restarts"),
    pytest.param(_encoded("JPEG", exif=_exif(6)), 2, 8, id="jpeg-turned"),
    pytest.param(_encoded("PNG"), 20, 26, id="png"),
    pytest.param(_encoded("PNG", compress_level=0), 20, 21, id="png-stored"),
    pytest.param(_encoded("PNG", _colours().convert("RGBA")), 20, 26, id="png-rgba"),
    pytest.param(_encoded("PNG", _colours().quantize(16)), 20, 26, id="png-palette"),
    pytest.param(_interlaced(_colours()), 20, 26, id="png-interlaced"),
    pytest.param(_split(_encoded("PNG"), 7), 18, 60, id="png-split"),
    pytest.param(
        make_png(np.asarray(_colours()), after=chunk(b"tEXt", b"a\0b" * 30)),
        110,
        140,
        id="png-text-after",
    ),
    pytest.param(_encoded("GIF"), 2, 8, id="gif"),
    pytest.param(
        _encoded("GIF", _colours().quantize(32), transparency=3), 2, 8, id="gif-transparent"
    ),
    pytest.param(_encoded("GIF", **_ANIMATED), 900, None, id="gif-animated"),
    pytest.param(_encoded("WEBP", xmp=b"<x/>" * 20), 80, 120, id="webp-xmp"),
    pytest.param(_encoded("WEBP", lossless=True, **_ANIMATED), 500, None, id="webp-animated"),
]


@pytest.mark.parametrize(("content", "spare", "too_many"), _ENDS)
def test_a_missing_end_is_a_warning_and_missing_pixels_a_refusal(
    tmp_path: Path, content: bytes, spare: int, too_many: int | None
) -> None:
    """If only bytes after the last pixel are missing, all pixels are equal, with a warning.

    If pixels are missing, the file is refused.
    """
    path = tmp_path / "a"
    path.write_bytes(content)
    header, pixels, small = _both(path)
    assert views.END_MISSING not in header.warnings
    for cut in {1, 2, spare // 2, spare} - {0}:
        path.write_bytes(content[:-cut])
        header, cut_pixels, cut_small = _both(path)
        assert header.warnings[-1] == views.END_MISSING
        first, second = (
            (cut_pixels, pixels) if pixels.shape[2] >= cut_pixels.shape[2] else (pixels, cut_pixels)
        )
        assert np.array_equal(first, second[..., : first.shape[2]])
        assert np.array_equal(cut_small[..., :3], small[..., :3])
    for cut in [] if too_many is None else [too_many, len(content) // 2]:
        path.write_bytes(content[:-cut])
        with pytest.raises(PictureError, match=_CUT_SHORT):
            _both(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_encoded("JPEG"), id="jpeg"),
        pytest.param(_encoded("PNG"), id="png"),
        pytest.param(_encoded("GIF"), id="gif"),
        pytest.param(_encoded("GIF", **_ANIMATED), id="gif-animated"),
    ],
)
def test_bytes_after_the_end_are_no_missing_end(tmp_path: Path, content: bytes) -> None:
    """Data that cameras and programs append is not read as pixels."""
    path = tmp_path / "a"
    path.write_bytes(content)
    before = read_header(path).warnings
    path.write_bytes(content + b"appended\n" * 30)
    header, pixels, _ = _both(path)
    assert header.warnings == before
    assert pixels.shape[:2] == (61, 96)


def test_a_progressive_jpeg_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    """A file that ends between two scans is refused, although decoders do not report it."""
    content = _encoded("JPEG", progressive=True)
    path = tmp_path / "a.jpg"
    path.write_bytes(content[: content.rindex(b"\xff\xda")])
    with pytest.raises(PictureError, match=_CUT_SHORT):
        read_header(path)


def test_a_webp_whose_exif_is_cut_says_so(tmp_path: Path) -> None:
    """A warning says that the orientation may be in the missing part."""
    path = tmp_path / "a.webp"
    path.write_bytes(_encoded("WEBP", exif=_exif(6))[:-8])
    assert views.EXIF_CUT in _both(path)[0].warnings


# Oversized metadata


def _shown_bytes(header: PictureHeader) -> int:
    """Count the bytes that libvips reads."""
    lengths = (len(one) if isinstance(one, bytes) else one[1] for one in header.view.pieces)
    return sum(lengths) or header.path.stat().st_size


@functools.cache
def _profile() -> bytes:
    """Create a profile once, since it contains its creation time."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


_TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
_BOMB = zlib.compress(b"Aa" * 2_000_000, 9)
_GOOD = (iccp(_profile()), chunk(b"eXIf", _TURNED))
_PIXELS = np.asarray(_colours())
_JPEG = _encoded("JPEG", exif=_exif(6), icc_profile=_profile())


def _webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Append chunks to a WebP."""
    content = _encoded("WEBP", exif=_exif(6), icc_profile=_profile())
    for name, body in chunks:
        content += name + struct.pack("<I", len(body)) + body
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            make_png(_PIXELS, *_GOOD, *[chunk(b"zTXt", b"k\0\0" + _BOMB)] * 20), id="png-ztxt"
        ),
        pytest.param(
            make_png(_PIXELS, *_GOOD, *[chunk(b"iTXt", b"k\0\1\0\0\0" + _BOMB)] * 20), id="png-itxt"
        ),
        pytest.param(
            make_png(_PIXELS, *_GOOD, after=chunk(b"zTXt", b"k\0\0" + _BOMB) * 20),
            id="png-ztxt-after",
        ),
        pytest.param(
            make_png(_PIXELS, *_GOOD, *[chunk(b"tEXt", b"k\0v")] * 1000), id="png-many-texts"
        ),
        pytest.param(make_png(_PIXELS, *_GOOD, chunk(b"abCd", bytes(2**21))), id="png-unknown"),
        pytest.param(
            _JPEG[:2] + (b"\xff\xfe\xff\xff" + bytes(65533)) * 30 + _JPEG[2:], id="jpeg-comments"
        ),
        pytest.param(
            _JPEG[:2]
            + (b"\xff\xe1\xff\xffhttp://ns.adobe.com/xap/" + bytes(65509)) * 30
            + _JPEG[2:],
            id="jpeg-xmp",
        ),
        pytest.param(_JPEG[:2] + b"\xff\xe5\0\2" * 5000 + _JPEG[2:], id="jpeg-many-segments"),
        pytest.param(_webp((b"XMP ", bytes(2**21))), id="webp-xmp"),
        pytest.param(_webp(*[(b"abcd", b"")] * 1000), id="webp-many-chunks"),
    ],
)
def test_metadata_is_not_shown_without_measure(tmp_path: Path, content: bytes) -> None:
    """Text and unknown blocks are skipped; pixels, orientation and profile are kept."""
    path = tmp_path / "a"
    path.write_bytes(content)
    header, pixels, _ = _both(path)
    assert _shown_bytes(header) < 2**16
    assert (header.width, header.height, header.orientation) == (61, 96, 6)
    assert pixels.shape[:2] == (96, 61)
    with source.opened(header, 0, tmp_path) as image:
        assert bytes(image.get("icc-profile-data")) == _profile()


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        pytest.param(
            make_png(_PIXELS, iccp(_profile() + bytes(2**23))),
            views.PROFILE_TOO_LARGE,
            id="png-profile",
        ),
        pytest.param(
            make_png(_PIXELS, chunk(b"eXIf", _TURNED + bytes(2**21))),
            views.EXIF_TOO_LARGE,
            id="png-exif",
        ),
        pytest.param(
            _encoded("JPEG", icc_profile=_profile() + bytes(2**23)),
            views.PROFILE_TOO_LARGE,
            id="jpeg-profile",
        ),
        pytest.param(_webp((b"EXIF", bytes(2**21))), views.EXIF_TOO_LARGE, id="webp-exif"),
        pytest.param(
            _encoded("WEBP", icc_profile=_profile() + bytes(2**23)),
            views.PROFILE_TOO_LARGE,
            id="webp-profile",
        ),
    ],
)
def test_a_profile_or_exif_without_measure_is_left_out_with_a_warning(
    tmp_path: Path, content: bytes, warning: Message
) -> None:
    """The picture is read without the oversized profile or EXIF."""
    path = tmp_path / "a"
    path.write_bytes(content)
    header, pixels, _ = _both(path)
    assert warning in header.warnings
    assert _shown_bytes(header) < 2**16
    assert pixels.shape[:2] == (61, 96)


def test_a_gif_of_many_frames_is_shown_up_to_its_first(tmp_path: Path) -> None:
    """Only the first frame of a file is shown to libvips.

    It would list every frame, with 90 bytes of memory for each.
    """
    frame = b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    path = tmp_path / "a.gif"
    path.write_bytes(_encoded("GIF")[:-1] + frame * 300_000 + b";")
    header, pixels, _ = _both(path)
    assert _shown_bytes(header) < 2**16
    assert pixels.shape[:2] == (61, 96)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_a_gifs_first_frame_leaves_out_is_transparent(tmp_path: Path, mode: str) -> None:
    """The background is transparent, as in browsers; libvips returns black."""
    content = bytearray(_encoded("GIF", _colours().convert(mode)))
    frame = content.index(b",\0\0\0\0\x60\0\x3d\0")
    content[6:10] = struct.pack("<HH", 200, 150)
    content[frame + 1 : frame + 5] = struct.pack("<HH", 10, 20)
    path = tmp_path / "a.gif"
    path.write_bytes(content)
    _, pixels, small = _both(path)
    assert pixels.shape == (150, 200, 4)
    assert small.shape[2] == 4
    expected = np.zeros((150, 200), np.uint8)
    expected[20:81, 10:106] = 255
    np.testing.assert_array_equal(pixels[..., 3], expected)
    whole = np.asarray(
        Image.open(io.BytesIO(_encoded("GIF", _colours().convert(mode)))).convert("RGB")
    )
    np.testing.assert_array_equal(pixels[20:81, 10:106, :3], whole)


def _kind_of_jpeg(code: int, bits: int) -> bytes:
    """Change the JPEG type in the frame's header."""
    frame = _JPEG.index(b"\xff\xc0")
    return _JPEG[: frame + 1] + bytes([code, 0, 17, bits]) + _JPEG[frame + 5 :]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            _kind_of_jpeg(0xC1, 12), "cannot be read: its encoding is not supported", id="12-bit"
        ),
        pytest.param(
            _kind_of_jpeg(0xC5, 8),
            "cannot be read: its encoding is not supported",
            id="hierarchical",
        ),
        pytest.param(
            make_png(_PIXELS)[:8] + chunk(b"CgBI", bytes(4)) + make_png(_PIXELS)[8:],
            "CgBI",
            id="png-of-apps",
        ),
    ],
)
def test_a_whole_picture_of_a_kind_that_is_not_read_is_not_called_damaged(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """The message advises saving the picture in another way."""
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=words) as caught:
        _both(path)
    assert "damaged" not in str(caught.value)
    assert "save it as" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            make_png(_PIXELS, b"".join([chunk(b"tEXt", b"k\0v")] * 260_000)), "chunks", id="png"
        ),
        pytest.param(_JPEG[:2] + b"\xff\xfe\0\2" * 30_000 + _JPEG[2:], "segments", id="jpeg"),
        pytest.param(_webp(*[(b"abcd", b"")] * 30_000), "chunks", id="webp"),
    ],
)
def test_more_blocks_than_any_picture_needs_are_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    """The scan of a file stops at a maximum number of blocks."""
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(
        PictureError, match=r"has more than [\d,]+ parts, which is more than a picture"
    ):
        read_header(path)


# Names and messages


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_a_name_that_is_no_utf8_is_read_and_written(tmp_path: Path, kind: str) -> None:
    """File and folder names of any bytes are accepted, such as Latin-1 names."""
    folder = tmp_path / os.fsdecode(b"\xe0 c\xf4t\xe9")
    folder.mkdir()
    path, output = (folder / os.fsdecode(name) for name in (b"\xe9t\xe9.jpg", b"\xe9t\xe9.png"))
    path.write_bytes(_encoded(kind, exif=_exif(6)) if kind != "GIF" else _encoded(kind))
    header, pixels, _ = _both(path)
    assert pixels.shape[:2] == (header.height, header.width)
    composition = Composition(
        header=header,
        matte=PictureMatte.of(np.ones((4, 4), np.float32)),
        max_side=0,
        background=None,
    )
    write_cutout(composition, output, is_cancelled=lambda: False)
    names = sorted(os.fsencode(one.name) for one in folder.iterdir())
    assert names == [b"\xe9t\xe9.jpg", b"\xe9t\xe9.png"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PictureError, match="is damaged or cut short"):
        _both(path)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        pytest.param("VipsJpeg: premature end of JPEG image", "the file ends before", id="libjpeg"),
        pytest.param("vipspng: libpng read error", "the file ends before", id="libpng"),
        pytest.param(
            "gifload: Unexpected end of GIF source data", "the file ends before", id="nsgif"
        ),
        pytest.param("gifload: Invalid frame data", "its pixels are damaged", id="nsgif-pixels"),
        pytest.param("webp2vips: unable to read pixels", "its pixels are damaged", id="libwebp"),
        pytest.param("webp: unable to parse image", "its header is damaged", id="libwebp-header"),
        pytest.param(
            "VipsJpeg: Bogus Huffman table definition", "its header is damaged", id="libjpeg-table"
        ),
        pytest.param(
            "VipsJpeg: Unsupported JPEG process: SOF type 0xc6",
            "its encoding is not supported",
            id="libjpeg-kind",
        ),
        pytest.param(
            "VipsJpeg: Maximum supported image dimension is 65500 pixels",
            "its header asks for more",
            id="libjpeg-limit",
        ),
        pytest.param(
            "source: bad seek to 2461\nheif: Invalid input: No 'iinf' box (2.111)",
            "its header is damaged",
            id="libheif",
        ),
        pytest.param(
            "heif: Memory allocation error: Security limit exceeded: iinf",
            "its header asks for more",
            id="libheif-limit",
        ),
        pytest.param(
            "source: bad seek to 77030\ntiff2vips: Failed to read directory",
            "the file ends before",
            id="libtiff",
        ),
        pytest.param(
            "tiff2vips: Decoding error at scanline 0", "its pixels are damaged", id="libtiff-pixels"
        ),
        pytest.param(
            "image file is truncated (38 bytes not processed)", "the file ends before", id="pillow"
        ),
        pytest.param("an unknown complaint", "it cannot be decoded", id="unknown"),
    ],
)
def test_a_decoders_words_are_said_plainly(said: str, meaning: str) -> None:
    """The message does not contain the library's text, which is in the log."""
    error = pyvips.Error("unable to call jpegload", said)
    told = str(complaints.explain(Path("a.jpg"), error))
    is_damaged = not meaning.startswith(("its encoding", "its header asks"))
    verb = "is damaged or cut short" if is_damaged else "cannot be read"
    assert told.startswith(f"a.jpg {verb}: {meaning}")
    assert not any(word in told for word in ("Vips", "vips", "libpng", "heif", "gifload"))
