"""The languages of the page: a table, and a gettext catalogue (.po) for each but English, which is the source.

A message is found by its English template, and by a context where the template alone does not say
what is
meant: the short id of a word of the page, the kind of a Term, or "joint". What is not translated is
English.
"""

from __future__ import annotations

import gettext
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from babel.messages.pofile import read_po

from rembg_tuner.base.rendering import ENGLISH

if TYPE_CHECKING:
    from collections.abc import Callable

    from babel.messages.catalog import Catalog

    from rembg_tuner.base.rendering import Catalogue

FOLDER = Path(__file__).parent
# By tag, as browsers name them, with what the language calls itself. The first is the templates'
# own.
LANGUAGES: dict[str, str] = {"en": "English", "zh-CN": "中文"}
SOURCE = next(iter(LANGUAGES))
_MOST_LETTERS = 2000  # of a header that is read


def po_file(language: str) -> Path:
    """Return where a language's catalogue lies.

    >>> po_file("zh-CN").name
    'zh_CN.po'
    """
    return FOLDER / f"{language.replace('-', '_')}.po"


def language_of(text: str | None) -> str:
    """Choose the language for a tag or an Accept-Language header.

    English for what is not in the table.

    >>> language_of("zh_HK"), language_of("fr,zh;q=0.5,en;q=0.4"), language_of(None)
    ('zh-CN', 'zh-CN', 'en')
    """
    wishes: list[tuple[float, str]] = []
    for part in (text or "")[:_MOST_LETTERS].split(","):
        tag, _, weight = part.lower().partition(";")
        found = _language_like(tag.strip())
        if found:
            number = re.fullmatch(r"q=([01](\.\d{1,3})?)", weight.strip())
            wishes.append((float(number[1]) if number else 1.0, found))
    best = max((quality for quality, _ in wishes), default=0.0)
    # A weight of 0 means: not this one (RFC 9110, section 12.4.2).
    return next((found for quality, found in wishes if quality == best > 0), SOURCE)


def _language_like(tag: str) -> str | None:
    """Return the language of the table that a tag means, whole or by its first part.

    None: there is none.
    """
    whole = tag.replace("_", "-")
    first = whole.partition("-")[0]
    exact = (one for one in LANGUAGES if one.lower() == whole)
    alike = (one for one in LANGUAGES if one.partition("-")[0].lower() == first)
    return next(exact, None) or next(alike, None)


@cache
def catalogue_of(language: str) -> Catalogue:
    """Return a language's translations; English for one that is not in the table."""
    if language == SOURCE or language not in LANGUAGES:
        return ENGLISH
    return read_catalogue_file(po_file(language))


def read_catalogue_file(path: Path) -> Catalogue:
    """Read a catalogue.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return PoCatalogue(read_po(file))


class PoCatalogue:
    """The translations of a .po file. What it lacks, or marks as fuzzy, is English."""

    def __init__(self, content: Catalog) -> None:
        """Keep what is translated, by context and template."""
        self._texts: dict[tuple[str, str], str] = {}
        self._plurals: dict[tuple[str, str], tuple[str, ...]] = {}
        self._form_of: Callable[[int], int] = gettext.c2py(content.plural_expr)
        for entry in content:
            if not entry.id or entry.fuzzy:
                continue
            if isinstance(entry.id, str):
                if isinstance(entry.string, str) and entry.string:
                    self._texts[entry.context or "", entry.id] = entry.string
            elif isinstance(entry.string, tuple | list) and all(entry.string):
                self._plurals[entry.id[0], entry.id[1]] = tuple(entry.string)

    def find(self, text: str, context: str = "") -> str:
        """Return the translation of a template; the template itself where there is none."""
        return self._texts.get((context, text), text)

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the form for a count."""
        forms = self._plurals.get((one, many))
        if forms is None:
            return ENGLISH.find_plural(one, many, count)
        # A count that is no whole number takes the form of several.
        number = int(count) if count == int(count) else 2
        return forms[self._form_of(abs(number))]
