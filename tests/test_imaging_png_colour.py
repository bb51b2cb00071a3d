"""Colours by a PNG's gAMA, cHRM, cICP, sRGB and iCCP chunks, compared with Chromium 156."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from made_png import BT709, DISPLAY_P3, chrm, chunk, cicp, gama, iccp, make_png
from PIL import Image, ImageCms

from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging import source
from rembg_tuner.imaging.compose import Composition, write_cutout
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import PictureMatte

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]  # (h, w, 3 or 4)

_STEPS = np.array(
    [
        [
            [0] * 3,
            [16] * 3,
            [64] * 3,
            [128] * 3,
            [200] * 3,
            [255] * 3,
            [200, 60, 30],
            [30, 200, 60],
            [255, 0, 0],
        ]
    ],
    np.uint8,
)
_SRGB_CHUNK = chunk(b"sRGB", b"\0")
_AS_IT_IS = _STEPS[0].tolist()
_LINEAR = [
    [0] * 3,
    [71] * 3,
    [137] * 3,
    [188] * 3,
    [229] * 3,
    [255] * 3,
    [229, 133, 96],
    [96, 229, 133],
    [255, 0, 0],
]
_GAMMA_1_8 = [
    [0] * 3,
    [20] * 3,
    [81] * 3,
    [146] * 3,
    [210] * 3,
    [255] * 3,
    [210, 77, 40],
    [40, 210, 77],
    [255, 0, 0],
]
_GAMMA_2_4 = [
    [0] * 3,
    [4] * 3,
    [54] * 3,
    [121] * 3,
    [197] * 3,
    [255] * 3,
    [197, 49, 18],
    [18, 197, 49],
    [255, 0, 0],
]
_P3 = [
    [0] * 3,
    [16] * 3,
    [64] * 3,
    [128] * 3,
    [200] * 3,
    [255] * 3,
    [217, 42, 0],
    [0, 204, 13],
    [255, 0, 0],
]
_P3_GAMMA_2_2 = [
    [0] * 3,
    [7] * 3,
    [62] * 3,
    [129] * 3,
    [201] * 3,
    [255] * 3,
    [219, 37, 0],
    [0, 205, 0],
    [255, 0, 0],
]
_BT2020 = [
    [0] * 3,
    [4] * 3,
    [54] * 3,
    [121] * 3,
    [197] * 3,
    [255] * 3,
    [244, 0, 0],
    [0, 208, 0],
    [255, 0, 0],
]


def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _read(path: Path) -> tuple[Pixels, bytes]:
    """Read pixels and profile as for a cut-out."""
    with source.opened(read_header(path), 0, path.parent) as image:
        has_profile = image.get_typeof("icc-profile-data")
        profile = bytes(image.get("icc-profile-data")) if has_profile else b""
        return image.numpy(), profile


def _shown(pixels: Pixels, profile: bytes) -> Pixels:
    """Convert pixels to sRGB by their profile, if any."""
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    if not profile:
        return np.asarray(picture)
    shown = ImageCms.profileToProfile(
        picture,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    return np.asarray(shown)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([gama(1)], _LINEAR, id="linear"),
        pytest.param([gama(1), chrm(BT709)], _LINEAR, id="linear-with-primaries"),
        pytest.param([gama(1 / 1.8)], _GAMMA_1_8, id="1.8"),
        pytest.param([gama(1 / 2.2)], _AS_IT_IS, id="2.2-means-srgb"),
        pytest.param([gama(1 / 2.2), chrm(DISPLAY_P3)], _P3_GAMMA_2_2, id="2.2-wide"),
        pytest.param([gama(0)], _AS_IT_IS, id="gamma-0"),
        pytest.param([chrm(DISPLAY_P3)], _AS_IT_IS, id="primaries-alone"),
        pytest.param([gama(1), _SRGB_CHUNK], _AS_IT_IS, id="srgb-before-gamma"),
        pytest.param([gama(1), iccp(_srgb_profile())], _AS_IT_IS, id="profile-before-gamma"),
        pytest.param([gama(1), iccp(b"rubbish")], _LINEAR, id="gamma-before-rubbish"),
        pytest.param([cicp(12, 13)], _P3, id="display-p3"),
        pytest.param([cicp(12, 13), iccp(_srgb_profile())], _P3, id="cicp-before-profile"),
        pytest.param([cicp(1, 13), gama(1)], _AS_IT_IS, id="cicp-before-gamma"),
        pytest.param([cicp(1, 8)], _LINEAR, id="cicp-linear"),
        pytest.param([cicp(1, 1)], _GAMMA_2_4, id="bt709"),
        pytest.param([cicp(9, 14)], _BT2020, id="bt2020"),
        pytest.param([cicp(2, 2), gama(1)], _LINEAR, id="cicp-unspecified"),
        pytest.param([cicp(12, 13, 0, 0), gama(1)], _LINEAR, id="cicp-narrow-range"),
    ],
)
def test_a_png_is_shown_as_by_a_browser(
    tmp_path: Path, chunks: list[bytes], expected: list[list[int]]
) -> None:
    """The precedence is cICP, iCCP, sRGB, gAMA with cHRM; the output has a matching profile."""
    path = tmp_path / "a.png"
    path.write_bytes(make_png(_STEPS, *chunks))
    shown = _shown(*_read(path))[0].astype(int)
    assert np.abs(shown - np.array(expected)).max() <= 2


@pytest.mark.parametrize("chunks", [[cicp(12, 13)], [gama(1 / 2.2), chrm(DISPLAY_P3)]])
def test_wide_colours_keep_a_profile_in_the_output(tmp_path: Path, chunks: list[bytes]) -> None:
    """Colours outside sRGB are not clipped: the cut-out has a profile of the primaries."""
    path, output = tmp_path / "a.png", tmp_path / "out.png"
    path.write_bytes(make_png(_STEPS, *chunks))
    composition = Composition(
        header=read_header(path),
        matte=PictureMatte.of(np.ones((4, 4), np.float32)),
        max_side=0,
        background=None,
    )
    write_cutout(composition, output, is_cancelled=lambda: False)
    with Image.open(output) as written:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(written.info["icc_profile"])).profile
    assert profile.xcolor_space.strip() == "RGB"
    assert profile.red_primary is not None
    x, y, _ = profile.red_primary[1]
    assert (x, y) == pytest.approx((0.68, 0.32), abs=0.02)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_gamma_is_read_for_every_kind_of_pixel(
    tmp_path: Path, bands: int, kind: type[np.uint8 | np.uint16]
) -> None:
    """Grey and colour with 8 and 16 bits are converted; alpha is not."""
    values = np.array([[0, 64, 128, 255]], np.uint8)
    scaled = (values.astype(kind) * (257 if kind is np.uint16 else 1)).astype(kind)
    path = tmp_path / "a.png"
    path.write_bytes(make_png(scaled if bands == 1 else np.dstack([scaled] * bands), gama(1)))
    pixels, profile = _read(path)
    assert profile == b""
    expected = np.array([[0, 137, 188, 255]])
    assert np.abs(pixels[..., 0].astype(int) - expected).max() <= 1
    if bands in (2, 4):
        assert pixels[..., -1].tolist() == values.tolist()


@pytest.mark.parametrize(("transfer", "word"), [(16, "PQ"), (18, "HLG")])
def test_an_hdr_png_is_refused_by_name(tmp_path: Path, transfer: int, word: str) -> None:
    """A transfer function that needs tone mapping is refused."""
    path = tmp_path / "a.png"
    path.write_bytes(make_png(_STEPS, cicp(9, transfer)))
    with pytest.raises(
        PictureError, match=rf"is an HDR picture \({word}\), which is not supported"
    ):
        read_header(path)
