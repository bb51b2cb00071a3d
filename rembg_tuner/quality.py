"""How like a reference a matte is; pure numpy.

It is agreement with a reference, never accuracy: no ground truth is known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Matte = npt.NDArray[np.float32]  # (h, w) in [0, 1]

FOREGROUND_FROM = 0.5  # a pixel counts as foreground from here on


def mean_absolute_error(matte: Matte, reference: Matte) -> float:
    """Average the absolute differences of two mattes.

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
    """Compare the foregrounds of two mattes, a pixel being foreground from 0.5 on.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.
        reference: the matte it is compared with; same shape and range.

    Returns:
        From 0 (nothing in common) to 1 (the same pixels); 1 where neither has any.

    Raises:
        ValueError: the shapes differ.

    Source: Jaccard, Bulletin de la Société vaudoise des sciences naturelles 37, 1901.
    """
    _require_same_shape(matte, reference)
    a, b = matte >= FOREGROUND_FROM, reference >= FOREGROUND_FROM
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def sure_share(matte: Matte) -> float:
    """Tell how sure a matte is of its foreground: the share of what is not background that is opaque.

    A clear cut-out has soft pixels along its edge only; where a network saw nothing, stretching its
    answer makes a grey fog.

    Args:
        matte: float32 (h, w) in [0, 1]; 1 is foreground.

    Returns:
        From 0 to 1: pixels of at least 0.9 among those of at least 0.1; 0 where there are none.
    """
    some = int(np.count_nonzero(matte >= 0.1))
    return int(np.count_nonzero(matte >= 0.9)) / some if some else 0.0


def _require_same_shape(matte: Matte, reference: Matte) -> None:
    """Refuse mattes of different shapes."""
    if matte.shape != reference.shape:
        raise ValueError(
            f"mattes of one shape can be compared, got {matte.shape} and {reference.shape}"
        )
