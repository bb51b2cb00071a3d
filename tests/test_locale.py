"""The catalogues: complete, without unused entries, and open to a new language.

A new language needs a .po file, a line in LANGUAGES and a row in ROWS.
"""

from __future__ import annotations

import re
import string
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from babel.messages.pofile import read_po, write_po
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.messages import Message, Quoted, Term, join_parts, plural, render
from rembg_tuner.base.rendering import ENGLISH
from rembg_tuner.web.locale import catalogues, words
from rembg_tuner.web.locale.catalogues import LANGUAGES, SOURCE, catalogue_of, language_of, po_file
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages import assets, widgets
from tools import words as tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from babel.messages.catalog import Catalog

TRANSLATED = [language for language in LANGUAGES if language != SOURCE]
EMPTY = "{path} is empty (0 bytes); save or copy the picture again"
# The button Run, a knob's name, and a list of two in each language.
ROWS = {"zh-CN": ("运行", "精度（precision）", "甲，乙")}


@cache
def source() -> Catalog:
    """Return all texts to translate."""
    return tool.extracted()


@cache
def content_of(language: str) -> Catalog:
    """Read a language's catalogue."""
    with po_file(language).open("rb") as file:
        return read_po(file)


def keys_of(catalogue: Catalog) -> set[tuple[str, str | tuple[str, ...]]]:
    """Return the keys of a catalogue: context and template."""
    return {
        (one.context or "", one.id if isinstance(one.id, str) else tuple(one.id))
        for one in catalogue
        if one.id
    }


def fields_of(template: str) -> list[tuple[str, str | None, str | None]]:
    """List the fields of a template."""
    return sorted(
        (name, spec, conversion)
        for _, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    )


def test_every_language_has_its_row() -> None:
    """Every language except English has a row, and no other."""
    assert sorted(ROWS) == sorted(TRANSLATED)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_language_says_its_row(language: str) -> None:
    """Page words, names and lists are translated."""
    run, precision, pair = ROWS[language]
    assert page_text("run", language) == run
    assert message_text(Message("{knob}", knob=Term("precision", "knob")), language) == precision
    assert (
        message_text(
            Message(
                "{two}", two=join_parts(Term(one, "choice") for one in re.split("[，,]", pair))
            ),
            language,
        )
        == pair
    )


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated(language: str) -> None:
    """Every message has a translation.

    `make words` adds missing entries.
    """
    found = content_of(language)
    assert keys_of(source()) - keys_of(found) == set()
    assert [
        one.id for one in found if one.id and (one.fuzzy or not tool.is_translated(one.string))
    ] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_dead(language: str) -> None:
    """Each translation belongs to a text of the program."""
    assert keys_of(content_of(language)) - keys_of(source()) == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_fills_in_what_its_text_does(language: str) -> None:
    """Every translation and plural form has the same fields as its text."""
    wrong = []
    for entry in content_of(language):
        many = entry.id if isinstance(entry.id, str) else entry.id[-1]
        forms = [entry.string] if isinstance(entry.string, str) else list(entry.string or ())
        if entry.id and any(fields_of(form) != fields_of(many) for form in forms):
            wrong.append(entry.id)
    assert wrong == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_stands_twice(language: str) -> None:
    """No text is twice in the file, nor both with and without a plural."""
    text = po_file(language).read_text(encoding="utf-8")
    assert len(re.findall("^msgid ", text, re.MULTILINE)) == len(keys_of(content_of(language))) + 1
    plain = {key for key in keys_of(source()) if isinstance(key[1], str)}
    assert [
        key
        for key in keys_of(source())
        if (key[0], key[1][0]) in plain and isinstance(key[1], tuple)
    ] == []


def messages_of(catalogue: Catalog) -> list[Message]:
    """Return every message of a catalogue, with parameters that fit its fields."""
    made = []
    for entry in catalogue:
        if not entry.id or entry.context:
            continue
        one, many = (entry.id, None) if isinstance(entry.id, str) else entry.id
        params = tuple(
            (name, "cup.png" if conversion or not spec else 12_345_678)
            for name, spec, conversion in dict.fromkeys(fields_of(many or one))
        )
        made.append(Message.make(one, many=many, params=(("n", 3), *params) if many else params))
    return made


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_rendered(language: str) -> None:
    """No field stays unfilled, and all messages render in less than 0.2 s of CPU time.

    benchmarks/messages.py measures the time of each.
    """
    messages, catalogue = messages_of(source()), catalogue_of(language)
    assert len(messages) >= 200
    began_s = time.process_time()
    told = [render(message, catalogue, is_public=True) for message in messages]
    assert time.process_time() - began_s < 0.2
    assert [one for one in told if re.search(r"\{\w*\}", one)] == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "name",
    ["cup; not found.png", "{x}.png", "{0} and {}.png", "time, peak.png", "人；物.png", "%s.png"],
)
def test_a_files_name_stays_as_it_is(name: str, language: str) -> None:
    """A file name is not changed, also if it contains fields or separators."""
    message = Message(EMPTY, path=name)
    told = message_text(message, language)
    assert name in told
    assert told.replace(name, "") == message_text(Message(message.template, path=""), language)


