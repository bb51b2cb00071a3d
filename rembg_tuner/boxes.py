"""Boxes in a picture, in whole pixels of the upright picture at full resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle in shares of a picture's sides, 0 to 1: the same at every size of the picture."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Area(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels.

    Attributes:
        left, top: of its first pixel, px.
        width, height: px, at least 1.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Return the first column behind it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Return the first row below it."""
        return self.top + self.height

    @property
    def pixels(self) -> int:
        """Return the number of its pixels."""
        return self.width * self.height

    def to_list(self) -> list[int]:
        """Return [left, top, width, height]."""
        return [self.left, self.top, self.width, self.height]

    def area_in(self, picture: Box) -> Area:
        """Return which part of a picture it is."""
        w, h = picture.width, picture.height
        return Area(self.left / w, self.top / h, self.right / w, self.bottom / h)

    def grown(self, share: float, picture: Box) -> Box:
        """Add a margin of a share of each side to every edge, as far as the picture goes."""
        across, down = share * self.width, share * self.height
        left = max(picture.left, math.floor(self.left - across))
        top = max(picture.top, math.floor(self.top - down))
        right = min(picture.right, math.ceil(self.right + across))
        bottom = min(picture.bottom, math.ceil(self.bottom + down))
        return Box(left, top, right - left, bottom - top)

    def squared(self, picture: Box) -> Box:
        """Grow the shorter side to the longer one, as far as the picture goes.

        The centre stays where the picture leaves room for it.
        """
        side = max(self.width, self.height)
        left, width = _stretch(self.left, self.width, side, picture.left, picture.right)
        top, height = _stretch(self.top, self.height, side, picture.top, picture.bottom)
        return Box(left, top, width, height)

    def joined(self, other: Box) -> Box:
        """Return the smallest box around both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right, bottom = max(self.right, other.right), max(self.bottom, other.bottom)
        return Box(left, top, right - left, bottom - top)

    def distance(self, other: Box) -> float:
        """Return the distance between the nearest pixels of two boxes, px; 0 where they touch."""
        across = max(0, other.left - self.right, self.left - other.right)
        down = max(0, other.top - self.bottom, self.top - other.bottom)
        return math.hypot(across, down)


def _stretch(start: int, length: int, wanted: int, low: int, high: int) -> tuple[int, int]:
    """Give an interval another length around its centre, within limits; return start and length."""
    length, middle = min(max(length, wanted), high - low), start + length / 2
    return min(max(low, round(middle - length / 2)), high - length), length
