"""The files that are accepted as pictures by their content, and how others are refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from rembg_tuner.base.errors import PictureError, PictureTooLargeError
from rembg_tuner.imaging import formats
from rembg_tuner.imaging.header import read_header

_SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="9"'
    b' height="9"/></svg>'
)
_CSV = b"1,2,3\n4,5,6\n7,8,9\n"
_JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40)


def _encoded(kind: str, **options: object) -> bytes:
    """Encode a small picture with Pillow."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 100, 50)).save(file, kind, **options)
    return file.getvalue()


def _png_of(width: int, height: int) -> bytes:
    """Return a PNG with any header and almost no pixel data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(10))), chunk(b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("kind", "options", "format_"),
    [
        pytest.param("JPEG", {}, formats.JPEG, id="jpeg"),
        pytest.param("JPEG", {"progressive": True}, formats.JPEG, id="progressive-jpeg"),
        pytest.param("PNG", {}, formats.PNG, id="png"),
        pytest.param("WEBP", {}, formats.WEBP, id="webp"),
        pytest.param("WEBP", {"lossless": True}, formats.WEBP, id="lossless-webp"),
        pytest.param("AVIF", {}, formats.AVIF, id="avif"),
        pytest.param("TIFF", {}, formats.TIFF, id="tiff"),
        pytest.param("TIFF", {"big_tiff": True}, formats.TIFF, id="big-tiff"),
        pytest.param("GIF", {}, formats.GIF, id="gif"),
    ],
)
@pytest.mark.parametrize("name", ["picture.jpg", "picture.png", "picture.csv", "no-suffix"])
def test_a_format_is_told_by_content_not_name(
    tmp_path: Path,
    kind: str,
    options: dict[str, object],
    format_: formats.PictureFormat,
    name: str,
) -> None:
    """The format and the header are read from the content, whatever the file name."""
    path = tmp_path / name
    path.write_bytes(_encoded(kind, **options))
    header = read_header(path)
    assert (header.format, header.width, header.height) == (format_, 40, 30)


def test_a_big_endian_tiff_is_read(tmp_path: Path) -> None:
    """A big-endian TIFF has its own signature."""
    path = tmp_path / "picture.tif"
    with Image.new("I;16B", (5, 4)) as picture:
        picture.save(path)
    assert path.read_bytes()[:2] == b"MM"
    assert read_header(path).format == formats.TIFF


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", r"is empty \(0 bytes\); save or copy", id="empty"),
        pytest.param(b"hello, world\n" * 20, "is not a picture in a supported format", id="text"),
        pytest.param(_CSV, "the formats are JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF", id="csv"),
        pytest.param(_SVG, "is not a picture in a supported format", id="svg"),
        pytest.param(b"<?xml version='1.0'?>" + _SVG, "is not a picture", id="svg-with-prologue"),
        pytest.param(b"%PDF-1.7\n", "is not a picture in a supported format", id="pdf"),
        pytest.param(b"BM" + bytes(60), "is not a picture in a supported format", id="bmp"),
        pytest.param(_JXL, "is not a picture in a supported format", id="jpeg-xl"),
        pytest.param(b"\xff", "is not a picture in a supported format", id="one-byte"),
        pytest.param(b"RIFF\0\0\0\0WAVE" + bytes(40), "is not a picture", id="riff-of-sound"),
        pytest.param(b"\0\0\0\x18ftypisom" + bytes(40), "is not a picture", id="mp4"),
        pytest.param(b"\0\0\0\0ftyp" + bytes(8), "is not a picture", id="box-without-size"),
        pytest.param(_png_of(0, 10), "is damaged or cut short", id="0-by-n"),
        pytest.param(_png_of(10, 0), "is damaged or cut short", id="n-by-0"),
        pytest.param(_png_of(2**31, 2**31), "is damaged or cut short", id="sides-past-png"),
        pytest.param(b"\xff\xd8\xff" + bytes(200), "is damaged or cut short", id="jpeg-of-zeros"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(90), "is damaged or cut", id="png-of-zeros"),
        pytest.param(b"II*\0" + bytes(90), "is damaged or cut short", id="tiff-of-zeros"),
        pytest.param(b"GIF89a" + bytes(90), "is damaged or cut short", id="gif-of-zeros"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    """Other content named .jpg is refused with one line that names the file and the reason."""
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=reason) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert "\n" not in message
    assert "unable to call" not in message
    assert caught.value.kind == "bad_input"


@pytest.mark.parametrize(
    ("content", "megapixels"),
    [
        pytest.param(_png_of(30_000, 30_000), "900 MP", id="30000-square"),
        pytest.param(_png_of(1_000_000, 1_000), "1,000 MP", id="a-line"),
    ],
)
@pytest.mark.alone
def test_a_huge_header_is_refused_before_decoding(
    tmp_path: Path, content: bytes, megapixels: str
) -> None:
    """A small file that declares too many pixels is too_large; the message has the limit."""
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    started = time.perf_counter()
    with pytest.raises(
        PictureTooLargeError, match=rf"{megapixels}\), more than the 268 MP"
    ) as caught:
        read_header(path)
    assert time.perf_counter() - started < 1
    assert caught.value.kind == "too_large"
    assert str(path) in str(caught.value)


def test_a_hosts_own_limit_is_kept(tmp_path: Path) -> None:
    """A picture at the limit is accepted, and one more pixel is refused."""
    path = tmp_path / "picture.png"
    path.write_bytes(_encoded("PNG"))
    assert read_header(path, max_pixels=1200).width == 40
    with pytest.raises(PictureTooLargeError, match="40 x 30 px"):
        read_header(path, max_pixels=1199)


def test_a_format_decoded_whole_has_a_lower_limit_and_a_warning(tmp_path: Path) -> None:
    """12,000 x 12,000 px are accepted as baseline, but not as interlaced, which needs memory."""
    path = tmp_path / "picture.png"
    plain = _png_of(12_000, 12_000)
    path.write_bytes(plain)
    assert not read_header(path).is_whole
    interlaced = bytearray(plain)
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(bytes(interlaced[12:29])))
    path.write_bytes(interlaced)
    with pytest.raises(PictureTooLargeError, match=r"144 MP.*more than the 100 MP"):
        read_header(path)


@pytest.mark.parametrize(
    ("kind", "options", "word"),
    [
        pytest.param("JPEG", {}, None, id="baseline-jpeg"),
        pytest.param("JPEG", {"progressive": True}, "progressive JPEG", id="progressive-jpeg"),
        pytest.param("PNG", {}, None, id="png"),
        pytest.param("TIFF", {}, None, id="tiff"),
        pytest.param("WEBP", {}, "WebP", id="webp"),
        pytest.param("AVIF", {}, "AVIF", id="avif"),
        pytest.param("GIF", {"interlace": 0}, "GIF", id="gif"),
        pytest.param("GIF", {"interlace": 1}, "GIF", id="interlaced-gif"),
    ],
)
def test_what_is_held_whole_is_told(
    tmp_path: Path, kind: str, options: dict[str, object], word: str | None
) -> None:
    """A decoder whose memory grows with the picture adds a warning with the bytes."""
    path = tmp_path / "picture"
    path.write_bytes(_encoded(kind, **options))
    header = read_header(path)
    assert header.is_whole == (word is not None)
    assert (header.extra_bytes > 0) == (word is not None)
    if word is None:
        assert header.warnings == ()
    else:
        assert str(header.warnings[0]).startswith(f"{word} pictures are decoded whole")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder is refused."""
    with pytest.raises(PictureError, match="is a folder, not a picture; give the path"):
        read_header(tmp_path)


