"""A small picture as the network's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyvips

    NetworkInput = npt.NDArray[np.float32]  # (1, 3, h, w), normalised


def normalise(
    small: pyvips.Image, *, mean: tuple[float, ...], std: tuple[float, ...]
) -> NetworkInput:
    """Make a small picture into the network's input, as rembg's `BaseSession.normalize` does.

    The picture is divided by its own maximum, then each channel is shifted and scaled. Alpha is left
    out: the network sees the colours under it, as in rembg.

    Args:
        small: 8-bit RGB or RGBA, the network's sides.
        mean, std: of each channel, in [0, 1].

    Returns:
        float32 (1, 3, h, w).
    """
    pixels = small.numpy()[:, :, :3].astype(np.float32)
    pixels /= max(float(pixels.max()), 1e-6)
    pixels -= np.array(mean, np.float32)
    pixels /= np.array(std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])
