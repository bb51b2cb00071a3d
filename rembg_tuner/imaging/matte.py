"""Convert the network's output to a full-size mask, computed strip by strip.

The network's matte is small (320 px) and the picture is large. libvips' enlarging (`affine` with
`lbb`) takes 0.8 s at 12 MP. Lanczos as two thin matrix products, for columns and for rows, takes
0.02 s, equals Pillow's result to half a step, and needs one strip of memory.

A picture's matte consists of one or more answers of the network, each for a part of the picture. If
the network ran again on parts (`focus`), the mask is the pixelwise maximum over the subjects.
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


MIN_FOREGROUND = 0.5  # raw value from which a pixel is more likely foreground than not
_CHUNK_COLUMNS = 128  # enlarged at a time, to limit the size of the table of weights


def foreground_of(raw: RawOutput, post: Post) -> Channel:
    """Extract the foreground from a network's output for one picture.

    Args:
        raw: float32 (c, h, w).
        post: minmax returns the first channel unchanged. sigmoid applies a sigmoid to it, as for
            BiRefNet, whose graphs end before their sigmoid. classes returns 1 where any class
            except the first is the most likely, as rembg's `u2net_cloth_seg` does for the category
            attire.

    Returns:
        float32 (h, w).

    Raises:
        EngineError: a value is NaN or infinite, for example after an overflow in half precision.
    """
    if not np.isfinite(raw).all():
        raise EngineError(
            Message(
                "the network's output contains NaN or infinity, so there is no matte; choose "
                "precision fp32 if another is chosen, or another engine or model"
            )
        )
    if post == "classes":
        likeliest: Channel = (raw.argmax(axis=0) > 0).astype(np.float32)
        return likeliest
    first: Channel = raw[0]
    if post == "sigmoid":
        with np.errstate(over="ignore"):  # e**89 is infinite in float32; 1 / infinity is correct
            first = np.float32(1) / (np.float32(1) + np.exp(-first))
    return first


def scale_to_matte(raw: Channel) -> Matte:
    """Stretch a network's output to [0, 1], as rembg does.

    An output without contrast becomes background.

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
    """Return a warning if the network found no clear foreground, which stretching would hide."""
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
    """A full-size mask whose rows can be computed in any order and from several threads."""

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
        """Enlarge the columns; rows are enlarged on request.

        Args:
            matte: float32 (h, w) in [0, 1].
            width: of the mask, px.
            height: of the mask, px.
            spans: the part of the mask that the matte covers.
            within: the mask is 0 outside this part of it.
        """
        self.width, self.height = width, height
        self._left, self._right = _inside(spans.left, spans.right, within.left, within.right, width)
        self._top, self._bottom = _inside(
            spans.top, spans.bottom, within.top, within.bottom, height
        )
        stretch = spans.bottom - spans.top, spans.top
        self._down = _taps(matte.shape[0], stretch, self._top, self._bottom, height)
        # Rounded and clipped to 8 bits between the passes, as Pillow does. Otherwise, the ringing
        # at a hard corner would differ by tens of steps from rembg's. It also needs a quarter of
        # the memory of floats at 48 MP.
        self._wide = np.empty((matte.shape[0], self._right - self._left), np.uint8)
        # Truncated, not rounded, as in rembg: rounding up half a step would keep invisible grain
        # of the background in the file. 0.001 is added because 3 / 255 * 255 is below 3.
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
        """Compute rows `top` to `bottom`, exclusive: uint8 (bottom - top, width)."""
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
    """Return the weights of a mask's rows or columns `start` to `stop`; None: the range is empty.

    Args:
        n_in: rows or columns of the matte.
        stretch: the share of the mask that the matte covers, and the start of that part, 0 to 1.
        start: the first row or column.
        stop: the last one plus one.
        n: rows or columns of the whole mask.
    """
    if start >= stop:
        return None
    share, first = stretch
    return lanczos_taps(n_in, share * n, start, stop, origin=first * n)


def _inside(start: float, stop: float, low: float, high: float, n: int) -> tuple[int, int]:
    """Return the range of the pixels, of n, whose centres are in both of two intervals.

    Args:
        start: start of the first interval, 0 to 1.
        stop: end of the first interval.
        low: start of the second interval.
        high: end of the second interval.
        n: total number of pixels.

    Returns:
        The first pixel, and the last plus one.
    """
    first = math.ceil(max(start, low) * n - 0.5)
    last = math.ceil(min(stop, high) * n - 0.5)
    return max(0, first), min(n, last)


def mask_image(mask: Rows) -> pyvips.Image:
    """Return a mask as a libvips image, 8-bit one band, read once from top to bottom."""
    return open_rows(mask)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedMatte:
    """An answer of the network, placed in the picture.

    Attributes:
        matte: float32 (h, w) in [0, 1], any size.
        spans: the part of the picture that the network received.
        within: the part in which the answer is used; the matte is 0 outside.
    """

    matte: Matte
    spans: Area = WHOLE
    within: Area = WHOLE


@dataclass(frozen=True, slots=True, eq=False)
class PictureMatte:
    """The matte of a whole picture.

    Attributes:
        subjects: the answer used for each subject; they are combined by their maximum.
    """

    subjects: tuple[PlacedMatte, ...]

    @classmethod
    def of(cls, matte: Matte) -> Self:
        """Create it from one answer for the whole picture."""
        return cls((PlacedMatte(matte=matte),))

    def mask(self, width: int, height: int) -> Rows:
        """Return the mask at a size, px.

        Its rows are computed on request, from any thread.
        """
        masks = [
            MaskRows(one.matte, width=width, height=height, spans=one.spans, within=one.within)
            for one in self.subjects
        ]
        return masks[0] if len(masks) == 1 else _MaximumRows(masks)

    def save(self, path: Path) -> None:
        """Write it to a file, for the process that makes the preview.

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
        """Read a file that `save` wrote.

        Raises:
            OSError, ValueError: the file does not exist, or is invalid.
        """
        subjects = []
        with path.open("rb") as file:
            for numbers in np.load(file, allow_pickle=False).tolist():
                matte = np.load(file, allow_pickle=False)
                spans, within = Area(*numbers[:4]), Area(*numbers[4:])
                subjects.append(PlacedMatte(matte=matte, spans=spans, within=within))
        return cls(tuple(subjects))


def _numbers(area: Area) -> tuple[float, float, float, float]:
    """Return an area's edges as numbers."""
    return area.left, area.top, area.right, area.bottom


class _MaximumRows:
    """The pixelwise maximum of masks of one size."""

    bands = 1

    def __init__(self, masks: Sequence[Rows]) -> None:
        """Combine masks."""
        self._masks = masks
        self.width, self.height = masks[0].width, masks[0].height

    def rows(self, top: int, bottom: int) -> Mask:
        """Compute rows `top` to `bottom`, exclusive: uint8 (bottom - top, width)."""
        joined: Mask = np.maximum.reduce([mask.rows(top, bottom) for mask in self._masks])
        return joined