def test_a_fifo_is_refused_without_opening_it(tmp_path: Path) -> None:
    """A FIFO without a writer is refused at once."""
    path = tmp_path / "picture.jpg"
    os.mkfifo(path)
    with pytest.raises(PictureError, match="is not a regular file"):
        read_header(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("absent.jpg", "does not exist; check the path", id="absent"),
        pytest.param("no/folder/absent.jpg", "does not exist", id="folder-absent"),
        pytest.param("file/under.jpg", "cannot be read: Not a directory", id="under-a-file"),
        pytest.param("n" * 300 + ".jpg", "cannot be read: File name too long", id="long-name"),
        pytest.param("dangling", "does not exist", id="dangling-link"),
        pytest.param("loop", "cannot be read: Too many levels", id="loop-of-links"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """Each missing path raises a clear message, never an OSError."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PictureError, match=reason):
        read_header(tmp_path / name)


_AS_NOBODY = """
import os, sys
from pathlib import Path
from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import formats
locked = Path(sys.argv[1])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for path in (locked / "secret.jpg", locked / "closed" / "any.jpg"):
    try:
        formats.sniff(path)
    except PictureError as error:
        sys.stdout.write(f"{error}\\n")
"""


def test_a_picture_that_may_not_be_read_is_refused() -> None:
    """A missing permission on the file or its folder is reported."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path's own parents are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        secret, closed = folder / "secret.jpg", folder / "closed"
        secret.write_bytes(_encoded("JPEG"))
        secret.chmod(0)
        closed.mkdir(mode=0)
        ended = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, name], capture_output=True, text=True, check=True
        )
        closed.chmod(0o700)
    text = "cannot be read by this user; check its permissions"
    assert ended.stdout.splitlines() == [f"{secret} {text}", f"{closed / 'any.jpg'} {text}"]
