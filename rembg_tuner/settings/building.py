"""Create Settings from values by name, as given by YAML, JSON, flags or forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.settings.settings import KNOBS, Settings, type_of, value_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def build_settings(values: Mapping[str, object]) -> Settings:
    """Create Settings from values by name.

    Args:
        values: by knob; missing ones take their defaults.

    Raises:
        SettingsError: a name is unknown, or a value is not allowed.
    """
    settings, problems, _ = build_with_defaults(values)
    if problems:
        raise SettingsError(problems)
    return settings


def build_with_defaults(
    values: Mapping[str, object],
) -> tuple[Settings, list[Message], frozenset[str]]:
    """Create Settings, with the default in place of each value that is not allowed.

    Args:
        values: by knob; missing ones take their defaults.

    Returns:
        The settings, the problems of single values, and the knobs that have them.
    """
    given = interpret_values(values)
    problems = {name: value_problems(name, value) for name, value in given.items()}
    wrong = frozenset(name for name, found in problems.items() if found)
    allowed = {name: value for name, value in given.items() if name not in wrong}
    settings = Settings(**allowed)  # type: ignore[arg-type]  # each was checked
    ordered = (one for name in KNOBS for one in problems.get(name, []))
    return settings, [*unknown_problems(values), *ordered], wrong


def unknown_problems(names: Iterable[str]) -> list[Message]:
    """Return a problem for each name that is not a knob's."""
    known = join_parts(Term(name, "knob") for name in KNOBS)
    return [
        Message(
            "{name} is not a setting; the settings are {known}", name=f"{name!r:.80}", known=known
        )
        for name in names
        if name not in KNOBS
    ]


def interpret_values(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of known knobs with the types that YAML, JSON or a form lose."""
    return {name: _interpret(name, value) for name, value in values.items() if name in KNOBS}


def _interpret(name: str, value: object) -> object:
    """Convert YAML's `off`, which is False, to the word, and a whole number to a float.

    A number that is too large for a float becomes infinite.
    """
    if value is False and "off" in KNOBS[name].choices:
        return "off"
    if type_of(name) is not float or type(value) is not int:
        return value
    if abs(value) > 2**1000:
        return math.inf if value > 0 else -math.inf
    return float(value)
