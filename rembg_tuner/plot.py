"""The plot of trials: peak memory against time, agreement by colour and shape. First computed, then drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rembg_tuner.pareto import front_of
from rembg_tuner.trials import differences, figures_of, label_of
from rembg_tuner.units import MIB, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.trials import Trial

WIDTH, HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 18, 42, 50
_LOG_FROM = 6.0  # a range of more than so many times is drawn by its logarithm
_TICKS = 6
# Least agreement, shape, colour (light, dark): told apart by shape alone, and by brightness without colour.
_LOOKS: tuple[tuple[float, str, tuple[str, str]], ...] = (
    (0.98, "circle", ("#0f766e", "#4fd1c0")),
    (0.95, "triangle", ("#2563ab", "#7fb2f0")),
    (0.85, "square", ("#b7791f", "#e8b45c")),
    (0.0, "cross", ("#b42318", "#ff8f85")),
)
_UNKNOWN = ("diamond", ("#52607a", "#9dabc2"))
WORDS = {
    "memory": "peak memory",
    "time": "time",
    "agreement": "agreement",
    "front": "front",
    "budget": "budget",
    "dominated": "pale: beaten, or over a budget",
    "none": "nothing was measured",
}
Shape = Literal["circle", "triangle", "square", "cross", "diamond"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotPoint:
    """One measured trial.

    Attributes:
        trial: its number.
        x, y: px.
        low_y, high_y: px of its fastest and slowest run.
        shape, colours: by agreement; colours for light and dark.
        is_on_front: no other is at least as good everywhere.
        is_chosen: recommended.
        is_within: keeps the budgets.
        label: its settings and figures.
    """

    trial: int
    x: float
    y: float
    low_y: float
    high_y: float
    shape: str
    colours: tuple[str, str]
    is_on_front: bool
    is_chosen: bool
    is_within: bool
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis: from low to high, in MiB or seconds, on a straight or a logarithmic ruler.

    Attributes:
        begin, end: px at low and high.
        ticks: value and text.
    """

    low: float
    high: float
    begin: float
    end: float
    is_log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Give a value's px."""
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotInfo:
    """What is drawn.

    Attributes:
        points: the measured trials.
        memory: the x axis, MiB.
        time: the y axis, seconds; None, as memory: nothing was measured.
        front: px of the boundary of what is possible, from the top to the right edge: the steps between
            the trials that look right and that no other beats in memory and time; empty: there is none.
        memory_budget, time_budget: px of the budgets' lines; None: no budget, or beyond the axis.
        failed: how many trials gave no figures.
        looks: of the legend: text, shape, colours; only those that occur.
    """

    points: tuple[PlotPoint, ...] = ()
    memory: Scale | None = None
    time: Scale | None = None
    front: tuple[tuple[float, float], ...] = ()
    memory_budget: float | None = None
    time_budget: float | None = None
    failed: int = 0
    looks: tuple[tuple[str, str, tuple[str, str]], ...] = ()


