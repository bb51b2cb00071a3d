"""The languages of the page: their table, and a gettext catalogue (.po) for each translation.

English is the source language and has no catalogue. A message is looked up by its English template.
A context is added where the template alone is ambiguous: the short id of a word of the page, the
kind of a Term, or "joint". Messages without a translation are shown in English.
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
# Language tag, as browsers send it, and the language's own name. The first is the source language.
LANGUAGES: dict[str, str] = {"en": "English", "zh-CN": "中文"}
SOURCE = next(iter(LANGUAGES))
_MAX_LETTERS = 2000  # the part of a header that is read


def po_file(language: str) -> Path:
    """Return the path of a language's catalogue.

    >>> po_file("zh-CN").name
    'zh_CN.po'
    """
    return FOLDER / f"{language.replace('-', '_')}.po"


def language_of(text: str | None) -> str:
    """Return the language for a tag or an Accept-Language header.

    The result is English if the table has none of the languages.

    >>> language_of("zh_HK"), language_of("fr,zh;q=0.5,en;q=0.4"), language_of(None)
    ('zh-CN', 'zh-CN', 'en')
    """
    wishes: list[tuple[float, str]] = []
    for part in (text or "")[:_MAX_LETTERS].split(","):
        tag, _, weight = part.lower().partition(";")
        found = _language_like(tag.strip())
        if found:
            number = re.fullmatch(r"q=([01](\.\d{1,3})?)", weight.strip())
            wishes.append((float(number[1]) if number else 1.0, found))
    best = max((quality for quality, _ in wishes), default=0.0)
    # A weight of 0 excludes a language (RFC 9110, section 12.4.2).
    return next((found for quality, found in wishes if quality == best > 0), SOURCE)


def _language_like(tag: str) -> str | None:
    """Return the language of the table that matches a whole tag or its first part, or None."""
    whole = tag.replace("_", "-")
    first = whole.partition("-")[0]
    exact = (one for one in LANGUAGES if one.lower() == whole)
    alike = (one for one in LANGUAGES if one.partition("-")[0].lower() == first)
    return next(exact, None) or next(alike, None)


@cache
def catalogue_of(language: str) -> Catalogue:
    """Return the catalogue of a language; the English one if the table does not have it."""
    if language == SOURCE or language not in LANGUAGES:
        return ENGLISH
    return read_catalogue_file(po_file(language))


def read_catalogue_file(path: Path) -> Catalogue:
    """Read a catalogue from a .po file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return PoCatalogue(read_po(file))


class PoCatalogue:
    """The translations of a .po file; missing and fuzzy entries are English."""

    def __init__(self, content: Catalog) -> None:
        """Index the translated entries by context and template."""
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
        """Return the translation of a template, or the template if there is none."""
        return self._texts.get((context, text), text)

    def find_plural(self, one: str, many: str, count: float) -> str:
        """Return the singular or plural form for a count."""
        forms = self._plurals.get((one, many))
        if forms is None:
            return ENGLISH.find_plural(one, many, count)
        # A count that is not a whole number takes the plural form.
        number = int(count) if count == int(count) else 2
        return forms[self._form_of(abs(number))]
