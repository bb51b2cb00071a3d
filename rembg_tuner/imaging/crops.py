"""Parts of a picture, and mirror images, for calibrating a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyvips

Crop = tuple[float, float, float, float]  # left, top, width, height: shares of the sides


def crop_and_mirror(
    image: pyvips.Image, crop: Crop | None, *, is_mirrored: bool, side: int
) -> pyvips.Image:
    """Take a part of a picture, no side longer than the network's.

    Args:
        image: 8-bit RGB or RGBA, in memory.
        crop: the part; None: all of it.
        is_mirrored: whether left and right change places.
        side: of the network's input, px.
    """
    if crop is not None:
        left, top, width, height = crop
        image = image.crop(
            int(left * image.width),
            int(top * image.height),
            max(1, int(width * image.width)),
            max(1, int(height * image.height)),
        )
    across, down = min(1.0, side / image.width), min(1.0, side / image.height)
    if (across, down) != (1.0, 1.0):
        image = image.resize(across, vscale=down)
    image = image.fliphor() if is_mirrored else image
    return image.copy_memory()
