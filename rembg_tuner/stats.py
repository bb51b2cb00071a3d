"""Statistics of repeated measurements; takes numbers, returns values."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

P95_LEAST_N = 20  # below, a 95th percentile is the maximum by another name
UNSTABLE_SPREAD = 0.10  # of the mean; the share at which pyperf calls a benchmark unstable


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """n numbers in short, in their own unit; p95 is None below 20 of them."""

    n: int
    median: float
    low: float
    high: float
    mean: float
    standard_deviation: float
    p95: float | None

    def is_unstable(self) -> bool:
        """Tell whether the standard deviation reaches 10 % of the mean."""
        return self.n > 1 and self.standard_deviation >= UNSTABLE_SPREAD * abs(self.mean)


def summarise(values: Sequence[float]) -> Summary:
    """Summarise repeated measurements.

    Args:
        values: at least one finite number.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("nothing was measured, so there is nothing to summarise")
    ordered = sorted(values)
    n = len(ordered)
    return Summary(
        n=n,
        median=statistics.median(ordered),
        low=ordered[0],
        high=ordered[-1],
        mean=statistics.fmean(ordered),
        standard_deviation=statistics.stdev(ordered) if n > 1 else 0.0,
        p95=ordered[math.ceil(0.95 * n) - 1] if n >= P95_LEAST_N else None,
    )
