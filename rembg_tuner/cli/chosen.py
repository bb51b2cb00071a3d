"""What the parsed arguments ask for: settings and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.base.units import format_exact_bytes
from rembg_tuner.cli.console import log
from rembg_tuner.cli.readers import LIFTED, Lifted
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.asked import asked_settings
from rembg_tuner.settings.presets import DEFAULT_PRESET, find_preset
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.budgets import Budgets

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from rembg_tuner.base.messages import Message
    from rembg_tuner.settings.settings import Settings

_Number = TypeVar("_Number", int, float)
_STARTS_FROM_DEFAULTS = ("model", "engine")  # given without --preset, the knobs' own defaults hold


def given_knobs(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the knobs that were set by flag."""
    return {
        name: value for name in KNOBS if (value := getattr(arguments, f"knob_{name}")) is not None
    }


def log_sizes(given: Mapping[str, object]) -> None:
    """Print how sizes were read, in bytes: 300MB and 300M are two things.

    Args:
        given: knobs by name, each with its value or, of a sweep, the list of them.
    """
    for name, value in given.items():
        if name.endswith("_bytes"):
            sizes = value if isinstance(value, list) else [value]
            log(f"{name}: {', '.join(format_exact_bytes(int(str(size))) for size in sizes)}")


def chosen_settings(
    arguments: argparse.Namespace,
) -> tuple[Settings, tuple[Message, ...]]:
    """Make the settings that the arguments ask for.

    Args:
        arguments: parsed, with the knobs' flags and `preset`.

    Returns:
        The settings, and what was said while making them.

    Raises:
        SettingsError, PresetError: misuse.
    """
    given = given_knobs(arguments)
    log_sizes(given)
    name = arguments.preset
    if name is None and not any(knob in given for knob in _STARTS_FROM_DEFAULTS):
        name = DEFAULT_PRESET
    preset = find_preset(name) if name is not None else None
    return asked_settings(preset, given, read_machine())


def given_budgets(arguments: argparse.Namespace) -> list[str]:
    """Name the flags of budgets that were given."""
    values = {
        "--max-memory": arguments.max_memory,
        "--max-latency": arguments.max_latency,
        "--min-agreement": arguments.min_agreement,
        "--commercial": arguments.commercial,
    }
    return [flag for flag, value in values.items() if value is not None]


def chosen_budgets(arguments: argparse.Namespace, start: Budgets | None = None) -> Budgets:
    """Make the budgets that the arguments ask for, and print how they were read.

    Args:
        arguments: parsed, with the budgets' flags.
        start: a sweep's own, which hold where no flag says otherwise; None: the defaults.
    """
    start = start or Budgets()
    models = start.models if arguments.commercial is None else None
    if arguments.commercial:
        entries = read_catalogue()
        models = frozenset(name for name, entry in entries.items() if entry.commercial == "yes")
    budgets = Budgets(
        max_memory_bytes=_given_or(arguments.max_memory, start.max_memory_bytes),
        max_time_s=_given_or(arguments.max_latency, start.max_time_s),
        min_agreement=_given_or(arguments.min_agreement, start.min_agreement),
        models=models,
    )
    log(f"budgets: {budgets.text(with_bytes=True)}")
    return budgets


def _given_or(given: _Number | Lifted | None, start: _Number | None) -> _Number | None:
    """Return what a budget's flag says, None where it lifts it, and the start's where it is not given."""
    if given is None:
        return start
    return None if given == LIFTED else given
