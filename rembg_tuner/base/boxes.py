"""Rectangles in a picture: whole pixels of the upright picture, and their text form.

Pixels are those of the picture at full resolution.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

BOX_FORM = "x,y,width,height, each in px or %"
MIN_BOX_SIDE = 16  # px; a smaller box shows too little of the picture
_LENGTH = re.compile(r"(\d{1,6})|(\d{1,3}(?:\.\d{1,6})?)%", flags=re.ASCII)


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle as fractions of the picture's sides, 0 to 1; independent of its size in px."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Area(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels.

    Attributes:
        left, top: position of the first pixel, px.
        width, height: size, px, at least 1.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Return the first column to the right of the box."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Return the first row below the box."""
        return self.top + self.height

    @property
    def pixels(self) -> int:
        """Return the number of pixels."""
        return self.width * self.height

    def to_list(self) -> list[int]:
        """Return [left, top, width, height]."""
        return [self.left, self.top, self.width, self.height]

    def area_in(self, picture: Box) -> Area:
        """Return the box as fractions of a picture's sides."""
        w, h = picture.width, picture.height
        return Area(self.left / w, self.top / h, self.right / w, self.bottom / h)

    def grown(self, share: float, picture: Box) -> Box:
        """Return the box with a margin at every edge, clipped to the picture.

        Args:
            share: the margin as a fraction of the box's width or height.
            picture: the whole picture.
        """
        across, down = share * self.width, share * self.height
        left = max(picture.left, math.floor(self.left - across))
        top = max(picture.top, math.floor(self.top - down))
        right = min(picture.right, math.ceil(self.right + across))
        bottom = min(picture.bottom, math.ceil(self.bottom + down))
        return Box(left, top, right - left, bottom - top)

    def aligned(self, step: int, picture: Box) -> Box:
        """Return the box grown to edges at multiples of `step` px, clipped to the picture."""
        left, top = self.left - self.left % step, self.top - self.top % step
        right = min(picture.right, -(-self.right // step) * step)
        bottom = min(picture.bottom, -(-self.bottom // step) * step)
        return Box(left, top, right - left, bottom - top)

    def squared(self, picture: Box) -> Box:
        """Return the box with its shorter side grown to the longer one, within the picture.

        The centre is kept if the picture leaves room for it.
        """
        side = max(self.width, self.height)
        left, width = _stretch(self.left, self.width, side, picture.left, picture.right)
        top, height = _stretch(self.top, self.height, side, picture.top, picture.bottom)
        return Box(left, top, width, height)

    def joined(self, other: Box) -> Box:
        """Return the smallest box that contains both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right, bottom = max(self.right, other.right), max(self.bottom, other.bottom)
        return Box(left, top, right - left, bottom - top)

    def distance(self, other: Box) -> float:
        """Return the distance between the nearest pixels of two boxes, px; 0 where they touch."""
        across = max(0, other.left - self.right, self.left - other.right)
        down = max(0, other.top - self.bottom, self.top - other.bottom)
        return math.hypot(across, down)


def box_text(text: str) -> str:
    """Return a box's text without spaces, so that equal boxes have equal texts.

    >>> box_text("10%, 5%, 50%, 80%")
    '10%,5%,50%,80%'
    """
    return ",".join(part.strip() for part in _parts(text))


def _parts(text: str) -> list[str]:
    """Split a box at its commas, including the full-width commas of Chinese keyboards."""
    return text.replace("\uff0c", ",").split(",")


def box_problem(text: str) -> Message | None:
    """Return what is wrong with a box's text, whatever the picture's size; None: nothing.

    >>> box_problem("120,40,300,500") is box_problem("10%,5%,50%,80%") is None
    True
    >>> print(box_problem("120,40,300"))  # doctest: +NORMALIZE_WHITESPACE
    focus_box must be x,y,width,height, each in px or %, such as 120,40,300,500 or 10%,5%,50%,80%,
    got '120,40,300'
    """
    lengths = [_read_length(part) for part in _parts(text)]
    if len(lengths) != 4 or None in lengths:
        return Message(
            "focus_box must be {form}, such as 120,40,300,500 or 10%,5%,50%,80%, got {text!r:.80}",
            form=Message("x,y,width,height, each in px or %"),
            text=text,
        )
    for i, length in enumerate(lengths):
        assert length is not None
        number, is_share = length
        if is_share and number > 1:
            return Message(
                "focus_box must be at most 100% in each of its four numbers, got {text!r}",
                text=text,
            )
        if i >= 2 and (number == 0 if is_share else number < MIN_BOX_SIDE):
            return Message(
                "focus_box must be at least {side} px wide and high, got {text!r}",
                side=MIN_BOX_SIDE,
                text=text,
            )
    return None


def _read_length(word: str) -> tuple[float, bool] | None:
    """Read a length: the number, and whether it is a fraction of the picture's side.

    Returns None if the text is not a length.
    """
    found = _LENGTH.fullmatch(word.strip())
    if found is None:
        return None
    return (float(found[1]), False) if found[1] else (float(found[2]) / 100, True)


def box_in_picture(text: str, picture: Box, path: Path) -> Box:
    """Return the part of a picture that a box covers.

    Args:
        text: the box as the user wrote it; `box_problem` must find nothing wrong with it.
        picture: the whole upright picture.
        path: the picture's path, for the message.

    Raises:
        SettingsError: the box is outside the picture, or its part in the picture is too small.
    """
    lengths = [length for part in _parts(text) if (length := _read_length(part)) is not None]
    sides = (picture.width, picture.height) * 2
    left, top, width, height = (
        number * side if is_share else number
        for (number, is_share), side in zip(lengths, sides, strict=True)
    )
    x0, y0 = round(left), round(top)
    x1, y1 = min(round(left + width), picture.width), min(round(top + height), picture.height)
    if x0 >= picture.width or y0 >= picture.height:
        raise SettingsError(
            [
                Message(
                    "focus_box {box} lies outside {path}, which is {width} x {height} px; choose a"
                    " box in it",
                    box=text,
                    path=path,
                    width=picture.width,
                    height=picture.height,
                )
            ]
        )
    if min(x1 - x0, y1 - y0) < min(MIN_BOX_SIDE, picture.width, picture.height):
        problem = Message(
            "focus_box {box} covers only {covered_width} x {covered_height} px of {path}, which is"
            " {width} x {height} px; choose a box of at least {min_width} x {min_height} px",
            box=text,
            covered_width=x1 - x0,
            covered_height=y1 - y0,
            path=path,
            width=picture.width,
            height=picture.height,
            min_width=MIN_BOX_SIDE,
            min_height=MIN_BOX_SIDE,
        )
        raise SettingsError([problem])
    return Box(x0, y0, x1 - x0, y1 - y0)


def stored_box(box: Box, upright: Box, orientation: int) -> Box:
    """Convert a box of the upright picture to the picture as it is stored.

    Args:
        box: in the upright picture.
        upright: the whole upright picture.
        orientation: the EXIF orientation, 1 to 8.
    """
    from_right, from_bottom = upright.width - box.right, upright.height - box.bottom
    left, top = {
        1: (box.left, box.top),
        2: (from_right, box.top),
        3: (from_right, from_bottom),
        4: (box.left, from_bottom),
        5: (box.top, box.left),
        6: (box.top, from_right),
        7: (from_bottom, from_right),
        8: (from_bottom, box.left),
    }[orientation]
    is_sideways = orientation >= 5
    width, height = (box.height, box.width) if is_sideways else (box.width, box.height)
    return Box(left, top, width, height)


def _stretch(start: int, length: int, wanted: int, low: int, high: int) -> tuple[int, int]:
    """Return start and length of an interval grown around its centre, within limits."""
    length, middle = min(max(length, wanted), high - low), start + length / 2
    return min(max(low, round(middle - length / 2)), high - length), length
