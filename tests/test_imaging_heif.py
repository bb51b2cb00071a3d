"""HEIC pictures: read by pi-heif if it is installed, else refused by name."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from rembg_tuner.base.errors import PictureError, PictureTooLargeError
from rembg_tuner.imaging import formats, heif, source
from rembg_tuner.imaging.header import read_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

needs_pi_heif = pytest.mark.skipif(
    importlib.util.find_spec("pi_heif") is None, reason="pi-heif is not installed"
)
# Blobs of 32 x 24 px by pillow-heif 1.8.1, quality 50: turned by the file (irot 90 degrees, and
# the same as EXIF orientation 6), and with the PQ curve of BT.2020.
_TURNED = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAcdtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB6wABAAAAAAAAAOwAAgAAAAAC1wABAAAAAAAAACQAAAA4aWlu"
    "ZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAB"
    "BmlwcnAAAADlaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAA"
    "ABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAIAAAAAEAAAAYAAAAAf///+AA"
    "AAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAACWlyb3QDAAAAGWlwbWEAAAAAAAAAAQABBoECAwWEhgAAABpp"
    "cmVmAAAAAAAAAA5jZHNjAAIAAQABAAABGG1kYXQAAADoKAGvEyH5zh31IJZVMdO6WR+ZRPJEUJHwkH5kxprcVLG0"
    "jUGRk1BYCBf6Tj7Lr3vemXat4jr9oUkuM2Gdkn/DUHVRT8tCnomSPpFQ56Kxd08bSel7orch/A3hrrRnvBkyxCCX"
    "IVs9S7gYjtDVDHVEoWgbNi6Bqzivk/f/oPcAlayo1A3jzFSU5ZU+nSxIS3O2rUD1gXBNrXc/PZbCd/3ni4gkmZlP"
    "McGEWTka81qsvbcc2jny9a/FePugCjZEQ2LCMw/qijXlKQzlX9D03vZIZE0QhlCXefuoprrlayvS8oRR7a0Rt2Gf"
    "eAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
_PQ = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA"
    "AAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAPAAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34"
    "+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm"
    "4SIBIIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAAJABAACYAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAIAAAAAEAAAAYAAAAAf///+AAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAA"
    "AAAAAQABBYECAwWEAAAA+G1kYXQAAADsKAGvEyH3VCX1JBXdgeSRIlnW23N2pHtpV1IeyyzPR6/aRpxmNXwWv905"
    "u8jYpMzgydkrN0Ezm9EP4HM9UfMAeKyPOqtRWMnlfvJU3PfBWIAxBr+5IX2YARgZPyIiml005t1fpN1mM1b/J6OX"
    "3ZlELZdgD/vXyP33AJulBwR0K0wte08Nc2aib0HyO8mU13DW6FvKHCPXYONUJfKkM+Q1kjp6x12JoM33O+1Lz6eF"
    "eUrH5wAwzNFpnyvKpx9CytZ6qUayY7h4y0f+ypSB9N2J6PM5Jh6nFb7HlI8OjvT3oOVxHdhAcUP1gm9HCtw="
)


def _blobs() -> Image.Image:
    """Return the encoded pixels, turned upright."""
    rng = np.random.default_rng(11)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    small = blobs.resize((64, 48), Image.Resampling.BICUBIC).resize((32, 24))
    return small.transpose(Image.Transpose.ROTATE_270)


@needs_pi_heif
def test_a_heic_is_read_and_turned_once(tmp_path: Path) -> None:
    """The container's rotation is applied; the EXIF orientation is not applied again."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_TURNED)
    header = read_header(path)
    assert (header.format, header.width, header.height) == (formats.HEIC, 24, 32)
    assert header.orientation == 1
    assert header.is_whole
    assert header.extra_bytes > 0
    with source.opened(header, 0, tmp_path) as image:
        pixels: Pixels = image.numpy()
    assert pixels.shape == (32, 24, 3)
    assert np.abs(pixels.astype(int) - np.asarray(_blobs())).mean() < 12
    assert np.abs(pixels.astype(int) - np.asarray(_blobs())[::-1, ::-1]).mean() > 40
    small = source.read_small(header, width=12, height=12).numpy()
    assert small.shape == (12, 12, 3)


@needs_pi_heif
@pytest.mark.parametrize("cut", [10, 200, len(_TURNED) - 300, len(_TURNED) - 60])
def test_a_heic_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    """A truncated file is refused wherever it ends."""
    path = tmp_path / "a.heic"
    path.write_bytes(_TURNED[:-cut])
    with pytest.raises(PictureError, match="is damaged or cut short: it cannot be decoded"):
        source.read_small(read_header(path), width=12, height=12)


@needs_pi_heif
def test_an_hdr_heic_is_refused_by_name(tmp_path: Path) -> None:
    """An HDR picture is refused, as an HDR PNG is."""
    path = tmp_path / "a.heic"
    path.write_bytes(_PQ)
    with pytest.raises(PictureError, match=r"is an HDR picture \(PQ\), which is not supported"):
        read_header(path)


@needs_pi_heif
def test_a_heic_of_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is read from the container without decoding."""
    path = tmp_path / "a.heic"
    path.write_bytes(_TURNED)
    monkeypatch.setattr(heif, "MAX_PIXELS_WHOLE", 24 * 32 - 1)
    monkeypatch.setattr(heif, "decode", None)
    with pytest.raises(PictureTooLargeError, match="has 24 x 32 px"):
        read_header(path)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic"])
def test_a_heic_is_refused_by_name_without_pi_heif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brands: bytes
) -> None:
    """The message contains the install command."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brands + bytes(40))
    with pytest.raises(PictureError, match=r"is a HEIC picture, .*`pip install pi-heif`, or save"):
        read_header(path)


def test_other_pictures_do_not_import_pi_heif(tmp_path: Path) -> None:
    """The worker imports neither pi-heif nor Pillow without a HEIC picture."""
    path = tmp_path / "a.png"
    _blobs().save(path)
    code = (
        "import sys; from pathlib import Path; from rembg_tuner.imaging import"
        " header; header.read_header(Path(sys.argv[1])); print('PIL' in sys.modules, 'pi_heif' in"
        " sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
