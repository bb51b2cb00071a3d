"""The contestants: stock rembg, ours in each engine and number format, and the previous release."""

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
FASTEST = "fastest"  # name of the preset and of the contestant
_BEFORE = "before, "
_TIMEOUT_S = 120.0  # stock takes 10 s for 48 MP on a slow machine
_HALF = frozenset({"bf16", "fp16"})
_NO_TWIN = frozenset({"onnxruntime", "onnxruntime, no arena"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A setting and its name; the first of a contest is the baseline of the others.

    Attributes:
        name: its name in tables.
        settings: the settings of its runs.
        is_before: whether it runs in the previous release.
    """

    name: str
    settings: Settings
    is_before: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """The contestants on this machine.

    Attributes:
        present: those that can run, stock first.
        left_out: the reasons why this machine cannot run the others, by name.
    """

    present: list[Contestant]
    left_out: dict[str, str]


def entrants_here(machine: Machine, *, held_to: str | None = None) -> Entrants:
    """Return the contestants that this machine can run, and the reasons for the others.

    Args:
        machine: the machine that runs them.
        held_to: the instruction set that OpenVINO is restricted to, which does not support half
            precision; None: all of the CPU's.
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
    """Add the previous release with the same setting after each of our OpenVINO settings."""
    result: list[Contestant] = []
    for one in entrants:
        result.append(one)
        if not one.settings.engine_spec.is_stock and one.name not in _NO_TWIN:
            result.append(replace(one, name=before_name(one.name), is_before=True))
    return result


def before_name(name: str) -> str:
    """Return the name of the same setting in the previous release."""
    return f"{_BEFORE}{name}"


def engines_compared() -> list[str]:
    """Return the engines of a contest."""
    return list(dict.fromkeys(one.settings.engine for one in _contestants()))


def _contestants() -> list[Contestant]:
    """Return stock rembg and ours in each engine and precision, all with u2netp."""
    return [
        # The values are those of a table of knobs.
        Contestant(name=name, settings=Settings(timeout_s=_TIMEOUT_S, **values))  # type: ignore[arg-type]
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
