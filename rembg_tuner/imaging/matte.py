"""The network's output as a mask at full size, computed strip by strip while libvips reads it.

The network's matte is small (320 px) and the picture is not. libvips' own enlarging (`affine` with
`lbb`) takes 0.8 s at 12 MP; Lanczos taken apart into columns and rows, as two thin matrix products,
takes 0.02 s, gives Pillow's figures to half a step, and needs one strip of memory. libvips takes it as
an uncompressed TIFF that exists only as far as it is being read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rembg_tuner.errors import EngineError, OutputError
from rembg_tuner.imaging.computed_tiff import open_rows
from rembg_tuner.imaging.lanczos import lanczos_kernel
from rembg_tuner.measurement import NO_FOREGROUND

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import pyvips

    Matte = npt.NDArray[np.float32]  # (h, w) in [0, 1]: opacity, 1 is foreground
    from rembg_tuner.models.spec import Post

    RawOutput = npt.NDArray[np.float32]  # (n, c, h, w), as the network gave it
    Channel = npt.NDArray[np.float32]  # (h, w): one picture's foreground, any range
    Mask = npt.NDArray[np.uint8]  # (h, w) in 0..255

LEAST_FOREGROUND = 0.5  # raw maximum under which no pixel is more likely foreground than not
_CHUNK_COLUMNS = 128  # enlarged at a time, so that no wide table of weights is made


def foreground_of(raw: RawOutput, post: Post) -> Channel:
    """Take from a network's output what tells the foreground.

    Args:
        raw: float32 (c, h, w): one picture's.
        post: minmax takes the first channel as it is; sigmoid squashes it first, as for BiRefNet, whose
            graphs end before their sigmoid; classes gives 1 where any class but the first is the
            likeliest, as rembg's `u2net_cloth_seg` does for the category attire.

    Returns:
        float32 (h, w).

    Raises:
        EngineError: a number of it is NaN or infinite, as where half precision overflows.
    """
    if not np.isfinite(raw).all():
        raise EngineError(
            "the network's answer holds what is no number (NaN or infinity), so there is no matte; choose precision fp32 if another is chosen, or another engine or model"
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


def foreground_warning(raw: Channel) -> str | None:
    """Say so where the network saw no clear foreground, which stretching would hide."""
    high = float(raw.max())
    if high >= LEAST_FOREGROUND:
        return None
    return (
        f"{NO_FOREGROUND}: the network's strongest answer is {high:.2f} of 1, so the cut-out is "
        f"stretched noise; try another picture, or a larger model"
    )


class MaskRows:
    """A mask at full size, of which any rows can be had without the others."""

    bands = 1

    def __init__(self, matte: Matte, *, width: int, height: int) -> None:
        """Enlarge the columns; the rows are enlarged as they are asked for.

        Args:
            matte: float32 (h, w) in [0, 1].
            width: of the mask, px.
            height: of the mask, px.
        """
        self.width, self.height = width, height
        # Clipped to whole steps between the passes, as Pillow does: unclipped, a hard corner's ringing
        # would be tens of steps from stock's. And a quarter of what floats would hold at 48 MP.
        self._wide = np.empty((matte.shape[0], width), np.uint8)
        # Cut off, not rounded, as rembg does: a matte of half a step would keep the background's grain
        # in the file, where nobody sees it. The thousandth makes up for 3 / 255 * 255 being below 3.
        steps = np.floor(matte * np.float32(255) + np.float32(0.001))
        for start in range(0, width, _CHUNK_COLUMNS):
            stop = min(width, start + _CHUNK_COLUMNS)
            across = lanczos_kernel(matte.shape[1], width, start, stop)
            columns = steps[:, across.first : across.last] @ across.weights.T
            self._wide[:, start:stop] = np.clip(columns + np.float32(0.5), 0, 255)

    def rows(self, top: int, bottom: int) -> Mask:
        """Compute rows `top` to `bottom`, the last not included; uint8 (bottom - top, width)."""
        down = lanczos_kernel(self._wide.shape[0], self.height, top, bottom)
        strip = down.weights @ self._wide[down.first : down.last].astype(np.float32)
        strip += np.float32(0.5)
        return np.clip(strip, 0, 255, out=strip).astype(np.uint8)


def mask_image(mask: MaskRows) -> pyvips.Image:
    """Give a mask as a libvips image, 8-bit one band, that is read once from top to bottom."""
    return open_rows(mask)


def save_matte(path: Path, matte: Matte) -> None:
    """Keep a matte in a file, for a process that makes a preview of it.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.save(file, matte, allow_pickle=False)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def load_matte(path: Path) -> Matte:
    """Read what `save_matte` kept.

    Raises:
        OSError, ValueError: it is not there, or no matte.
    """
    matte: Matte = np.load(path, allow_pickle=False)
    return matte
