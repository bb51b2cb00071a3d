"""The worker's memory over a turn: first what is drawn, then the drawing."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.web.locale.words import page_text

if TYPE_CHECKING:
    from rembg_tuner.runtime.ticket import Timeline

_WIDTH, _HEIGHT = 1000, 100  # the drawing's own units; it is stretched to the place it has
_HEADROOM = 1.3  # room for the phases' names above the peak
_NEAR_LIMIT = 1.5  # a limit farther above the peak than this is told, not drawn
_LEAST_SPAN_S = 0.1
_BEFORE_RUN = ("start", "load")  # every other stage is a part of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What is drawn; heights are shares of the axis from the bottom, widths from the left.

    Attributes:
        points: (x, y) of the memory.
        phases: (from, to, name) of start, load and run.
        span_s: what the whole width stands for: from the first sample to the last.
        peak, resting, limit: bytes and height of each line; None where it is not drawn.
        far_limit_bytes: a limit far above the picture.
    """

    points: tuple[tuple[float, float], ...]
    phases: tuple[tuple[float, float, str], ...]
    span_s: float
    resting: tuple[int, float] | None
    peak: tuple[int, float]
    limit: tuple[int, float] | None
    far_limit_bytes: int | None


def lay_out(
    timeline: Timeline,
    *,
    resting_bytes: int | None,
    peak_bytes: int | None,
    limit_bytes: int | None,
) -> Curve | None:
    """Lay a curve out.

    Args:
        timeline: of the turn so far.
        resting_bytes: memory of the worker before it loaded anything.
        peak_bytes: the kernel's own high-water mark; None while it is not known: the highest point.
        limit_bytes: where the worker would be ended.

    Returns:
        None where nothing was seen yet.
    """
    if not timeline.points:
        return None
    first, last = timeline.points[0][0], timeline.points[-1][0]
    span = max(last - first, _LEAST_SPAN_S)
    peak = peak_bytes if peak_bytes is not None else max(rss for _, rss in timeline.points)
    highest = max(peak, *(rss for _, rss in timeline.points))
    near = limit_bytes is not None and limit_bytes <= highest * _NEAR_LIMIT
    top = max(highest, limit_bytes if near and limit_bytes else 0) * _HEADROOM
    return Curve(
        points=tuple(((t - first) / span, rss / top) for t, rss in timeline.points),
        phases=_phases(timeline, span),
        span_s=span,
        resting=(resting_bytes, resting_bytes / top) if resting_bytes else None,
        peak=(peak, peak / top),
        limit=(limit_bytes, limit_bytes / top) if near and limit_bytes else None,
        far_limit_bytes=None if near else limit_bytes,
    )


def _phases(timeline: Timeline, span_s: float) -> tuple[tuple[float, float, str], ...]:
    """Join the stages to start, load and run, as far as there are samples."""
    first, last = timeline.points[0][0], timeline.points[-1][0]
    phases: list[tuple[float, str]] = []
    for t_s, stage in timeline.marks:
        name = stage if stage in _BEFORE_RUN else "run"
        if not phases or phases[-1][1] != name:
            phases.append((t_s, name))
    ends = [*(t_s for t_s, _ in phases[1:]), last][: len(phases)]
    return tuple(
        (_share(t_s - first, span_s), _share(end - first, span_s), name)
        for (t_s, name), end in zip(phases, ends, strict=True)
        if end > first
    )


def _share(t_s: float, span_s: float) -> float:
    """Return a time as a share of the width, within it."""
    return min(1.0, max(0.0, t_s / span_s))


def draw(curve: Curve | None, language: str) -> str:
    """Draw a curve as HTML: an SVG that stretches, and labels that do not."""
    if curve is None:
        return (
            '<figure class="rt-chart'
            f' rt-chart-empty"><p>{page_text("chart.empty", language)}</p></figure>'
        )
    line = " ".join(f"{x * _WIDTH:.1f},{(1 - y) * _HEIGHT:.2f}" for x, y in curve.points)
    first, last = curve.points[0][0] * _WIDTH, curve.points[-1][0] * _WIDTH
    area = f"{first:.1f},{_HEIGHT} {line} {last:.1f},{_HEIGHT}"
    named = (("peak", curve.peak), ("resting", curve.resting), ("limit", curve.limit))
    rules = [(name, *found) for name, found in named if found is not None]
    lines = "".join(
        f'<line class="rt-{name}" x1="0" x2="{_WIDTH}" y1="{(1 - y) * _HEIGHT:.2f}"'
        f' y2="{(1 - y) * _HEIGHT:.2f}"/>'
        for name, _, y in rules
    )
    bounds = "".join(
        f'<line class="rt-phase" x1="{x * _WIDTH:.1f}" x2="{x * _WIDTH:.1f}" y1="0"'
        f' y2="{_HEIGHT}"/>'
        for x, _, _ in curve.phases[1:]
    )
    labels = "".join(
        f'<span class="rt-label rt-{name}"'
        f' style="bottom:{y * 100:.1f}%">{page_text(f"chart.{name}", language)}'
        f" {format_bytes(count)}</span>"
        for name, count, y in rules
    )
    phases = "".join(
        '<span class="rt-phase-name"'
        f' style="left:{x * 100:.1f}%;max-width:{(end - x) * 100:.1f}%">{page_text(f"stage.{name}", language)}</span>'
        for x, end, name in curve.phases
        if end - x > 0.05 and len(curve.phases) > 1
    )
    words = _words(curve, language)
    return (
        f'<figure class="rt-chart" data-peak-bytes="{curve.peak[0]}">'
        f'<div class="rt-plot"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(words)}">'
        f'<polygon class="rt-area" points="{area}"/>{bounds}{lines}<polyline class="rt-line"'
        f' points="{line}"/></svg>'
        f"{labels}{phases}</div>"
        f"<figcaption><span>{page_text('chart.title', language)}</span>"
        f"<span>{_far_limit(curve, language)}{format_seconds(curve.span_s)}</span></figcaption></figure>"
    )


def _far_limit(curve: Curve, language: str) -> str:
    """Tell a limit that is too far above to be drawn."""
    if curve.far_limit_bytes is None:
        return ""
    return f"{page_text('chart.limit', language)} {format_bytes(curve.far_limit_bytes)} · "


def _words(curve: Curve, language: str) -> str:
    """Say in a sentence what the picture shows."""
    peak = format_bytes(curve.peak[0])
    return page_text("chart.alt", language, span=format_seconds(curve.span_s), peak=peak)
