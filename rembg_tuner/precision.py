"""What `precision auto` means on this machine: the fastest whose agreement with fp32 holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rembg_tuner.check import check
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.messages import Message, listed
from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.presets import unnative_text

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.machine import Machine
    from rembg_tuner.presets import Capabilities
    from rembg_tuner.settings import Precision, Settings

# Mean absolute difference of two mattes, above which a number format is no longer the same model.
MOST_DIFFERENCE = 0.02


def choose_precision(
    settings: Settings, able: Capabilities, cache: Path
) -> tuple[Settings, tuple[str, ...]]:
    """Put a precision in the place of `auto`.

    Args:
        settings: others than auto come back as they are.
        able: what this machine can do.
        cache: where this machine's own agreements are kept.

    Returns:
        The settings, and what is to be said of it.
    """
    if settings.precision != "auto":
        return settings, ()
    if settings.provider != "cpu":
        reason = f"precision auto is fp32 with provider {settings.provider}: no other number format was measured there"
        return replace(settings, precision="fp32"), (reason,)
    unmeasured: list[str] = []
    for precision in ENGINES[settings.engine].faster_than_fp32:
        if unnative_text(precision, settings.engine, able) is not None:
            continue  # never int8, which runs on every CPU
        if precision == "int8" and f"{settings.model} {settings.engine}" not in able.int8_models:
            continue
        found = agreement_with_fp32(settings.model, settings.engine, precision, cache, int8_kind=able.int8_kind)  # fmt: skip
        if found is None:
            unmeasured.append(precision)
        elif found.mae <= MOST_DIFFERENCE:
            return replace(settings, precision=precision), ()
    reason = (
        f"precision auto is fp32 here: how {' and '.join(unmeasured)} of model {settings.model} agree with fp32 in engine "
        f"{settings.engine} was not measured; python -m rembg_tuner models agreement {settings.model} --pictures DIR does"
    )
    return replace(settings, precision="fp32"), (reason,) if unmeasured else ()


def meaning_of_precision(
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
        return "fp32", (Message("precision auto is fp32 with provider {provider}: no other number format was measured there", code="auto_is_fp32", provider=settings.provider),)  # fmt: skip
    model, engine = settings.model, settings.engine
    unmeasured: list[str] = []
    for precision in ENGINES[engine].faster_than_fp32:
        if any(one.knob == "precision" for one in check(replace(settings, precision=precision), machine)):  # fmt: skip
            continue
        found = machine.agreement(model, engine, precision)
        if found is None:
            unmeasured.append(precision)
        elif found.mae <= MOST_DIFFERENCE:
            return precision, ()
    if not unmeasured:
        return "fp32", ()
    reason = Message("precision auto is fp32 here: how {formats} of model {model} agree with fp32 in engine {engine} was not measured; python -m rembg_tuner models agreement {model} --pictures DIR does", code="auto_unmeasured", formats=listed(unmeasured, " and "), model=model, engine=engine)  # fmt: skip
    return "fp32", (reason,)
