"""The boundary's F-measure compared with a slow, simple version, and the table of stars."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rembg_tuner.imaging.quality import (
    STARS,
    boundary_f_measure,
    boundary_of,
    dilate,
    edge_stars,
    mean_absolute_error,
)

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def slow_boundary(mask: np.ndarray) -> np.ndarray:
    """Return the boundary: check each pixel against its right, lower and diagonal neighbours."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx]:
                    # DAVIS compares the last row and column only along themselves.
                    found[y, x] = True
    return found


def slow_dilate(marked: np.ndarray, radius: int) -> np.ndarray:
    """Return the pixels within the radius of a marked one, checked pair by pair."""
    places = np.argwhere(marked)
    found = np.zeros_like(marked)
    for y, x in np.ndindex(marked.shape):
        found[y, x] = any((y - a) ** 2 + (x - b) ** 2 <= radius**2 for a, b in places)
    return found


@given(MASKS)
def test_the_boundary_is_where_neighbours_differ(mask: np.ndarray) -> None:
    """The boundary equals the slow version's at every pixel."""
    assert (boundary_of(mask) == slow_boundary(mask)).all()


@settings(deadline=None)
@given(MASKS, st.integers(0, 6))
def test_dilation_is_a_disk(marked: np.ndarray, radius: int) -> None:
    """The dilation equals the slow version's at every pixel."""
    assert (dilate(marked, radius) == slow_dilate(marked, radius)).all()


@settings(deadline=None)
@given(MASKS, st.data())
def test_the_measure_is_precision_and_recall_of_the_boundary(
    mask: np.ndarray, data: st.DataObject
) -> None:
    """The measure equals its definition, is symmetric, and is 1 for a matte and itself."""
    other = data.draw(hnp.arrays(bool, mask.shape))
    a, b = mask.astype(np.float32), other.astype(np.float32)
    tolerance = 0.1
    radius = math.ceil(tolerance * math.hypot(*mask.shape))
    ours, theirs = slow_boundary(mask), slow_boundary(other)
    if not ours.any() or not theirs.any():
        expected = float(ours.any() == theirs.any())
    else:
        precision = (ours & slow_dilate(theirs, radius)).sum() / ours.sum()
        recall = (theirs & slow_dilate(ours, radius)).sum() / theirs.sum()
        both = precision + recall
        expected = 2 * precision * recall / both if both else 0.0
    measured = boundary_f_measure(a, b, tolerance=tolerance)
    assert measured == pytest.approx(expected)
    assert measured == pytest.approx(boundary_f_measure(b, a, tolerance=tolerance))
    assert boundary_f_measure(a, a) == 1.0


def test_a_shift_within_the_tolerance_costs_nothing() -> None:
    """A shift of at most the tolerance scores 1; a large one scores below 0.2."""
    matte = np.zeros((600, 800), np.float32)  # the diagonal is 1000 px, the tolerance 8 px
    matte[200:400, 300:500] = 1
    near, far = np.roll(matte, 8, axis=1), np.roll(matte, 60, axis=(0, 1))
    assert boundary_f_measure(near, matte) == 1.0
    assert boundary_f_measure(far, matte) < 0.2
    assert mean_absolute_error(near, matte) > 0


def test_the_stars_fall_with_the_measure() -> None:
    """Stars fall in half steps from 5 to 1, and each limit of the table is inclusive."""
    assert [edge_stars(least) for least, _ in STARS] == [5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5]
    assert edge_stars(1.0) == 5
    assert edge_stars(0.0) == 1


def test_mattes_of_two_shapes_are_refused() -> None:
    """The error names both shapes."""
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        boundary_f_measure(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
