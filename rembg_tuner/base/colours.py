"""Parse colours from text."""

from __future__ import annotations

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, join_parts

Colour = tuple[int, int, int]  # red, green, blue in 0..255

_COLOUR_NAMES: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
}


def parse_colour(text: str) -> Colour:
    """Parse a colour: a name, #rgb, or #rrggbb.

    Raises:
        SettingsError: the text is not a colour.

    >>> parse_colour("#0f8")
    (0, 255, 136)
    """
    named = _COLOUR_NAMES.get(text.strip().lower())
    if named is not None:
        return named
    digits = text.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        problem = Message(
            "a colour is {names}, #rgb or #rrggbb, got {text!r:.40}",
            names=join_parts(_COLOUR_NAMES),
            text=text,
        )
        raise SettingsError([problem]) from None
    return red, green, blue
