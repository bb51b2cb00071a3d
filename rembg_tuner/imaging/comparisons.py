"""The process that compares cut-outs: `python -m rembg_tuner.imaging.comparisons`.

It is separate from the worker, so comparisons do not add to the measured memory and time, and from
the page, which does not decode pictures. Requests are read from stdin and answers are written to
stdout, as one line of JSON each. Request: {"cutout", "reference", "thumbnail", "difference"};
answer: {"error": null or a message as JSON, "mae", "iou", "boundary_f", "has_foreground",
"small_matte"}. Or {"mask", "picture"}, with the answer {"error", "problem": null or a message as
JSON}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from rembg_tuner.base.errors import OutputError, TunerError, message_of
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.base.small_matte import MAX_SIDE, SmallMatte
from rembg_tuner.imaging import libvips, quality, source
from rembg_tuner.imaging.header import read_header

if TYPE_CHECKING:
    from rembg_tuner.imaging.quality import Matte

COMPARED_SIDE = 1024  # px, the longest side; networks have inputs of 320 to 1024 px
THUMBNAIL_SIDE = 240
_RGBA_BANDS = 4
_MAX_STRETCH = 0.01  # as a share of a side; more than rounding to whole pixels changes
# Colour-blind-safe: extra parts of the cut-out are blue, missing parts are orange.
_EXTRA, _MISSING = (0, 114, 178), (213, 94, 0)
_NOTHING, _SHADOW = (
    255.0,
    36.0,
)  # grey levels: of the background, and how much darker the reference is
_DRAWN_GAIN = 3.0
_DRAWN_REACH = 1 / 512  # as a share of the longest side, in each direction


def read_matte(path: Path, *, like: Matte | None = None) -> Matte:
    """Read a cut-out's alpha, or a mask.

    Args:
        path: a picture; its alpha channel is the matte, or its brightness if it has no alpha.
        like: a matte to whose shape the result is scaled; None: not scaled.

    Returns:
        float32 (h, w) in [0, 1], at most 1024 px a side unless `like` is larger.

    Raises:
        TunerError: the picture cannot be read.
    """
    band = _read_band(path)
    return _to_matte(band if like is None else _resized(band, like))


def _read_band(path: Path) -> pyvips.Image:
    """Read a cut-out's alpha or a mask's brightness, at most 1024 px a side."""
    header = read_header(path)
    width, height = header.scaled(COMPARED_SIDE)
    small = source.read_small(header, width=width, height=height)
    band = small[3] if small.bands == _RGBA_BANDS else small.colourspace("b-w")[0]
    return band.copy_memory()


def _resized(band: pyvips.Image, like: Matte) -> pyvips.Image:
    """Scale a band to a matte's shape."""
    if (band.height, band.width) == like.shape:
        return band
    return band.resize(
        like.shape[1] / band.width, vscale=like.shape[0] / band.height, kernel="linear"
    )


def _to_matte(band: pyvips.Image) -> Matte:
    """Convert an 8-bit band to a matte."""
    matte: Matte = band.numpy().astype(np.float32) / np.float32(255)
    return matte


def compare(request: dict[str, Any]) -> dict[str, Any]:
    """Compare a cut-out with a reference.

    Args:
        request: `cutout`; `reference`: another cut-out or a mask, None: no reference;
            `thumbnail` and `difference`: paths of files to write, None: not requested.

    Returns:
        mae, iou, boundary_f: see `quality`, None without a reference; has_foreground: whether any
        pixel of the reference is at least 0.5; small_matte: the cut-out's matte, as
        `SmallMatte.to_text` returns it.

    Raises:
        TunerError: a picture cannot be read or written.
    """
    cutout = Path(request["cutout"])
    if request["thumbnail"]:
        _write_thumbnail(cutout, Path(request["thumbnail"]))
    band = _read_band(cutout)
    small = shrink(_to_matte(band)).to_text()
    if not request["reference"]:
        return {
            "mae": None,
            "iou": None,
            "boundary_f": None,
            "has_foreground": True,
            "small_matte": small,
        }
    reference = read_matte(Path(request["reference"]))
    matte = _to_matte(_resized(band, reference))
    if request["difference"]:
        _write(_difference(matte, reference), Path(request["difference"]))
    return {
        "mae": quality.mean_absolute_error(matte, reference),
        "iou": quality.intersection_over_union(matte, reference),
        "boundary_f": quality.boundary_f_measure(matte, reference),
        "has_foreground": bool((reference >= quality.FOREGROUND_FROM).any()),
        "small_matte": small,
    }


