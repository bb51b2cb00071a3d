"""Colours of AVIF pictures, compared with what Chromium 156 shows."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import source
from rembg_tuner.imaging.header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_COLOUR = (40, 101, 191)


def _avif(primaries: int, transfer: int, **options: object) -> bytes:
    """Return an AVIF of one colour with these code points."""
    file = io.BytesIO()
    picture = Image.new("RGB", (32, 24), _COLOUR)
    picture.save(file, "AVIF", quality=100, subsampling="4:4:4", **options)
    content = file.getvalue()
    start = content.index(b"nclx") + 4
    return content[:start] + struct.pack(">HH", primaries, transfer) + content[start + 4 :]


def _shown(path: Path) -> npt.NDArray[np.int64]:
    """Read a picture's first pixel in sRGB at full size; check that the small reading is equal."""
    header = read_header(path)
    with source.opened(header, 0, path.parent) as image:
        whole = image.copy_memory()
    small = source.read_small(header, width=32, height=24)
    np.testing.assert_array_equal(whole.numpy(), small.numpy())
    if whole.get_typeof("icc-profile-data"):
        whole = whole.icc_transform("srgb", embedded=True)
    pixel: npt.NDArray[np.int64] = whole.numpy()[0, 0].astype(np.int64)
    return pixel


@pytest.mark.parametrize(
    ("primaries", "transfer", "expected"),
    [
        pytest.param(12, 13, (0, 103, 197), id="display-p3"),
        pytest.param(1, 8, (110, 169, 224), id="linear"),
        pytest.param(1, 4, (34, 101, 191), id="gamma-2.2"),
        pytest.param(1, 1, _COLOUR, id="bt709-is-shown-as-srgb"),
        pytest.param(12, 2, (0, 103, 197), id="p3-and-no-curve"),
        pytest.param(2, 2, _COLOUR, id="unspecified"),
        pytest.param(1, 13, _COLOUR, id="srgb"),
    ],
)
def test_an_avifs_numbers_are_read_as_its_container_says(
    tmp_path: Path, primaries: int, transfer: int, expected: tuple[int, int, int]
) -> None:
    """The colours equal Chromium's within the loss of AV1."""
    path = tmp_path / "a.avif"
    path.write_bytes(_avif(primaries, transfer))
    assert np.abs(_shown(path) - expected).max() <= 3


def test_an_avifs_icc_profile_counts_before_its_code_points(tmp_path: Path) -> None:
    """A profile takes precedence, as in every reader."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.avif"
    path.write_bytes(_avif(12, 16, icc_profile=profile))
    assert np.abs(_shown(path) - _COLOUR).max() <= 3


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_an_hdr_avif_is_refused_by_name(tmp_path: Path, transfer: int, name: str) -> None:
    """The picture is refused, as with a PNG's cICP: read as sRGB it would be far too dark."""
    path = tmp_path / "a.avif"
    path.write_bytes(_avif(9, transfer))
    with pytest.raises(
        PictureError, match=rf"is an HDR picture \({name}\), which is not supported"
    ):
        read_header(path)


@pytest.mark.parametrize("cut", range(16, 300, 24))
def test_a_container_that_ends_early_is_refused_in_a_sentence(tmp_path: Path, cut: int) -> None:
    """The file is refused wherever the boxes end."""
    path = tmp_path / "a.avif"
    path.write_bytes(_avif(12, 13)[:cut])
    with pytest.raises(PictureError):
        source.read_small(read_header(path), width=8, height=8)
    pyvips.vips_lib.vips_error_clear()
