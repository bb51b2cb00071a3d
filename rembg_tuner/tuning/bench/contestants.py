"""The contestants: stock rembg, ours in each engine and number format, the release before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.check import check
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import STOCK_ENGINE, Settings

if TYPE_CHECKING:
    from rembg_tuner.settings.machine import Machine

STOCK = "stock rembg"
FASTEST = "fastest"  # the preset; also the contestant's name
_BEFORE = "before, "
_TIMEOUT_S = 120.0  # stock takes 10 s for 48 MP on a slow machine
_HALF = frozenset({"bf16", "fp16"})
_NO_TWIN = frozenset({"onnxruntime", "onnxruntime, no arena"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One setting under a name; the first of a contest is what the others are compared with.

    Attributes:
        is_before: it runs in the release before.
    """

    name: str
    settings: Settings
    is_before: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """The contestants on this machine.

    Attributes:
        present: stock first.
        left_out: by name, why this machine cannot run it.
    """

    present: list[Contestant]
    left_out: dict[str, str]


def entrants_here(machine: Machine, *, held_to: str | None = None) -> Entrants:
    """Return the contestants that this machine can run, and the reasons for the others.

    Args:
        machine: the one that runs them.
        held_to: the instruction set that OpenVINO is held to, which has no half precision; None:
            the CPU's.
    """
    present = []
    left_out: dict[str, str] = {}
    for one in _contestants():
        refusals = check(one.settings, machine)
        reason = (refusals[0].clause or refusals[0].reason) if refusals else None
        if held_to is not None and one.settings.precision in _HALF:
            reason = Message(
                "OpenVINO is held to {held_to}, which does not have it", held_to=held_to
            )
        if reason is None:
            present.append(one)
        else:
            left_out[one.name] = str(reason)
    settings, warnings = requested_settings(find_preset(FASTEST), {}, machine)
    if warnings:
        left_out[FASTEST] = str(warnings[0])
    else:
        present.append(Contestant(name=FASTEST, settings=replace(settings, timeout_s=_TIMEOUT_S)))
    return Entrants(present=present, left_out=left_out)


def with_the_release_before(entrants: list[Contestant]) -> list[Contestant]:
    """Add the release before with the same setting after each OpenVINO setting of ours."""
    result: list[Contestant] = []
    for one in entrants:
        result.append(one)
        if not one.settings.engine_spec.is_stock and one.name not in _NO_TWIN:
            result.append(replace(one, name=before_name(one.name), is_before=True))
    return result


def before_name(name: str) -> str:
    """Return the name of the same setting in the release before."""
    return f"{_BEFORE}{name}"


def engines_compared() -> list[str]:
    """Return the engines of a contest."""
    return list(dict.fromkeys(one.settings.engine for one in _contestants()))


def _contestants() -> list[Contestant]:
    """Return stock rembg and ours in each engine and precision, all with u2netp."""
    return [
        Contestant(name=name, settings=Settings(timeout_s=_TIMEOUT_S, **values))  # type: ignore[arg-type]  # a table of knobs
        for name, values in _TABLE.items()
    ]


_TABLE: dict[str, dict[str, object]] = {
    STOCK: {"engine": STOCK_ENGINE},
    "onnxruntime": {"engine": "onnxruntime"},
    "onnxruntime, no arena": {"engine": "onnxruntime", "cpu_mem_arena": False},
    "openvino fp32": {"engine": "openvino", "precision": "fp32"},
    "openvino bf16": {"engine": "openvino", "precision": "bf16"},
    "openvino int8": {"engine": "openvino", "precision": "int8"},
}
