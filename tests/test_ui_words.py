"""The page's texts: each is used somewhere, and every declared knob has its texts."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import all_words, page_text

PACKAGE = Path(__file__).parent.parent / "rembg_tuner"
# Names of former code that parsed finished sentences.
REMOVED = (
    "translate_sentence",
    "without_places",
    "get_on_page",
    "read_sentences",
    "sentences.zh-CN",
)


def test_no_sentence_is_read_backwards() -> None:
    """The former code is removed, and these modules match no patterns in text."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert [name for name in REMOVED if name in text] == [], path
    for name in ("locale/words.py", "pages/page_folder.py"):
        text = (PACKAGE / "web" / name).read_text(encoding="utf-8")
        assert re.search(r"re\.(sub|search|split|compile\(r?\"\(\?<)", text) is None, name


@cache
def _keys_used() -> tuple[frozenset[str], frozenset[str]]:
    """Find the keys that the page uses.

    The result has the complete keys, and the prefixes of composed ones.
    """
    whole: set[str] = set()
    begun: set[str] = set()
    for path in (PACKAGE / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                whole.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                begun.add(str(node.values[0].value))
    for tree in _templates().values():
        whole |= {one.value for one in tree.find_all(nodes.Const) if isinstance(one.value, str)}
        joined = [one.nodes[0] for one in tree.find_all(nodes.Concat)]
        begun |= {one.value for one in joined if isinstance(one, nodes.Const)}
    scripts = "\n".join(
        p.read_text(encoding="utf-8") for p in (PACKAGE / "web/pages/assets/js").glob("*.js")
    )
    whole |= set(re.findall(r'"(viewer\.\w+)"', scripts))
    whole |= {f"viewer.{mode}" for mode in ("original", "compare", "cutout")}
    return frozenset(whole), frozenset(text for text in begun if re.fullmatch(r"[a-z_.]+\.", text))


@cache
def _templates() -> dict[str, nodes.Template]:
    """Parse every template of the page."""
    paths = sorted((PACKAGE / "web/templates").glob("*.html"))
    assert paths
    return {path.name: Environment().parse(path.read_text(encoding="utf-8")) for path in paths}


def test_templates_ask_for_words_that_exist() -> None:
    """A wrong key would otherwise fail only when its part of the page is shown."""
    for name, tree in _templates().items():
        asked = [
            call.args[0].value
            for call in tree.find_all(nodes.Call)
            if isinstance(call.node, nodes.Name)
            and call.node.name == "text"
            and isinstance(call.args[0], nodes.Const)
        ]
        assert [key for key in asked if key not in all_words("en")] == [], name


def test_no_word_is_unused() -> None:
    """Every key of the file is used somewhere."""
    whole, begun = _keys_used()
    unused = [
        key for key in all_words("en") if key not in whole and not key.startswith(tuple(begun))
    ]
    assert unused == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_knob_and_group_has_its_words(language: str) -> None:
    """Every declared knob, group and unit has a label."""
    words = all_words(language)
    assert [name for name in KNOBS if f"knob.{name}" not in words] == []
    assert [knob.group for knob in KNOBS.values() if f"group.{knob.group}" not in words] == []
    assert [
        knob.unit for knob in KNOBS.values() if knob.unit and f"unit.{knob.unit}" not in words
    ] == []


def test_an_unknown_key_is_a_fault() -> None:
    """An unknown key raises KeyError instead of an empty text."""
    with pytest.raises(KeyError):
        page_text("no.such.key", "en")
