"""Render messages: fill templates, format values, and set the spaces between scripts.

The worker imports this module, so it uses only the standard library.
"""

from __future__ import annotations

import string
from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from rembg_tuner.base.units import format_bytes, format_exact_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WIDE = ("\u3000", "\u9fff"), ("\uff00", "\uffef")  # scripts without spaces between words
_MAX_DEPTH = 8  # of nested messages; deeper nesting is a mistake, but must not end the program
_OMITTED = "…"
_COLONS = (": ", "\uff1a")
# The text before and after a value that may be omitted.
_AROUND = (
    (_COLONS[0], ""),
    (_COLONS[1], ""),
    ("; ", ""),
    ("\uff1b", ""),
    (" (", ")"),
    ("\uff08", "\uff09"),
)
_CONVERSIONS: dict[str, Callable[[object], str]] = {"r": repr, "a": ascii, "s": str}
_UNITS: dict[str, Callable[[int], str]] = {
    "bytes": format_bytes,
    "exact_bytes": format_exact_bytes,
    "seconds": format_seconds,
}


class Catalogue(Protocol):
    """The translations of one language."""

    def find(self, text: str, context: str = "") -> str:
        """Return the translation of a template; the template itself if it is not translated."""

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the form for a count."""


class English:
    """The language of the templates."""

    def find(self, text: str, context: str = "") -> str:  # noqa: ARG002  # as the protocol has it
        """Return the template."""
        return text

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the template for one, or for several."""
        return one if count == 1 else many


ENGLISH = English()


class Part:
    """A parameter that renders itself, such as a message in a message."""

    __slots__ = ()
    is_ours: ClassVar[bool] = True  # False: the text is from outside this program

    @property
    def quoted_text(self) -> str | None:
        """The text if the part is a quoted text alone; None: it is not."""
        return None

    def text_by(self, writer: Writer, depth: int) -> str:
        """Return the text.

        Args:
            writer: for the reader.
            depth: number of messages that the part is nested in.
        """
        raise NotImplementedError


class Writer:
    """Renders for one reader.

    Attributes:
        catalogue: of the reader's language.
        is_public: whether the reader is not the machine's user.
    """

    def __init__(self, catalogue: Catalogue, *, is_public: bool) -> None:
        """Set the fields."""
        self.catalogue = catalogue
        self.is_public = is_public

    def fill(self, template: str, params: Mapping[str, object], depth: int) -> str:
        """Return a template with its parameters filled in, for a message nested `depth` deep."""
        written = ""
        dropped = ""  # the closing parenthesis of an omitted value
        is_after_wide = False
        for literal, name, spec, conversion in _parse_template(template):
            text = literal.removeprefix(dropped)
            value = params.get(name or "")
            if is_after_wide:
                text = _trim_start(text, value)
            dropped, is_after_wide = "", False
            if name is None or name not in params:
                written += text if name is None else f"{text}{{{name}}}"
            elif self.omits(value):
                before, dropped = _omit_after(text)
                written += before
            else:
                filled = self._filled(value, conversion, spec, depth)
                if isinstance(value, Part) and value.is_ours:
                    text, is_after_wide = _trim_end(text, filled), _is_wide(filled[-1:])
                written += text + filled
        return written

    def omits(self, value: object) -> bool:
        """Return whether a value is a quoted text that is empty, or not for this reader."""
        quoted = value.quoted_text if isinstance(value, Part) else None
        return quoted is not None and (self.is_public or not quoted)

    def text_of(self, value: object, depth: int) -> str:
        """Return a parameter's text without a format."""
        if depth > _MAX_DEPTH:
            return _OMITTED
        if isinstance(value, Part):
            return value.text_by(self, depth)
        if isinstance(value, PurePath) and self.is_public and value.name:
            return value.name
        return _plain_text(value)

    def _filled(self, value: object, conversion: str | None, spec: str, depth: int) -> str:
        """Return a parameter's text in its format."""
        if isinstance(value, int | float) and (text := _format_number(value, spec)) is not None:
            return text
        plain = value if isinstance(value, str | int | float) else self.text_of(value, depth)
        return _format_value(plain, conversion, spec)


@lru_cache(maxsize=4096)
def _parse_template(template: str) -> tuple[tuple[str, str | None, str, str | None], ...]:
    """Split a template into literals and fields; an invalid one is a single literal."""
    try:
        return tuple(
            (literal, name, spec or "", conversion if conversion in _CONVERSIONS else None)
            for literal, name, spec, conversion in string.Formatter().parse(template)
        )
    except ValueError:
        return ((template, None, "", None),)


def _format_number(value: float, spec: str) -> str | None:
    """Return a number with its unit; None: the specification is not a unit of this program.

    A number that is too large for a size or a time has no unit.
    """
    if spec not in _UNITS or isinstance(value, bool):
        return None
    try:
        return _UNITS[spec](cast("int", value))
    except (ValueError, OverflowError):
        return _plain_text(value)


def _format_value(value: str | float, conversion: str | None, spec: str) -> str:
    """Return a value in a Python format; unformatted if the format does not fit the value."""
    if spec in _UNITS:
        return _plain_text(value)
    try:
        return format(_CONVERSIONS[conversion](value) if conversion else value, spec)
    except (ValueError, TypeError, OverflowError, MemoryError):
        return _plain_text(value)


def _plain_text(value: object) -> str:
    """Return a value as text; a number with more digits than Python writes, as its size."""
    try:
        return str(value)
    except ValueError:
        return f"a number of {cast('int', value).bit_length()} bits"


def _is_wide(letter: str) -> bool:
    """Return whether a letter is written without spaces beside it; False for no letter."""
    return any(low <= letter <= high for low, high in _WIDE) if letter else False


def _trim_start(text: str, value: object) -> str:
    """Return the text after a wide value without its space, if no narrow text or number follows."""
    is_before_number = text == " " and isinstance(value, int | float)
    is_before_wide = _is_wide(text[1:2]) or len(text) == 1
    return text[1:] if text[:1] == " " and is_before_wide and not is_before_number else text


def _trim_end(text: str, filled: str) -> str:
    """Return the text before a wide value without its space, if it is wide too."""
    return (
        text[:-1] if text[-1:] == " " and _is_wide(filled[:1]) and _is_wide(text[-2:-1]) else text
    )


def _omit_after(text: str) -> tuple[str, str]:
    """Return what remains of the text before an omitted value, and the text to drop after it."""
    for before, after in _AROUND:
        if text.endswith(before):
            kept = text.removesuffix(before)
            # Omit the clause that only introduces the value too, such as "; last log line: ".
            clause = max(kept.rfind("; "), kept.rfind("\uff1b")) if before in _COLONS else -1
            return kept if clause < 0 else kept[:clause], after
    return text + _OMITTED, ""
