"""Pictures made from others: enlarged ones for benchmarks, crops and mirror images for calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyvips

if TYPE_CHECKING:
    from pathlib import Path

    import pyvips

_LUMA_GRAIN, _CHROMA_GRAIN = 3.0, 1.5  # standard deviations in 8-bit steps, about ISO 400
_JPEG_QUALITY = 92
_AVIF_EFFORT = 0  # the least: encoding is not what is measured


def make_sample(
    source: Path,
    target: Path,
    *,
    size: tuple[int, int],
    turned: bool = False,
    interlaced: bool = False,
    scale: float = 1.0,
) -> None:
    """Enlarge a picture to cover a size, crop its middle, add grain and save it.

    A picture without grain would flatter every encoder.

    Args:
        source: any picture.
        target: .jpg, .webp, .avif, .png or .tif.
        size: width and height, px, upright.
        turned: store it on its side, with the EXIF orientation (6) that puts it upright.
        interlaced: as a progressive JPEG or interlaced PNG.
        scale: of the sides that the picture fills, from above 0 to 1; below 1 its subject is small,
            and its outermost pixels go on to the edge.

    Raises:
        OSError: it cannot be written; libvips itself would not tell why.
    """
    width, height = size
    image = pyvips.Image.new_from_file(str(source)).colourspace("srgb")[:3]
    image = _cover(image, round(width * scale), round(height * scale))
    left, top = (width - image.width) // 2, (height - image.height) // 2
    image = image.embed(left, top, width, height, extend="copy")
    luma = pyvips.Image.gaussnoise(width, height, sigma=_LUMA_GRAIN, mean=0, seed=1)
    chroma = [
        pyvips.Image.gaussnoise(width, height, sigma=_CHROMA_GRAIN, mean=0, seed=2 + i)
        for i in range(3)
    ]
    image = (
        (image + luma + chroma[0].bandjoin(chroma[1:]))
        .rint()
        .cast("uchar")
        .copy(interpretation="srgb")
    )
    if turned:
        image = image.rot270().copy()
        image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    options: dict[str, object] = {}
    if target.suffix == ".jpg":
        options = {"Q": _JPEG_QUALITY, "interlace": interlaced}
    elif target.suffix == ".png":
        options = {"compression": 1, "interlace": interlaced}
    elif target.suffix == ".avif":
        options = {"effort": _AVIF_EFFORT}
    elif target.suffix == ".webp":
        options = {"effort": 0}
    target.write_bytes(image.write_to_buffer(target.suffix, **options))


def _cover(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Enlarge or reduce a picture to cover a size, and crop its middle."""
    scale = max(width / image.width, height / image.height)
    image = image.resize(scale * 1.0001, kernel="lanczos3")
    return image.crop((image.width - width) // 2, (image.height - height) // 2, width, height)


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
