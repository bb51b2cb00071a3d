"""Messages about a picture: the CLI shows the path, the page only the name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips

from rembg_tuner.base.boxes import Box, box_in_picture
from rembg_tuner.base.errors import PictureError, SettingsError, TunerError
from rembg_tuner.base.messages import Message, Quoted, render
from rembg_tuner.imaging import complaints, compose, source
from rembg_tuner.imaging.complaints import unwritable_text
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import PictureMatte
from rembg_tuner.runtime.picture_processes import Inspector

GREY = pyvips.Image.gaussnoise(40, 30, mean=128, sigma=40, seed=1).cast("uchar")
PNG = GREY.pngsave_buffer()
TIFF = GREY.tiffsave_buffer()
RGB = GREY.bandjoin([GREY, GREY]).copy(interpretation="srgb").tiffsave_buffer()


def _with_tag(tag: int, value: int, tiff: bytes = TIFF) -> bytes:
    """Change a tag's value in a TIFF file."""
    data = bytearray(tiff)
    start = struct.unpack("<I", data[4:8])[0]
    for i in range(struct.unpack_from("<H", data, start)[0]):
        entry = start + 2 + 12 * i
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HIHH", data, entry + 2, 3, 1, value, 0)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty (0 bytes); save or copy the picture again", id="empty"),
        pytest.param(
            b"text",
            "is not a picture in a supported format; the formats are JPEG, PNG, WebP, AVIF, TIFF, BMP"
            " and GIF (its first frame)",
            id="text",
        ),
        pytest.param(
            b"IIRO" + bytes(90),
            "is a camera raw file (Olympus ORF), which is not supported; develop it and save it as"
            " JPEG, PNG or TIFF",
            id="raw",
        ),
        pytest.param(
            PNG[:600],
            "is damaged or cut short: the file ends before all of its pixels do; copy or save the"
            " picture again",
            id="cut",
        ),
        pytest.param(
            _with_tag(262, 77),
            "is a TIFF file with the photometric interpretation 77, which is not supported; save it with"
            " 8 or 16 bits a sample, RGB or grey",
            id="tiff-colours",
        ),
        pytest.param(
            _with_tag(259, 9999),
            "is a TIFF file with the compression number 9999, which is not supported; save it with LZW,"
            " ZIP or no compression",
            id="tiff-compression",
        ),
        pytest.param(
            _with_tag(284, 2, RGB),
            "is damaged or cut short: its planes have no strips or tiles",
            id="tiff-planes",
        ),
        pytest.param(
            TIFF[:4] + b"\xff\xff\xff\0" + TIFF[8:],
            "is damaged or cut short: a TIFF directory lies outside the file",
            id="tiff-tags",
        ),
    ],
)
def test_a_path_is_a_parameter_of_what_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    """The CLI shows the path, the page the name, and JSON keeps the message."""
    path = tmp_path / "cup; not found.png"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        source.read_small(read_header(path), width=10, height=10)
    message = caught.value.message
    assert str(caught.value) == f"{path} {said}"
    assert render(message, is_public=True) == f"cup; not found.png {said}"
    assert render(message.with_paths({path: "standard input"})) == f"standard input {said}"
    assert Message.from_json(message.to_json()) == message


def test_what_pyvips_itself_says_is_quoted() -> None:
    """A library's own text may contain a path, so the page omits it."""
    error = pyvips.Error("can't create source from descriptor 7", "/home/a")
    told = complaints.explain(Path("/home/a/b.png"), error)
    assert (
        str(told) == "/home/a/b.png is damaged or cut short: can't create source from descriptor 7"
    )
    assert render(told.message, is_public=True) == "b.png is damaged or cut short"


def test_an_error_without_a_number_is_quoted() -> None:
    """A library's error without a number, which may contain a path, becomes quoted text."""
    message = unwritable_text(Path("/home/a/b.png"), OSError("no /home/a"))
    assert message["reason"] == Quoted("no /home/a")
    assert render(message, is_public=True) == "b.png cannot be written"


def test_the_inspector_passes_a_message_on(tmp_path: Path) -> None:
    """The message passes the pipe with the path as a parameter."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    inspector = Inspector()
    try:
        with pytest.raises(TunerError) as caught:
            inspector.inspect(path, max_pixels=100)
    finally:
        inspector.close()
    assert caught.value.kind == "too_large"
    assert caught.value.message["path"] == path
    assert render(caught.value.message, is_public=True).startswith("a.png has 40 x 30 px (0 MP)")


def test_a_box_and_an_output_name_the_file(tmp_path: Path) -> None:
    """The page does not show the folder."""
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    with pytest.raises(SettingsError) as outside:
        box_in_picture("90,90,20,20", Box(0, 0, 40, 30), picture)
    assert render(outside.value.message, is_public=True).startswith(
        "focus_box 90,90,20,20 lies outside a.png,"
    )
    composition = compose.Composition(
        header=read_header(picture),
        matte=PictureMatte.of(np.ones((4, 4), np.float32)),
        max_side=0,
        background=None,
    )
    with pytest.raises(TunerError) as unwritten:
        compose.write_cutout(composition, tmp_path / "no" / "b.png", is_cancelled=lambda: False)
    assert (
        render(unwritten.value.message, is_public=True)
        == "b.png cannot be written: its folder does not exist; create it first"
    )
