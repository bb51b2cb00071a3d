"""Make enlarged pictures for benchmarks, and crops and mirror images for calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyvips

if TYPE_CHECKING:
    from pathlib import Path

    import pyvips

_LUMA_GRAIN, _CHROMA_GRAIN = 3.0, 1.5  # standard deviations in 8-bit steps, about ISO 400
# Options of libvips' encoders, with the lowest effort because encoding is not measured.
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
    """Enlarge a picture to cover a size, crop its centre, add grain and save it.

    Without grain, encoders would have unrealistically little work.

    Args:
        source: any picture.
        target: .jpg, .webp, .avif, .png or .tif.
        size: width and height, px, upright.
        turned: store it sideways, with the EXIF orientation (6) that turns it upright.
        interlaced: as a progressive JPEG or interlaced PNG.
        scale: share of the sides that the picture covers, above 0 and at most 1. Below 1, the
            subject is small, and the outermost pixels are repeated up to the edge.

    Raises:
        OSError: it cannot be written; libvips itself would not return the reason.
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
    """Scale a picture to cover a size, and crop its centre."""
    scale = max(width / image.width, height / image.height)
    image = image.resize(scale * 1.0001, kernel="lanczos3")
    return image.crop((image.width - width) // 2, (image.height - height) // 2, width, height)


Crop = tuple[float, float, float, float]  # left, top, width, height: shares of the sides


def crop_and_mirror(
    image: pyvips.Image, crop: Crop | None, *, is_mirrored: bool, side: int
) -> pyvips.Image:
    """Crop and mirror a picture, and scale it down to at most the network's side.

    Args:
        image: 8-bit RGB or RGBA, in memory.
        crop: the part; None: the whole picture.
        is_mirrored: swap left and right.
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
