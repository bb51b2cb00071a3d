r"""Escape text that may contain file names, for terminals and text files.

A file name may contain any byte except a slash and a zero byte: terminal commands, line breaks,
characters that change the writing direction, and bytes that are not UTF-8. Python stores such a
byte as a lone surrogate.
"""

from __future__ import annotations

import unicodedata

# Controls, invisible formats (including bidirectional marks), lone surrogates, unassigned and
# private characters, and the two separators that end a line.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # Persian words and many emoji contain them
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # surrogates of PEP 383's surrogateescape
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def escape_text(text: str) -> str:
    r"""Return one line of text with control characters and invisible characters escaped.

    A byte that is not UTF-8 becomes `\xe9`, a line break `\n`, the escape character `\x1b`, and a
    right-to-left override `\u202e`. Letters of every script are kept.

    >>> escape_text("été \x1b[31m\udce9\n")
    'été \\x1b[31m\\xe9\\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_safe(letter) else _escaped(letter) for letter in text)


def encode_text(text: str) -> bytes:
    r"""Return text as UTF-8 for a file; a byte that is not UTF-8 becomes `\xe9`.

    >>> encode_text("a\udce9b\n")
    b'a\\xe9b\n'
    """
    return "".join(
        _escaped(letter) if _is_surrogate(letter) else letter for letter in text
    ).encode()


def escape_cell(value: object) -> object:
    """Return a CSV cell that spreadsheets do not evaluate as a formula (OWASP, CSV injection).

    Numbers are returned unchanged.

    >>> escape_cell("=1+1"), escape_cell(-1.5)
    ("'=1+1", -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _is_safe(letter: str) -> bool:
    """Return whether a terminal displays a character unchanged."""
    return letter in _JOINERS or unicodedata.category(letter) not in _UNSAFE_CATEGORIES


def _is_surrogate(letter: str) -> bool:
    """Return whether a character is a surrogate, which UTF-8 cannot encode."""
    return "\ud800" <= letter <= "\udfff"


def _escaped(letter: str) -> str:
    """Return a character as a Python escape sequence; for a surrogate of a byte, that byte."""
    if _FIRST_BYTE <= ord(letter) <= _LAST_BYTE:
        return f"\\x{ord(letter) & 0xFF:02x}"
    return letter.encode("unicode_escape").decode("ascii")
