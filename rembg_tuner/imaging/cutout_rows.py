"""Join rows of a picture with their mask, in numpy; strip by strip, in any order and on any thread.

The results equal those of `imaging.compose`, which does the same in libvips, to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from rembg_tuner.base.colours import Colour
    from rembg_tuner.imaging.computed_tiff import Rows

    Bytes = npt.NDArray[np.uint8]

_PIXEL = np.dtype("<u4")  # a pixel's four bytes at once
_OPAQUE = 255


class CutoutRows:
    """The rows of a cut-out: called with rows of the picture, returns rows of the file."""

    def __init__(self, mask: Rows, *, has_alpha: bool, background: Colour | None) -> None:
        """Join with a mask.

        Args:
            mask: one band, as large as the picture; any thread may ask it for any rows.
            has_alpha: the picture has an alpha of its own, which multiplies the mask's; else its
                alpha is 255.
            background: the colour behind it; None: transparent.
        """
        self._mask, self._has_alpha, self._background = mask, has_alpha, background
        self.bands = 4 if background is None else 3

    def __call__(self, rows: Bytes, top: int) -> Bytes:
        """Join some rows with their mask.

        Transparent: RGBA, with the picture's own colours where alpha is above 0, and else black. On
        a colour: RGB.

        Args:
            rows: uint8 (1 + n, 4 w), RGBA; changed. The first row is the one above row `top`.
            top: number of the second row.

        Returns:
            uint8 (1 + n, bands * w), perhaps the same array. The first row is 0 where nothing is
            above.
        """
        above = 1 if top else 0
        alpha = self._mask.rows(top - above, top + len(rows) - 1)
        seen = rows[1 - above :]
        if self._has_alpha:
            alpha = multiply_alphas(alpha, seen[:, 3::4])
        if self._background is None:
            seen[:, 3::4] = alpha
            pixels = seen.view(_PIXEL)
            np.multiply(pixels, alpha != 0, out=pixels)
            return rows
        mixed = np.zeros((len(rows), rows.shape[1] // 4 * 3), np.uint8)
        mix_with_colour(seen, alpha, self._background, out=mixed[1 - above :])
        return mixed


def multiply_alphas(one: Bytes, other: Bytes) -> Bytes:
    """Return one * other / 255, rounded; uint8 of their common shape."""
    product = np.multiply(one, other, dtype=np.uint16)
    product += 128
    product += product >> 8
    product >>= 8
    return product.astype(np.uint8)


def mix_with_colour(rows: Bytes, alpha: Bytes, colour: Colour, *, out: Bytes) -> None:
    """Put a colour behind pixels.

    (rgb * alpha + colour * (255 - alpha)) / 255, cut off as libvips does.

    Args:
        rows: uint8 (n, 4 w), RGBA; its alpha is not looked at.
        alpha: uint8 (n, w).
        colour: that is put behind.
        out: uint8 (n, 3 w), RGB.
    """
    rest = np.uint8(_OPAQUE) - alpha
    for band in range(3):
        mixed = np.multiply(rows[:, band::4], alpha, dtype=np.uint16)
        mixed += np.multiply(rest, np.uint8(colour[band]), dtype=np.uint16)
        mixed += mixed >> 8  # this line to the third: divide by 255
        mixed += 1
        mixed >>= 8
        out[:, band::3] = mixed