def shrink(matte: Matte) -> SmallMatte:
    """Average a matte over at most 32 x 32 cells.

    Args:
        matte: float32 (h, w) in [0, 1].
    """
    scale = min(1.0, MAX_SIDE / max(matte.shape))
    height, width = (max(1, round(side * scale)) for side in matte.shape)
    rows, columns = (
        np.arange(count) * side // count
        for count, side in zip((height, width), matte.shape, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(matte, rows, axis=0), columns, axis=1)
    areas = np.outer(np.diff(rows, append=matte.shape[0]), np.diff(columns, append=matte.shape[1]))
    levels = np.rint(sums / areas * 255).astype(np.uint8)
    return SmallMatte(width=width, height=height, levels=levels.tobytes())


def another_shape(mask: Path, picture: Path) -> Message | None:
    """Return a message if a mask and a picture differ in aspect ratio; None: they do not.

    Only headers are read. A mask may have any size, and its aspect ratio may differ by rounding to
    whole pixels.

    Raises:
        TunerError: a header cannot be read.
    """
    ours, theirs = read_header(mask), read_header(picture)
    wanted = ours.width * theirs.height / theirs.width
    if abs(ours.height - wanted) <= max(1.0, _MAX_STRETCH * wanted):
        return None
    return Message(
        "the mask {mask} has {mask_width} x {mask_height} px, which is another shape than the"
        " {width} x {height} px of {picture}; give the mask of this picture, neither cropped nor"
        " turned",
        mask=mask,
        mask_width=ours.width,
        mask_height=ours.height,
        width=theirs.width,
        height=theirs.height,
        picture=picture,
    )


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Handle a request of either kind and return its answer.

    Raises:
        TunerError: as `compare` and `another_shape`.
    """
    if "mask" in request:
        problem = another_shape(Path(request["mask"]), Path(request["picture"]))
        return {"problem": None if problem is None else problem.to_json()}
    return compare(request)


def _difference(matte: Matte, reference: Matte) -> pyvips.Image:
    """Draw the extra and the missing parts of a matte over the reference, drawn in grey.

    Differences are amplified three times and widened by some pixels, so they are visible in a small
    picture.
    """
    change = matte - reference
    reach = max(1, round(max(change.shape) * _DRAWN_REACH))
    drawn = _NOTHING - reference[:, :, np.newaxis] * _SHADOW
    for part, colour in ((-change, _MISSING), (change, _EXTRA)):
        strength = np.clip(_thicken(np.maximum(part, 0), reach) * _DRAWN_GAIN, 0, 1)[
            :, :, np.newaxis
        ]
        drawn = drawn + strength * (np.array(colour) - drawn)
    return pyvips.Image.new_from_array(drawn.round().astype(np.uint8)).copy(interpretation="srgb")


def _thicken(values: Matte, reach: int) -> Matte:
    """Replace each pixel by the maximum of a square around it."""
    for axis in (0, 1):
        edge = [(0, 0), (0, 0)]
        edge[axis] = (reach, reach)
        padded = np.pad(values, edge)
        size = values.shape[axis]
        windows = (padded.take(range(shift, shift + size), axis) for shift in range(2 * reach + 1))
        values = np.maximum.reduce(list(windows))
    return values


def _write_thumbnail(cutout: Path, thumbnail: Path) -> None:
    """Scale a cut-out down with its transparency, and write it as WebP."""
    header = read_header(cutout)
    width, height = header.scaled(THUMBNAIL_SIDE)
    _write(source.read_small(header, width=width, height=height), thumbnail)


def _write(image: pyvips.Image, target: Path) -> None:
    """Write a small picture as WebP.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(target) as file:
            file.write(image.write_to_buffer(".webp", Q=88, effort=1, keep="none"))
    except OSError as error:
        raise OutputError(
            Message("{path} cannot be written: {reason}", path=target, reason=error.strerror)
        ) from error


def main() -> None:
    """Handle requests until stdin closes."""
    libvips.start_libvips(1)
    for line in sys.stdin:
        try:
            told = {"error": None, **answer(json.loads(line))}
        except (TunerError, OSError, ValueError, pyvips.Error, MemoryError) as reason:
            told = {"error": message_of(reason).to_json()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
