"""Backgrounds of the scenes: studio walls, procedural textures and photographs.

The tuning scenes and the held-out scenes have different kinds of backgrounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.edges.drawing import Canvas, Paint, blur, soft_noise
from benchmarks.edges.photographs import read_texture

if TYPE_CHECKING:
    from benchmarks.edges.drawing import Pixels

Rng = np.random.Generator


def _gradient(height: int, width: int, ends: list[tuple[float, float, float]]) -> Pixels:
    """Blend colours from top to bottom: float32 (height, width, 3)."""
    at = np.linspace(0, len(ends) - 1, height)
    table = np.asarray(ends, np.float32)
    rows = np.stack([np.interp(at, np.arange(len(ends)), table[:, i]) for i in range(3)], axis=1)
    return np.repeat(rows[:, None].astype(np.float32), width, axis=1)


def _tint(rng: Rng, low: float, high: float) -> tuple[float, float, float]:
    """Pick a muted colour."""
    grey = rng.uniform(low, high)
    r, g, b = np.clip(grey + rng.uniform(-0.08, 0.08, 3), 0, 1)
    return float(r), float(g), float(b)


def _clouds(height: int, width: int, rng: Rng, cells: tuple[int, ...]) -> Pixels:
    """Sum soft noise of several cell sizes, weighted by size: float32 (height, width, 1)."""
    total = np.zeros((height, width), np.float32)
    for cell in cells:
        total += soft_noise(height, width, rng, cell_px=cell) * np.float32(cell / max(cells))
    return total[..., None]


def studio_sweep(height: int, width: int, rng: Rng) -> Pixels:
    """Draw a seamless studio backdrop: a soft gradient without an edge."""
    return _gradient(
        height, width, [_tint(rng, 0.55, 0.9), _tint(rng, 0.7, 0.95), _tint(rng, 0.5, 0.85)]
    )


def studio_floor(height: int, width: int, rng: Rng) -> Pixels:
    """Draw a studio wall with a floor."""
    wall = _gradient(height, width, [_tint(rng, 0.3, 0.8), _tint(rng, 0.35, 0.85)])
    line = int(height * rng.uniform(0.55, 0.75))
    wall[line:] = _gradient(height - line, width, [_tint(rng, 0.25, 0.6), _tint(rng, 0.4, 0.8)])
    return wall


def wood(height: int, width: int, rng: Rng) -> Pixels:
    """Draw wooden planks."""
    grain = soft_noise(height, width // 40 + 2, rng, cell_px=3)
    grain = np.repeat(grain, 40, axis=1)[:, :width]
    base = np.asarray((0.55, 0.38, 0.24), np.float32) * np.float32(rng.uniform(0.6, 1.3))
    planks = np.repeat(rng.uniform(0.8, 1.15, 12).astype(np.float32), height // 12 + 1)[:height]
    seams = (np.arange(height) % (height // 12 + 1) < 3).astype(np.float32) * np.float32(0.5)
    return (
        base
        * (planks * (1 - seams))[:, None, None]
        * (1 + np.float32(0.12) * blur(grain, 2)[..., None])
    )


def wall(height: int, width: int, rng: Rng) -> Pixels:
    """Draw a stained plaster wall."""
    base = np.asarray(_tint(rng, 0.4, 0.75), np.float32)
    return base * (1 + np.float32(0.2) * _clouds(height, width, rng, (160, 80, 30, 8)))


def lights(height: int, width: int, rng: Rng) -> Pixels:
    """Draw blurred lights at night."""
    canvas = Canvas(width=width, height=height, rng=rng)
    for _ in range(30):
        x, y, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.02, 0.07)
        colour = (
            float(rng.uniform(0.5, 1)),
            float(rng.uniform(0.3, 0.9)),
            float(rng.uniform(0.1, 0.8)),
        )
        box = (
            float(x - r),
            float(y - r * width / height),
            float(x + r),
            float(y + r * width / height),
        )
        canvas.ellipse(box, Paint(colour=colour, opacity=0.5, light=0))
    dark = _gradient(height, width, [(0.08, 0.08, 0.14), (0.14, 0.1, 0.1)])
    blurred = [blur(canvas.colours[..., i], 14) for i in range(3)]
    cover = blur(canvas.alpha, 14)[..., None]
    return np.stack(blurred, axis=2) + dark * (1 - cover)


def landscape(height: int, width: int, rng: Rng) -> Pixels:
    """Draw sky, hills and a meadow."""
    picture = _gradient(height, width, [(0.35, 0.55, 0.85), (0.75, 0.85, 0.95)])
    picture += np.float32(0.1) * np.clip(_clouds(height, width, rng, (200, 90, 40)), 0, 1)
    x = np.arange(width) / width
    rows = np.arange(height)[:, None] / height
    for level, colour in (
        (0.5, (0.4, 0.5, 0.55)),
        (0.6, (0.3, 0.42, 0.25)),
        (0.7, (0.36, 0.5, 0.22)),
    ):
        phases = rng.uniform(0, 2 * np.pi, 3)
        ridge = level + sum(
            0.05 / (i + 1) * np.sin((2 + 3 * i) * x * 2 + phases[i]) for i in range(3)
        )
        picture[rows > ridge] = colour
    texture = _clouds(height, width, rng, (24, 8, 3))
    picture *= 1 + np.float32(0.15) * texture * (rows > 0.55)[..., None]
    return picture


def tiles(height: int, width: int, rng: Rng) -> Pixels:
    """Draw a tiled wall."""
    side = int(rng.integers(70, 150))
    shape = (height // side + 1, width // side + 1, 3)
    colours = np.asarray(_tint(rng, 0.45, 0.85), np.float32) * rng.uniform(0.88, 1.1, shape).astype(
        np.float32
    )
    picture = np.repeat(np.repeat(colours, side, axis=0), side, axis=1)[:height, :width]
    joints = (np.arange(height)[:, None] % side < 4) | (np.arange(width)[None] % side < 4)
    picture[joints] *= np.float32(0.7)
    return picture


def _photographed(file: str) -> Callable[[int, int, Rng], Pixels]:
    """Return a background that is a tinted part of a photograph."""

    def background(height: int, width: int, rng: Rng) -> Pixels:
        picture = read_texture(file, width=width, height=height, rng=rng)
        tint = np.asarray([_TINTS.get(file, (1.0, 1.0, 1.0))], np.float32)
        return picture * tint * np.float32(rng.uniform(0.8, 1.15))

    return background


# Tints for the greyscale photographs.
_TINTS = {
    "grass.png": (0.75, 0.95, 0.5),
    "brick.png": (1.1, 0.75, 0.6),
    "gravel.png": (1.0, 0.95, 0.85),
}

BACKGROUNDS: dict[str, dict[str, Callable[[int, int, Rng], Pixels]]] = {
    "tuning": {
        "studio sweep": studio_sweep,
        "wood": wood,
        "wall": wall,
        "lights": lights,
        "grass": _photographed("grass.png"),
        "retina": _photographed("retina.jpg"),
    },
    "held-out": {
        "studio floor": studio_floor,
        "landscape": landscape,
        "tiles": tiles,
        "brick": _photographed("brick.png"),
        "gravel": _photographed("gravel.png"),
        "sky": _photographed("rocket.jpg"),
    },
}
