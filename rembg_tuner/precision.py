"""What `precision auto` means on this machine: the fastest whose agreement with fp32 holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rembg_tuner.models.agreement import agreement_with_fp32
from rembg_tuner.presets import unnative_text
from rembg_tuner.settings import PRECISIONS, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.presets import Capabilities

# Mean absolute difference of two mattes, above which a number format is no longer the same model.
MOST_DIFFERENCE = 0.02
_FASTEST_FIRST = ("int8", "bf16", "fp16")


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
    unmeasured: list[str] = []
    for precision in _FASTEST_FIRST:
        if precision not in PRECISIONS[settings.engine]:
            continue
        if unnative_text(precision, settings.engine, able) is not None:
            continue
        if precision == "fp16" and settings.engine == "onnxruntime":  # TensorRT's
            continue
        if precision == "int8" and f"{settings.model} {settings.engine}" not in able.int8_models:
            continue
        found = agreement_with_fp32(settings.model, settings.engine, precision, cache)
        if found is None:
            unmeasured.append(precision)
        elif found.mae <= MOST_DIFFERENCE:
            return replace(settings, precision=precision), ()
    reason = (
        f"precision auto is fp32 here: how {' and '.join(unmeasured)} of model {settings.model} agree with fp32 in engine "
        f"{settings.engine} was not measured; python -m rembg_tuner models agreement {settings.model} --pictures DIR does"
    )
    return replace(settings, precision="fp32"), (reason,) if unmeasured else ()
