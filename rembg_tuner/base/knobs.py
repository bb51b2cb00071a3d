"""What a knob is: its words, its unit, what is allowed, and what is wrong with a value.

Knows no knob by name; `settings` declares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rembg_tuner.base.messages import Message, Term, join_parts

_TYPE_WORDS: dict[type, Message] = {
    bool: Message("on or off (true or false)"),
    int: Message("a whole number"),
    float: Message("a number"),
    str: Message("text"),
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
        """Write the values allowed, in English, for flags and tables."""
        return str(self.allowed_message())

    def allowed_message(self) -> Message:
        """Say which values are allowed."""
        if self.choices:
            return Message(
                "{choices}", choices=join_parts(Term(one, "choice") for one in self.choices)
            )
        if self.low is None or self.high is None:
            return Message("{allowed}", allowed=self.allowed or "on, off")
        return self._range(_plain(self.low), _plain(self.high))

    def _range(self, low: str, high: str) -> Message:  # noqa: PLR0911  # one for each unit
        """Say which numbers are allowed."""
        if self.or_zero and self.multiple_of:
            return Message(
                "0 or {low} to {high} px, a multiple of {multiple}",
                low=low,
                high=high,
                multiple=self.multiple_of,
            )
        if self.or_zero:
            return Message("0 or {low} to {high} px", low=low, high=high)
        match self.unit:
            case "threads":
                return Message("{low} to {high} threads", low=low, high=high)
            case "pictures":
                return Message("{low} to {high} pictures", low=low, high=high)
            case "s":
                return Message("{low} to {high} s", low=low, high=high)
            case "bytes":
                return Message("{low} to {high} bytes", low=low, high=high)
            case _:
                return Message("{low} to {high}", low=low, high=high)


def _plain(number: float) -> str:
    """Write a number without an exponent."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


def knob_problems(name: str, knob: Knob, expected: type, value: object) -> list[Message]:
    """Say what is wrong with one value alone, whatever the other knobs are; empty: nothing.

    Args:
        name: the knob's, for the sentence.
        knob: what is allowed.
        expected: bool, int, float or str.
        value: what was given.
    """
    if type(value) is not expected:  # a bool is no int, and an int is no float
        return [
            Message(
                "{knob} must be {allowed}, got {value}",
                knob=Term(name, "knob"),
                allowed=_TYPE_WORDS[expected],
                value=f"{value!r:.80}",
            )
        ]
    if isinstance(value, str):
        return _word_problems(name, knob, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_problems(name, knob, value)
    return []


def _word_problems(name: str, knob: Knob, value: str) -> list[Message]:
    """Check a word by its knob's choices."""
    if knob.choices and value not in knob.choices:
        return [
            Message(
                "{knob} must be one of {choices}, got {value!r:.80}",
                knob=Term(name, "knob"),
                choices=join_parts(Term(one, "choice") for one in knob.choices),
                value=value,
            )
        ]
    return [] if value.strip() else [Message("{knob} must not be empty", knob=Term(name, "knob"))]


def _number_problems(name: str, knob: Knob, value: float) -> list[Message]:
    """Check a number by its knob's range."""
    if value == 0 and knob.or_zero:
        return []
    fits = (knob.low or 0) <= value <= (
        knob.high or math.inf
    ) and value != math.inf  # NaN fits nowhere
    if not fits or (knob.multiple_of and value % knob.multiple_of):
        return [
            Message(
                "{knob} must be {allowed}, got {value}",
                knob=Term(name, "knob"),
                allowed=knob.allowed_message(),
                value=value,
            )
        ]
    return []
