"""The front of points whose every coordinate is to be small, and the volume that it dominates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Tell whether a is at least as good as b everywhere, and better somewhere."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(
        x < y for x, y in zip(a, b, strict=True)
    )


def front_of(points: Sequence[Point]) -> list[int]:
    """Give the indices of the points that no other dominates, in the order given.

    Equals are all kept.
    """
    return [
        i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)
    ]


def hypervolume(points: Sequence[Point], corner: Point) -> float:
    """Measure what a set of points dominates up to a corner.

    Args:
        points: of any number of coordinates; those that do not lie below the corner everywhere
            count for nothing.
        corner: the reference point, worse than what is of interest.

    Returns:
        The volume of the union of the boxes between each point and the corner; 0 where there is
        none.

    Source: Zitzler and Thiele, PPSN V, 1998; computed by slices along the last coordinate (Knowles,
    2002).
    """
    inside = [tuple(p) for p in points if all(x < c for x, c in zip(p, corner, strict=True))]
    if not inside:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - min(p[0] for p in inside))
    inside.sort(key=lambda p: p[-1])
    volume, held = 0.0, []
    for i, point in enumerate(inside):
        held.append(point[:-1])
        top = inside[i + 1][-1] if i + 1 < len(inside) else corner[-1]
        if top > point[-1]:
            volume += (top - point[-1]) * hypervolume(held, corner[:-1])
    return volume
