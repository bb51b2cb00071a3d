"""The page's messages of every kind, in both languages, equal the recorded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from triggered_messages import TRIGGERS, Said

from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.base.yaml_files import read_mapping
from rembg_tuner.settings.results import Failure
from rembg_tuner.settings.settings import ENGINE_NAMES, KNOBS
from rembg_tuner.web.locale.words import message_text

RECORDED_LANGUAGES = ("en", "zh-CN")  # the languages of the record; a new language has none
RECORD = read_mapping(Path(__file__).with_name("recorded_messages.yaml"))


def messages_of(said: Said) -> list[Any]:
    """Return the messages of a triggered error, failure or list."""
    if isinstance(said, list | tuple):
        return list(said)
    return [said.message if isinstance(said, TunerError | Failure) else said]


def recorded(row: Any, language: str) -> list[str]:
    """Return the texts of a row of the record in a language.

    Placeholders stand for the lists of all knobs and engines, which grow.
    """
    found = row.get("now", {}).get(language, row[language])
    knobs = message_text(
        Message("{knobs}", knobs=join_parts(Term(name, "knob") for name in KNOBS)), language
    )
    engines = message_text(
        Message("{engines}", engines=join_parts(Term(one, "choice") for one in ENGINE_NAMES)),
        language,
    )
    said = [found] if isinstance(found, str) else list(found)
    return [one.replace("@KNOBS@", knobs).replace("@ENGINES@", engines) for one in said]


def test_the_record_is_of_every_trigger() -> None:
    """The record has more than fifty entries, and each deliberate difference has a reason."""
    assert RECORD.keys() == TRIGGERS.keys()
    assert len(RECORD) >= 50
    assert [name for name, row in RECORD.items() if ("now" in row) != ("why" in row)] == []  # type: ignore[operator]  # rows are mappings


@pytest.mark.parametrize("name", TRIGGERS)
def test_the_page_says_what_it_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message is triggered and rendered for a reader of the page."""
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    said = messages_of(TRIGGERS[name](tmp_path))
    for language in RECORDED_LANGUAGES:
        found = [message_text(one, language) for one in said]
        assert found == recorded(RECORD[name], language)
