"""The map of the differences between two mattes."""

from __future__ import annotations

import numpy as np

from rembg_tuner.imaging.comparisons import _difference


def drawn(matte: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Draw the map; return its pixels (h, w, 3)."""
    pixels: np.ndarray = _difference(matte.astype(np.float32), reference.astype(np.float32)).numpy()
    return pixels.astype(int)


def test_a_hairline_is_wide_enough_to_be_seen() -> None:
    """A faint line of 1 px is drawn 5 px wide: blue for more, orange for less."""
    reference = np.zeros((1024, 768))
    reference[300:700, 200:500] = 1
    matte = reference.copy()
    matte[:, 500] += reference[:, 499] / 3
    matte[:, 200] -= reference[:, 200] / 3
    pixels = drawn(matte, reference)
    for x, colour in ((500, (0, 114, 178)), (200, (213, 94, 0))):
        wide = [i for i in range(x - 10, x + 10) if np.abs(pixels[500, i] - colour).max() < 8]
        assert len(wide) == 5
    assert pixels[10, 10].tolist() == [255, 255, 255]


def test_where_nothing_differs_the_reference_is_a_shadow() -> None:
    """Equal mattes give a light grey subject without any colour."""
    reference = np.zeros((64, 64))
    reference[16:48, 16:48] = 1
    pixels = drawn(reference, reference)
    assert (pixels.max(axis=2) == pixels.min(axis=2)).all()
    assert pixels[32, 32].tolist() == [219, 219, 219]