def lay_out(
    trials: Sequence[Trial],
    *,
    chosen: int | None = None,
    max_memory_bytes: int | None = None,
    max_time_s: float | None = None,
    min_agreement: float | None = None,
) -> PlotInfo:
    """Compute what the plot shows.

    Args:
        trials: of one sweep; those that failed are counted only.
        chosen: number of the trial that is recommended; None: none.
        max_memory_bytes: a budget, drawn as a line; None: none.
        max_time_s: the same of time.
        min_agreement: least agreement with the reference; None: any.
    """
    measured = [trial for trial in trials if trial.is_measured]
    failed = len(trials) - len(measured)
    if not measured:
        return PlotInfo(failed=failed)
    costs = [trial.costs() for trial in measured]
    memory = _scale(
        [peak / MIB for peak, _, _ in costs], _LEFT, WIDTH - _RIGHT, lambda mib: f"{mib:,.0f}"
    )
    lows = [trial.time_low_s or trial.costs()[1] for trial in measured]
    highs = [trial.time_high_s or trial.costs()[1] for trial in measured]
    time = _scale([*lows, *highs], HEIGHT - _BOTTOM, _TOP, format_seconds)
    on_front = set(front_of(costs))
    names = differences([trial.settings for trial in trials])
    points = []
    for i, trial in enumerate(measured):
        peak, time_s, disagreement = costs[i]
        shape, colours = _look(trial.agreement)
        within = (
            (max_memory_bytes is None or peak <= max_memory_bytes)
            and (max_time_s is None or time_s <= max_time_s)
            and (min_agreement is None or 1 - disagreement >= min_agreement)
        )
        points.append(
            PlotPoint(
                trial=trial.number,
                x=memory.place(peak / MIB),
                y=time.place(time_s),
                low_y=time.place(lows[i]),
                high_y=time.place(highs[i]),
                shape=shape,
                colours=colours,
                is_on_front=i in on_front,
                is_chosen=trial.number == chosen,
                is_within=within,
                label=_label(trial, label_of(trial.settings, names)),
            )
        )
    right = [i for i, trial in enumerate(measured) if not min_agreement or (trial.agreement or 0.0) >= min_agreement]  # fmt: skip
    plane = [right[i] for i in front_of([costs[i][:2] for i in right])]
    plane.sort(key=lambda i: costs[i][0])
    return PlotInfo(
        points=tuple(points),
        memory=memory,
        time=time,
        front=_boundary([(points[i].x, points[i].y) for i in plane]),
        memory_budget=_within(memory, None if max_memory_bytes is None else max_memory_bytes / MIB),
        time_budget=_within(time, max_time_s),
        failed=failed,
        looks=_legend({point.shape for point in points}),
    )


def _look(agreement: float | None) -> tuple[str, tuple[str, str]]:
    """Give a shape and colours by agreement."""
    if agreement is None:
        return _UNKNOWN
    return next((shape, colours) for least, shape, colours in _LOOKS if agreement >= least)


def _legend(shapes: set[str]) -> tuple[tuple[str, str, tuple[str, str]], ...]:
    """Give the legend of the shapes that occur."""
    found = []
    for i, (least, shape, colours) in enumerate(_LOOKS):
        if shape in shapes:
            text = f"≥ {least:.2f}" if least else f"< {_LOOKS[i - 1][0]:.2f}"
            found.append((text, shape, colours))
    return tuple(found)


def _label(trial: Trial, setting: str) -> str:
    """Tell a trial for a person who hovers over it, or hears the page."""
    unstable = "; may be unstable" if trial.may_be_unstable else ""
    return f"{setting}: {figures_of(trial)}{unstable}"


def _scale(values: Sequence[float], begin: float, end: float, write: object) -> Scale:
    """Choose an axis that holds values with some air around, and its ticks."""
    low, high = min(values), max(values)
    is_log = low > 0 and high / low > _LOG_FROM
    if is_log:
        air = (high / low) ** 0.06
        low, high = low / air, high * air
        ticks = _log_ticks(low, high)
    else:
        air = (high - low) * 0.08 or high * 0.08 or 1.0
        low, high = max(0.0, low - air), high + air
        ticks = _straight_ticks(low, high)
    texts = tuple({write(tick): (tick, write(tick)) for tick in ticks}.values())  # type: ignore[operator]  # a writer of numbers
    return Scale(low=low, high=high, begin=begin, end=end, is_log=is_log, ticks=texts)


def _straight_ticks(low: float, high: float) -> list[float]:
    """Give round values at a distance of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Give 1, 2, 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [10**power * factor for power in powers for factor in (1, 2, 5)]
    return [tick for tick in found if low <= tick <= high]


def _within(scale: Scale, value: float | None) -> float | None:
    """Give the px of a budget; None where there is none or it is beyond the axis."""
    return None if value is None or not scale.low < value < scale.high else scale.place(value)


def _boundary(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Bound what a front makes possible: what more memory buys holds until the next point."""
    path: list[tuple[float, float]] = []
    for x, y in points:
        path += [(x, path[-1][1] if path else float(_TOP)), (x, y)]
    if path:
        path.append((float(WIDTH - _RIGHT), path[-1][1]))
    return tuple(path)


