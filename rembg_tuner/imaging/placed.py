"""The matte of a picture, made of one or more network answers, each over its part of the picture.

One answer over the whole picture is the usual case. Where the network looked again at a part (`focus`), the
mask is the pixelwise median of the looks at one subject, and the pixelwise maximum over the subjects, computed
row by row at whatever size is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from rembg_tuner.boxes import WHOLE, Area
from rembg_tuner.errors import OutputError
from rembg_tuner.imaging.matte import MaskRows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_tuner.imaging.computed_tiff import Rows
    from rembg_tuner.imaging.matte import Mask, Matte


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedMatte:
    """One answer of the network.

    Attributes:
        matte: float32 (h, w) in [0, 1], any size.
        spans: the part of the picture that the network saw.
        within: the part where the answer counts; 0 outside.
    """

    matte: Matte
    spans: Area = WHOLE
    within: Area = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class PictureMatte:
    """The matte of a whole picture.

    Attributes:
        subjects: of each subject its answers: one, or three of which the median counts. Subjects are joined
            by their maximum.
    """

    subjects: tuple[tuple[PlacedMatte, ...], ...]

    @classmethod
    def of(cls, matte: Matte) -> Self:
        """Make it of the one answer over the whole picture."""
        return cls(((PlacedMatte(matte=matte),),))

    def mask(self, width: int, height: int) -> Rows:
        """Return the mask at a size, px; its rows are computed as they are asked for, from any thread."""
        joined = [
            _join([_rows_of(placed, width, height) for placed in subject], _MedianRows)
            for subject in self.subjects
        ]
        return _join(joined, _MaximumRows)

    def save(self, path: Path) -> None:
        """Write it to a file, for a process that makes a preview of it.

        Raises:
            OutputError: it cannot be written.
        """
        answers = [(i, one) for i, subject in enumerate(self.subjects) for one in subject]
        places = [[i, *_numbers(one.spans), *_numbers(one.within)] for i, one in answers]
        try:
            with path.open("wb") as file:
                np.save(file, np.array(places, np.float64), allow_pickle=False)
                for _, one in answers:
                    np.save(file, one.matte, allow_pickle=False)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError: it is not there, or no such file.
        """
        subjects: dict[int, list[PlacedMatte]] = {}
        with path.open("rb") as file:
            for i, *numbers in np.load(file, allow_pickle=False).tolist():
                matte = np.load(file, allow_pickle=False)
                spans, within = Area(*numbers[:4]), Area(*numbers[4:])
                placed = PlacedMatte(matte=matte, spans=spans, within=within)
                subjects.setdefault(int(i), []).append(placed)
        return cls(tuple(tuple(placed) for placed in subjects.values()))


def _numbers(area: Area) -> tuple[float, float, float, float]:
    """Return an area's ends as a row of numbers."""
    return area.left, area.top, area.right, area.bottom


def _rows_of(placed: PlacedMatte, width: int, height: int) -> Rows:
    """Return one answer as a mask at a size."""
    return MaskRows(placed.matte, width=width, height=height, spans=placed.spans, within=placed.within)  # fmt: skip


def _join(masks: Sequence[Rows], join: type[_MedianRows | _MaximumRows]) -> Rows:
    """Return several masks as one; one alone stays what it is."""
    return masks[0] if len(masks) == 1 else join(masks)


class _MaximumRows:
    """The pixelwise maximum of masks of one size."""

    bands = 1

    def __init__(self, masks: Sequence[Rows]) -> None:
        """Join masks."""
        self._masks = masks
        self.width, self.height = masks[0].width, masks[0].height

    def rows(self, top: int, bottom: int) -> Mask:
        """Compute rows `top` to `bottom`, the last not included; uint8 (bottom - top, width)."""
        joined: Mask = np.maximum.reduce([mask.rows(top, bottom) for mask in self._masks])
        return joined


class _MedianRows:
    """The pixelwise median of three masks of one size."""

    bands = 1

    def __init__(self, masks: Sequence[Rows]) -> None:
        """Join three masks."""
        self._masks = masks
        self.width, self.height = masks[0].width, masks[0].height

    def rows(self, top: int, bottom: int) -> Mask:
        """Compute rows `top` to `bottom`, the last not included; uint8 (bottom - top, width)."""
        a, b, c = (mask.rows(top, bottom) for mask in self._masks)
        median: Mask = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
        return median
