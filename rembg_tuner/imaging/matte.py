"""The network's output as a mask at full size, computed strip by strip.

The network's matte is small (320 px) and the picture is large. libvips' own enlarging (`affine`
with `lbb`) takes 0.8 s at 12 MP; Lanczos as two thin matrix products, one for the columns and one
for the rows, takes 0.02 s, equals Pillow's result to half a step, and needs one strip of memory.

A picture's matte is made of one or more answers of the network, each over its part of the picture.
Where the network looked again at a part (`focus`), the mask is the pixelwise maximum over the
subjects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from rembg_tuner.base.boxes import WHOLE, Area
from rembg_tuner.base.errors import NO_FOREGROUND, EngineError, OutputError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.lanczos import Taps, lanczos_taps
from rembg_tuner.imaging.libvips import open_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyvips

    from rembg_tuner.base.boxes import Area
    from rembg_tuner.imaging.libvips import Rows
    from rembg_tuner.models.spec import Post

    Matte = npt.NDArray[np.float32]  # (h, w) in [0, 1]: opacity, 1 is foreground

    RawOutput = npt.NDArray[np.float32]  # (n, c, h, w), as the network gave it
    Channel = npt.NDArray[np.float32]  # (h, w): one picture's foreground, any range
    Mask = npt.NDArray[np.uint8]  # (h, w) in 0..255


MIN_FOREGROUND = 0.5  # raw maximum under which no pixel is more likely foreground than not
_CHUNK_COLUMNS = 128  # enlarged at a time, so that no wide table of weights is made


def foreground_of(raw: RawOutput, post: Post) -> Channel:
    """Take from a network's output what tells the foreground.

    Args:
        raw: float32 (c, h, w): one picture's.
        post: minmax takes the first channel as it is; sigmoid squashes it first, as for BiRefNet,
            whose graphs end before their sigmoid; classes gives 1 where any class but the first is
            the likeliest, as rembg's `u2net_cloth_seg` does for the category attire.

    Returns:
        float32 (h, w).

    Raises:
        EngineError: a number of it is NaN or infinite, as where half precision overflows.
    """
    if not np.isfinite(raw).all():
        raise EngineError(
            Message(
                "the network's answer holds what is no number (NaN or infinity), so there is no"
                " matte; choose precision fp32 if another is chosen, or another engine or model"
            )
        )
    if post == "classes":
        likeliest: Channel = (raw.argmax(axis=0) > 0).astype(np.float32)
        return likeliest
    first: Channel = raw[0]
    if post == "sigmoid":
        with np.errstate(over="ignore"):  # e**89 is infinite in float32, and 1 / infinity is right
            first = np.float32(1) / (np.float32(1) + np.exp(-first))
    return first


def scale_to_matte(raw: Channel) -> Matte:
    """Stretch a network's output to [0, 1], as rembg does.

    An output without any contrast is all background.

    Args:
        raw: float32 (h, w), any range.

    Returns:
        float32 (h, w) in [0, 1].
    """
    low, high = float(raw.min()), float(raw.max())
    if not high > low:
        return np.zeros(raw.shape, np.float32)
    return (raw - np.float32(low)) / np.float32(high - low)


def foreground_warning(raw: Channel) -> Message | None:
    """Return a warning where the network saw no clear foreground, which stretching would hide."""
    high = float(raw.max())
    if high >= MIN_FOREGROUND:
        return None
    return Message(
        "no clear foreground: the network's strongest answer is {high:.2f} of 1, so the cut-out is"
        " stretched noise; try another picture, or a larger model",
        code=NO_FOREGROUND,
        high=high,
    )


class MaskRows:
    """A mask at full size, of which any rows can be had without the others, from several threads too."""

    bands = 1

    def __init__(
        self,
        matte: Matte,
        *,
        width: int,
        height: int,
        spans: Area = WHOLE,
        within: Area = WHOLE,
    ) -> None:
        """Enlarge the columns; the rows are enlarged as they are asked for.

        Args:
            matte: float32 (h, w) in [0, 1].
            width: of the mask, px.
            height: of the mask, px.
            spans: the part of the mask that the matte is enlarged over.
            within: outside this part of it the mask is 0.
        """
        self.width, self.height = width, height
        self._left, self._right = _inside(spans.left, spans.right, within.left, within.right, width)
        self._top, self._bottom = _inside(
            spans.top, spans.bottom, within.top, within.bottom, height
        )
        stretch = spans.bottom - spans.top, spans.top
        self._down = _taps(matte.shape[0], stretch, self._top, self._bottom, height)
        # Clipped to whole steps between the passes, as Pillow does: unclipped, a hard corner's
        # ringing would be tens of steps from stock's. And a quarter of what floats would hold at 48
        # MP.
        self._wide = np.empty((matte.shape[0], self._right - self._left), np.uint8)
        # Cut off, not rounded, as rembg does: a matte of half a step would keep the background's
        # grain in the file, where nobody sees it. The thousandth makes up for 3 / 255 * 255 being
        # below 3.
        steps = np.floor(matte * np.float32(255) + np.float32(0.001))
        stretch = spans.right - spans.left, spans.left
        across = _taps(matte.shape[1], stretch, self._left, self._right, width)
        if across is not None:
            self._enlarge_columns(steps, across)

    def _enlarge_columns(self, steps: Matte, across: Taps) -> None:
        """Fill the table of columns from the matte in steps of 1 / 255."""
        for start in range(0, self._wide.shape[1], _CHUNK_COLUMNS):
            chunk = self._wide[:, start : start + _CHUNK_COLUMNS]
            kernel = across.kernel(start, start + chunk.shape[1])
            columns = steps[:, kernel.first : kernel.last] @ kernel.weights.T
            columns += np.float32(0.5)
            chunk[:] = np.clip(columns, 0, 255, out=columns)

    def rows(self, top: int, bottom: int) -> Mask:
        """Compute rows `top` to `bottom`, the last not included; uint8 (bottom - top, width)."""
        first, last = max(top, self._top), min(bottom, self._bottom)
        if self._down is None or first >= last or self._left >= self._right:
            return np.zeros((bottom - top, self.width), np.uint8)
        down = self._down.kernel(first - self._top, last - self._top)
        strip = down.weights @ self._wide[down.first : down.last].astype(np.float32)
        strip += np.float32(0.5)
        inside: Mask = np.clip(strip, 0, 255, out=strip).astype(np.uint8)
        if inside.shape == (bottom - top, self.width):
            return inside
        rows = np.zeros((bottom - top, self.width), np.uint8)
        rows[first - top : last - top, self._left : self._right] = inside
        return rows


def _taps(n_in: int, stretch: tuple[float, float], start: int, stop: int, n: int) -> Taps | None:
    """Return the weights of a mask's rows or columns `start` to `stop`; None: there are none.

    Args:
        n_in: rows or columns of the matte.
        stretch: the share of the mask that the matte is enlarged over, and where it begins, 0 to 1.
        start: the first one wanted.
        stop: the first one that is not wanted any more.
        n: of the whole mask.
    """
    if start >= stop:
        return None
    share, first = stretch
    return lanczos_taps(n_in, share * n, start, stop, origin=first * n)


def _inside(start: float, stop: float, low: float, high: float, n: int) -> tuple[int, int]:
    """Return the pixels, of n, whose centres lie in both of two stretches; the last not included.

    Args:
        start: where the first stretch begins, 0 to 1.
        stop: where it ends.
        low: where the other one begins.
        high: where it ends.
        n: pixels in all.
    """
    first = math.ceil(max(start, low) * n - 0.5)
    last = math.ceil(min(stop, high) * n - 0.5)
    return max(0, first), min(n, last)


def mask_image(mask: Rows) -> pyvips.Image:
    """Return a mask as a libvips image, 8-bit one band, that is read once from top to bottom."""
    return open_rows(mask)


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
