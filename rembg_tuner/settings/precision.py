"""The meaning of `precision auto` on a machine: the fastest format that agrees with fp32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import name_of
from rembg_tuner.settings.check import check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Precision, Settings

# Above this mean absolute difference of two mattes, a number format changes the model's result.
MAX_DIFFERENCE = 0.02
# A preferred format is kept unless another is faster by this share, so that two formats that take
# the same time do not change places from one timing to the next.
TIE_MARGIN = 0.10
Format = TypeVar("Format", bound=str)


def resolve_precision(
    settings: Settings, machine: Machine
) -> tuple[Precision, tuple[Message, ...]]:
    """Return the number format that a setting means, and notes on the choice.

    Args:
        settings: if their precision is not auto, it is returned.
        machine: with the measurements of its formats.
    """
    if settings.precision != "auto":
        return settings.precision, ()
    if settings.provider != "cpu":
        return "fp32", (
            Message(
                "precision auto is fp32 with provider {provider}: no other number format was"
                " measured with it",
                code="auto_is_fp32",
                provider=settings.provider,
            ),
        )
    found = rank_formats(settings, machine)
    if not found.unmeasured or found.chosen != "fp32" or found.is_timed:
        return found.chosen, _timed_notes(found)
    note = Message(
        "precision auto is fp32 here: the agreement of {formats} with fp32 was not measured for"
        " model {model} in engine {engine}; measure it with python -m rembg_tuner models agreement"
        " {model} --pictures DIR",
        code="auto_unmeasured",
        formats=join_parts(found.unmeasured, " and "),
        model=name_of(settings.model),
        engine=settings.engine,
    )
    return "fp32", (note,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """The number formats that `auto` chooses from.

    Attributes:
        candidates: the formats that are possible here and agree with fp32, fp32 included, the
            fastest first according to the record.
        unmeasured: the formats that are possible here and should be faster, but whose agreement was
            not measured.
        times_s: their times on this machine, seconds; empty: not timed.
        chosen: what `auto` means.
        is_timed: whether this machine's times decided it; otherwise the record did.
    """

    candidates: tuple[Precision, ...]
    unmeasured: tuple[Precision, ...]
    times_s: Mapping[str, float]
    chosen: Precision
    is_timed: bool

    @property
    def is_choice(self) -> bool:
        """Whether there are several formats to time."""
        return len(self.candidates) > 1


def rank_formats(settings: Settings, machine: Machine) -> Formats:
    """Find the formats that `precision auto` may mean, and choose one.

    Args:
        settings: their model and engine decide; the provider is the CPU.
        machine: with the measurements of its formats.
    """
    model, engine = settings.model, settings.engine
    spec = ENGINES[engine]
    others = (name for name, need in spec.precisions.items() if not need.provider)
    states = {
        one: _state_of(replace(settings, precision=one), machine)
        for one in (*spec.faster_than_fp32, "fp32", *others)
    }
    candidates = tuple(one for one, state in states.items() if state == "agrees")
    times_s = machine.format_times(model, engine) if len(candidates) > 1 else {}
    timed = fastest_format(candidates, times_s)
    return Formats(
        candidates=candidates,
        unmeasured=tuple(one for one in spec.faster_than_fp32 if states[one] == "unmeasured"),
        times_s=times_s,
        chosen=candidates[0] if timed is None else timed,
        is_timed=timed is not None,
    )


def _state_of(
    settings: Settings, machine: Machine
) -> Literal["agrees", "differs", "unmeasured", "impossible"]:
    """Return how a setting's number format agrees with fp32; fp32 agrees with itself."""
    if settings.precision == "fp32":
        return "agrees"
    if any(one.knob == "precision" for one in check(settings, machine)):
        return "impossible"
    found = machine.agreement(settings.model, settings.engine, settings.precision)
    if found is None:
        return "unmeasured"
    return "agrees" if found.mae <= MAX_DIFFERENCE else "differs"


def _timed_notes(found: Formats) -> tuple[Message, ...]:
    """Return a note if this machine's times chose another format than the record."""
    recorded = found.candidates[0]
    if not found.is_timed or found.chosen == recorded:
        return ()
    times = found.times_s
    return (
        Message(
            "precision auto is {chosen}, as timed on this machine: {chosen} took {time:seconds},"
            " {recorded} took {recorded_time:seconds}",
            code="auto_timed",
            chosen=found.chosen,
            time=times[found.chosen],
            recorded=recorded,
            recorded_time=times[recorded],
        ),
    )


def fastest_format(candidates: Sequence[Format], times_s: Mapping[str, float]) -> Format | None:
    """Choose the fastest format.

    Args:
        candidates: the formats to choose from, the preferred one first.
        times_s: seconds by format, greater than 0; some may be missing.

    Returns:
        The first candidate that takes at most `TIE_MARGIN` more time than the fastest. None: some
        candidate was not timed.

    >>> fastest_format(["int8", "fp32"], {"int8": 0.021, "fp32": 0.020})
    'int8'
    >>> fastest_format(["int8", "fp32"], {"int8": 0.024, "fp32": 0.020})
    'fp32'
    """
    if not candidates or not times_s.keys() >= set(candidates):
        return None
    limit_s = min(times_s[one] for one in candidates) * (1 + TIE_MARGIN)
    return next(one for one in candidates if times_s[one] <= limit_s)


def stable_times(before_s: Mapping[str, float], now_s: Mapping[str, float]) -> Mapping[str, float]:
    """Return the times to store after another timing: the earlier ones unless something changed.

    Args:
        before_s: the stored times; empty: none.
        now_s: the new times.

    Returns:
        The earlier times if the same formats were timed, and each one's time relative to the
        fastest changed by at most `TIE_MARGIN`: that is noise, and must not change the choice.
    """
    if before_s.keys() != now_s.keys():
        return now_s
    before, now = (
        {name: time / min(times.values()) for name, time in times.items()}
        for times in (before_s, now_s)
    )
    is_same = all(abs(now[name] / before[name] - 1) <= TIE_MARGIN for name in now)
    return before_s if is_same else now_s
