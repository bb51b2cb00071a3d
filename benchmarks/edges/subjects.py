"""Rendered subjects; they are drawn on a canvas, so their alpha is known exactly.

The tuning scenes and the held-out scenes have different subjects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.edges.drawing import Canvas, Colour, Paint, Point

if TYPE_CHECKING:
    from benchmarks.edges.drawing import Pixels

# Muted and strong colours of subjects; the canvas's random generator picks among them.
_COLOURS: tuple[Colour, ...] = (
    (0.75, 0.16, 0.13),
    (0.14, 0.32, 0.62),
    (0.90, 0.66, 0.13),
    (0.16, 0.45, 0.26),
    (0.85, 0.83, 0.78),
    (0.18, 0.17, 0.19),
    (0.52, 0.33, 0.20),
    (0.78, 0.42, 0.16),
    (0.45, 0.24, 0.50),
    (0.30, 0.55, 0.60),
)
_LEAF: Colour = (0.22, 0.48, 0.20)
_METAL: Colour = (0.62, 0.63, 0.66)
_DARK: Colour = (0.12, 0.11, 0.12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A subject that can be rendered.

    Attributes:
        aspect: width divided by height of its bounding box.
        draw: draws it so that its box fills the canvas.
    """

    aspect: float
    draw: Callable[[Canvas], None]

    def render(self, *, width: int, height: int, rng: np.random.Generator) -> Pixels:
        """Render straight colours and alpha: float32 (h, w, 4) in [0, 1]."""
        canvas = Canvas(width=width, height=height, rng=rng)
        self.draw(canvas)
        return canvas.straight()


def _pick(canvas: Canvas) -> Colour:
    """Pick a random colour."""
    return _COLOURS[int(canvas.rng.integers(len(_COLOURS)))]


def _dim(colour: Colour, factor: float) -> Colour:
    """Return a darker (or brighter) colour."""
    r, g, b = (min(1.0, part * factor) for part in colour)
    return r, g, b


def _curve(points: list[Point], *, steps: int = 24) -> list[Point]:
    """Return points along the Bézier curve of control points."""
    controls = np.asarray(points)
    found = []
    for t in np.linspace(0, 1, steps):
        level = controls
        while len(level) > 1:
            level = level[:-1] * (1 - t) + level[1:] * t
        found.append((float(level[0, 0]), float(level[0, 1])))
    return found


def _ring(x: float, y: float, rx: float, ry: float, *, steps: int = 48) -> list[Point]:
    """Return the points of a closed ellipse."""
    angles = np.linspace(0, 2 * np.pi, steps)
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


# Subjects of the tuning scenes


def _carton(canvas: Canvas) -> None:
    """Draw a box with a label, seen from above a corner."""
    colour = _pick(canvas)
    canvas.polygon([(0, 0.2), (0.55, 0.3), (0.55, 1), (0, 0.86)], Paint(colour=colour))
    canvas.polygon([(0.55, 0.3), (1, 0.14), (1, 0.78), (0.55, 1)], Paint(colour=_dim(colour, 0.6)))
    canvas.polygon([(0, 0.2), (0.45, 0), (1, 0.14), (0.55, 0.3)], Paint(colour=_dim(colour, 1.3)))
    label = Paint(colour=_pick(canvas), light=0.1)
    canvas.polygon([(0.08, 0.42), (0.47, 0.5), (0.47, 0.74), (0.08, 0.65)], label)


def _mug(canvas: Canvas) -> None:
    """Draw a mug with a handle."""
    colour = _pick(canvas)
    canvas.line(_ring(0.78, 0.5, 0.18, 0.26), Paint(colour=_dim(colour, 0.8)), width=0.07)
    canvas.polygon([(0, 0.1), (0.76, 0.1), (0.72, 0.9), (0.04, 0.9)], Paint(colour=colour))
    canvas.ellipse((0.04, 0.8, 0.72, 1), Paint(colour=_dim(colour, 0.85)))
    canvas.ellipse((0, 0, 0.76, 0.2), Paint(colour=_dim(colour, 1.35)))
    canvas.ellipse((0.05, 0.03, 0.71, 0.18), Paint(colour=(0.25, 0.14, 0.08)))
    canvas.ellipse((0.1, 0.3, 0.16, 0.75), Paint(colour=(1, 1, 1), opacity=0.35))


