"""The plot of trials as SVG, from what was computed of it, and what its points do in a browser."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.tuning.plot_layout import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LOOKS,
    RIGHT,
    TOP,
    UNKNOWN_LOOK,
    WIDTH,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.base.messages import Message
    from rembg_tuner.tuning.plot_layout import PlotBudget, PlotInfo, PlotPoint, Scale

WORDS = {
    "memory": "peak memory",
    "time": "time",
    "agreement": "agreement",
    "front": "front",
    "budget": "budget",
    "dominated": "pale: beaten, or over a budget",
    "none": "nothing was measured",
}


def draw(
    info: PlotInfo,
    *,
    words: Mapping[str, str] | None = None,
    thumbnails: Mapping[int, str] | None = None,
    write: Callable[[Message], str] = str,
    is_standalone: bool = False,
) -> str:
    """Draw the plot as SVG.

    Args:
        info: what to draw.
        words: the fixed texts by the keys of `WORDS`; None: English.
        thumbnails: addresses of small cut-outs by trial, for `points_script`; None: there are none.
        write: writes a point's label in the reader's language.
        is_standalone: to be a file of its own, with its colours for light and dark.
    """
    said = {**WORDS, **(words or {})}
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    if is_standalone:
        size += f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
    style = f"<style>{_style(is_standalone=is_standalone)}</style>"
    title = escape(f"{said['memory']} × {said['time']} × {said['agreement']}")
    head = f'<svg {size} role="group" aria-label="{title}" class="rt-trials-plot">{style}'
    if info.memory is None or info.time is None:
        return (
            f'{head}<text class="rt-axis-word" x="{WIDTH / 2}" y="{HEIGHT / 2}"'
            f' text-anchor="middle">{escape(said["none"])}</text></svg>'
        )
    pale = sorted(info.points, key=lambda point: (point.is_on_front, point.is_chosen))
    return (
        head
        + _axes(info.memory, info.time, said)
        + _budgets(info, said)
        + _front(info)
        + "".join(
            _point(
                point,
                label=escape(write(point.label)),
                thumbnail=(thumbnails or {}).get(point.trial, ""),
                is_first=point is pale[-1],
                is_standalone=is_standalone,
            )
            for point in pale
        )
        + _legend_drawn(info, said)
        + "</svg>"
    )


def points_script() -> str:
    """Give what points do in a browser: `followPoints(root, thumbnailOf)`."""
    return Path(__file__).with_name("points.js").read_text(encoding="utf-8")


def _style(*, is_standalone: bool) -> str:
    """Write the plot's colours; on the page ink and lines are the page's own."""
    looks = [*((shape, colours) for _, shape, colours in LOOKS), UNKNOWN_LOOK]
    light = "".join(f".rt-look-{shape}{{--look:{colours[0]}}}" for shape, colours in looks)
    dark = "".join(f".rt-look-{shape}{{--look:{colours[1]}}}" for shape, colours in looks)
    fixed = (
        ".rt-trials-plot text{font:12px system-ui,sans-serif;fill:var(--rt-muted,#52607a)}"
        ".rt-trials-plot .rt-axis-word{font-size:12.5px;fill:var(--rt-ink,#0f172a)}"
        ".rt-grid{stroke:var(--rt-line,#dfe4ec)}.rt-front{fill:none;stroke:var(--rt-ink,#0f172a);stroke-width:1.25;opacity:.55}"
        ".rt-budget{stroke:var(--rt-warn,#8a4b00);stroke-dasharray:5 4}.rt-trials-plot"
        " .rt-budget-word{fill:var(--rt-warn,#8a4b00);paint-order:stroke;stroke:var(--rt-panel,#fff);stroke-width:4}"
        ".rt-point .rt-shape{fill:var(--look);stroke:var(--rt-panel,#fff);stroke-width:1}"
        ".rt-point"
        " .rt-whisker{stroke:var(--look);opacity:.5}.rt-pale{opacity:.38}.rt-point:hover,.rt-point:focus{opacity:1}"
        ".rt-ring{fill:none;stroke:var(--rt-ink,#0f172a);stroke-width:2}.rt-hit{fill:transparent}.rt-key{fill:var(--look)}"
    )
    if not is_standalone:
        scoped = "".join(f".dark {rule}}}" for rule in dark.split("}") if rule)
        system = "".join(f".rt-follows-system {rule}}}" for rule in dark.split("}") if rule)
        return (
            f"{fixed}{light}{scoped}@media (prefers-color-scheme:dark){{{system}}}@media"
            f" (max-width:600px){{{_narrow()}}}"
        )
    night = ":root{--rt-ink:#e8edf5;--rt-muted:#9dabc2;--rt-line:#2b3648;--rt-panel:#151c28;--rt-warn:#f0b95c}svg{background:#151c28}"
    return (
        f"svg{{background:#fff}}{fixed}{light}@media (prefers-color-scheme:dark){{{night}{dark}}}"
    )


def _narrow() -> str:
    """Write how text and points stay readable where the whole plot is drawn at half its size.

    On a phone.
    """
    return (
        ".rt-trials-plot{overflow:visible}.rt-trials-plot text,.rt-trials-plot"
        " .rt-axis-word{font-size:21px}.rt-trials-plot .rt-legend"
        f" text{{font-size:12px}}.rt-legend-looks{{transform:scale(1.7);transform-origin:{WIDTH - RIGHT}px"
        f" {TOP - 22}px}}.rt-legend-lines{{transform:scale(1.8);transform-origin:{LEFT}px"
        f" {HEIGHT - 14}px}}.rt-time-word{{transform:translate({LEFT}px,42px)}}.rt-memory-word{{transform:translate(-6px,-48px)}}.rt-point"
        " :is(.rt-shape,.rt-hit,.rt-ring){transform-box:fill-box;transform-origin:center;transform:scale(1.7)}.rt-point"
        " .rt-hit{transform:scale(2.4)}.rt-whisker,.rt-front,.rt-budget{stroke-width:2}"
    )


def _axes(memory: Scale, time: Scale, said: Mapping[str, str]) -> str:
    """Draw grid, ticks and the axes' words."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value, text in memory.ticks:
        x = memory.place(value)
        parts.append(
            f'<line class="rt-grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/><text x="{x}"'
            f' y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>'
        )
    for value, text in time.ticks:
        y = time.place(value)
        parts.append(
            f'<line class="rt-grid" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/><text'
            f' x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(text)}</text>'
        )
    parts.append(
        f'<text class="rt-axis-word rt-memory-word" x="{right}" y="{HEIGHT - 10}"'
        f' text-anchor="end">{escape(said["memory"])}, MiB →</text>'
    )
    parts.append(
        f'<text class="rt-axis-word rt-time-word" x="8" y="{TOP - 18}">↑'
        f" {escape(said['time'])}</text>"
    )
    return "".join(parts)


