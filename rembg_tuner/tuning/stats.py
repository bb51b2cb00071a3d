"""Statistics of repeated measurements, as functions of numbers."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_P95_RUNS = 20  # with fewer, the 95th percentile is the maximum
# Student's t for a two-sided 95 % by degrees of freedom; between two entries the larger t is used.
_T95 = (
    (2, 4.303),
    (3, 3.182),
    (4, 2.776),
    (5, 2.571),
    (6, 2.447),
    (8, 2.306),
    (10, 2.228),
    (15, 2.131),
    (30, 2.042),
)
# Runs of a stress test: the first hundred fill allocators and caches, and the fit uses the second
# half.
MIN_VERDICT_RUNS = 200
MAX_COUNT = 1_000_000  # of runs, rounds or trials: more would take weeks and gigabytes
CONFIRMING = 4  # additional workers for the best of a sweep; four degrees of freedom are enough
VERIFY_ROUNDS = 7  # timed runs of each picture in `verify`, as in the records of the presets
MIN_DEGREES = 2  # one degree of freedom would give a range of a factor of five in both directions
UNSTABLE_SPREAD = 0.10  # of the mean; pyperf calls a benchmark unstable from this share on
_UNKNOWN_FACTOR = 2.5  # factor by which another machine may be faster or slower than the estimate
# Standard deviation of the logarithm of a trial's duration divided by its estimate, which ignores
# engine and precision; its weight is that of two trials.
_DEVIATION, _DEVIATION_TRIALS = 0.35, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Summary statistics of n numbers, in the unit of the numbers; p95 is None below 20 numbers."""

    n: int
    median: float
    low: float
    high: float
    mean: float
    standard_deviation: float
    p95: float | None

    def is_unstable(self) -> bool:
        """Return whether the standard deviation reaches 10 % of the mean."""
        return self.n > 1 and self.standard_deviation >= UNSTABLE_SPREAD * abs(self.mean)


def summarise(values: Sequence[float]) -> Statistics:
    """Compute the statistics of repeated measurements.

    Args:
        values: at least one finite number.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing was measured, so there is nothing to summarise")
    ordered = sorted(values)
    n = len(ordered)
    return Statistics(
        n=n,
        median=statistics.median(ordered),
        low=ordered[0],
        high=ordered[-1],
        mean=statistics.fmean(ordered),
        standard_deviation=statistics.stdev(ordered) if n > 1 else 0.0,
        p95=ordered[math.ceil(0.95 * n) - 1] if n >= MIN_P95_RUNS else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatability:
    """The spread of a figure between workers, estimated from several settings.

    Attributes:
        deviation: pooled standard deviation of the logarithm within a setting.
        degrees: degrees of freedom: number of workers minus number of settings.
    """

    deviation: float
    degrees: int

    def expected(self, values: Sequence[float]) -> tuple[float, float]:
        """Return the 95 % prediction interval of the figure of another worker.

        It is the prediction interval of the next observation of a normal variable, here of the
        logarithm: the mean plus and minus t s sqrt(1 + 1 / n) (Hahn and Meeker, Statistical
        Intervals, 1991, chapter 4.7).

        Args:
            values: the figure of each worker of the setting, more than 0; at least one.
        """
        mean = statistics.fmean(math.log(value) for value in values)
        t95 = next(t for degrees, t in reversed(_T95) if degrees <= self.degrees)
        half = t95 * self.deviation * math.sqrt(1 + 1 / len(values))
        return math.exp(mean - half), math.exp(mean + half)


def repeatability_of(settings: Sequence[Sequence[float]]) -> Repeatability | None:
    """Estimate the repeatability from settings that were measured in several workers.

    Args:
        settings: for each setting the figure of each worker, more than 0.

    Returns:
        The repeatability; None: there are fewer than `MIN_DEGREES` degrees of freedom.
    """
    logs = [[math.log(value) for value in values] for values in settings if len(values) > 1]
    degrees = sum(len(one) - 1 for one in logs)
    if degrees < MIN_DEGREES:
        return None
    squares = sum((value - statistics.fmean(one)) ** 2 for one in logs for value in one)
    return Repeatability(deviation=math.sqrt(squares / degrees), degrees=degrees)


def left_range_s(guessed_s: float, count: int, ratios: Sequence[float]) -> tuple[float, float]:
    """Estimate the 95 % range of the duration of the remaining trials, seconds.

    The estimate is corrected by the geometric mean of the ratios. The range is two standard errors
    of that mean and of the mean of the remaining trials.

    Args:
        guessed_s: sum of the estimates of the remaining trials.
        count: number of remaining trials.
        ratios: duration divided by estimate of each measured trial, more than 0; empty: no trial
            was measured.
    """
    if not count:
        return 0.0, 0.0
    if not ratios:
        return guessed_s / _UNKNOWN_FACTOR, guessed_s * _UNKNOWN_FACTOR
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    squares = sum((one - mean) ** 2 for one in logs) + _DEVIATION_TRIALS * _DEVIATION**2
    deviation = math.sqrt(squares / (len(logs) - 1 + _DEVIATION_TRIALS))
    half = 2 * deviation * math.sqrt(1 / len(logs) + 1 / count)
    return guessed_s * math.exp(mean - half), guessed_s * math.exp(mean + half)
