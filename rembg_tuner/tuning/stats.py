"""Statistics of repeated measurements; takes numbers, returns values."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


_UNKNOWN_FACTOR = 2.5  # by which another machine may be faster or slower than those two cores


# Of the logarithm of a trial's duration over its guess, which knows no engine and no number format;
# as sure as if two trials had shown it.
_DEVIATION, _DEVIATION_TRIALS = 0.35, 2


def left_range_s(guessed_s: float, count: int, ratios: Sequence[float]) -> tuple[float, float]:
    """Guess between what durations the trials that are left will take, 19 times of 20, seconds.

    The guess is corrected by the geometric mean of the ratios. Its range is two standard errors of
    that mean and of the mean of those that are left.

    Args:
        guessed_s: the sum of the guesses of those that are left.
        count: how many are left.
        ratios: the duration of each trial measured now over its guess, more than 0; empty: none was
            measured.
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


MIN_P95_RUNS = 20  # below, a 95th percentile is the maximum by another name


# Student's t for a two-sided 95 % by degrees of freedom; between two of them the wider one holds.
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


# Runs of a soak: the first hundred fill allocators and caches, so the half that is fitted must lie
# behind them.
MIN_VERDICT_RUNS = 200


MAX_COUNT = 1_000_000  # of runs, rounds or trials: more would take weeks, and their list gigabytes


CONFIRMING = 4  # workers more, for the best of a sweep: four degrees make a range that is of use


VERIFY_ROUNDS = (
    7  # timed runs of each picture in `verify`, as many as the presets' own figures have
)


MIN_DEGREES = 2  # with a single pair the range would be a factor of five either way


UNSTABLE_SPREAD = 0.10  # of the mean; the share at which pyperf calls a benchmark unstable


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
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


def summarise(values: Sequence[float]) -> Statistics:
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
    """How far a figure is from one worker to the next, as several settings tell together.

    Attributes:
        deviation: standard deviation of the logarithm within a setting, pooled.
        degrees: of freedom: workers less settings.
    """

    deviation: float
    degrees: int

    def expected(self, values: Sequence[float]) -> tuple[float, float]:
        """Give the range in which the figure of one more worker lies 19 times of 20.

        The prediction interval of the next observation of a normal variable, here of the logarithm:
        its mean plus and minus t s sqrt(1 + 1 / n) (Hahn and Meeker, Statistical Intervals, 1991,
        chapter 4.7).

        Args:
            values: the figure of each worker of the setting, more than 0; at least one.
        """
        mean = statistics.fmean(math.log(value) for value in values)
        t95 = next(t for degrees, t in reversed(_T95) if degrees <= self.degrees)
        half = t95 * self.deviation * math.sqrt(1 + 1 / len(values))
        return math.exp(mean - half), math.exp(mean + half)


def repeatability_of(settings: Sequence[Sequence[float]]) -> Repeatability | None:
    """Pool what settings that were measured in several workers tell.

    Args:
        settings: of each setting the figure of each worker, more than 0.

    Returns:
        None: there are fewer than `MIN_DEGREES` workers more than settings.
    """
    logs = [[math.log(value) for value in values] for values in settings if len(values) > 1]
    degrees = sum(len(one) - 1 for one in logs)
    if degrees < MIN_DEGREES:
        return None
    squares = sum((value - statistics.fmean(one)) ** 2 for one in logs for value in one)
    return Repeatability(deviation=math.sqrt(squares / degrees), degrees=degrees)
