"""Recommend one of the measured settings under budgets, and explain the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, Term, join_parts, join_sentences
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.tuning.stats import repeatability_of
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.trials import Trial

    Point = Sequence[float]

NEARLY_EQUAL = 0.05  # of memory, time or both: the spread of three runs on an idle machine
MIN_GAIN = 0.002  # of agreement: smaller differences are not visible
_MAX_RANGE = 3.0  # a larger ratio of the ends of an expected range shows that the machine was busy
_AXES = ("memory", "time", "agreement")


def dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is at most `b` in every coordinate, and less in at least one."""
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def front_of(points: Sequence[Point]) -> list[int]:
    """Return the indices of the Pareto front in order; it includes all equal points."""
    return [
        i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next setting with more or less of one budget.

    Attributes:
        trial: number of the trial.
        budget: memory, time or agreement.
        direction: more or less.
        text: description for the user.
    """

    trial: int
    budget: str
    direction: str
    text: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The recommended setting, if any.

    Attributes:
        chosen: the recommended trial; None: no trial keeps the budgets, or none was measured.
        why: the reason, for the user.
        nearest: without a chosen trial, the trial nearest to the budgets; otherwise None.
        misses: a text for each budget that the nearest trial misses.
        runner_up: the second best; None: there is none.
        steps: the next settings with more or less of each budget.
        expected_s: the 95 % prediction interval of its time in a new worker on this machine,
            seconds; None: unknown, see `expected_range_s`.
        expected: the same as a sentence.
    """

    chosen: Trial | None
    why: Message
    nearest: Trial | None = None
    misses: tuple[Message, ...] = ()
    runner_up: Trial | None = None
    steps: tuple[Step, ...] = ()
    expected_s: tuple[float, float] | None = None
    expected: Message | None = None

    @property
    def fits(self) -> bool:
        """Whether a setting is recommended; it keeps every budget."""
        return self.chosen is not None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
        trials = {name: getattr(self, name) for name in ("chosen", "nearest", "runner_up")}
        return {
            "fits": self.fits,
            "why": str(self.why),
            **{name: None if one is None else one.to_dict() for name, one in trials.items()},
            "misses": list(map(str, self.misses)),
            "expected_s": self.expected_s,
            "expected": "" if self.expected is None else str(self.expected),
            "steps": [
                {
                    "trial": step.trial,
                    "budget": step.budget,
                    "direction": step.direction,
                    "text": str(step.text),
                }
                for step in self.steps
            ],
        }


def recommend(trials: Sequence[Trial], budgets: Budgets) -> Recommendation:
    """Recommend the setting with the smallest product of memory and time that keeps the budgets.

    A few runs cannot distinguish settings within 5 % of the smallest product. Of these, the one
    with the highest agreement is chosen.

    Args:
        trials: the trials of one sweep; failed ones are ignored.
        budgets: the budgets of the user.
    """
    measured = _licensed(trials, budgets)
    if not measured:
        return Recommendation(chosen=None, why=_why_nothing(trials))
    fitting = _ranked(measured, budgets)
    if not fitting:
        return _nearest(measured, budgets)
    chosen = fitting[0]
    expected_s = expected_range_s(chosen, trials)
    return Recommendation(
        chosen=chosen,
        why=_why(chosen, fitting, measured, budgets),
        runner_up=fitting[1] if len(fitting) > 1 else None,
        steps=_steps(chosen, measured, budgets),
        expected_s=expected_s,
        expected=_expected_text(chosen, trials, expected_s),
    )


def contenders(trials: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """Return the trials that keep the budgets: the recommended one, then the others by cost."""
    return _ranked(_licensed(trials, budgets), budgets)


def _licensed(trials: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """Return the measured trials whose licence is allowed."""
    return [
        trial
        for trial in trials
        if trial.is_measured and (budgets.models is None or trial.settings.model in budgets.models)
    ]


def _ranked(measured: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """Return the trials that keep the budgets: the chosen one, then the others by cost."""
    fitting = sorted((t for t in measured if budgets.fits(t)), key=_cost)
    if not fitting:
        return []
    limit = _cost(fitting[0])[0] * (1 + NEARLY_EQUAL)
    equal = [trial for trial in fitting if _cost(trial)[0] <= limit]
    chosen = min(equal, key=lambda t: (t.costs()[2], _cost(t)))
    return [chosen, *(trial for trial in fitting if trial is not chosen)]


def _cost(trial: Trial) -> tuple[float, float]:
    """Return the cost to minimize: memory times time, then 1 - agreement."""
    peak, time_s, disagreement = trial.costs()
    return peak * time_s, disagreement


def _why_nothing(trials: Sequence[Trial]) -> Message:
    """Return why there is no recommendation."""
    if not trials:
        return Message("nothing was measured, so nothing can be recommended")
    if any(trial.is_measured for trial in trials):
        return Message("no setting with an allowed licence was measured")
    return Message("every trial failed, so nothing can be recommended")


def _nearest(measured: Sequence[Trial], budgets: Budgets) -> Recommendation:
    """Return the trial nearest to the budgets, without recommending it.

    Args:
        measured: at least one; all of them miss a budget.
        budgets: the budgets of the user.
    """
    nearest = min(measured, key=lambda trial: (*budgets.distance(trial), *_cost(trial)))
    misses = tuple(budgets.misses(nearest))
    text = misses[0]
    for one in misses[1:]:
        text = Message("{misses} and {miss}", misses=text, miss=one)
    return Recommendation(
        chosen=None,
        nearest=nearest,
        misses=misses,
        why=Message(
            "none of the {measured} measured settings keeps the budgets ({budgets}); the nearest is"
            " {setting}: {figures}; it misses {misses}",
            measured=len(measured),
            budgets=budgets.text(),
            setting=_name(nearest, measured),
            figures=figures_of(nearest),
            misses=text,
        ),
    )


def _name(trial: Trial, measured: Sequence[Trial]) -> Message | str:
    """Return the name of a setting: the knobs in which the measured settings differ."""
    names = differing_knobs([one.settings for one in measured])
    return label_of(trial.settings, names) if names else trial.settings.model


def expected_range_s(trial: Trial, trials: Sequence[Trial]) -> tuple[float, float] | None:
    """Return the 95 % prediction interval of a trial's time in a new worker here, seconds.

    Args:
        trial: one of the trials.
        trials: the trials of one sweep; those that ran in several workers show the spread between
            workers.

    Returns:
        The interval of a worker's median over its warm runs of the mean over pictures. None: the
        trial ran in only one worker, so its time may be low by chance, or too few trials ran in
        several workers.
    """
    if len(trial.worker_times_s) < 2:
        return None
    found = repeatability_of([one.worker_times_s for one in trials if one.is_measured])
    return None if found is None else found.expected(trial.worker_times_s)


def _expected_text(
    chosen: Trial, trials: Sequence[Trial], expected: tuple[float, float] | None
) -> Message | None:
    """Return a sentence on the expected time of the chosen setting; None: unknown."""
    workers = [len(one.worker_times_s) for one in trials if one.is_measured]
    several = sum(number for number in workers if number > 1)
    if expected is None:
        if not several or len(chosen.worker_times_s) >= 2:
            return None
        return Message(
            "This setting ran in one worker only, so the time of later runs is not known"
        )
    low, high = expected
    if high > _MAX_RANGE * low:
        return Message(
            "The time of a warm run is uncertain, {low:seconds} to {high:seconds}: the {workers}"
            " workers that measured the best settings again differed widely; sweep again when the"
            " machine is idle",
            low=low,
            high=high,
            workers=several,
        )
    return Message(
        "On this machine, 19 of 20 times a warm run takes {low:seconds} to {high:seconds} (from"
        " {workers} workers that measured the best settings)",
        low=low,
        high=high,
        workers=several,
    )


def _why(
    chosen: Trial, fitting: Sequence[Trial], measured: Sequence[Trial], budgets: Budgets
) -> Message:
    """Return why a trial is chosen from those that keep the budgets."""
    sentences = [
        Message(
            "{setting}: {figures}", setting=_name(chosen, measured), figures=figures_of(chosen)
        ),
        Message(
            "{fitting} of the {measured} measured settings keep the budgets ({budgets})",
            fitting=len(fitting),
            measured=len(measured),
            budgets=budgets.text(),
        ),
        Message("of these it has the least memory times time")
        if _cost(chosen) <= min(map(_cost, fitting))
        else Message(
            "of those within {share:.0%} of the least memory times time, it has the highest"
            " agreement",
            share=NEARLY_EQUAL,
        ),
    ]
    costliest = max(measured, key=_cost)
    if costliest is not chosen:
        share = _cost(chosen)[0] / _cost(costliest)[0]
        sentences.append(
            Message("that is {share:.0%} of the product of the costliest setting", share=share)
        )
    return join_sentences(sentences)


def _steps(chosen: Trial, measured: Sequence[Trial], budgets: Budgets) -> tuple[Step, ...]:
    """Return the next trial of the Pareto front in both directions of each budget.

    Each of them keeps the other budgets and differs by more than the spread of a few runs. If it
    costs more, it is better on another axis. A trial is returned once.
    """
    front = [measured[i] for i in front_of([trial.costs() for trial in measured])]
    steps = [
        step for axis in range(len(_AXES)) for step in _axis_steps(chosen, front, budgets, axis)
    ]
    return tuple({step.trial: step for step in reversed(steps)}.values())[::-1]


def _axis_steps(
    chosen: Trial, front: Sequence[Trial], budgets: Budgets, axis: int
) -> Iterator[Step]:
    """Yield the next trials with more and less on one axis; see `_steps`."""
    here, budget = chosen.costs()[axis], _AXES[axis]
    far = [t for t in front if _differs(t, chosen, axis) and budgets.keeps_others(t, axis)]
    up = [t for t in far if t.costs()[axis] > here and _gains(t, chosen, axis)]
    down = [t for t in far if t.costs()[axis] < here]
    words = ("less", "more") if budget == "agreement" else ("more", "less")
    for trials, word in zip((up, down), words, strict=True):
        trial = _nearest_on(trials, axis, here)
        if trial is not None:
            text = _step_text(trial, chosen, budget, word)
            yield Step(trial=trial.number, budget=budget, direction=word, text=text)


def _nearest_on(trials: Sequence[Trial], axis: int, here: float) -> Trial | None:
    """Return the trial nearest to a value on an axis, the cheapest of equal ones."""
    if not trials:
        return None
    nearest = min(trials, key=lambda trial: abs(trial.costs()[axis] - here))
    equal = [one for one in trials if not _differs(one, nearest, axis)]
    return min([nearest, *equal], key=_cost)


def _differs(trial: Trial, other: Trial, axis: int) -> bool:
    """Return whether two trials differ on an axis by more than chance."""
    theirs, ours = trial.costs()[axis], other.costs()[axis]
    if _AXES[axis] == "agreement":
        return trial.agreement is not None and abs(theirs - ours) >= MIN_GAIN
    return abs(theirs / ours - 1) >= NEARLY_EQUAL


def _gains(trial: Trial, chosen: Trial, axis: int) -> bool:
    """Return whether a trial is better than the chosen one on another axis."""
    return any(
        i != axis and trial.costs()[i] < chosen.costs()[i] and _differs(trial, chosen, i)
        for i in range(len(_AXES))
    )


def _step_text(trial: Trial, chosen: Trial, budget: str, word: str) -> Message:
    """Return the text of a step: its setting and its figures."""
    return Message(
        "{way} {budget}: {setting} takes {figures}",
        way=Term(word, "step"),
        budget=Term(budget, "step"),
        setting=label_of(trial.settings, differing_knobs([trial.settings, chosen.settings])),
        figures=_changed_figures(trial, chosen),
    )


def _changed_figures(trial: Trial, chosen: Trial) -> Message:
    """Return a trial's figures with their changes from the chosen one's."""
    peak, time_s, disagreement = trial.costs()
    ours = chosen.costs()
    memory = f"{format_bytes(trial.peak_bytes)} ({peak / ours[0] - 1:+.0%})"
    time = f"{format_seconds(trial.time_s)} ({time_s / ours[1] - 1:+.0%})"
    if trial.agreement is None:
        return Message("{figures}", figures=join_parts([memory, time]))
    return Message(
        "{memory}, {time}, agreement {agreement:.3f} ({change:+.3f})",
        memory=memory,
        time=time,
        agreement=trial.agreement,
        change=ours[2] - disagreement,
    )
