"""The catalogues: whole, alive, and a new language is its .po, a line in the table, and a row here."""

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
# What a language calls the button Run, a knob, and a list of two.
EMPTY = "{path} is empty (0 bytes); save or copy the picture again"
ROWS = {"zh-CN": ("运行", "精度（precision）", "甲，乙")}


@cache
def source() -> Catalog:
    """Return all that is to be translated."""
    return tool.extracted()


@cache
def content_of(language: str) -> Catalog:
    """Read a language's catalogue."""
    with po_file(language).open("rb") as file:
        return read_po(file)


def keys_of(catalogue: Catalog) -> set[tuple[str, str | tuple[str, ...]]]:
    """Return what a catalogue has, by context and template."""
    return {
        (one.context or "", one.id if isinstance(one.id, str) else tuple(one.id))
        for one in catalogue
        if one.id
    }


def fields_of(template: str) -> list[tuple[str, str | None, str | None]]:
    """List what a template has filled in."""
    return sorted(
        (name, spec, conversion)
        for _, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    )


def test_every_language_has_its_row() -> None:
    """And only those."""
    assert sorted(ROWS) == sorted(TRANSLATED)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_language_says_its_row(language: str) -> None:
    """Words of the page, names, and joints."""
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
    """A new message has its translation before it can reach a reader.

    `make words` adds its place.
    """
    found = content_of(language)
    assert keys_of(source()) - keys_of(found) == set()
    assert [
        one.id for one in found if one.id and (one.fuzzy or not tool.is_translated(one.string))
    ] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_dead(language: str) -> None:
    """Each is of something that the program says."""
    assert keys_of(content_of(language)) - keys_of(source()) == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_fills_in_what_its_text_does(language: str) -> None:
    """The same fields, as often and written in the same way; every plural form those of several."""
    wrong = []
    for entry in content_of(language):
        many = entry.id if isinstance(entry.id, str) else entry.id[-1]
        forms = [entry.string] if isinstance(entry.string, str) else list(entry.string or ())
        if entry.id and any(fields_of(form) != fields_of(many) for form in forms):
            wrong.append(entry.id)
    assert wrong == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_stands_twice(language: str) -> None:
    """Neither in the file, nor once with a plural and once without."""
    text = po_file(language).read_text(encoding="utf-8")
    assert len(re.findall("^msgid ", text, re.MULTILINE)) == len(keys_of(content_of(language))) + 1
    plain = {key for key in keys_of(source()) if isinstance(key[1], str)}
    assert [
        key
        for key in keys_of(source())
        if (key[0], key[1][0]) in plain and isinstance(key[1], tuple)
    ] == []


def messages_of(catalogue: Catalog) -> list[Message]:
    """Return every message of a catalogue, with parameters of the kinds that its fields take."""
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
    """No field is left, and all of them cost little: benchmarks/messages.py says how little."""
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
    """Whatever it looks like."""
    message = Message(EMPTY, path=name)
    told = message_text(message, language)
    assert name in told
    assert told.replace(name, "") == message_text(Message(message.template, path=""), language)


@given(st.text(max_size=200))
def test_any_name_stays_as_it_is(name: str) -> None:
    """Whatever it holds."""
    for language in LANGUAGES:
        told = message_text(Message(EMPTY, path=name), language)
        assert name in told


def test_a_hostile_name_costs_nothing() -> None:
    """A long one of what joins sentences and opens fields takes no longer than any other."""
    for piece in ("; ", "{x}", " and ", "：", "a"):
        message = Message(EMPTY, path=piece * 100_000)
        began_s = time.process_time()
        for language in LANGUAGES:
            message_text(message, language)
        assert time.process_time() - began_s < 0.1


# A new language


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the page one language more, as a contributor would.

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
    """What it lacks is English; the page offers it, and browsers that ask for it get it."""
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
    """Neither Chinese nor an error."""
    assert catalogue_of("xx") is ENGLISH
    assert page_text("run", "xx") == page_text("run", SOURCE)
    assert message_text(Message(EMPTY, path="a"), "xx").startswith("a is empty")


def test_widgets_get_no_braces() -> None:
    """Gradio shows the raw mark of a word that has them."""
    for language, found in widgets.page_words().translations_dict.items():
        assert language in LANGUAGES
        assert [
            key for key, text in found.items() if "{" in text or not re.fullmatch(r"[\w.& -]+", key)
        ] == []


def test_what_a_library_said_is_left_out() -> None:
    """On the page, with the joint before it."""
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
    """The first of ours, by the browser's own order."""
    assert language_of(wish) == language


@given(st.text(max_size=60))
def test_any_wish_has_a_language(text: str) -> None:
    """Whatever a browser sends, one of the table is chosen."""
    assert language_of(text) in LANGUAGES
