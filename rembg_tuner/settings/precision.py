"""What `precision auto` means on this machine: the fastest whose agreement with fp32 holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import name_of
from rembg_tuner.settings.check import check
from rembg_tuner.settings.fastest import fastest_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Precision, Settings

# Mean absolute difference of two mattes, above which a number format is no longer the same model.
MAX_DIFFERENCE = 0.02


def resolve_precision(
    settings: Settings, machine: Machine
) -> tuple[Precision, tuple[Message, ...]]:
    """Return the number format that a setting means, and what is to be said of it.

    Args:
        settings: of others than auto the format is their own.
        machine: with what was measured of its formats.
    """
    if settings.precision != "auto":
        return settings.precision, ()
    if settings.provider != "cpu":
        return "fp32", (
            Message(
                "precision auto is fp32 with provider {provider}: no other number format was"
                " measured there",
                code="auto_is_fp32",
                provider=settings.provider,
            ),
        )
    found = rank_formats(settings, machine)
    if not found.unmeasured or found.chosen != "fp32" or found.is_timed:
        return found.chosen, _timed_notes(found)
    model, engine = settings.model, settings.engine
    reason = Message(
        "precision auto is fp32 here: how {formats} of model {model} agree with fp32 in engine"
        " {engine} was not measured; python -m rembg_tuner models agreement {model} --pictures DIR"
        " does",
        code="auto_unmeasured",
        formats=join_parts(found.unmeasured, " and "),
        model=name_of(model),
        engine=engine,
    )
    return "fp32", (reason,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """The number formats that `auto` chooses among.

    Attributes:
        candidates: those that are possible here and whose agreement holds, fp32 among them, the
            fastest first as recorded.
        unmeasured: those that are possible here and should be faster, whose agreement was not
            measured.
        times_s: what they took on this machine, seconds; empty: not timed.
        chosen: what `auto` is.
        is_timed: whether times of this machine decided it; else it is taken as recorded.
    """

    candidates: tuple[Precision, ...]
    unmeasured: tuple[Precision, ...]
    times_s: Mapping[str, float]
    chosen: Precision
    is_timed: bool

    @property
    def is_choice(self) -> bool:
        """Whether there is something to time."""
        return len(self.candidates) > 1


def rank_formats(settings: Settings, machine: Machine) -> Formats:
    """Find what `precision auto` may be, and what it is.

    Args:
        settings: model and engine count; on the CPU.
        machine: with what was measured of its formats.
    """
    model, engine = settings.model, settings.engine
    spec = ENGINES[engine]
    known = ("fp32", *spec.faster_than_fp32)
    others = [
        one for one, need in spec.precisions.items() if one not in known and not need.provider
    ]
    candidates: list[Precision] = []
    unmeasured: list[Precision] = []
    for precision in (*spec.faster_than_fp32, "fp32", *others):
        if precision == "fp32":
            candidates.append(precision)
            continue
        if any(
            one.knob == "precision"
            for one in check(replace(settings, precision=precision), machine)
        ):
            continue
        found = machine.agreement(model, engine, precision)
        if found is not None and found.mae <= MAX_DIFFERENCE:
            candidates.append(precision)
        elif found is None and precision in spec.faster_than_fp32:
            unmeasured.append(precision)
    times_s = machine.format_times(model, engine) if len(candidates) > 1 else {}
    timed = fastest_format(candidates, times_s)
    return Formats(
        candidates=tuple(candidates),
        unmeasured=tuple(unmeasured),
        times_s=times_s,
        chosen=candidates[0] if timed is None else timed,
        is_timed=timed is not None,
    )


def _timed_notes(found: Formats) -> tuple[Message, ...]:
    """Say it where the times of this machine chose another format than the recorded one."""
    recorded = found.candidates[0]
    if not found.is_timed or found.chosen == recorded:
        return ()
    times = found.times_s
    return (
        Message(
            "precision auto is {chosen} here, as timed on this machine: {chosen} took"
            " {time:seconds} and {recorded} {recorded_time:seconds}",
            code="auto_timed",
            chosen=found.chosen,
            time=times[found.chosen],
            recorded=recorded,
            recorded_time=times[recorded],
        ),
    )