def _chair(canvas: Canvas) -> None:
    """Draw a wooden chair with thin legs."""
    wood = _pick(canvas)
    leg = Paint(colour=_dim(wood, 0.7))
    canvas.line([(0.2, 0.55), (0.06, 0.98)], leg, width=0.03)
    canvas.line([(0.85, 0.5), (0.95, 0.93)], leg, width=0.03)
    canvas.line([(0.7, 0.62), (0.78, 0.98)], leg, width=0.035)
    canvas.line([(0.3, 0.5), (0.32, 0.88)], leg, width=0.03)
    for x in (0.14, 0.34, 0.54, 0.74):
        canvas.line([(x, 0.04), (x + 0.06, 0.5)], Paint(colour=wood), width=0.03)
    canvas.line([(0.08, 0.04), (0.8, 0.03)], Paint(colour=wood), width=0.05)
    canvas.polygon([(0.12, 0.5), (0.86, 0.46), (0.94, 0.58), (0.14, 0.64)], Paint(colour=wood))


def _beetle(canvas: Canvas) -> None:
    """Draw an insect with a slim body and six long thin legs."""
    colour = _dim(_pick(canvas), 0.5)
    leg = Paint(colour=_dim(colour, 0.8), light=0.1)
    for side in (-1, 1):
        for out, y, end in ((0.30, 0.35, 0.02), (0.44, 0.5, 0.5), (0.36, 0.6, 0.98)):
            joint = (0.5 + side * out * 0.75, (y + end) / 2 - 0.08)
            canvas.line([(0.5, y), joint, (0.5 + side * out * 1.13, end)], leg, width=0.012)
        canvas.line([(0.5, 0.2), (0.5 + side * 0.13, 0.01)], leg, width=0.008)
    canvas.ellipse((0.41, 0.5, 0.59, 0.92), Paint(colour=colour, light=0.7))
    canvas.ellipse((0.44, 0.33, 0.56, 0.54), Paint(colour=colour, light=0.7))
    canvas.ellipse((0.45, 0.18, 0.55, 0.36), Paint(colour=colour, light=0.7))


def _plant(canvas: Canvas) -> None:
    """Draw a plant in a pot."""
    for i in range(15):
        angle = np.pi * (0.06 + 0.88 * i / 14)
        reach = float(canvas.rng.uniform(0.36, 0.5))
        x, y = 0.5 - reach * float(np.cos(angle)), 0.55 - reach * 1.1 * float(np.sin(angle))
        tint = float(canvas.rng.uniform(0.7, 1.4))
        stem = _curve([(0.5, 0.7), (0.5, 0.5), (x, y)])
        canvas.line(stem, Paint(colour=_dim(_LEAF, tint * 0.8)), width=0.012)
        canvas.polygon(_leaf((0.5, 0.62), (x, y)), Paint(colour=_dim(_LEAF, tint)))
    pot = _pick(canvas)
    canvas.polygon([(0.27, 0.66), (0.73, 0.66), (0.65, 1), (0.35, 1)], Paint(colour=pot))
    canvas.polygon(
        [(0.24, 0.64), (0.76, 0.64), (0.75, 0.71), (0.25, 0.71)], Paint(colour=_dim(pot, 1.2))
    )


def _leaf(root: Point, tip: Point) -> list[Point]:
    """Return the outline of a leaf on the outer half of the line between two points."""
    start = (0.5 * (root[0] + tip[0]), 0.5 * (root[1] + tip[1]))
    dx, dy = tip[0] - start[0], tip[1] - start[1]
    left = [start, (start[0] + 0.5 * dx - 0.45 * dy, start[1] + 0.5 * dy + 0.45 * dx), tip]
    right = [tip, (start[0] + 0.5 * dx + 0.45 * dy, start[1] + 0.5 * dy - 0.45 * dx), start]
    return _curve(left) + _curve(right)


