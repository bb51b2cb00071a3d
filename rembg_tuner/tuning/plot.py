"""The plot of a sweep's trials: memory, time and agreement; first its layout, then the SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, join_sentences
from rembg_tuner.base.templates import render
from rembg_tuner.base.units import MIB, format_seconds
from rembg_tuner.tuning.axes import TEMPLATES, Axis, fit_axis
from rembg_tuner.tuning.recommend import front_of
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.trials import Trial

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 42, 50
# The shapes differ without colour, and their colours differ in brightness: (light, dark).
COLOURS = {
    "circle": ("#0f766e", "#4fd1c0"),
    "triangle": ("#2563ab", "#7fb2f0"),
    "square": ("#b7791f", "#e8b45c"),
    "cross": ("#b42318", "#ff8f85"),
    "diamond": ("#52607a", "#9dabc2"),
}
# The shape of a point by its minimum agreement; a point without an agreement is a diamond.
SHAPES = ((0.98, "circle"), (0.95, "triangle"), (0.85, "square"), (0.0, "cross"))
CORNERS = {
    "triangle": ((0, -7), (6.5, 5), (-6.5, 5)),
    "square": ((-5.3, -5.3), (5.3, -5.3), (5.3, 5.3), (-5.3, 5.3)),
    "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
    # A plus sign: the corners of one quarter, rotated four times.
    "cross": tuple(
        corner
        for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1))
        for corner in (
            (6.5 * x + 2 * y, 6.5 * y - 2 * x),
            (6.5 * x - 2 * y, 6.5 * y + 2 * x),
            (2 * (x - y), 2 * (x + y)),
        )
    ),
}
WORDS = {
    "memory": "peak memory",
    "time": "time",
    "agreement": "agreement",
    "front": "front",
    "budget": "budget",
    "dominated": "faded: dominated or over budget",
    "none": "nothing was measured",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotPoint:
    """The point of a measured trial.

    Attributes:
        trial: number of the trial.
        x, y: px.
        low_y, high_y: px of its fastest and slowest run.
        shape: shape for its agreement.
        is_on_front: whether it is on the Pareto front.
        is_chosen: whether it is recommended.
        is_within: whether it keeps the budgets.
        label: its settings and figures.
    """

    trial: int
    x: float
    y: float
    low_y: float
    high_y: float
    shape: str
    is_on_front: bool
    is_chosen: bool
    is_within: bool
    label: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotBudget:
    """The line of a budget.

    Attributes:
        place: px; the end of the axis for a budget beyond it.
        text: for a budget beyond the axis, its value and an arrow towards it; otherwise empty.
    """

    place: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotInfo:
    """The layout of the plot.

    Attributes:
        points: the measured trials.
        memory: the x axis, in MiB; None: no trial was measured.
        time: the y axis, in seconds; None: no trial was measured.
        front: px of the boundary of the possible region, from the top to the right edge: the steps
            between the trials that keep the minimum agreement and are not dominated in memory and
            time; empty: there are no such trials.
        memory_budget, time_budget: the lines of the budgets; None: there is no budget.
        legend: text and shape of each range of agreement that occurs.
    """

    points: tuple[PlotPoint, ...] = ()
    memory: Axis | None = None
    time: Axis | None = None
    front: tuple[tuple[float, float], ...] = ()
    memory_budget: PlotBudget | None = None
    time_budget: PlotBudget | None = None
    legend: tuple[tuple[str, str], ...] = ()


def lay_out_plot(trials: Sequence[Trial], budgets: Budgets, *, chosen: int | None) -> PlotInfo:
    """Compute the layout of the plot.

    Args:
        trials: the trials of one sweep; failed trials do not have a point.
        budgets: drawn as lines; points over them are faded.
        chosen: number of the recommended trial; None: there is no recommendation.
    """
    measured = [trial for trial in trials if trial.is_measured]
    if not measured:
        return PlotInfo()
    costs = [trial.costs() for trial in measured]
    ranges_s = [_range_s(trial) for trial in measured]
    memory, time = _fit_axes([peak for peak, _, _ in costs], ranges_s)
    front = set(front_of(costs))
    names = differing_knobs([trial.settings for trial in trials])
    points = tuple(
        PlotPoint(
            trial=trial.number,
            x=memory.place(costs[i][0] / MIB),
            y=time.place(costs[i][1]),
            low_y=time.place(ranges_s[i][0]),
            high_y=time.place(ranges_s[i][1]),
            shape=_shape_of(trial.agreement),
            is_on_front=i in front,
            is_chosen=trial.number == chosen,
            is_within=budgets.fits(trial),
            label=_label(trial, label_of(trial.settings, names)),
        )
        for i, trial in enumerate(measured)
    )
    max_mib = budgets.max_memory_bytes and budgets.max_memory_bytes / MIB
    return PlotInfo(
        points=points,
        memory=memory,
        time=time,
        front=_boundary([(point.x, point.y) for point in _plane_front(measured, points, budgets)]),
        memory_budget=_budget(memory, max_mib, lambda mib: f"{mib:,.0f} MiB", "←→"),
        time_budget=_budget(time, budgets.max_time_s, format_seconds, "↓↑"),
        legend=_legend({point.shape for point in points}),
    )


def _range_s(trial: Trial) -> tuple[float, float]:
    """Return the fastest and slowest run of a measured trial."""
    _, time_s, _ = trial.costs()
    return trial.time_low_s or time_s, trial.time_high_s or time_s


def _fit_axes(peaks: Sequence[float], ranges_s: Sequence[tuple[float, float]]) -> tuple[Axis, Axis]:
    """Return the axes of memory and time for peaks (bytes) and ranges of times (seconds)."""
    memory = fit_axis(
        [peak / MIB for peak in peaks],
        LEFT,
        WIDTH - RIGHT,
        write=lambda mib: f"{mib:,.0f}",
        resolution=1.0,
    )
    times = [time_s for times_s in ranges_s for time_s in times_s]
    return memory, fit_axis(times, HEIGHT - BOTTOM, TOP, write=format_seconds)


def _plane_front(
    trials: Sequence[Trial], points: Sequence[PlotPoint], budgets: Budgets
) -> list[PlotPoint]:
    """Return the points that are not dominated in memory and time, in order of memory.

    Args:
        trials: the measured trials; those below the minimum agreement are left out.
        points: the points of the trials, in the same order.
        budgets: with the minimum agreement.
    """
    agreeing = [
        (trial.costs()[:2], point)
        for trial, point in zip(trials, points, strict=True)
        if "agreement" not in budgets.missed(trial)
    ]
    front = [agreeing[i] for i in front_of([costs for costs, _ in agreeing])]
    return [point for _, point in sorted(front, key=lambda one: one[0][0])]


def draw_plot(
    info: PlotInfo,
    *,
    words: Mapping[str, str] = WORDS,
    thumbnails: Mapping[int, str] | None = None,
    write: Callable[[Message], str] = str,
    is_standalone: bool = False,
) -> Markup:
    """Draw the plot as SVG.

    Args:
        info: the layout.
        words: translated texts by the keys of `WORDS`; the default is English.
        thumbnails: addresses of small cut-outs by trial, for `points_script`.
        write: returns the label of a point in the reader's language.
        is_standalone: whether the SVG is a separate file, with its own colours for light and dark.
    """
    return render(
        TEMPLATES / "plot.svg",
        info=info,
        # Later points cover earlier ones, and are later in the tab order.
        points=sorted(info.points, key=lambda point: (point.is_on_front, point.is_chosen)),
        words={**WORDS, **words},
        thumbnails=thumbnails or {},
        write=write,
        is_standalone=is_standalone,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        colours=COLOURS,
        corners=CORNERS,
    )


def points_script() -> str:
    """Return the JavaScript function `followPoints(root, thumbnailOf)`."""
    return (TEMPLATES / "points.js").read_text(encoding="utf-8")


def _shape_of(agreement: float | None) -> str:
    """Return the shape for an agreement, rounded as in the text: 0.9796 counts as 0.980."""
    if agreement is None:
        return "diamond"
    return next(shape for minimum, shape in SHAPES if round(agreement, 3) >= minimum)


def _legend(shapes: set[str]) -> tuple[tuple[str, str], ...]:
    """Return the legend of the shapes that occur."""
    maximum = SHAPES[-2][0]
    return tuple(
        (f"≥ {minimum:.2f}" if minimum else f"< {maximum:.2f}", shape)
        for minimum, shape in SHAPES
        if shape in shapes
    )


def _label(trial: Trial, setting: Message) -> Message:
    """Return the label of a point for the tooltip and screen readers."""
    label = Message("{setting}: {figures}", setting=setting, figures=figures_of(trial))
    return join_sentences([label, Message("may be unstable")]) if trial.may_be_unstable else label


def _budget(
    axis: Axis, value: float | None, write: Callable[[float], str], arrows: str
) -> PlotBudget | None:
    """Return the line of a budget; the arrows are for values below and above the axis."""
    if value is None:
        return None
    is_on_axis, is_above = axis.low <= value <= axis.high, value > axis.high
    place = axis.place(min(max(value, axis.low), axis.high))
    return PlotBudget(place=place, text="" if is_on_axis else f"{write(value)} {arrows[is_above]}")


def _boundary(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the steps of a front: each point is the best until the next one."""
    path: list[tuple[float, float]] = []
    for x, y in points:
        path += [(x, path[-1][1] if path else float(TOP)), (x, y)]
    if path:
        path.append((float(WIDTH - RIGHT), path[-1][1]))
    return tuple(path)
