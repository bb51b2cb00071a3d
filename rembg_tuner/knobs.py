"""What a knob is: its words, its unit, what is allowed, and what is wrong with a value.

Knows no knob by name; `settings` declares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_TYPE_WORDS: dict[type, str] = {
    bool: "on or off (true or false)",
    int: "a whole number",
    float: "a number",
    str: "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """What is known of one setting besides its name, type and default.

    Attributes:
        summary: one sentence: what it is, and what it costs or brings.
        group: the heading it stands under on the page and in the README.
        unit: of the number, for people; empty for words and switches.
        low, high: the least and the greatest number allowed, both included.
        multiple_of: numbers other than 0 must be a multiple of this.
        or_zero: 0 is allowed below `low`, and means "as it is".
        choices: the words allowed; empty for any.
        allowed: what is allowed, in words, of a text without choices.
        engines: the engines that honour it; empty for all.
        reload: another value needs another worker, since the session holds it.
        default_text: how people are told the default where the value alone would mislead.
    """

    summary: str
    group: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    multiple_of: int | None = None
    or_zero: bool = False
    choices: tuple[str, ...] = ()
    allowed: str = ""
    engines: frozenset[str] = frozenset()
    reload: bool = True
    default_text: str = ""

    def allowed_text(self) -> str:
        """Tell the values allowed, for messages and tables."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None:
            return self.allowed or "on, off"
        zero = "0 or " if self.or_zero else ""
        high = "" if self.high is None else f" to {_plain(self.high)}"
        multiple = f", a multiple of {self.multiple_of}" if self.multiple_of else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{zero}{_plain(self.low)}{high}{unit}{multiple}"


def _plain(number: float) -> str:
    """Write a number without an exponent."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


def problems_of_value(name: str, knob: Knob, expected: type, value: object) -> list[str]:
    """Say what is wrong with one value alone, whatever the other knobs are; empty: nothing.

    Args:
        name: the knob's, for the sentence.
        knob: what is allowed.
        expected: bool, int, float or str.
        value: what was given.
    """
    if type(value) is not expected:  # a bool is no int, and an int is no float
        return [f"{name} must be {_TYPE_WORDS[expected]}, got {value!r:.80}"]
    if isinstance(value, str):
        return _word_problems(name, knob, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_problems(name, knob, value)
    return []


def _word_problems(name: str, knob: Knob, value: str) -> list[str]:
    """Check a word by its knob's choices."""
    if knob.choices and value not in knob.choices:
        return [f"{name} must be one of {', '.join(knob.choices)}, got {value!r:.80}"]
    return [] if value.strip() else [f"{name} must not be empty"]


def _number_problems(name: str, knob: Knob, value: float) -> list[str]:
    """Check a number by its knob's range."""
    if value == 0 and knob.or_zero:
        return []
    fits = (knob.low or 0) <= value <= (
        knob.high or math.inf
    ) and value != math.inf  # NaN fits nowhere
    if not fits or (knob.multiple_of and value % knob.multiple_of):
        return [f"{name} must be {knob.allowed_text()}, got {value}"]
    return []
