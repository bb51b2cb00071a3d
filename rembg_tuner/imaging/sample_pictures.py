"""Pictures made from others: enlarged ones for benchmarks, crops and mirror images for calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyvips

if TYPE_CHECKING:
    from pathlib import Path

    import pyvips

_LUMA_GRAIN, _CHROMA_GRAIN = 3.0, 1.5  # standard deviations in 8-bit steps, about ISO 400
# Of libvips' encoders; the least effort, since encoding is not measured.
_OPTIONS: dict[str, dict[str, object]] = {
    ".jpg": {"Q": 92},
    ".png": {"compression": 1},
    ".avif": {"effort": 0},
    ".webp": {"effort": 0},
}


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
    grain = [
        pyvips.Image.gaussnoise(width, height, sigma=sigma, mean=0, seed=seed)
        for seed, sigma in ((1, _LUMA_GRAIN), *((seed, _CHROMA_GRAIN) for seed in (2, 3, 4)))
    ]
    image = (image + grain[0] + grain[1].bandjoin(grain[2:])).rint().cast("uchar")
    image = image.copy(interpretation="srgb")
    if turned:
        image = image.rot270().copy()
        image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    options = _OPTIONS.get(target.suffix, {})
    if interlaced:
        options = {**options, "interlace": True}
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
