"""Compute Lanczos weights as Pillow's resize does, separately for columns and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.float32]  # (h, w, c) in 0..255

_LANCZOS_LOBES = 3.0
# Weights are multiples of 1 / _UNITS. Sums over 8-bit samples are then exact in float32's 24 bits,
# and do not depend on the order of summation, which varies with the CPU and with memory alignment.
_UNITS = 2**15


@dataclass(frozen=True, slots=True)
class Kernel:
    """Lanczos weights of output samples, as a matrix over the input samples that they use.

    Attributes:
        weights: float32 (n, last - first), multiples of 2**-15; each row sums to 1.
        first, last: range of the input samples, `last` exclusive.
    """

    weights: npt.NDArray[np.float32]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Taps:
    """Lanczos weights of output samples, each over the adjacent input samples.

    Attributes:
        firsts: int64 (n,), the first input sample of each output sample; ascending.
        weights: float32 (n, k), of the k input samples from there on; multiples of 2**-15, each
            row sums to 1.
    """

    firsts: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]

    def kernel(self, start: int, stop: int) -> Kernel:
        """Return the weights of outputs `start` to `stop`, exclusive, as a matrix."""
        firsts, weights = self.firsts[start:stop], self.weights[start:stop]
        low, k = int(firsts[0]), weights.shape[1]
        high = int(firsts[-1]) + k
        matrix = np.zeros((len(firsts), high - low), np.float32)
        places = (np.arange(len(firsts)) * (high - low) + firsts - low)[:, np.newaxis]
        matrix.reshape(-1)[places + np.arange(k)] = weights
        return Kernel(matrix, low, high)


def lanczos_taps(n_in: int, n_out: float, start: int, stop: int, *, origin: float = 0.0) -> Taps:
    """Compute the weights of outputs `start` to `stop`, exclusive, with half-pixel centres.

    Args:
        n_in: number of input samples.
        n_out: number of output samples that the inputs cover; not an integer if they cover a part
            of a picture.
        start: the first output; the centres of all outputs must be inside the inputs.
        stop: the last output plus one.
        origin: position of the first input, in outputs.

    Source: Pillow's src/libImaging/Resample.c, `precompute_coeffs`, for its LANCZOS filter.
    """
    scale = n_in / n_out
    stretch = max(1.0, scale)
    support = _LANCZOS_LOBES * stretch
    centre = (np.arange(start, stop)[:, np.newaxis] + 0.5 - origin) * scale
    first = np.maximum(0, (centre - support + 0.5).astype(np.int64))
    last = np.minimum(n_in, (centre + support + 0.5).astype(np.int64))
    k = int((last - first).max())
    begin = np.minimum(first, n_in - k)  # k inputs must follow
    column = begin + np.arange(k)
    x = (column - centre + 0.5) / stretch
    inside = (column >= first) & (column < last) & (np.abs(x) < _LANCZOS_LOBES)
    weights = np.where(inside, np.sinc(x) * np.sinc(x / _LANCZOS_LOBES), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    units = np.rint(weights * _UNITS)
    rows = np.arange(len(units))
    units[rows, units.argmax(axis=1)] += _UNITS - units.sum(axis=1)
    return Taps(begin[:, 0], (units / _UNITS).astype(np.float32))


def lanczos_kernel(
    n_in: int, n_out: float, start: int, stop: int, *, origin: float = 0.0
) -> Kernel:
    """Compute the weights of outputs `start` to `stop`, exclusive, as a matrix.

    The arguments are those of `lanczos_taps`.
    """
    return lanczos_taps(n_in, n_out, start, stop, origin=origin).kernel(0, stop - start)


def resize_exactly(pixels: Pixels, *, width: int, height: int) -> Pixels:
    """Scale a small picture to the given sides.

    Args:
        pixels: float32 (h, w, c) in [0, 255].
        width: of the result, px.
        height: of the result, px.

    Returns:
        float32 (height, width, c), rounded and clipped to [0, 255], as 8-bit pixels would be.
    """
    h, w = pixels.shape[:2]
    across = lanczos_kernel(w, width, 0, width)
    down = lanczos_kernel(h, height, 0, height)
    wide = np.tensordot(across.weights, pixels[:, across.first : across.last], axes=(1, 1))
    wide = np.clip(np.rint(wide), 0, 255)  # rounded between the passes too, as Pillow does
    scaled = np.tensordot(down.weights, wide[:, down.first : down.last], axes=(1, 1))
    return np.clip(np.rint(scaled), 0, 255)