def draw(
    info: PlotInfo,
    *,
    words: Mapping[str, str] | None = None,
    thumbnails: Mapping[int, str] | None = None,
    is_standalone: bool = False,
) -> str:
    """Draw the plot as SVG.

    Args:
        info: what to draw.
        words: the fixed texts by the keys of `WORDS`; None: English.
        thumbnails: addresses of small cut-outs by trial, for `points_script`; None: there are none.
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
        return f'{head}<text class="rt-axis-word" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">{escape(said["none"])}</text></svg>'
    pale = sorted(info.points, key=lambda point: (point.is_on_front, point.is_chosen))
    return (
        head
        + _axes(info.memory, info.time, said)
        + _budgets(info, said)
        + _front(info)
        + "".join(
            _point(
                point,
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
    return Path(__file__).with_name("plot_points.js").read_text(encoding="utf-8")


def _style(*, is_standalone: bool) -> str:
    """Write the plot's colours; on the page ink and lines are the page's own."""
    looks = [*((shape, colours) for _, shape, colours in _LOOKS), _UNKNOWN]
    light = "".join(f".rt-look-{shape}{{--look:{colours[0]}}}" for shape, colours in looks)
    dark = "".join(f".rt-look-{shape}{{--look:{colours[1]}}}" for shape, colours in looks)
    fixed = (
        ".rt-trials-plot text{font:12px system-ui,sans-serif;fill:var(--rt-muted,#52607a)}"
        ".rt-trials-plot .rt-axis-word{font-size:12.5px;fill:var(--rt-ink,#0f172a)}"
        ".rt-grid{stroke:var(--rt-line,#dfe4ec)}.rt-front{fill:none;stroke:var(--rt-ink,#0f172a);stroke-width:1.25;opacity:.55}"
        ".rt-budget{stroke:var(--rt-warn,#8a4b00);stroke-dasharray:5 4}.rt-trials-plot .rt-budget-word{fill:var(--rt-warn,#8a4b00)}"
        ".rt-point .rt-shape{fill:var(--look);stroke:var(--rt-panel,#fff);stroke-width:1}"
        ".rt-point .rt-whisker{stroke:var(--look);opacity:.5}.rt-pale{opacity:.38}.rt-point:hover,.rt-point:focus{opacity:1}"
        ".rt-ring{fill:none;stroke:var(--rt-ink,#0f172a);stroke-width:2}.rt-hit{fill:transparent}.rt-key{fill:var(--look)}"
    )
    if not is_standalone:
        scoped = "".join(f".dark {rule}}}" for rule in dark.split("}") if rule)
        system = "".join(f".rt-follows-system {rule}}}" for rule in dark.split("}") if rule)
        return f"{fixed}{light}{scoped}@media (prefers-color-scheme:dark){{{system}}}"
    night = ":root{--rt-ink:#e8edf5;--rt-muted:#9dabc2;--rt-line:#2b3648;--rt-panel:#151c28;--rt-warn:#f0b95c}svg{background:#151c28}"
    return f"svg{{background:#fff}}{fixed}{light}@media (prefers-color-scheme:dark){{{night}{dark}}}"  # fmt: skip


def _axes(memory: Scale, time: Scale, said: Mapping[str, str]) -> str:
    """Draw grid, ticks and the axes' words."""
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for value, text in memory.ticks:
        x = memory.place(value)
        parts.append(f'<line class="rt-grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}"/><text x="{x}" y="{bottom + 17}" text-anchor="middle">{escape(text)}</text>')  # fmt: skip
    for value, text in time.ticks:
        y = time.place(value)
        parts.append(f'<line class="rt-grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/><text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(text)}</text>')  # fmt: skip
    parts.append(f'<text class="rt-axis-word" x="{right}" y="{HEIGHT - 10}" text-anchor="end">{escape(said["memory"])}, MiB →</text>')  # fmt: skip
    parts.append(
        f'<text class="rt-axis-word" x="8" y="{_TOP - 18}">↑ {escape(said["time"])}</text>'
    )
    return "".join(parts)