def _budgets(info: PlotInfo, said: Mapping[str, str]) -> str:
    """Draw the budgets' lines."""
    parts = []
    bottom, right, word = HEIGHT - BOTTOM, WIDTH - RIGHT, escape(said["budget"])
    if info.memory_budget is not None:
        x, text = info.memory_budget.place, _pointed(word, info.memory_budget, "←→")
        # Beside the line, on the side that has room.
        beside = f'x="{x - 4}" text-anchor="end"' if x > (LEFT + right) / 2 else f'x="{x + 4}"'
        parts.append(
            f'<line class="rt-budget" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/><text'
            f' class="rt-budget-word" {beside} y="{TOP + 52}">{text}</text>'
        )
    if info.time_budget is not None:
        y, text = info.time_budget.place, _pointed(word, info.time_budget, "↓↑")
        beside_y = y - 5 if y > (TOP + bottom) / 2 else y + 18
        parts.append(
            f'<line class="rt-budget" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/><text'
            f' class="rt-budget-word" x="{right}" y="{beside_y}" text-anchor="end">{text}</text>'
        )
    return "".join(parts)


def _pointed(word: str, budget: PlotBudget, arrows: str) -> str:
    """Name a budget's line; an arrow, of those for below and above, points at one that is beyond the axis."""
    if not budget.beyond:
        return word
    return f"{word} {escape(budget.text)} {arrows[budget.beyond > 0]}"


