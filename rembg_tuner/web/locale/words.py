"""What the page says, in its reader's language: words by short ids, names, and messages.

The words stand in locale/en.yaml; `catalogues` has the other languages.
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
    """Return a word or a sentence by its key, with what is filled in.

    Raises:
        KeyError: there is no such key, or a value is missing: a fault of the program's.
    """
    return all_words(language)[key].format(**values)


def choice_text(value: str, language: str) -> str:
    """Write a knob's choice: with its name behind it in Chinese; a proper name stays."""
    return catalogue_of(language).find(value, "choice")


def setting_name(name: str, language: str) -> str:
    """Write the name of a compared setting, a preset's or the visitor's own.

    With its id behind it in Chinese.
    """
    return catalogue_of(language).find(name, "preset")


def message_text(said: Message, language: str) -> str:
    """Write what the program says as a sentence for a reader of the page.

    Paths are shortened to names, and what a library said is left out.
    """
    return render(said, catalogue_of(language), is_public=True)


def translate(text: str, language: str) -> str:
    """Write a text of presets.yaml, the models' catalogue or a knob's summary in a language."""
    return catalogue_of(language).find(text)