def _budgets(info: PlotInfo, said: Mapping[str, str]) -> str:
    """Draw the budgets' lines."""
    parts = []
    bottom, right, word = HEIGHT - _BOTTOM, WIDTH - _RIGHT, escape(said["budget"])
    if info.memory_budget is not None:
        x = info.memory_budget
        parts.append(f'<line class="rt-budget" x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}"/><text class="rt-budget-word" x="{x + 4}" y="{bottom - 6}">{word}</text>')  # fmt: skip
    if info.time_budget is not None:
        y = info.time_budget
        parts.append(f'<line class="rt-budget" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/><text class="rt-budget-word" x="{right}" y="{y - 5}" text-anchor="end">{word}</text>')  # fmt: skip
    return "".join(parts)


def _front(info: PlotInfo) -> str:
    """Draw the front of memory and time."""
    if not info.front:
        return ""
    path = " ".join(f"{x},{y}" for x, y in info.front)
    return f'<polyline class="rt-front" points="{path}"/>'


def _point(point: PlotPoint, *, thumbnail: str, is_first: bool, is_standalone: bool) -> str:
    """Draw a trial: a button with its numbers; one of them is reached by Tab, the others by arrow keys."""
    pale = "" if point.is_on_front and point.is_within else " rt-pale"
    if point.is_chosen:
        pale = ""
    x, y, label = point.x, point.y, escape(point.label)
    whisker = ""
    if abs(point.high_y - point.low_y) > 1:
        whisker = f'<line class="rt-whisker" x1="{x}" y1="{point.low_y}" x2="{x}" y2="{point.high_y}"/>'  # fmt: skip
    ring = f'<circle class="rt-ring" cx="{x}" cy="{y}" r="11"/>' if point.is_chosen else ""
    thumb = f' data-thumb="{escape(thumbnail)}"' if thumbnail else ""
    title = f"<title>{label}</title>" if is_standalone else ""
    return (
        f'<g class="rt-point rt-look-{point.shape}{pale}" data-trial="{point.trial}"{thumb} tabindex="{0 if is_first else -1}" role="button" aria-label="{label}">'
        f'{title}<circle class="rt-hit" cx="{x}" cy="{y}" r="12"/>{whisker}{_shape(point.shape, x, y, "rt-shape")}{ring}</g>'
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
            (-2, -6.5), (2, -6.5), (2, -2), (6.5, -2), (6.5, 2), (2, 2),
            (2, 6.5), (-2, 6.5), (-2, 2), (-6.5, 2), (-6.5, -2), (-2, -2),
        ),
    }[shape]  # fmt: skip
    path = " ".join(f"{round(x + dx, 2)},{round(y + dy, 2)}" for dx, dy in corners)
    return f'<polygon class="{name}" points="{path}"/>'


def _legend_drawn(info: PlotInfo, said: Mapping[str, str]) -> str:
    """Draw which shape is which agreement, at the top right, and what is pale, below."""
    parts, x, y = [], WIDTH - _RIGHT - 78.0 * len(info.looks), _TOP - 22
    if info.looks:
        parts.append(f'<text x="{x - 12}" y="{y + 4}" text-anchor="end">{escape(said["agreement"])}</text>')  # fmt: skip
    for text, shape, _ in info.looks:
        parts.append(f'<g class="rt-look-{shape}">{_shape(shape, x + 6, y, "rt-key")}</g><text x="{x + 18}" y="{y + 4}">{escape(text)}</text>')  # fmt: skip
        x += 78
    y = HEIGHT - 14
    parts.append(f'<line class="rt-front" x1="{_LEFT}" y1="{y}" x2="{_LEFT + 22}" y2="{y}"/><text x="{_LEFT + 28}" y="{y + 4}">{escape(said["front"])}</text>')  # fmt: skip
    x = _LEFT + 96
    parts.append(f'<g class="rt-look-circle rt-pale">{_shape("circle", x, y, "rt-key")}</g><text x="{x + 12}" y="{y + 4}">{escape(said["dominated"])}</text>')  # fmt: skip
    return "".join(parts)
