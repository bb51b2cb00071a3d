"""The mask at full size, compared with Pillow's Lanczos, and read as a virtual file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from rembg_tuner.imaging.lanczos import lanczos_kernel, resize_exactly
from rembg_tuner.imaging.matte import MaskRows, foreground_warning, mask_image, scale_to_matte

if TYPE_CHECKING:
    from rembg_tuner.imaging.matte import Mask, Matte

_SIDES = st.integers(1, 40)
_LARGE_SIDES = st.integers(1, 300)


def _noise(width: int, height: int, seed: int) -> Matte:
    """Return a matte of whole 8-bit steps, so that Pillow gets equal values.

    Odd seeds give hard edges.
    """
    steps = np.random.default_rng(seed).integers(0, 256, (height, width))
    if seed % 2:
        steps = np.where(steps < 128, 0, 255)
    return (steps / 255).astype(np.float32)


def _by_pillow(matte: Matte, width: int, height: int) -> Mask:
    """Enlarge a matte with Pillow in 8 bits, as rembg does."""
    steps = np.rint(matte * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(steps).resize((width, height), Image.Resampling.LANCZOS))


@settings(deadline=None, max_examples=120)
@given(w=_SIDES, h=_SIDES, width=_LARGE_SIDES, height=_LARGE_SIDES, seed=st.integers(0, 2**32 - 1))
@example(w=1, h=1, width=1, height=1, seed=0)
@example(w=1, h=1, width=300, height=300, seed=1)
@example(w=40, h=40, width=1, height=1, seed=2)
@example(w=40, h=1, width=1, height=300, seed=3)
@example(w=32, h=32, width=1, height=5000, seed=4)
@example(w=32, h=32, width=5000, height=1, seed=5)
@example(w=320, h=320, width=320, height=320, seed=6)
@example(w=320, h=320, width=97, height=33, seed=7)
def test_a_mask_is_pillows_to_half_a_step(
    w: int, h: int, width: int, height: int, seed: int
) -> None:
    """A mask of any matte and size equals Pillow's within rounding."""
    matte = _noise(w, h, seed)
    ours = MaskRows(matte, width=width, height=height).rows(0, height)
    difference = np.abs(ours.astype(int) - _by_pillow(matte, width, height))
    assert ours.shape == (height, width)
    assert difference.max() <= 2
    assert difference.mean() < 0.6


@settings(deadline=None, max_examples=60)
@given(w=_SIDES, h=_SIDES, width=_LARGE_SIDES, height=st.integers(1, 120), rows=st.data())
def test_rows_do_not_depend_on_where_the_reader_cuts(
    w: int, h: int, width: int, height: int, rows: st.DataObject
) -> None:
    """Any range of rows equals those rows of the whole mask."""
    mask = MaskRows(_noise(w, h, 9), width=width, height=height)
    top = rows.draw(st.integers(0, height - 1))
    bottom = rows.draw(st.integers(top + 1, height))
    assert np.array_equal(mask.rows(top, bottom), mask.rows(0, height)[top:bottom])


@settings(deadline=None, max_examples=60)
@given(n_in=st.integers(1, 1100), n_out=st.integers(1, 3000), seed=st.integers(0, 99))
def test_no_order_of_summing_changes_a_pixel(n_in: int, n_out: int, seed: int) -> None:
    """The weighted sum of 8-bit samples is exact in float32 on every CPU and memory layout."""
    kernel = lanczos_kernel(n_in, n_out, 0, min(n_out, 50))
    samples = np.random.default_rng(seed).integers(0, 256, kernel.last - kernel.first)
    exact = kernel.weights.astype(np.float64) @ samples
    order = np.random.default_rng(seed).permutation(len(samples))
    for picked in (slice(None), slice(None, None, -1), order):
        parts = kernel.weights[:, picked] * samples.astype(np.float32)[picked]
        assert np.array_equal(np.cumsum(parts, axis=1, dtype=np.float32)[:, -1], exact)
    assert kernel.weights.sum(axis=1).tolist() == [1.0] * len(kernel.weights)