@given(st.text(max_size=200))
def test_any_name_stays_as_it_is(name: str) -> None:
    """Any file name is part of the message unchanged."""
    for language in LANGUAGES:
        told = message_text(Message(EMPTY, path=name), language)
        assert name in told


def test_a_hostile_name_costs_nothing() -> None:
    """A long name of separators and fields is rendered in less than 0.1 s."""
    for piece in ("; ", "{x}", " and ", "：", "a"):
        message = Message(EMPTY, path=piece * 100_000)
        began_s = time.process_time()
        for language in LANGUAGES:
            message_text(message, language)
        assert time.process_time() - began_s < 0.1


# A new language


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Add a language as a contributor would.

    A line in the table, and a file with a few texts.
    """
    monkeypatch.setattr(catalogues, "LANGUAGES", {**LANGUAGES, "de": "Deutsch"})
    for module in (widgets, assets, tool):
        monkeypatch.setattr(module, "LANGUAGES", catalogues.LANGUAGES)
    place = tmp_path / "de.po"
    monkeypatch.setattr(
        catalogues, "po_file", lambda language: place if language == "de" else po_file(language)
    )
    monkeypatch.setattr(tool, "po_file", catalogues.po_file)
    caches: tuple[Any, ...] = (
        catalogue_of,
        words.all_words,
        widgets.page_words,
        assets.language_script,
    )
    for one in caches:
        one.cache_clear()
    made = tool.updated("de", source())
    for text, context, told in (("Run", "run", "Starten"), (EMPTY, None, "{path} ist leer")):
        entry = made.get(text, context)
        assert entry is not None
        entry.string = told
    made.add(("{n} Bild", "{n} Bilder"), ("{n} Bild!", "{n} Bilder!"))
    with place.open("wb") as file:
        write_po(file, made)
    yield place
    monkeypatch.undo()
    for one in caches:
        one.cache_clear()


def test_a_new_language_is_a_file_and_a_line(german: Path) -> None:
    """Missing texts are English; the page offers the language, and browsers can request it."""
    assert (language_of("de-AT,en;q=0.5"), language_of("fr")) == ("de", SOURCE)
    assert (page_text("run", "de"), page_text("cancel", "de")) == ("Starten", "Cancel")
    empty = Message(EMPTY, path="a.png")
    assert message_text(empty, "de") == "a.png ist leer"
    told = [message_text(plural("{n} Bild", "{n} Bilder", n=n), "de") for n in (1, 2)]
    assert told == ["1 Bild!", "2 Bilder!"]
    page = widgets.page_words().translations_dict["de"]
    assert (page["run"], page["cancel"]) == ("Starten", "Cancel")
    assert (
        '<a href="?lang=de" hreflang="de" lang="de" data-language="de">Deutsch</a>'
        in widgets.language_links()
    )
    assert '"de"' in assets.page_script()


def test_an_unknown_language_is_english() -> None:
    """The texts are English, without an error."""
    assert catalogue_of("xx") is ENGLISH
    assert page_text("run", "xx") == page_text("run", SOURCE)
    assert message_text(Message(EMPTY, path="a"), "xx").startswith("a is empty")


def test_widgets_get_no_braces() -> None:
    """Gradio shows the marker instead of the word if the word has braces."""
    for language, found in widgets.page_words().translations_dict.items():
        assert language in LANGUAGES
        assert [
            key for key, text in found.items() if "{" in text or not re.fullmatch(r"[\w.& -]+", key)
        ] == []


def test_what_a_library_said_is_left_out() -> None:
    """The page omits a library's text and the separator before it."""
    message = Message("ONNX Runtime failed: {reason}", reason=Quoted("at /src/x.cc:3"))
    assert message_text(message, SOURCE) == "ONNX Runtime failed"


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        ("zh", "zh-CN"),
        ("ZH-tw", "zh-CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr", "en"),
        ("fr-CH, fr;q=0.9, zh;q=0.7, *;q=0.5", "zh-CN"),
        ("zh;q=x", "zh-CN"),
        ("en;q=0.5,zh; q=0.9", "zh-CN"),
        ("zh;q=0", "en"),
        ("zh;q=0.0,en;q=0", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_a_wish_has_its_language(wish: str | None, language: str) -> None:
    """The first supported language in the browser's order is chosen."""
    assert language_of(wish) == language


@given(st.text(max_size=60))
def test_any_wish_has_a_language(text: str) -> None:
    """Any header value selects a supported language."""
    assert language_of(text) in LANGUAGES
