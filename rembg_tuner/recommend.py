"""One setting out of many measured, under budgets, and the sentence why. Never one that was not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.pareto import front_of
from rembg_tuner.trials import differences, label_of
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.trials import Trial

NEARLY_EQUAL = 0.05  # of memory times time: the spread of three runs on a quiet machine
LOOKS_RIGHT = (
    0.97  # least agreement where none is named: what a model's int8 form is held to as well
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What a setting may cost at most, and how like the reference it must be at least.

    Attributes:
        max_memory_bytes: peak; None: any.
        max_time_s: median of a run; None: any.
        min_agreement: IoU with the reference, 0 to 1.
        models: those whose licence fits; None: any.
    """

    max_memory_bytes: int | None = None
    max_time_s: float | None = None
    min_agreement: float = LOOKS_RIGHT
    models: frozenset[str] | None = None

    def excess(self, trial: Trial) -> float:
        """Tell by how much a measured trial misses the budgets: the shares summed; 0: it fits."""
        peak, time_s, disagreement = trial.costs()
        over = 0.0
        if self.max_memory_bytes is not None:
            over += max(0.0, peak / self.max_memory_bytes - 1)
        if self.max_time_s is not None:
            over += max(0.0, time_s / self.max_time_s - 1)
        over += max(0.0, self.min_agreement - (1 - disagreement))
        return over

    def misses(self, trial: Trial) -> list[str]:
        """Say what a measured trial misses."""
        peak, time_s, disagreement = trial.costs()
        said = []
        if self.max_memory_bytes is not None and peak > self.max_memory_bytes:
            said.append(f"peak {format_bytes(int(peak))} of {format_bytes(self.max_memory_bytes)} allowed")  # fmt: skip
        if self.max_time_s is not None and time_s > self.max_time_s:
            said.append(f"time {format_seconds(time_s)} of {format_seconds(self.max_time_s)} allowed")  # fmt: skip
        if 1 - disagreement < self.min_agreement:
            said.append(f"agreement {1 - disagreement:.3f}, at least {self.min_agreement:.3f} wanted")  # fmt: skip
        return said

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        models = None if self.models is None else sorted(self.models)
        return {
            "max_memory_bytes": self.max_memory_bytes,
            "max_time_s": self.max_time_s,
            "min_agreement": self.min_agreement,
            "models": models,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the next step along one budget would buy or cost.

    Attributes:
        trial: the number of the trial that is one step away.
        budget: memory, time or agreement.
        direction: more or less of it.
        text: the sentence.
    """

    trial: int
    budget: str
    direction: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to take.

    Attributes:
        chosen: the trial; None: nothing was measured.
        fits: whether it keeps every budget; if not, it is the nearest.
        why: the sentence.
        runner_up: the second best; None: there is none.
        steps: what the next step up or down in each budget would buy.
    """

    chosen: Trial | None
    fits: bool
    why: str
    runner_up: Trial | None = None
    steps: tuple[Step, ...] = ()


def recommend(trials: Sequence[Trial], budgets: Budgets) -> Recommendation:
    """Choose the cheapest that fits: the least memory times time; of nearly equal ones the best to look at.

    A tenth less of either counts the same, whatever their units. What is within 5 % of the least cannot be
    told from it by a few runs, so that the one which agrees most with the reference is taken.

    Args:
        trials: of one sweep; those that failed are left out.
        budgets: of the user.
    """
    measured = [
        trial
        for trial in trials
        if trial.is_measured and (budgets.models is None or trial.settings.model in budgets.models)
    ]
    if not measured:
        return Recommendation(
            chosen=None,
            fits=False,
            why="no setting with a licence that fits was measured" if budgets.models is not None and trials else "nothing was measured, so nothing can be recommended",
        )  # fmt: skip
    fitting = sorted((t for t in measured if budgets.excess(t) == 0), key=_cost)
    if not fitting:
        nearest = min(measured, key=lambda t: (budgets.excess(t), _cost(t)))
        return Recommendation(chosen=nearest, fits=False, why=f"none of the {len(measured)} settings measured fits; the nearest misses {' and '.join(budgets.misses(nearest))}")  # fmt: skip
    least = _cost(fitting[0])[0]
    equal = [trial for trial in fitting if _cost(trial)[0] <= least * (1 + NEARLY_EQUAL)]
    chosen = min(equal, key=lambda t: (t.costs()[2], _cost(t)))
    others = [trial for trial in fitting if trial is not chosen]
    return Recommendation(
        chosen=chosen,
        fits=True,
        why=_why(chosen, fitting, measured),
        runner_up=others[0] if others else None,
        steps=_steps(chosen, measured, budgets),
    )


def _cost(trial: Trial) -> tuple[float, float]:
    """Give what is to be small: memory times time, then disagreement."""
    peak, time_s, disagreement = trial.costs()
    return peak * time_s, disagreement


def figures_of(trial: Trial) -> str:
    """Write a measured trial's figures: `161 MiB, 88 ms, agreement 0.986`."""
    peak, time_s = format_bytes(trial.peak_bytes), format_seconds(trial.time_s)
    if trial.agreement is None:
        return f"{peak}, {time_s}"
    return f"{peak}, {time_s}, agreement {trial.agreement:.3f}"


def _changed_figures(trial: Trial, chosen: Trial) -> str:
    """Write a trial's figures with how far they are from the chosen one's."""
    peak, time_s, disagreement = trial.costs()
    ours = chosen.costs()
    memory = f"{format_bytes(trial.peak_bytes)} ({peak / ours[0] - 1:+.0%})"
    time = f"{format_seconds(trial.time_s)} ({time_s / ours[1] - 1:+.0%})"
    if trial.agreement is None:
        return f"{memory}, {time}"
    return f"{memory}, {time}, agreement {trial.agreement:.3f} ({ours[2] - disagreement:+.3f})"


def _why(chosen: Trial, fitting: Sequence[Trial], measured: Sequence[Trial]) -> str:
    """Say why the chosen one is chosen of those that fit."""
    names = differences([trial.settings for trial in measured])
    what = label_of(chosen.settings, names) if names else chosen.settings.model
    least = _cost(chosen)[0] <= _cost(fitting[0])[0]
    reason = (
        "it has the least memory times time of them"
        if least
        else f"it agrees best of those within {NEARLY_EQUAL:.0%} of the least memory times time"
    )
    dearest = max(measured, key=_cost)
    share = _cost(chosen)[0] / _cost(dearest)[0]
    compared = f", {share:.0%} of the dearest's" if dearest is not chosen else ""
    return f"{what}: {figures_of(chosen)}; {len(fitting)} of the {len(measured)} measured keep the budgets, and {reason}{compared}"  # fmt: skip


def _steps(chosen: Trial, measured: Sequence[Trial], budgets: Budgets) -> tuple[Step, ...]:
    """Find the next trial of the front along each budget, both ways; each trial once."""
    on_front = [measured[i] for i in front_of([trial.costs() for trial in measured])]
    names = differences([trial.settings for trial in measured])
    steps = []
    for axis, budget in enumerate(("memory", "time", "agreement")):
        if budget == "agreement" and chosen.agreement is None:
            continue
        here = chosen.costs()[axis]
        more = [t for t in on_front if t.costs()[axis] > here and _is_worth_it(t, chosen, axis)]
        less = [t for t in on_front if t.costs()[axis] < here]
        if budget != "agreement":  # a step down must still look right
            less = [t for t in less if 1 - t.costs()[2] >= budgets.min_agreement] or less
        found = (
            (min(more, key=lambda t: t.costs()[axis]) if more else None, "less" if budget == "agreement" else "more"),
            (max(less, key=lambda t: t.costs()[axis]) if less else None, "more" if budget == "agreement" else "less"),
        )  # fmt: skip
        steps += [
            Step(trial=t.number, budget=budget, direction=way, text=_step_text(t, chosen, budget, way, names))
            for t, way in found
            if t is not None
        ]  # fmt: skip
    return tuple({step.trial: step for step in reversed(steps)}.values())[::-1]


def _is_worth_it(trial: Trial, chosen: Trial, axis: int) -> bool:
    """Tell whether spending more on one axis buys something on another."""
    pairs = zip(trial.costs(), chosen.costs(), strict=True)
    return any(theirs < ours for i, (theirs, ours) in enumerate(pairs) if i != axis)


def _step_text(trial: Trial, chosen: Trial, budget: str, way: str, names: Sequence[str]) -> str:
    """Say what a step would buy."""
    changed = [name for name in names if trial.settings.to_dict()[name] != chosen.settings.to_dict()[name]]  # fmt: skip
    return f"{way} {budget}: {label_of(trial.settings, changed)} takes {_changed_figures(trial, chosen)}"