def _car(canvas: Canvas) -> None:
    """Draw a toy car seen from the side."""
    colour = _pick(canvas)
    body = [
        (0.02, 0.5),
        (0.2, 0.45),
        (0.32, 0.08),
        (0.68, 0.08),
        (0.82, 0.45),
        (0.98, 0.52),
        (0.98, 0.82),
        (0.02, 0.82),
    ]
    canvas.polygon(body, Paint(colour=colour))
    pane = Paint(colour=(0.55, 0.68, 0.75), light=0.6)
    canvas.polygon([(0.27, 0.44), (0.36, 0.15), (0.49, 0.15), (0.49, 0.44)], pane)
    canvas.polygon([(0.52, 0.44), (0.52, 0.15), (0.65, 0.15), (0.75, 0.44)], pane)
    for x in (0.23, 0.77):
        canvas.ellipse((x - 0.11, 0.58, x + 0.11, 1), Paint(colour=_DARK))
        canvas.ellipse((x - 0.05, 0.7, x + 0.05, 0.88), Paint(colour=_METAL))


# Subjects of the held-out scenes


def _kettle(canvas: Canvas) -> None:
    """Draw a kettle with a spout and a handle above it."""
    colour = _pick(canvas)
    canvas.line(
        _curve([(0.2, 0.45), (0.2, -0.12), (0.75, -0.12), (0.75, 0.45)]),
        Paint(colour=_DARK),
        width=0.045,
    )
    canvas.polygon(
        [(0.72, 0.62), (0.96, 0.32), (1, 0.37), (0.8, 0.88)], Paint(colour=_dim(colour, 0.75))
    )
    canvas.ellipse((0, 0.33, 0.86, 1), Paint(colour=colour, light=0.6))
    canvas.ellipse((0.26, 0.29, 0.62, 0.42), Paint(colour=_dim(colour, 0.8)))
    canvas.ellipse((0.4, 0.22, 0.48, 0.32), Paint(colour=_DARK))
    canvas.ellipse((0.12, 0.42, 0.24, 0.62), Paint(colour=(1, 1, 1), opacity=0.4))


def _lamp(canvas: Canvas) -> None:
    """Draw a table lamp: shade, thin stem and foot."""
    colour = _pick(canvas)
    canvas.line([(0.5, 0.4), (0.5, 0.94)], Paint(colour=_METAL), width=0.022)
    canvas.ellipse((0.22, 0.89, 0.78, 1), Paint(colour=_dim(_METAL, 0.7)))
    canvas.polygon([(0.26, 0), (0.74, 0), (1, 0.46), (0, 0.46)], Paint(colour=colour, light=0.6))
    canvas.line([(0.02, 0.45), (0.98, 0.45)], Paint(colour=_dim(colour, 0.7)), width=0.014)


def _stool(canvas: Canvas) -> None:
    """Draw a stool with three thin legs and a rung."""
    wood = _pick(canvas)
    leg = Paint(colour=_dim(wood, 0.75))
    canvas.line([(0.5, 0.15), (0.5, 0.92)], Paint(colour=_dim(wood, 0.55)), width=0.03)
    canvas.line([(0.2, 0.13), (0.04, 0.98)], leg, width=0.033)
    canvas.line([(0.8, 0.13), (0.96, 0.98)], leg, width=0.033)
    canvas.line([(0.12, 0.62), (0.88, 0.62)], leg, width=0.022)
    canvas.ellipse((0.04, 0.06, 0.96, 0.24), Paint(colour=_dim(wood, 0.7)))
    canvas.ellipse((0.04, 0, 0.96, 0.18), Paint(colour=_dim(wood, 1.15)))


