"""Subjects and textures from public photographs in scikit-image's wheel; see CREDITS.md.

A subject is cut out along a manual outline. The scene is composed with this outline as its alpha,
so the alpha is exact even where the outline is not the real edge of the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.edges.drawing import SUPERSAMPLING

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.edges.drawing import Pixels

FOLDER = Path(str(files("skimage"))) / "data"
_FEATHER_PX = 2  # feather of the outline, at the size of the photograph


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A photographed subject.

    Attributes:
        file: file name in scikit-image's data folder.
        outline: outline of the subject, `x,y x,y ...` in px; empty: the file is a black silhouette
            on white.
        rods: straight thin parts: start x, y, end x, y, and width, px.
        anchor: sides of the photograph that cut the subject off, so that it must be placed at these
            sides of a scene: `b` the bottom, `l` the left.
    """

    file: str
    outline: str = ""
    rods: tuple[tuple[int, int, int, int, int], ...] = ()
    anchor: str = ""


PHOTOGRAPHS = {
    "coffee": Photograph(
        file="coffee.png",
        outline=(
            "174,70 178,48 200,34 236,22 280,17 325,22 370,39 403,67 412,66 424,69 424,84 "
            "416,103 424,112 448,140 470,179 480,224 474,269 448,314 403,353 336,379 269,385 "
            "213,375 157,353 112,314 84,263 77,213 87,168 112,129 150,95 173,82"
        ),
    ),
    "photographer": Photograph(
        file="camera.png",
        outline=(
            "204,65 232,69 261,90 270,113 266,140 290,140 323,140 328,175 330,194 318,218 "
            "304,242 290,270 270,307 242,313 213,299 194,328 142,380 147,432 150,511 0,511 0,251 "
            "23,218 51,175 90,142 137,123 161,104 168,80"
        ),
        rods=(
            (290, 213, 294, 480, 10),
            (285, 323, 237, 511, 9),
            (309, 328, 404, 511, 8),
            (256, 490, 394, 485, 4),
            (280, 322, 312, 322, 16),
        ),
        anchor="bl",
    ),
    "astronaut": Photograph(
        file="astronaut.png",
        outline=(
            "153,81 161,52 190,30 223,15 261,21 290,43 301,81 290,112 272,124 269,152 256,171 "
            "280,186 301,229 318,243 342,271 356,314 359,348 375,346 413,348 451,362 480,390 "
            "494,429 499,452 511,467 511,511 28,511 32,467 23,424 23,381 32,324 51,271 90,229 "
            "113,214 118,186 142,157 166,148 185,150 180,124 164,110"
        ),
        anchor="b",
    ),
    "cat": Photograph(
        file="chelsea.png",
        outline=(
            "57,0 400,0 376,42 360,70 364,99 357,137 338,175 329,232 314,270 286,299 0,299 0,137 "
            "33,99 31,51 43,13"
        ),
        anchor="bl",
    ),
    "horse": Photograph(file="horse.png"),
}
TEXTURES = ("grass.png", "brick.png", "gravel.png", "retina.jpg", "rocket.jpg")


@cache
def read_subject(name: str) -> Pixels:
    """Read a subject, cropped to its box: straight colours and alpha, float32 (h, w, 4), 0 to 1."""
    subject = PHOTOGRAPHS[name]
    with Image.open(FOLDER / subject.file) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        # The file of the silhouette has no alpha: it is black on white.
        alpha = _outlined(subject, image.size) if subject.outline else 1 - pixels.min(axis=2)
    if not subject.outline:
        pixels = _brown(pixels)
    rows, columns = np.flatnonzero(alpha.max(axis=1)), np.flatnonzero(alpha.max(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.concatenate([pixels[part], alpha[part][..., None]], axis=2).astype(np.float32)


def _outlined(subject: Photograph, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Rasterise an outline and its rods: float32 (h, w) in [0, 1]."""
    mask = Image.new("L", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    # One more pixel where the photograph cuts the subject off, to avoid a feather there.
    points = [tuple(map(int, point.split(","))) for point in subject.outline.split()]
    places = [
        (SUPERSAMPLING * (x + (x >= size[0] - 1)), SUPERSAMPLING * (y + (y >= size[1] - 1)))
        for x, y in points
    ]
    pen.polygon(places, fill=255)
    for x0, y0, x1, y1, width in subject.rods:
        ends = [SUPERSAMPLING * part for part in (x0, y0, x1, y1)]
        pen.line(ends, fill=255, width=width * SUPERSAMPLING)
    grown = Image.fromarray(np.pad(np.asarray(mask), _FEATHER_PX * SUPERSAMPLING, mode="edge"))
    small = grown.reduce(SUPERSAMPLING * _FEATHER_PX)
    full = small.resize(
        (size[0] + 2 * _FEATHER_PX, size[1] + 2 * _FEATHER_PX), Image.Resampling.BILINEAR
    )
    cropped = np.asarray(full, np.float32)[_FEATHER_PX:-_FEATHER_PX, _FEATHER_PX:-_FEATHER_PX]
    return cropped / np.float32(255)


def _brown(pixels: Pixels) -> Pixels:
    """Colour a silhouette brown, brighter at the top: float32 (h, w, 3)."""
    height = len(pixels)
    light = np.linspace(1.4, 0.6, height, dtype=np.float32)[:, None, None]
    painted: Pixels = np.broadcast_to(
        np.asarray((0.42, 0.26, 0.16), np.float32) * light, pixels.shape
    )
    return painted


def read_texture(file: str, *, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Read a random part of a photograph, enlarged to a size: float32 (height, width, 3) in [0, 1].

    The part is from the sky of `rocket.jpg`, and from the middle of `retina.jpg`.
    """
    with Image.open(FOLDER / file) as image:
        picture = image.convert("RGB")
    if file == "rocket.jpg":
        picture = picture.crop((100, 0, 300, 150))
    if file == "retina.jpg":
        picture = picture.crop((350, 250, 1150, 1150))
    side = min(picture.width * height, picture.height * width)
    w, h = side // height, side // width
    share = float(rng.uniform(0.7, 1.0))
    w, h = int(w * share), int(h * share)
    left, top = int(rng.integers(picture.width - w + 1)), int(rng.integers(picture.height - h + 1))
    part = picture.resize(
        (width, height), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h)
    )
    return np.asarray(part, np.float32) / np.float32(255)
