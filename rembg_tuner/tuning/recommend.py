"""The front of points whose every coordinate is to be small, and the volume that it dominates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, Term, join_parts, join_sentences
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.tuning.stats import repeatability_of
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    Point = Sequence[float]
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.trials import Trial


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


NEARLY_EQUAL = 0.05  # of memory, time or both: the spread of three runs on a quiet machine


_STEADY = 3.0  # ends of a range of times that are further apart say that the machine was not quiet


MIN_GAIN = 0.002  # of agreement: less than that nobody sees


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the next step along one budget would buy or cost.

    Attributes:
        trial: the number of the trial that is one step away.
        budget: memory, time or agreement.
        direction: more or less of it.
        text: for a person.
    """

    trial: int
    budget: str
    direction: str
    text: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to take.

    Attributes:
        chosen: the recommended trial; None: none fits the budgets, or nothing was measured.
        why: for a person.
        nearest: where none fits, the trial that is nearest to the budgets; None: one fits, or
            nothing was measured.
        misses: what the nearest misses, each in words.
        runner_up: the second best; None: there is none.
        steps: what the next step up or down in each budget would buy.
        expected_s: in which its time lies when it is run again here, 19 times of 20, seconds; None:
            too few settings ran in several workers to tell.
        expected: that for a person.
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
        """Whether a setting is recommended: only one that keeps every budget is."""
        return self.chosen is not None


def recommend(trials: Sequence[Trial], budgets: Budgets) -> Recommendation:
    """Choose the cheapest that fits: the least memory times time.

    Of nearly equal ones the best to look at.

    A tenth less of either counts the same, whatever their units. What is within 5 % of the least
    cannot be told from it by a few runs, so that the one which agrees most with the reference is
    taken.

    Args:
        trials: of one sweep; those that failed are left out.
        budgets: of the user.
    """
    measured = _licensed(trials, budgets)
    if not measured:
        return Recommendation(chosen=None, why=_why_nothing(trials))
    fitting = _ranked(measured, budgets)
    if not fitting:
        return _nearest(measured, budgets)
    chosen, *others = fitting
    expected_s = expected_range_s(chosen, trials)
    return Recommendation(
        chosen=chosen,
        why=_why(chosen, fitting, measured, budgets),
        runner_up=others[0] if others else None,
        steps=_steps(chosen, measured, budgets),
        expected_s=expected_s,
        expected=_expected_text(chosen, trials, expected_s),
    )


def _why_nothing(trials: Sequence[Trial]) -> Message:
    """Say why there is nothing to choose from."""
    if not trials:
        return Message("nothing was measured, so nothing can be recommended")
    if any(trial.is_measured for trial in trials):
        return Message("no setting with a licence that fits was measured")
    return Message("every trial failed, so nothing can be recommended")


def _nearest(measured: Sequence[Trial], budgets: Budgets) -> Recommendation:
    """Name the trial that misses the budgets by least; it is not recommended.

    Args:
        measured: at least one, none of which fits.
        budgets: of the user.
    """
    nearest = min(measured, key=lambda trial: (*budgets.distance(trial), *_cost(trial)))
    misses = tuple(budgets.misses(nearest))
    return Recommendation(
        chosen=None,
        nearest=nearest,
        misses=misses,
        why=Message(
            "none of the {measured} measured keeps the budgets ({budgets}); the nearest is"
            " {setting}: {figures}; it misses {misses}",
            measured=len(measured),
            budgets=budgets.text(),
            setting=_name(nearest, measured),
            figures=figures_of(nearest),
            misses=_all(misses),
        ),
    )


def _all(misses: Sequence[Message]) -> Message:
    """Join clauses; at least one."""
    told, *others = misses
    for one in others:
        told = Message("{misses} and {miss}", misses=told, miss=one)
    return told


def _name(trial: Trial, measured: Sequence[Trial]) -> Message | str:
    """Name a setting by the knobs in which those measured differ."""
    names = differing_knobs([one.settings for one in measured])
    return label_of(trial.settings, names) if names else trial.settings.model