def _heron(canvas: Canvas) -> None:
    """Draw a bird on long thin legs."""
    colour = _pick(canvas)
    leg = Paint(colour=_dim(_pick(canvas), 0.8), light=0.1)
    for x in (0.42, 0.54):
        canvas.line([(x, 0.5), (x + 0.03, 0.74), (x - 0.02, 0.98)], leg, width=0.012)
        for toe in (-0.13, 0.02, 0.12):
            canvas.line([(x - 0.02, 0.975), (x + toe, 0.99)], leg, width=0.009)
    canvas.polygon(
        _curve([(0.02, 0.62), (0.1, 0.2), (0.62, 0.26), (0.8, 0.42), (0.62, 0.62), (0.02, 0.62)]),
        Paint(colour=colour),
    )
    neck = _curve([(0.6, 0.42), (0.88, 0.34), (0.56, 0.2), (0.72, 0.06)])
    canvas.line(neck, Paint(colour=_dim(colour, 1.1)), width=0.05)
    canvas.ellipse((0.63, 0.015, 0.82, 0.1), Paint(colour=_dim(colour, 1.1)))
    canvas.polygon([(0.79, 0.035), (1, 0.085), (0.79, 0.085)], Paint(colour=(0.9, 0.6, 0.1)))
    canvas.ellipse((0.73, 0.035, 0.76, 0.055), Paint(colour=_DARK))


def _cactus(canvas: Canvas) -> None:
    """Draw a cactus with arms and spines, in a pot."""
    green = Paint(colour=(0.28, 0.5, 0.28), light=0.5)
    canvas.line([(0.5, 0.1), (0.5, 0.75)], green, width=0.19)
    canvas.line([(0.5, 0.55), (0.17, 0.5), (0.17, 0.28)], green, width=0.12)
    canvas.line([(0.5, 0.45), (0.83, 0.4), (0.83, 0.18)], green, width=0.11)
    spines = []
    for _ in range(90):
        x, y = float(canvas.rng.uniform(0.4, 0.6)), float(canvas.rng.uniform(0.05, 0.68))
        dx, dy = canvas.rng.normal(0, 0.035, 2)
        spines.append([(x, y), (x + float(dx), y + float(dy))])
    canvas.lines(spines, Paint(colour=(0.93, 0.9, 0.75)), width=0.004)
    pot = _pick(canvas)
    canvas.polygon([(0.2, 0.7), (0.8, 0.7), (0.7, 1), (0.3, 1)], Paint(colour=pot))


def _bicycle(canvas: Canvas) -> None:
    """Draw a bicycle: wheels with spokes, frame, saddle and handlebar."""
    colour = _pick(canvas)
    for x in (0.2, 0.8):
        spokes = [[(x, 0.68), point] for point in _ring(x, 0.68, 0.18, 0.29, steps=19)]
        canvas.lines(spokes, Paint(colour=_METAL), width=0.003)
        canvas.line(_ring(x, 0.68, 0.185, 0.3), Paint(colour=_DARK), width=0.02)
    frame = Paint(colour=colour)
    tubes = [
        [(0.2, 0.68), (0.42, 0.7), (0.7, 0.25), (0.36, 0.25), (0.2, 0.68)],
        [(0.42, 0.7), (0.34, 0.14)],
        [(0.8, 0.68), (0.68, 0.1)],
    ]
    canvas.lines(tubes, frame, width=0.022)
    canvas.line([(0.26, 0.12), (0.42, 0.12)], Paint(colour=_DARK), width=0.035)
    canvas.line(_curve([(0.66, 0.1), (0.78, 0.03), (0.82, 0.12)]), Paint(colour=_DARK), width=0.02)


def _duck(canvas: Canvas) -> None:
    """Draw a toy duck."""
    colour = _pick(canvas)
    canvas.polygon(_curve([(0.3, 0.95), (0, 0.9), (0, 0.3), (0.3, 0.6)]), Paint(colour=colour))
    canvas.ellipse((0.08, 0.4, 0.9, 1), Paint(colour=colour, light=0.5))
    canvas.ellipse((0.42, 0, 0.84, 0.52), Paint(colour=_dim(colour, 1.1)))
    canvas.polygon([(0.8, 0.22), (1, 0.28), (0.8, 0.38)], Paint(colour=(0.95, 0.5, 0.1)))
    canvas.ellipse((0.66, 0.13, 0.73, 0.22), Paint(colour=_DARK))
    canvas.polygon(
        _curve([(0.2, 0.66), (0.45, 0.6), (0.6, 0.75), (0.3, 0.85), (0.2, 0.66)]),
        Paint(colour=_dim(colour, 0.75)),
    )


