"""Which number format is the fastest, as timed on this machine.

The decision alone, without a measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A format must be faster than a preferred one by this share of its time; below, the preferred one
# stays, so that two formats that take the same time do not change places from one timing to the
# next.
TIE_MARGIN = 0.10
Format = TypeVar("Format", bound=str)


def fastest_format(candidates: Sequence[Format], times_s: Mapping[str, float]) -> Format | None:
    """Choose the fastest format.

    Args:
        candidates: those that may be chosen, fp32 among them, the preferred one first.
        times_s: what each took, seconds, more than 0; may lack some.

    Returns:
        The first of the candidates that takes at most `TIE_MARGIN` more than the fastest. None: not
        every candidate was timed, so the times decide nothing.

    >>> fastest_format(["int8", "fp32"], {"int8": 0.021, "fp32": 0.020})
    'int8'
    >>> fastest_format(["int8", "fp32"], {"int8": 0.024, "fp32": 0.020})
    'fp32'
    """
    if not candidates or not times_s.keys() >= set(candidates):
        return None
    limit_s = min(times_s[one] for one in candidates) * (1 + TIE_MARGIN)
    return next(one for one in candidates if times_s[one] <= limit_s)


def stable_times(before_s: Mapping[str, float], now_s: Mapping[str, float]) -> Mapping[str, float]:
    """Return the times to remember after another timing: those of before, unless something changed.

    Args:
        before_s: what was remembered; empty: nothing.
        now_s: what was timed now.

    Returns:
        The times of before where the same formats were timed and each one's time, as a share of the
        fastest's, is within `TIE_MARGIN` of what it was: the difference is noise, and must not change
        the choice.
    """
    if before_s.keys() != now_s.keys():
        return now_s
    shares = (
        {name: time / min(times.values()) for name, time in times.items()}
        for times in (before_s, now_s)
    )
    before, now = shares
    is_same = all(abs(now[name] / before[name] - 1) <= TIE_MARGIN for name in now)
    return before_s if is_same else now_s