@settings(deadline=None, max_examples=60)
@given(width=_LARGE_SIDES, height=_LARGE_SIDES)
@example(width=1, height=1)
@example(width=1, height=16)
@example(width=1, height=17)
@example(width=7, height=15)
@example(width=5000, height=1)
@example(width=1, height=5000)
@example(width=33, height=48)
def test_the_computed_tiff_holds_the_rows(width: int, height: int) -> None:
    """The virtual file that libvips reads contains the mask, pixel by pixel."""
    mask = MaskRows(_noise(13, 17, 3), width=width, height=height)
    image = mask_image(mask)
    read = image.numpy().reshape(height, width)
    expected = np.concatenate([mask.rows(y, min(height, y + 16)) for y in range(0, height, 16)])
    assert np.array_equal(read, expected)


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0], ids=["background", "quarter", "foreground"])
def test_an_even_matte_stays_even(value: float) -> None:
    """Enlarging a constant matte adds no ringing and no drift.

    Fractions of a step are truncated, as in rembg.
    """
    mask = MaskRows(np.full((8, 8), value, np.float32), width=100, height=77).rows(0, 77)
    assert np.unique(mask).tolist() == [int(value * 255)]


def test_an_edge_lies_where_it_should() -> None:
    """A step in the middle stays in the middle, without a shift of half a pixel."""
    matte = np.zeros((8, 8), np.float32)
    matte[:, 4:] = 1.0
    mask = MaskRows(matte, width=800, height=8).rows(0, 8).astype(int)
    np.testing.assert_allclose(mask + mask[:, ::-1], 255, atol=1)
    assert mask[0, 399] < 128 <= mask[0, 400]


def test_an_output_is_stretched_to_the_whole_range() -> None:
    """The minimum becomes 0, the maximum 1, and values between are scaled linearly."""
    raw = np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32)
    np.testing.assert_allclose(scale_to_matte(raw), [[0.0, 0.5], [0.75, 1.0]])


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_an_output_without_contrast_is_all_background(value: float) -> None:
    """A constant matte is not stretched, without a division by 0."""
    matte = scale_to_matte(np.full((3, 4), value, np.float32))
    assert matte.dtype == np.float32
    assert matte.shape == (3, 4)
    assert not matte.any()


@pytest.mark.parametrize(
    ("highest", "is_warned"),
    [
        pytest.param(0.01, True, id="nothing"),
        pytest.param(0.49, True, id="just-under"),
        pytest.param(0.5, False, id="just-enough"),
        pytest.param(1.0, False, id="sure"),
    ],
)
def test_no_clear_foreground_is_told(highest: float, is_warned: bool) -> None:
    """A raw maximum below 0.5 adds a warning with its value."""
    warning = foreground_warning(np.array([[0.0, highest]], np.float32))
    if is_warned:
        assert warning is not None
        assert f"strongest answer is {highest:.2f} of 1" in str(warning)
    else:
        assert warning is None


@settings(deadline=None, max_examples=60)
@given(w=_SIDES, h=_SIDES, width=st.integers(1, 120), height=st.integers(1, 120))
@example(w=1, h=1, width=64, height=64)
@example(w=1, h=300, width=64, height=64)
def test_a_small_picture_is_scaled_as_pillow_does(w: int, h: int, width: int, height: int) -> None:
    """Colours enlarged for the network equal Pillow's Lanczos within one step."""
    pixels = np.random.default_rng(w * 41 + h).integers(0, 256, (h, w, 3)).astype(np.uint8)
    ours = resize_exactly(pixels.astype(np.float32), width=width, height=height)
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    difference = np.abs(ours - np.asarray(picture))
    assert difference.max() <= 2
    assert difference.mean() < 0.6
