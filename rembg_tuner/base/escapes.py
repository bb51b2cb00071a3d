r"""Text that may hold a file's name, made safe for a terminal or a file of text.

A file's name may hold any byte but a slash and a zero byte: a terminal's commands, a line's end, marks that
turn the direction of writing, bytes that are not UTF-8 (Python keeps such a byte as a lone surrogate).
"""

from __future__ import annotations

import unicodedata

# Controls, invisible formats (bidirectional marks too), lone surrogates, unassigned and private
# letters, and the two separators that end a line.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # Persian words and many emoji are written with them
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # as PEP 383's surrogateescape keeps a byte
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def escape_text(text: str) -> str:
    r"""Return one line of text with everything escaped that a terminal would obey or not show.

    A byte that is not UTF-8 becomes `\xe9`, a line's end `\n`, the escape character `\x1b`, the mark that
    turns the direction of writing `\u202e`. Letters of every script stay.

    >>> escape_text("été \x1b[31m\udce9\n")
    'été \\x1b[31m\\xe9\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_safe(letter) else _escaped(letter) for letter in text)


def encode_text(text: str) -> bytes:
    r"""Return text as UTF-8 for a file; a byte of a name that is not UTF-8 becomes `\xe9`.

    >>> encode_text("a\udce9b\n")
    b'a\\xe9b\n'
    """
    return "".join(
        _escaped(letter) if _is_surrogate(letter) else letter for letter in text
    ).encode()


def escape_cell(value: object) -> object:
    """Return a CSV cell that no spreadsheet takes for a formula (OWASP, CSV injection).

    Numbers stay.

    >>> escape_cell("=1+1"), escape_cell(-1.5)
    ("'=1+1", -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _is_safe(letter: str) -> bool:
    """Return whether a terminal shows a letter as what it is."""
    return letter in _JOINERS or unicodedata.category(letter) not in _UNSAFE_CATEGORIES


def _is_surrogate(letter: str) -> bool:
    """Return whether a letter cannot be encoded."""
    return "\ud800" <= letter <= "\udfff"


def _escaped(letter: str) -> str:
    """Write a letter as Python would in a string; a byte that is not UTF-8 as that byte."""
    if _FIRST_BYTE <= ord(letter) <= _LAST_BYTE:
        return f"\\x{ord(letter) & 0xFF:02x}"
    return letter.encode("unicode_escape").decode("ascii")
