"""File names in text: escaped for terminals, spreadsheets and encoders."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.escapes import encode_text, escape_cell, escape_text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        pytest.param("a\x1b[2J\x1b]0;x\x07b", "a\\x1b[2J\\x1b]0;x\\x07b", id="csi-osc-bell"),
        pytest.param("a\x9b31mb", "a\\x9b31mb", id="c1-csi"),
        pytest.param("a\nb\r\tc\x7f", "a\\nb\\r\\tc\\x7f", id="line-ends"),
        pytest.param("a\u2028b\u2029", "a\\u2028b\\u2029", id="separators"),
        pytest.param("gpj\u202efig.\u2066x", "gpj\\u202efig.\\u2066x", id="direction"),
        pytest.param("a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\xad", id="invisible"),
        pytest.param("\U000e0041", "\\U000e0041", id="tags"),
        pytest.param("\udce9t\udce9.jpg", "\\xe9t\\xe9.jpg", id="not-utf-8"),
        pytest.param("\ud800", "\\ud800", id="lone-surrogate"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, escaped: str) -> None:
    """Controls, line ends, direction marks, invisible characters and invalid UTF-8 are escaped."""
    assert escape_text(text) == escaped


@pytest.mark.parametrize(
    "text", ["été", "照片\u3000一", "می\u200cخواهم", "👩\u200d🚀", "a b·c → d ± \\x1b"]
)
def test_letters_of_every_script_stay(text: str) -> None:
    """Words, wide spaces, joiners of Persian and emoji, and backslashes are unchanged."""
    assert escape_text(text) == text


@given(st.binary())
def test_a_name_of_any_bytes_becomes_one_visible_line_of_utf_8(name: bytes) -> None:
    """The escaped name has no control characters and can be encoded as UTF-8."""
    decoded = os.fsdecode(name)
    escaped = escape_text(decoded)
    assert escaped.encode().decode() == escaped
    assert not any(unicodedata.category(letter) == "Cc" for letter in escaped)
    encode_text(decoded).decode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    """A name that a spreadsheet would compute gets a quote; a number stays a number."""
    assert escape_cell(f"{start}1+1") == f"'{start}1+1"
    assert escape_cell(-1) == -1
    assert escape_cell("a=1") == "a=1"
