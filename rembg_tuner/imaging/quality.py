"""Measure the agreement of a matte with a reference, with numpy only.

The results are agreement, not accuracy, because no ground truth is available.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Matte = npt.NDArray[np.float32]  # (h, w) in [0, 1]
    Mask = npt.NDArray[np.bool_]  # (h, w)

FOREGROUND_FROM = 0.5  # minimum matte value of the foreground
BOUNDARY_TOLERANCE = 0.008  # share of the diagonal, as in DAVIS: 12 px for 1200 x 900 px
# Minimum boundary F-measure for a number of stars. Chosen by eye on pictures compared with u2netp
# in fp32 at 320 px: its int8 form has five, 256 px has four; from three stars down, parts of the
# outline differ visibly.
STARS = (
    (0.99, 5.0),
    (0.975, 4.5),
    (0.95, 4.0),
    (0.92, 3.5),
    (0.88, 3.0),
    (0.83, 2.5),
    (0.77, 2.0),
    (0.7, 1.5),
)


def mean_absolute_error(matte: Matte, reference: Matte) -> float:
    """Return the mean of the absolute differences of two mattes.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.
        reference: the matte it is compared with; same shape and range.

    Returns:
        From 0 (equal) to 1.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    return float(np.abs(matte - reference).mean())


def intersection_over_union(matte: Matte, reference: Matte) -> float:
    """Compare the foregrounds of two mattes: the pixels of at least 0.5.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.
        reference: the matte it is compared with; same shape and range.

    Returns:
        From 0 (no common pixel) to 1 (the same pixels); 1 if both are empty.

    Raises:
        ValueError: the shapes differ.

    Source: Jaccard, Bulletin de la Société vaudoise des sciences naturelles 37, 1901.
    """
    _require_same_shape(matte, reference)
    a, b = matte >= FOREGROUND_FROM, reference >= FOREGROUND_FROM
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def sure_share(matte: Matte) -> float:
    """Return the share of opaque pixels among those that are not background.

    A clear cut-out has soft pixels only along its edge. If a network finds no foreground,
    stretching its answer gives medium values over large areas.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.

    Returns:
        From 0 to 1: the share of the pixels of at least 0.9 among those of at least 0.1; 0 if there
        are no such pixels.
    """
    some = int(np.count_nonzero(matte >= 0.1))
    return int(np.count_nonzero(matte >= 0.9)) / some if some else 0.0


def boundary_f_measure(
    matte: Matte, reference: Matte, *, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """Compare the outlines of two mattes' foregrounds: the F-measure of their boundaries.

    A boundary pixel is found if the other boundary is within the tolerance.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.
        reference: the matte it is compared with; same shape and range.
        tolerance: as a share of the picture's diagonal, rounded up to whole pixels.

    Returns:
        From 0 (no boundary pixel found) to 1 (all found); 1 if both have no boundary, 0 if only one
        has none.

    Raises:
        ValueError: the shapes differ.

    Source: F of Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation (DAVIS), CVPR 2016, with the boundary map of its published code.
    """
    _require_same_shape(matte, reference)
    ours, theirs = (boundary_of(one >= FOREGROUND_FROM) for one in (matte, reference))
    found, wanted = int(np.count_nonzero(ours)), int(np.count_nonzero(theirs))
    if not found or not wanted:
        return 1.0 if found == wanted else 0.0
    radius = math.ceil(tolerance * math.hypot(*matte.shape))
    precision = int(np.count_nonzero(ours & dilate(theirs, radius))) / found
    recall = int(np.count_nonzero(theirs & dilate(ours, radius))) / wanted
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_of(foreground: Mask) -> Mask:
    """Mark the pixels whose right, lower or lower right neighbour differs.

    Args:
        foreground: bool (h, w).

    Returns:
        bool (h, w), one pixel wide; the picture's edge is not a boundary.
    """
    right, below, corner = (foreground.copy() for _ in range(3))
    right[:, :-1] = foreground[:, 1:]
    below[:-1] = foreground[1:]
    corner[:-1, :-1] = foreground[1:, 1:]
    edge = (foreground ^ right) | (foreground ^ below) | (foreground ^ corner)
    edge[-1] = foreground[-1] ^ right[-1]
    edge[:, -1] = foreground[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge


def dilate(marked: Mask, radius: int) -> Mask:
    """Mark all pixels within a radius of the marked pixels.

    Args:
        marked: bool (h, w).
        radius: of the disk, px, at least 0.

    Returns:
        bool (h, w).
    """
    height, width = marked.shape
    sums = np.zeros((height, width + 2 * radius + 1), np.int32)
    np.cumsum(np.pad(marked, ((0, 0), (radius, radius))), axis=1, out=sums[:, 1:])
    grown = np.zeros_like(marked)
    for dy in range(-min(radius, height - 1), min(radius, height - 1) + 1):
        half = math.isqrt(radius * radius - dy * dy)
        left, right = radius - half, radius + half + 1
        row = sums[:, right : right + width] > sums[:, left : left + width]
        if dy >= 0:
            grown[dy:] |= row[: height - dy]
        else:
            grown[:dy] |= row[-dy:]
    return grown


def edge_stars(boundary_f: float) -> float:
    """Return the number of stars for a boundary's F-measure, from `STARS`.

    Args:
        boundary_f: 0 to 1.

    Returns:
        1 to 5, in half steps.
    """
    return next((stars for least, stars in STARS if boundary_f >= least), 1.0)


def _require_same_shape(matte: Matte, reference: Matte) -> None:
    """Raise a ValueError if the shapes of two mattes differ."""
    if matte.shape != reference.shape:
        raise ValueError(
            f"mattes of one shape can be compared, got {matte.shape} and {reference.shape}"
        )
