"""The texts of the page in the reader's language: words by short ids, names and messages.

The English words are in locale/en.yaml; `catalogues` reads the other languages.
"""

from __future__ import annotations

from functools import cache

from rembg_tuner.base.messages import Message, render
from rembg_tuner.base.yaml_files import read_mapping
from rembg_tuner.web.locale.catalogues import FOLDER, SOURCE, catalogue_of


@cache
def _source_words() -> dict[str, str]:
    """Read the page's words in English, by key."""
    return {key: str(text) for key, text in read_mapping(FOLDER / f"{SOURCE}.yaml").items()}


@cache
def all_words(language: str) -> dict[str, str]:
    """Return every word of the page in a language, by key."""
    find = catalogue_of(language).find
    return {key: find(text, key) for key, text in _source_words().items()}


def page_text(key: str, language: str, **values: object) -> str:
    """Return a word or a sentence by its key, with its placeholders filled in.

    Raises:
        KeyError: there is no such key, or a value is missing. This is a programming error.
    """
    return all_words(language)[key].format(**values)


def choice_text(value: str, language: str) -> str:
    """Return the text of a knob's choice; in Chinese followed by its name, except proper names."""
    return catalogue_of(language).find(value, "choice")


def setting_name(name: str, language: str) -> str:
    """Return the name of a preset or the visitor's own setting; in Chinese followed by the id."""
    return catalogue_of(language).find(name, "preset")


def message_text(said: Message, language: str) -> str:
    """Return a message as a sentence for a visitor of the page.

    Paths are shortened to file names, and texts of libraries are left out.
    """
    return render(said, catalogue_of(language), is_public=True)


def translate(text: str, language: str) -> str:
    """Translate a text of presets.yaml, of the model catalogue or of a knob's summary."""
    return catalogue_of(language).find(text)
