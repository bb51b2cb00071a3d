"""A sweep's plan.json read back as the Plan that it was written of."""

from __future__ import annotations

import os
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.settings.settings import build_settings
from rembg_tuner.tuning.budgets import read_budgets
from rembg_tuner.tuning.opening import Plan
from rembg_tuner.tuning.plan_file import PLAN_FILE, read_plan_file
from rembg_tuner.tuning.stats import CONFIRMING, MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def read_plan(folder: Path) -> Plan | None:
    """Read what is swept in a folder.

    Returns:
        None: nothing is swept there.

    Raises:
        SettingsError: plan.json does not read.
    """
    content = read_plan_file(folder)
    if content is None:
        return None
    try:
        return plan_of(content)
    except SettingsError as error:
        raise SettingsError(
            [
                Message(
                    "{file} does not read, so its sweep cannot be resumed ({problem}); name"
                    " another -o",
                    file=folder / PLAN_FILE,
                    problem=error.message,
                )
            ]
        ) from error


def plan_of(content: Mapping[str, object]) -> Plan:
    """Make a Plan of what `Plan.to_dict` returned.

    What an older version did not write is the default.

    Raises:
        SettingsError: with every part that is missing or cannot be.
    """
    values = {"confirming": CONFIRMING, "again": False, "budgets": {}, **content}
    problems = [
        Message("its {part} cannot be {value}", part=name, value=reprlib.repr(values.get(name)))
        for name, may_be in _PARTS.items()
        if not may_be(values.get(name))
    ]
    if problems:
        raise SettingsError(problems)
    parts = cast("dict[str, Any]", values)
    return Plan(
        pictures=tuple(Path(name) for name in parts["pictures"]),
        axes={name: tuple(axis) for name, axis in parts["axes"].items()},
        base=build_settings(parts["base"]),
        reference=parts["reference"],
        trials=parts["trials"],
        rounds=parts["rounds"],
        seed=parts["seed"],
        again=parts["again"],
        confirming=parts["confirming"],
        budgets=read_budgets(parts["budgets"]),
    )


def _is_whole(value: object, least: int) -> bool:
    """Return whether a value is a whole number from a minimum to MAX_COUNT."""
    return type(value) is int and least <= value <= MAX_COUNT


def _are_paths(value: object) -> bool:
    """Return whether a value is a list of paths, and not empty."""
    return isinstance(value, list) and bool(value) and all(map(_is_path, value))


def _is_path(value: object) -> bool:
    """Return whether a value can be a file's path."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False


def _are_axes(value: object) -> bool:
    """Return whether a value is lists by name, none of them empty."""
    return isinstance(value, dict) and all(isinstance(one, list) and one for one in value.values())


_PARTS: dict[str, Callable[[object], bool]] = {
    "pictures": _are_paths,
    "axes": _are_axes,
    "base": lambda value: isinstance(value, dict),
    "reference": _is_path,
    "trials": lambda value: value is None or _is_whole(value, 1),
    "rounds": lambda value: _is_whole(value, 1),
    "seed": lambda value: type(value) is int,
    "again": lambda value: isinstance(value, bool),
    "confirming": lambda value: _is_whole(value, 0),
    "budgets": lambda value: isinstance(value, dict),
}
