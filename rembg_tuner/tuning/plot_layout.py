"""What the plot of trials shows, computed.

Where each point stands, its shape, the axes, the front, the budgets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.messages import Message, joined
from rembg_tuner.base.units import MIB, format_seconds
from rembg_tuner.tuning.pareto import front_of
from rembg_tuner.tuning.trials import differences, figures_of, label_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.tuning.trials import Trial

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 66, 18, 42, 50
_LOG_FROM = 6.0  # a range of more than so many times is drawn by its logarithm
_TICKS = 6
# Least agreement, shape, colour (light, dark): told apart by shape alone, and by brightness without
# colour.
LOOKS: tuple[tuple[float, str, tuple[str, str]], ...] = (
    (0.98, "circle", ("#0f766e", "#4fd1c0")),
    (0.95, "triangle", ("#2563ab", "#7fb2f0")),
    (0.85, "square", ("#b7791f", "#e8b45c")),
    (0.0, "cross", ("#b42318", "#ff8f85")),
)
UNKNOWN_LOOK = ("diamond", ("#52607a", "#9dabc2"))
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
    label: Message


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
class PlotBudget:
    """A budget's line.

    Attributes:
        place: px; of one beyond the axis, the axis's end.
        beyond: 0: on the axis; 1: above what the axis holds; -1: below it.
        text: its value.
    """

    place: float
    beyond: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotInfo:
    """What is drawn.

    Attributes:
        points: the measured trials.
        memory: the x axis, MiB.
        time: the y axis, seconds; None, as memory: nothing was measured.
        front: px of the boundary of what is possible, from the top to the right edge: the steps
            between the trials that look right and that no other beats in memory and time; empty:
            there is none.
        memory_budget, time_budget: the budgets' lines; None: there is no budget.
        failed: how many trials gave no figures.
        looks: of the legend: text, shape, colours; only those that occur.
    """

    points: tuple[PlotPoint, ...] = ()
    memory: Scale | None = None
    time: Scale | None = None
    front: tuple[tuple[float, float], ...] = ()
    memory_budget: PlotBudget | None = None
    time_budget: PlotBudget | None = None
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
        [peak / MIB for peak, _, _ in costs], LEFT, WIDTH - RIGHT, lambda mib: f"{mib:,.0f}"
    )
    lows = [trial.time_low_s or trial.costs()[1] for trial in measured]
    highs = [trial.time_high_s or trial.costs()[1] for trial in measured]
    time = _scale([*lows, *highs], HEIGHT - BOTTOM, TOP, format_seconds)
    on_front = set(front_of(costs))
    names = differences([trial.settings for trial in trials])
    looks_right = [
        not min_agreement or (trial.agreement or 0.0) >= min_agreement for trial in measured
    ]
    points = []
    for i, trial in enumerate(measured):
        peak, time_s, _ = costs[i]
        shape, colours = _look(trial.agreement)
        within = (
            (max_memory_bytes is None or peak <= max_memory_bytes)
            and (max_time_s is None or time_s <= max_time_s)
            and looks_right[i]
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
    right = [i for i, does_look_right in enumerate(looks_right) if does_look_right]
    plane = [right[i] for i in front_of([costs[i][:2] for i in right])]
    plane.sort(key=lambda i: costs[i][0])
    return PlotInfo(
        points=tuple(points),
        memory=memory,
        time=time,
        front=_boundary([(points[i].x, points[i].y) for i in plane]),
        memory_budget=_budget(
            memory,
            None if max_memory_bytes is None else max_memory_bytes / MIB,
            lambda mib: f"{mib:,.0f} MiB",
        ),
        time_budget=_budget(time, max_time_s, format_seconds),
        failed=failed,
        looks=_legend({point.shape for point in points}),
    )


def _look(agreement: float | None) -> tuple[str, tuple[str, str]]:
    """Give a shape and colours by agreement, as it is written: .9796 is told as 0.980."""
    if agreement is None:
        return UNKNOWN_LOOK
    return next((shape, colours) for least, shape, colours in LOOKS if round(agreement, 3) >= least)


def _legend(shapes: set[str]) -> tuple[tuple[str, str, tuple[str, str]], ...]:
    """Give the legend of the shapes that occur."""
    found = []
    for i, (least, shape, colours) in enumerate(LOOKS):
        if shape in shapes:
            text = f"≥ {least:.2f}" if least else f"< {LOOKS[i - 1][0]:.2f}"
            found.append((text, shape, colours))
    return tuple(found)


def _label(trial: Trial, setting: Message) -> Message:
    """Tell a trial for a person who hovers over it, or hears the page."""
    told = Message("{setting}: {figures}", setting=setting, figures=figures_of(trial))
    return joined([told, Message("may be unstable")]) if trial.may_be_unstable else told


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


def _budget(scale: Scale, value: float | None, write: Callable[[float], str]) -> PlotBudget | None:
    """Give a budget's line; None where there is none."""
    if value is None:
        return None
    beyond = (value > scale.high) - (value < scale.low)
    place = scale.place(min(max(value, scale.low), scale.high))
    return PlotBudget(place=place, beyond=beyond, text=write(value))


def _boundary(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Bound what a front makes possible: what more memory buys holds until the next point."""
    path: list[tuple[float, float]] = []
    for x, y in points:
        path += [(x, path[-1][1] if path else float(TOP)), (x, y)]
    if path:
        path.append((float(WIDTH - RIGHT), path[-1][1]))
    return tuple(path)
