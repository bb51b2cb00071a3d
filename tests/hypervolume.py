"""The volume that a set of points dominates: the yardstick of the search's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def hypervolume(points: Sequence[Sequence[float]], corner: Sequence[float]) -> float:
    """Return the volume that points dominate up to a corner.

    Args:
        points: smaller is better; points that are not below the corner in every coordinate are
            ignored.
        corner: the reference point, worse than every point of interest.

    Returns:
        The volume of the union of the boxes between each point and the corner; 0 without points.

    Source: Zitzler and Thiele, PPSN V, 1998; computed by slices along the last coordinate (Knowles,
    2002).
    """
    inside = [tuple(p) for p in points if all(x < c for x, c in zip(p, corner, strict=True))]
    if not inside:
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - min(p[0] for p in inside))
    inside.sort(key=lambda p: p[-1])
    volume, kept = 0.0, []
    for i, point in enumerate(inside):
        kept.append(point[:-1])
        top = inside[i + 1][-1] if i + 1 < len(inside) else corner[-1]
        if top > point[-1]:
            volume += (top - point[-1]) * hypervolume(kept, corner[:-1])
    return volume
