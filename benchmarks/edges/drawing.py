"""A canvas that draws shaded shapes with exactly known opacity.

Each shape is rasterised at `SUPERSAMPLING` times the size and reduced. So its edges are antialiased
and its alpha is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    Plane = npt.NDArray[np.float32]  # (h, w)
    Pixels = npt.NDArray[np.float32]  # (h, w, 3) or (h, w, 4), each in [0, 1]

SUPERSAMPLING = 3
Colour = tuple[float, float, float]  # red, green, blue, each in [0, 1]
Point = tuple[float, float]  # x, y as shares of the canvas's width and height
Outline = Callable[[ImageDraw.ImageDraw, Callable[[Point], Point]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    """The colouring of a shape.

    Attributes:
        colour: colour in the middle of the shape.
        light: difference of brightness between its upper left and lower right end, in [0, 1].
        grain: amplitude of a soft random texture, in [0, 1].
        opacity: alpha of the shape, in [0, 1].
    """

    colour: Colour
    light: float = 0.35
    grain: float = 0.05
    opacity: float = 1.0


class Canvas:
    """A picture with premultiplied colours, float32 (h, w, 3), and alpha, float32 (h, w)."""

    def __init__(self, *, width: int, height: int, rng: np.random.Generator) -> None:
        """Create a transparent canvas."""
        self.width, self.height, self.rng = width, height, rng
        self.colours: Pixels = np.zeros((height, width, 3), np.float32)
        self.alpha: Plane = np.zeros((height, width), np.float32)

    def draw(self, outline: Outline, paint: Paint) -> None:
        """Draw a shape over the existing content."""
        size = (self.width * SUPERSAMPLING, self.height * SUPERSAMPLING)
        mask = Image.new("L", size)
        outline(ImageDraw.Draw(mask), lambda p: (p[0] * size[0], p[1] * size[1]))
        cover = np.asarray(mask.reduce(SUPERSAMPLING), np.float32) / np.float32(255)
        self._lay(cover * np.float32(paint.opacity), paint)

    def polygon(self, points: Sequence[Point], paint: Paint) -> None:
        """Draw a filled polygon."""
        self.draw(lambda pen, at: pen.polygon([at(p) for p in points], fill=255), paint)

    def ellipse(self, box: tuple[float, float, float, float], paint: Paint) -> None:
        """Draw a filled ellipse; box is left, top, right, bottom."""
        corners = (box[0], box[1]), (box[2], box[3])
        self.draw(lambda pen, at: pen.ellipse([at(p) for p in corners], fill=255), paint)

    def line(self, points: Sequence[Point], paint: Paint, *, width: float) -> None:
        """Draw a line with round joints; width is a share of the canvas's longer side."""
        self.lines([points], paint, width=width)

    def lines(self, lines: Sequence[Sequence[Point]], paint: Paint, *, width: float) -> None:
        """Draw several lines of one colour and width."""
        across = max(1, round(width * max(self.width, self.height) * SUPERSAMPLING))

        def outline(pen: ImageDraw.ImageDraw, at: Callable[[Point], Point]) -> None:
            for points in lines:
                places = [at(p) for p in points]
                pen.line(places, fill=255, width=across, joint="curve")
                for x, y in (places[0], places[-1]):
                    r = across / 2
                    pen.ellipse([x - r, y - r, x + r, y + r], fill=255)

        self.draw(outline, paint)

    def straight(self) -> Pixels:
        """Return straight colours and alpha, float32 (h, w, 4), cropped to the drawn part."""
        rows = np.flatnonzero(self.alpha.max(axis=1) > 0)
        columns = np.flatnonzero(self.alpha.max(axis=0) > 0)
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        alpha = self.alpha[part][..., None]
        colours = self.colours[part] / np.maximum(alpha, np.float32(1e-6))
        return np.concatenate([np.clip(colours, 0, 1), alpha], axis=2)

    def _lay(self, cover: Plane, paint: Paint) -> None:
        """Composite a shape with a given alpha over the existing content."""
        rows = np.flatnonzero(cover.max(axis=1) > 0)
        columns = np.flatnonzero(cover.max(axis=0) > 0)
        if not len(rows):
            return
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cover = cover[part]
        height, width = cover.shape
        across = np.linspace(0.5, -0.5, width, dtype=np.float32)
        down = np.linspace(0.5, -0.5, height, dtype=np.float32)
        shade = 1 + np.float32(paint.light) * (across[None, :] + down[:, None])
        shade += np.float32(paint.grain) * soft_noise(height, width, self.rng)
        colours = np.clip(np.asarray(paint.colour, np.float32) * shade[..., None], 0, 1)
        keep = 1 - cover
        self.colours[part] = colours * cover[..., None] + self.colours[part] * keep[..., None]
        self.alpha[part] = cover + self.alpha[part] * keep


def soft_noise(height: int, width: int, rng: np.random.Generator, *, cell_px: int = 6) -> Plane:
    """Return smooth noise of mean 0 and amplitude about 1: float32 (height, width)."""
    coarse = rng.uniform(-1, 1, (height // cell_px + 2, width // cell_px + 2)).astype(np.float32)
    zoomed: Plane = enlarge(coarse, height=height, width=width)
    return zoomed


def enlarge(plane: Plane, *, height: int, width: int) -> Plane:
    """Resize a plane bilinearly: float32 (height, width)."""
    image = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    resized: Plane = np.asarray(image)
    return resized


def blur_along(pixels: Pixels, *, length_px: int, degrees: float) -> Pixels:
    """Apply motion blur to straight colours and alpha: float32 (h + p, w + p, 4), padded.

    Args:
        pixels: float32 (h, w, 4), straight.
        length_px: length of the motion.
        degrees: direction of the motion; 0 is to the right, 90 downwards.
    """
    pad = length_px // 2 + 1
    padded = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)))
    alpha = padded[..., 3:]
    layers = np.concatenate([padded[..., :3] * alpha, alpha], axis=2)
    total = np.zeros_like(layers)
    dx, dy = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for step in np.linspace(-length_px / 2, length_px / 2, length_px):
        total += np.roll(layers, (round(step * dy), round(step * dx)), axis=(0, 1))
    total /= np.float32(length_px)
    colours = total[..., :3] / np.maximum(total[..., 3:], np.float32(1e-6))
    return np.concatenate([np.clip(colours, 0, 1), total[..., 3:]], axis=2)


def blur(plane: Plane, sigma_px: float) -> Plane:
    """Blur a plane with a Gaussian: float32 (h, w)."""
    blurred: Plane = ndimage.gaussian_filter(plane, sigma_px)
    return blurred