# Subjects of the other classes: one for each set


def _hair(canvas: Canvas, *, hair: Colour, strands: int, length: float) -> None:
    """Draw a head and shoulders with loose strands of hair."""
    rng = canvas.rng
    skin = _dim((0.85, 0.64, 0.52), float(rng.uniform(0.5, 1.1)))
    canvas.polygon(
        _curve([(0.04, 1), (0.1, 0.68), (0.5, 0.74), (0.9, 0.68), (0.96, 1)]),
        Paint(colour=_pick(canvas)),
    )
    for i, tint in enumerate((0.6, 0.8, 1.0, 1.25)):
        lines = []
        for _ in range(strands // 4):
            angle = float(rng.uniform(-0.25, 1.25)) * np.pi
            x, y = 0.5 - 0.2 * float(np.cos(angle)), 0.36 - 0.22 * float(np.sin(angle))
            reach = length * float(rng.uniform(0.5, 1.15)) + 0.02 * i
            end = (
                x - reach * float(np.cos(angle)) * 0.9,
                y - reach * float(np.sin(angle)) * 0.5 + reach * 1.5,
            )
            bend = (x - reach * float(np.cos(angle)), y - reach * float(np.sin(angle)) * 0.9)
            lines.append(_curve([(x, y), bend, end], steps=12))
        canvas.lines(lines, Paint(colour=_dim(hair, tint), light=0.2), width=0.002)
    canvas.polygon(
        [(0.42, 0.5), (0.58, 0.5), (0.62, 0.76), (0.38, 0.76)], Paint(colour=_dim(skin, 0.8))
    )
    canvas.ellipse((0.29, 0.1, 0.71, 0.42), Paint(colour=hair))
    canvas.ellipse((0.33, 0.16, 0.67, 0.64), Paint(colour=skin))
    for x in (0.42, 0.58):
        canvas.ellipse((x - 0.035, 0.35, x + 0.035, 0.385), Paint(colour=(0.95, 0.95, 0.93)))
        canvas.ellipse((x - 0.017, 0.35, x + 0.017, 0.385), Paint(colour=_DARK))
    canvas.line(
        _curve([(0.43, 0.53), (0.5, 0.57), (0.57, 0.53)]),
        Paint(colour=(0.65, 0.25, 0.25)),
        width=0.012,
    )
    canvas.line(
        [(0.5, 0.38), (0.48, 0.47), (0.52, 0.47)], Paint(colour=_dim(skin, 0.75)), width=0.01
    )
    fringe = [
        _curve([(0.36 + 0.012 * i, 0.14), (0.32 + 0.016 * i, 0.22), (0.33 + 0.014 * i, 0.3)])
        for i in range(25)
    ]
    canvas.lines(fringe, Paint(colour=_dim(hair, 0.9)), width=0.012)


def _dark_hair(canvas: Canvas) -> None:
    """Draw a head with long dark hair."""
    _hair(canvas, hair=(0.16, 0.11, 0.08), strands=480, length=0.34)


def _fair_hair(canvas: Canvas) -> None:
    """Draw a head with shorter, wider fair, red or grey hair."""
    hair = ((0.78, 0.6, 0.33), (0.55, 0.25, 0.1), (0.5, 0.48, 0.46))[int(canvas.rng.integers(3))]
    _hair(canvas, hair=hair, strands=620, length=0.26)


def _plug(canvas: Canvas) -> None:
    """Draw a coiled cable with a plug at its end."""
    cable = Paint(colour=_dim(_pick(canvas), 0.8))
    for i in range(5):
        dx, dy = canvas.rng.uniform(-0.02, 0.02, 2)
        ring = _ring(0.42 + float(dx), 0.55 + float(dy), 0.36 - 0.035 * i, 0.4 - 0.04 * i)
        canvas.line(ring, cable, width=0.012)
    canvas.line(_curve([(0.4, 0.15), (0.7, -0.02), (0.95, 0.3), (0.88, 0.55)]), cable, width=0.014)
    canvas.polygon([(0.8, 0.55), (0.97, 0.55), (0.95, 0.75), (0.82, 0.75)], Paint(colour=_DARK))
    for x in (0.85, 0.92):
        canvas.line([(x, 0.75), (x, 0.85)], Paint(colour=_METAL), width=0.012)


def _headphones(canvas: Canvas) -> None:
    """Draw headphones with a thin cable."""
    colour = _pick(canvas)
    band = _curve([(0.1, 0.5), (0.06, -0.16), (0.74, -0.16), (0.7, 0.5)])
    canvas.line(band, Paint(colour=_DARK), width=0.035)
    for box in ((0, 0.36, 0.2, 0.7), (0.6, 0.36, 0.8, 0.7)):
        canvas.ellipse(box, Paint(colour=colour, light=0.6))
    cable = _curve(
        [(0.1, 0.68), (0.1, 1.3), (0.5, 0.7), (0.75, 1.2), (0.96, 0.8), (0.98, 0.3)], steps=60
    )
    canvas.line(cable, Paint(colour=_DARK), width=0.008)
    canvas.line([(0.98, 0.3), (0.98, 0.22)], Paint(colour=_METAL), width=0.016)


def _tumbler(canvas: Canvas) -> None:
    """Draw a drinking glass: partly transparent sides, nearly opaque rim and highlights."""
    tint: Colour = (0.75, 0.82, 0.82)
    canvas.polygon(
        [(0.03, 0.06), (0.97, 0.06), (0.84, 0.94), (0.16, 0.94)], Paint(colour=tint, opacity=0.3)
    )
    canvas.ellipse((0.16, 0.86, 0.84, 1), Paint(colour=_dim(tint, 0.8), opacity=0.65))
    canvas.polygon(
        [(0.09, 0.45), (0.91, 0.45), (0.83, 0.9), (0.17, 0.9)],
        Paint(colour=_pick(canvas), opacity=0.55),
    )
    for side in ([(0.03, 0.06), (0.16, 0.94)], [(0.97, 0.06), (0.84, 0.94)]):
        canvas.line(side, Paint(colour=(0.92, 0.95, 0.95), opacity=0.85), width=0.018)
    canvas.line(
        _ring(0.5, 0.065, 0.47, 0.055), Paint(colour=(0.95, 0.97, 0.97), opacity=0.9), width=0.014
    )
    canvas.line([(0.2, 0.15), (0.27, 0.8)], Paint(colour=(1, 1, 1), opacity=0.8), width=0.03)


def _wine_glass(canvas: Canvas) -> None:
    """Draw a wine glass: partly transparent bowl, thin stem and foot."""
    tint: Colour = (0.8, 0.84, 0.84)
    bowl = _curve(
        [(0.1, 0.02), (-0.1, 0.62), (0.5, 0.6), (0.5, 0.6), (1.1, 0.62), (0.9, 0.02)], steps=48
    )
    canvas.polygon(bowl, Paint(colour=tint, opacity=0.28))
    wine = [(x, y) for x, y in bowl if y > 0.24]
    canvas.polygon(wine, Paint(colour=(0.45, 0.05, 0.1), opacity=0.75))
    rim = Paint(colour=(0.92, 0.95, 0.95), opacity=0.85)
    canvas.line(bowl, rim, width=0.009)
    canvas.line(_ring(0.5, 0.02, 0.4, 0.018), rim, width=0.008)
    canvas.line([(0.5, 0.52), (0.5, 0.95)], Paint(colour=tint, opacity=0.7), width=0.02)
    canvas.ellipse((0.18, 0.94, 0.82, 1), Paint(colour=tint, opacity=0.6))
    canvas.line([(0.22, 0.1), (0.24, 0.36)], Paint(colour=(1, 1, 1), opacity=0.8), width=0.018)


def _bottle(canvas: Canvas) -> None:
    """Draw a slightly transparent wine bottle with a label."""
    glass = _dim(_pick(canvas), 0.6)
    outline = [
        (0, 0.42),
        (0.3, 0.28),
        (0.35, 0.05),
        (0.65, 0.05),
        (0.7, 0.28),
        (1, 0.42),
        (1, 0.98),
        (0.9, 1),
        (0.1, 1),
        (0, 0.98),
    ]
    canvas.polygon(outline, Paint(colour=glass, light=0.5, opacity=0.9))
    canvas.polygon([(0.33, 0), (0.67, 0), (0.67, 0.13), (0.33, 0.13)], Paint(colour=_pick(canvas)))
    canvas.polygon([(0, 0.55), (1, 0.55), (1, 0.85), (0, 0.85)], Paint(colour=(0.9, 0.87, 0.78)))
    canvas.polygon([(0.2, 0.62), (0.8, 0.62), (0.8, 0.7), (0.2, 0.7)], Paint(colour=_pick(canvas)))
    canvas.line([(0.12, 0.45), (0.12, 0.95)], Paint(colour=(1, 1, 1), opacity=0.45), width=0.012)


def _spray(canvas: Canvas) -> None:
    """Draw a spray bottle with a trigger."""
    colour = _pick(canvas)
    canvas.polygon(
        [(0.28, 0.3), (0.68, 0.3), (0.9, 0.5), (0.9, 0.98), (0.08, 0.98), (0.08, 0.5)],
        Paint(colour=colour, opacity=0.88, light=0.6),
    )
    head = Paint(colour=_dim(_pick(canvas), 0.9))
    canvas.polygon([(0.36, 0.12), (0.6, 0.12), (0.62, 0.32), (0.34, 0.32)], head)
    canvas.polygon([(0, 0.02), (0.8, 0), (0.92, 0.14), (0, 0.12)], head)
    canvas.line(_curve([(0.2, 0.12), (0.12, 0.2), (0.16, 0.3)]), head, width=0.03)
    canvas.polygon(
        [(0.14, 0.58), (0.84, 0.58), (0.84, 0.88), (0.14, 0.88)], Paint(colour=(0.92, 0.92, 0.9))
    )
    canvas.ellipse((0.34, 0.62, 0.64, 0.84), Paint(colour=_pick(canvas)))


SUBJECTS = {
    "carton": Subject(aspect=1.1, draw=_carton),
    "mug": Subject(aspect=1.05, draw=_mug),
    "chair": Subject(aspect=0.62, draw=_chair),
    "beetle": Subject(aspect=1.0, draw=_beetle),
    "plant": Subject(aspect=0.85, draw=_plant),
    "car": Subject(aspect=1.9, draw=_car),
    "kettle": Subject(aspect=1.05, draw=_kettle),
    "lamp": Subject(aspect=0.7, draw=_lamp),
    "stool": Subject(aspect=0.75, draw=_stool),
    "heron": Subject(aspect=0.7, draw=_heron),
    "cactus": Subject(aspect=0.7, draw=_cactus),
    "bicycle": Subject(aspect=1.6, draw=_bicycle),
    "duck": Subject(aspect=1.15, draw=_duck),
    "dark hair": Subject(aspect=0.95, draw=_dark_hair),
    "fair hair": Subject(aspect=0.95, draw=_fair_hair),
    "plug": Subject(aspect=1.1, draw=_plug),
    "headphones": Subject(aspect=1.05, draw=_headphones),
    "tumbler": Subject(aspect=0.75, draw=_tumbler),
    "wine glass": Subject(aspect=0.45, draw=_wine_glass),
    "bottle": Subject(aspect=0.32, draw=_bottle),
    "spray": Subject(aspect=0.5, draw=_spray),
}
