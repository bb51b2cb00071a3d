"""The axes of the SVG charts: range, scale, ticks and their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEMPLATES = Path(__file__).parent / "templates"  # of the charts and the report
_MAX_LINEAR_RATIO = 6.0  # a wider range gets a logarithmic scale
_TICKS = 6  # approximate number on a linear scale
_STEPS = (1, 2, 5, 10)  # between ticks, times a power of ten


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A scale from `low` to `high`, drawn from coordinate `begin` to coordinate `end`.

    Attributes:
        low, high: values at the ends; different, and above 0 on a logarithmic scale.
        begin, end: their coordinates, in the drawing's unit.
        is_log: whether the scale is logarithmic.
        ticks: values with their labels.
    """

    low: float
    high: float
    begin: float = 0.0
    end: float = 1.0
    is_log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def share(self, value: float) -> float:
        """Return the position of a value between the low end (0) and the high end (1)."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def place(self, value: float) -> float:
        """Return the coordinate of a value, rounded to a hundredth."""
        return round(self.begin + self.share(value) * (self.end - self.begin), 2)


def fit_axis(
    values: Sequence[float],
    begin: float,
    end: float,
    *,
    write: Callable[[float], str],
    resolution: float = 0.0,
) -> Axis:
    """Return an axis that contains values with a margin around them, with round ticks.

    Args:
        values: at least one, all at least 0.
        begin: coordinate of the low end.
        end: coordinate of the high end.
        write: returns the label of a tick; ticks with equal labels become one.
        resolution: the smallest difference that labels show; ticks are not closer.
    """
    low, high = min(values), max(values)
    is_log = low > 0 and high / low > _MAX_LINEAR_RATIO
    if is_log:
        margin = (high / low) ** 0.06
        low, high = low / margin, high * margin
    else:
        margin = max((high - low) * 0.08, resolution) or high * 0.08 or 1.0
        low, high = max(0.0, low - margin), high + margin
    ticks = log_ticks(low, high) if is_log else linear_ticks(low, high, resolution)
    labelled = {write(tick): (tick, write(tick)) for tick in ticks}
    return Axis(
        low=low, high=high, begin=begin, end=end, is_log=is_log, ticks=tuple(labelled.values())
    )


def linear_ticks(low: float, high: float, min_step: float = 0.0) -> list[float]:
    """Return about six multiples of 1, 2 or 5 times a power of ten within a range.

    >>> linear_ticks(92.0, 113.0)
    [95.0, 100.0, 105.0, 110.0]
    """
    wanted = max((high - low) / _TICKS, min_step)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(power * factor for factor in _STEPS if power * factor >= wanted)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten within a range.

    >>> log_ticks(40.0, 1000.0)
    [50, 100, 200, 500, 1000]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [10**power * factor for power in powers for factor in _STEPS[:3]]
    return [tick for tick in found if low <= tick <= high]
