"""The layout of the memory chart of a run, for the template chart.html."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.tuning.axes import Axis

if TYPE_CHECKING:
    from rembg_tuner.runtime.slots import Timeline

_WIDTH, _HEIGHT = 1000, 100  # units of the SVG, which is stretched to its container
_HEADROOM = 1.3  # space above the peak for the names of the phases
_NEAR_LIMIT = 1.5  # times the peak; a higher limit is written as text instead
_MIN_SPAN_S = 0.1
_BEFORE_RUN = ("start", "load")  # all other stages are parts of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line: peak, resting memory or limit; `height` is a share of the axis."""

    name: str
    bytes: int
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A phase: start, load or run; `start` and `end` are shares of the width."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A memory curve.

    Attributes:
        points: (x, y) of the memory, as shares of width and height from the lower left.
        phases: the phases of the turn.
        span_s: duration of the whole width, from the first sample to the last.
        peak_bytes: memory at the peak.
        levels: the horizontal lines.
        far_limit_bytes: a limit that is too high to be drawn; None: there is none.
    """

    points: tuple[tuple[float, float], ...]
    phases: tuple[Phase, ...]
    span_s: float
    peak_bytes: int
    levels: tuple[Level, ...]
    far_limit_bytes: int | None

    @property
    def line_points(self) -> str:
        """The points of the curve in SVG syntax."""
        return " ".join(f"{x * _WIDTH:.1f},{(1 - y) * _HEIGHT:.2f}" for x, y in self.points)

    @property
    def area_points(self) -> str:
        """The points of the area below the curve in SVG syntax."""
        first, last = (self.points[i][0] * _WIDTH for i in (0, -1))
        return f"{first:.1f},{_HEIGHT} {self.line_points} {last:.1f},{_HEIGHT}"


def lay_out_curve(
    timeline: Timeline,
    *,
    resting_bytes: int | None = None,
    peak_bytes: int | None = None,
    limit_bytes: int | None = None,
) -> Curve | None:
    """Compute the curve of a timeline.

    Args:
        timeline: the samples of the turn so far.
        resting_bytes: memory of the worker before it loads a model.
        peak_bytes: the kernel's high-water mark; None: unknown, the highest sample is used.
        limit_bytes: the memory at which the worker is stopped.

    Returns:
        The curve; None if there is no sample yet.
    """
    if not timeline.points:
        return None
    first, last = timeline.points[0][0], timeline.points[-1][0]
    time = Axis(low=first, high=first + max(last - first, _MIN_SPAN_S))
    highest = max(rss for _, rss in timeline.points)
    peak = highest if peak_bytes is None else peak_bytes
    highest = max(peak, highest)
    is_near = limit_bytes is not None and limit_bytes <= highest * _NEAR_LIMIT
    near_limit, far_limit = (limit_bytes, None) if is_near else (None, limit_bytes)
    memory = Axis(low=0, high=max(highest, near_limit or 0) * _HEADROOM)
    levels = {"peak": peak, "resting": resting_bytes, "limit": near_limit}
    return Curve(
        points=tuple((time.share(t_s), memory.share(rss)) for t_s, rss in timeline.points),
        phases=_phases(timeline, time),
        span_s=time.high - time.low,
        peak_bytes=peak,
        levels=tuple(
            Level(name=name, bytes=count, height=memory.share(count))
            for name, count in levels.items()
            if count is not None
        ),
        far_limit_bytes=far_limit,
    )


def _phases(timeline: Timeline, time: Axis) -> tuple[Phase, ...]:
    """Group the stages into start, load and run, up to the last sample."""
    last = timeline.points[-1][0]
    starts: list[tuple[float, str]] = []
    for t_s, stage in timeline.marks:
        name = stage if stage in _BEFORE_RUN else "run"
        if not starts or starts[-1][1] != name:
            starts.append((t_s, name))
    ends = [*(t_s for t_s, _ in starts[1:]), last][: len(starts)]

    def share(t_s: float) -> float:
        return min(1.0, max(0.0, time.share(t_s)))

    return tuple(
        Phase(name=name, start=share(t_s), end=share(end))
        for (t_s, name), end in zip(starts, ends, strict=True)
        if end > time.low
    )
