"""The matte of a picture, made of one or more network answers, each over its part of the picture.

One answer over the whole picture is the usual case. Where the network looked again at a part
(`focus`), the mask is the pixelwise maximum over the subjects, computed row by row at whatever size
is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from rembg_tuner.base.boxes import WHOLE, Area
from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.messages import Message
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
        subjects: of each subject the answer that counts. Subjects are joined by their maximum.
    """

    subjects: tuple[PlacedMatte, ...]

    @classmethod
    def of(cls, matte: Matte) -> Self:
        """Make it of the one answer over the whole picture."""
        return cls((PlacedMatte(matte=matte),))

    def mask(self, width: int, height: int) -> Rows:
        """Return the mask at a size, px.

        Its rows are computed as they are asked for, from any thread.
        """
        masks = [
            MaskRows(one.matte, width=width, height=height, spans=one.spans, within=one.within)
            for one in self.subjects
        ]
        return masks[0] if len(masks) == 1 else _MaximumRows(masks)

    def save(self, path: Path) -> None:
        """Write it to a file, for a process that makes a preview of it.

        Raises:
            OutputError: it cannot be written.
        """
        places = [[*_numbers(one.spans), *_numbers(one.within)] for one in self.subjects]
        try:
            with path.open("wb") as file:
                np.save(file, np.array(places, np.float64), allow_pickle=False)
                for one in self.subjects:
                    np.save(file, one.matte, allow_pickle=False)
        except OSError as error:
            raise OutputError(
                Message("{path} cannot be written: {reason}", path=path, reason=error.strerror)
            ) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError: it is not there, or no such file.
        """
        subjects = []
        with path.open("rb") as file:
            for numbers in np.load(file, allow_pickle=False).tolist():
                matte = np.load(file, allow_pickle=False)
                spans, within = Area(*numbers[:4]), Area(*numbers[4:])
                subjects.append(PlacedMatte(matte=matte, spans=spans, within=within))
        return cls(tuple(subjects))


def _numbers(area: Area) -> tuple[float, float, float, float]:
    """Return an area's ends as a row of numbers."""
    return area.left, area.top, area.right, area.bottom


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