def contenders(trials: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """List the trials that fit, the recommended one first, the others from the cheapest on."""
    return _ranked(_licensed(trials, budgets), budgets)


def _licensed(trials: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """Leave out those that failed, or whose licence does not fit."""
    return [
        trial
        for trial in trials
        if trial.is_measured and (budgets.models is None or trial.settings.model in budgets.models)
    ]


def _ranked(measured: Sequence[Trial], budgets: Budgets) -> list[Trial]:
    """Order those that fit by cost, but first the one that is chosen."""
    fitting = sorted((t for t in measured if budgets.fits(t)), key=_cost)
    if not fitting:
        return []
    least = _cost(fitting[0])[0]
    equal = [trial for trial in fitting if _cost(trial)[0] <= least * (1 + NEARLY_EQUAL)]
    chosen = min(equal, key=lambda t: (t.costs()[2], _cost(t)))
    return [chosen, *(trial for trial in fitting if trial is not chosen)]


def expected_range_s(trial: Trial, trials: Sequence[Trial]) -> tuple[float, float] | None:
    """Give the range in which a trial's time lies when it is run again here, 19 times of 20, seconds.

    Args:
        trial: of these.
        trials: of one sweep; those that ran in several workers tell how far one is from the next.

    Returns:
        The range of a new worker's median over warm runs, and over pictures their mean. None: the
        trial ran in one worker only, so that its time may be low by chance, or too few trials ran
        in several.
    """
    if len(trial.worker_times_s) < 2:
        return None
    found = repeatability_of([one.worker_times_s for one in trials if one.is_measured])
    return None if found is None else found.expected(trial.worker_times_s)


def _expected_text(
    chosen: Trial, trials: Sequence[Trial], expected: tuple[float, float] | None
) -> Message | None:
    """Say what a trial's time will be when it is run again."""
    workers = [len(one.worker_times_s) for one in trials if one.is_measured]
    several = sum(number for number in workers if number > 1)
    if expected is None:
        if not several or len(chosen.worker_times_s) >= 2:
            return None
        return Message(
            "This setting ran in one worker only, so what its time will be when it is run again is"
            " not known"
        )
    low, high = expected
    if expected[1] > _STEADY * expected[0]:
        return Message(
            "What a warm run will take is hard to tell, {low:seconds} to {high:seconds}: the"
            " {workers} workers that measured the best again were far apart; sweep again when the"
            " machine is quiet",
            low=low,
            high=high,
            workers=several,
        )
    return Message(
        "Run again on this machine, a warm run takes {low:seconds} to {high:seconds}, 19 times of"
        " 20 (from {workers} workers that measured the best)",
        low=low,
        high=high,
        workers=several,
    )


def _cost(trial: Trial) -> tuple[float, float]:
    """Give what is to be small: memory times time, then disagreement."""
    peak, time_s, disagreement = trial.costs()
    return peak * time_s, disagreement


def _changed_figures(trial: Trial, chosen: Trial) -> Message:
    """Write a trial's figures with how far they are from the chosen one's."""
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


def _why(
    chosen: Trial, fitting: Sequence[Trial], measured: Sequence[Trial], budgets: Budgets
) -> Message:
    """Say why the chosen one is chosen of those that fit."""
    said = [
        Message(
            "{setting}: {figures}", setting=_name(chosen, measured), figures=figures_of(chosen)
        ),
        Message(
            "{fitting} of the {measured} measured keep the budgets ({budgets})",
            fitting=len(fitting),
            measured=len(measured),
            budgets=budgets.text(),
        ),
    ]
    if _cost(chosen) <= min(map(_cost, fitting)):
        said.append(Message("of these it has the least memory times time"))
    else:
        said.append(
            Message(
                "of these it agrees best within {share:.0%} of the least memory times time",
                share=NEARLY_EQUAL,
            )
        )
    dearest = max(measured, key=_cost)
    if dearest is not chosen:
        share = _cost(chosen)[0] / _cost(dearest)[0]
        said.append(Message("that is {share:.0%} of the dearest setting's", share=share))
    return join_sentences(said)


def _steps(chosen: Trial, measured: Sequence[Trial], budgets: Budgets) -> tuple[Step, ...]:
    """Find the next trial of the front along each budget, both ways, that keeps the other budgets.

    Each trial once. A step of less than the spread of a few runs is none, and one that buys nothing
    is none.
    """
    on_front = [measured[i] for i in front_of([trial.costs() for trial in measured])]
    names = differing_knobs([trial.settings for trial in measured])
    steps = []
    for axis, budget in enumerate(("memory", "time", "agreement")):
        far = [
            t for t in on_front if _is_another(t, chosen, axis) and budgets.keeps_others(t, axis)
        ]
        here = chosen.costs()[axis]
        dearer = [t for t in far if t.costs()[axis] > here and _buys(t, chosen, axis)]
        cheaper = [t for t in far if t.costs()[axis] < here]
        up, down = ("less", "more") if budget == "agreement" else ("more", "less")
        found = (
            (_best_of_nearest(dearer, axis, is_up=True), up),
            (_best_of_nearest(cheaper, axis, is_up=False), down),
        )
        steps += [
            Step(
                trial=t.number,
                budget=budget,
                direction=way,
                text=_step_text(t, chosen, budget, way, names),
            )
            for t, way in found
            if t is not None
        ]
    return tuple({step.trial: step for step in reversed(steps)}.values())[::-1]


def _best_of_nearest(trials: Sequence[Trial], axis: int, *, is_up: bool) -> Trial | None:
    """Give the trial that is nearest on an axis.

    Of those that cannot be told from it there, the cheapest.

    Args:
        trials: all on one side of the chosen one.
        axis: 0 memory, 1 time, 2 agreement.
        is_up: whether they cost more on the axis.

    Returns:
        None where there are none.
    """
    if not trials:
        return None
    nearest = (min if is_up else max)(trials, key=lambda t: t.costs()[axis])
    equal = [trial for trial in trials if not _is_another(trial, nearest, axis)]
    return min([nearest, *equal], key=_cost)


def _is_another(trial: Trial, chosen: Trial, axis: int) -> bool:
    """Tell whether two trials differ on an axis by more than chance."""
    theirs, ours = trial.costs()[axis], chosen.costs()[axis]
    if axis == 2:
        return trial.agreement is not None and abs(theirs - ours) >= MIN_GAIN
    return abs(theirs / ours - 1) >= NEARLY_EQUAL


def _buys(trial: Trial, chosen: Trial, axis: int) -> bool:
    """Tell whether spending more on one axis buys something on another."""
    pairs = zip(trial.costs(), chosen.costs(), strict=True)
    return any(
        theirs < ours and _is_another(trial, chosen, i)
        for i, (theirs, ours) in enumerate(pairs)
        if i != axis
    )


def _step_text(trial: Trial, chosen: Trial, budget: str, way: str, names: Sequence[str]) -> Message:
    """Say what a step would buy."""
    changed = [
        name for name in names if trial.settings.to_dict()[name] != chosen.settings.to_dict()[name]
    ]
    return Message(
        "{way} {budget}: {setting} takes {figures}",
        way=Term(way, "step"),
        budget=Term(budget, "step"),
        setting=label_of(trial.settings, changed),
        figures=_changed_figures(trial, chosen),
    )