def _front(info: PlotInfo) -> str:
    """Draw the front of memory and time."""
    if not info.front:
        return ""
    path = " ".join(f"{x},{y}" for x, y in info.front)
    return f'<polyline class="rt-front" points="{path}"/>'


def _point(
    point: PlotPoint, *, label: str, thumbnail: str, is_first: bool, is_standalone: bool
) -> str:
    """Draw a trial: a button with its numbers.

    One of them is reached by Tab, the others by arrow keys.
    """
    pale = "" if point.is_on_front and point.is_within else " rt-pale"
    if point.is_chosen:
        pale = ""
    x, y = point.x, point.y
    whisker = ""
    if abs(point.high_y - point.low_y) > 1:
        whisker = (
            f'<line class="rt-whisker" x1="{x}" y1="{point.low_y}" x2="{x}" y2="{point.high_y}"/>'
        )
    ring = f'<circle class="rt-ring" cx="{x}" cy="{y}" r="11"/>' if point.is_chosen else ""
    thumb = f' data-thumb="{escape(thumbnail)}"' if thumbnail else ""
    title = f"<title>{label}</title>" if is_standalone else ""
    return (
        f'<g class="rt-point rt-look-{point.shape}{pale}" data-trial="{point.trial}"{thumb}'
        f' tabindex="{0 if is_first else -1}" role="button" aria-label="{label}">{title}<circle'
        f' class="rt-hit" cx="{x}" cy="{y}"'
        f' r="12"/>{whisker}{_shape(point.shape, x, y, "rt-shape")}{ring}</g>'
    )


def _shape(shape: str, x: float, y: float, name: str) -> str:
    """Draw a shape around a place."""
    if shape == "circle":
        return f'<circle class="{name}" cx="{x}" cy="{y}" r="6"/>'
    corners = {
        "triangle": ((0, -7), (6.5, 5), (-6.5, 5)),
        "square": ((-5.3, -5.3), (5.3, -5.3), (5.3, 5.3), (-5.3, 5.3)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "cross": (
            (-2, -6.5),
            (2, -6.5),
            (2, -2),
            (6.5, -2),
            (6.5, 2),
            (2, 2),
            (2, 6.5),
            (-2, 6.5),
            (-2, 2),
            (-6.5, 2),
            (-6.5, -2),
            (-2, -2),
        ),
    }[shape]
    path = " ".join(f"{round(x + dx, 2)},{round(y + dy, 2)}" for dx, dy in corners)
    return f'<polygon class="{name}" points="{path}"/>'


def _legend_drawn(info: PlotInfo, said: Mapping[str, str]) -> str:
    """Draw which shape is which agreement, at the top right, and what is pale, below."""
    x, y = WIDTH - RIGHT - 78.0 * len(info.looks), TOP - 22
    parts = ['<g class="rt-legend rt-legend-looks">']
    if info.looks:
        parts.append(
            f'<text x="{x - 12}" y="{y + 4}" text-anchor="end">{escape(said["agreement"])}</text>'
        )
    for text, shape, _ in info.looks:
        parts.append(
            f'<g class="rt-look-{shape}">{_shape(shape, x + 6, y, "rt-key")}</g><text x="{x + 18}"'
            f' y="{y + 4}">{escape(text)}</text>'
        )
        x += 78
    y = HEIGHT - 14
    parts.append('</g><g class="rt-legend rt-legend-lines">')
    parts.append(
        f'<line class="rt-front" x1="{LEFT}" y1="{y}" x2="{LEFT + 22}" y2="{y}"/><text'
        f' x="{LEFT + 28}" y="{y + 4}">{escape(said["front"])}</text>'
    )
    x = LEFT + 96
    parts.append(
        f'<g class="rt-look-circle rt-pale">{_shape("circle", x, y, "rt-key")}</g><text'
        f' x="{x + 12}" y="{y + 4}">{escape(said["dominated"])}</text>'
    )
    return f"{''.join(parts)}</g>"
