"""Matte errors of Rhemann et al., CVPR 2009, and the intersection over union. Needs SciPy.

Source of the first four: Rhemann, Rother, Wang, Gelautz, Kohli, Rott: A Perceptually Motivated
Online Benchmark for Image Matting, CVPR 2009, DOI 10.1109/CVPR.2009.5206503. The paper sums over
the unknown pixels of a trimap. These functions have no trimap and sum over the whole picture.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    Matte = npt.NDArray[np.float32]  # (h, w) in [0, 1]

PIXELS_PER_UNIT = 1000  # sums are given in units of 1000 pixels
GRADIENT_SIGMA_PX = 1.4  # of the Gaussian derivative, as in the paper
_REACH_PX = 8  # radius of the Gaussian, which is cut off at four sigma
CONNECTIVITY_STEP = 0.1  # between the thresholds, as in the authors' code
CONNECTIVITY_IGNORED = 0.15  # the paper's theta: smaller distances count as 0
FOREGROUND_FROM = 0.5


def sad(matte: Matte, reference: Matte) -> float:
    """Sum the absolute differences of two alpha mattes.

    Args:
        matte: float32 (h, w) in [0, 1]; 0 is background, 1 is foreground.
        reference: the matte it is compared with; same shape and range.

    Returns:
        The SAD in units of 1000 pixels; 0 for equal mattes.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    return float(np.abs(matte - reference).sum(dtype=np.float64)) / PIXELS_PER_UNIT


def mse(matte: Matte, reference: Matte) -> float:
    """Compute the mean squared difference of two alpha mattes.

    Args:
        matte: float32 (h, w) in [0, 1].
        reference: the matte it is compared with; same shape and range.

    Returns:
        From 0 (equal) to 1.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    return float(np.square(matte - reference).mean(dtype=np.float64))


def gradient_error(matte: Matte, reference: Matte) -> float:
    """Sum the squared differences of the gradient magnitudes of two alpha mattes.

    The gradients are computed with the first derivative of a Gaussian of `GRADIENT_SIGMA_PX`. The
    edge of the picture is repeated outwards.

    Args:
        matte: float32 (h, w) in [0, 1].
        reference: the matte it is compared with; same shape and range.

    Returns:
        The sum in units of 1000 pixels; 0 for equal mattes.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    difference = _gradient_magnitude(matte) - _gradient_magnitude(reference)
    return float(np.square(difference).sum(dtype=np.float64)) / PIXELS_PER_UNIT


def connectivity_error(matte: Matte, reference: Matte) -> float:
    """Sum the differences of the pixels' connectivity to the opaque region of both mattes.

    A pixel's level is the largest threshold at which it is 4-connected to the largest region where
    both mattes are at least that threshold. Its distance is alpha minus level; distances below
    `CONNECTIVITY_IGNORED` count as 0. The error sums the absolute differences of the two mattes'
    distances.

    Args:
        matte: float32 (h, w) in [0, 1].
        reference: the matte it is compared with; same shape and range.

    Returns:
        The sum in units of 1000 pixels; 0 for equal mattes.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    both = np.minimum(matte, reference)
    level = np.full(matte.shape, -1.0, np.float32)
    thresholds = np.arange(0.0, 1.0 + CONNECTIVITY_STEP / 2, CONNECTIVITY_STEP)
    for before, threshold in itertools.pairwise(thresholds):
        region = _largest_region(both >= threshold)
        level[(level < 0) & ~region] = before
    level[level < 0] = 1
    difference = _disconnection(matte, level) - _disconnection(reference, level)
    return float(np.abs(difference).sum(dtype=np.float64)) / PIXELS_PER_UNIT


def intersection_over_union(matte: Matte, reference: Matte) -> float:
    """Compute the IoU of two mattes' foregrounds: the pixels of at least `FOREGROUND_FROM`.

    Args:
        matte: float32 (h, w) in [0, 1].
        reference: the matte it is compared with; same shape and range.

    Returns:
        From 0 (no common pixels) to 1 (the same pixels); 1 if neither has a foreground.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same_shape(matte, reference)
    a, b = matte >= FOREGROUND_FROM, reference >= FOREGROUND_FROM
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def all_errors(matte: Matte, reference: Matte) -> dict[str, float]:
    """Compute all errors of a matte, by name.

    Args:
        matte: float32 (h, w) in [0, 1].
        reference: the matte it is compared with; same shape and range.

    Returns:
        sad, mse, gradient, connectivity and iou.
    """
    part = _part_that_counts(matte, reference)
    return {
        "sad": sad(matte, reference),
        "mse": mse(matte, reference),
        "gradient": gradient_error(matte[part], reference[part]),
        "connectivity": connectivity_error(matte[part], reference[part]),
        "iou": intersection_over_union(matte, reference),
    }


def _part_that_counts(matte: Matte, reference: Matte) -> tuple[slice, slice]:
    """Return the part of the picture outside which both mattes and their gradients are 0."""
    is_some = (matte > 0) | (reference > 0)
    slices = []
    for axis in (1, 0):
        places = np.flatnonzero(is_some.any(axis=axis))
        low, high = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
        slices.append(slice(max(0, low - _REACH_PX), high + _REACH_PX + 1))
    return slices[0], slices[1]


def _gradient_magnitude(matte: Matte) -> npt.NDArray[Any]:
    """Return the gradient magnitude of a smoothed matte: float (h, w)."""
    return ndimage.gaussian_gradient_magnitude(matte, GRADIENT_SIGMA_PX, mode="nearest")


def _largest_region(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest 4-connected region: bool (h, w)."""
    labels, count = ndimage.label(marked)
    if not count:
        return marked
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    region: npt.NDArray[np.bool_] = labels == sizes.argmax()
    return region


def _disconnection(matte: Matte, level: Matte) -> Matte:
    """Return the part of alpha that is not connected: 1 - phi of the paper, float32 (h, w)."""
    distance = matte - level
    return np.where(distance >= CONNECTIVITY_IGNORED, distance, np.float32(0))


def _require_same_shape(matte: Matte, reference: Matte) -> None:
    """Check that two mattes have the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if matte.shape != reference.shape:
        raise ValueError(
            f"mattes must have one shape to be compared, got {matte.shape} and {reference.shape}"
        )
