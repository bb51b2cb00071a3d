"""How long a search goes on: a range, from what its candidates took so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rembg_tuner.base.units import format_guess_range

# Measured with u2netp on a busy CPU, both engines: a candidate takes 1.4 to 3.1 times as long as
# its pictures in fp32 alone.
_CANDIDATE_SHARES = (1.0, 4.0)
_OVERHEAD_S = 1.0  # of a candidate of a tiny network
_LATER_SHARE = 0.5  # of the first candidate's time: the later have most convolutions in floats


@dataclass(slots=True, kw_only=True)
class Pace:
    """What candidates take, and what is still to do.

    Attributes:
        picture_s: what one picture takes in fp32, for the guess before any candidate was tried.
        pictures: that a candidate runs.
        closing: what follows the search, as a number of candidates.
        clock: which seconds are counted.
    """

    picture_s: float
    pictures: int
    closing: float
    clock: Callable[[], float] = time.perf_counter
    spent_s: list[float] = field(default_factory=list)

    def candidate_s(self) -> tuple[float, float]:
        """Return the least and the most that one more candidate takes."""
        if not self.spent_s:
            low, high = (share * self.pictures * self.picture_s for share in _CANDIDATE_SHARES)
            return low, high + _OVERHEAD_S
        if len(self.spent_s) == 1:
            return _LATER_SHARE * self.spent_s[0], self.spent_s[0]
        return min(self.spent_s), max(self.spent_s)

    def left_text(self, least: int, most: int) -> str:
        """Return how long it goes on, for people.

        Args:
            least: candidates that follow in any case.
            most: candidates that may follow.
        """
        low, high = self.candidate_s()
        return format_guess_range(low * (least + self.closing), high * (most + self.closing))
