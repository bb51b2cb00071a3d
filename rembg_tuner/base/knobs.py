"""The declaration of a setting (a knob): texts, unit and allowed values; and the check of a value.

The knobs themselves are declared in `settings`.
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
    """The declaration of one setting, besides its name, type and default.

    Attributes:
        summary: one sentence: what it is, and its cost or benefit.
        group: its heading on the page and in the help of the command line.
        unit: of the number, for display; empty for words and switches.
        low, high: the minimum and the maximum number allowed, both included.
        multiple_of: numbers other than 0 must be a multiple of this.
        or_zero: whether 0 is allowed below `low`; 0 means the original or own size.
        choices: the allowed words; empty: any.
        allowed: description of the allowed texts if there are no choices.
        engines: the engines that support it; empty: all.
        reload: whether another value needs another worker, because the session depends on it.
        default_text: the default as shown to users, if the value alone would mislead.
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
        """Return the allowed values as English text, for flags and tables."""
        return str(self.allowed_message())

    def allowed_message(self) -> Message:
        """Return the allowed values."""
        if self.choices:
            return Message(
                "{choices}", choices=join_parts(Term(one, "choice") for one in self.choices)
            )
        if self.low is None or self.high is None:
            return Message("{allowed}", allowed=self.allowed or "on, off")
        return self._range(_plain(self.low), _plain(self.high))

    def _range(self, low: str, high: str) -> Message:  # noqa: PLR0911  # one for each unit
        """Return the allowed numbers."""
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
    """Return a number as text without an exponent."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


def knob_problems(name: str, knob: Knob, expected: type, value: object) -> list[Message]:
    """Return what is wrong with one value, independent of other knobs; empty: nothing.

    Args:
        name: the knob's name, for the message.
        knob: the knob.
        expected: its type: bool, int, float or str.
        value: the given value.
    """
    if type(value) is not expected:  # a bool is not an int, and an int is not a float
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
    """Check a word against its knob's choices."""
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
    """Check a number against its knob's range."""
    if value == 0 and knob.or_zero:
        return []
    # NaN is outside every range.
    fits = (knob.low or 0) <= value <= (knob.high or math.inf) and value != math.inf
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
