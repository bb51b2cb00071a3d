"""README and docs agree with the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rembg_tuner.cli.main import build_parser
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.settings import KNOBS, flag_of
from tools.documents import PAGES, refresh

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM = re.compile(r"^ {4}(?:\.venv/bin/)?rembg-tuner (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_the_derived_parts_are_up_to_date(page: str) -> None:
    """Tables are equal to those made from the settings, the presets and the newest benchmarks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert refresh(text) == text, "run python -m tools.documents"


def test_readme_is_short() -> None:
    """README has at most 150 lines and starts with its title, without front matter."""
    assert len(README.splitlines()) <= 150
    assert README.startswith("# rembg tuner\n")


def test_every_command_has_a_section() -> None:
    """Each command that `--help` lists has a section in docs/command-line.md."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    actions = [action for action in build_parser()._actions if action.choices]
    names = [name for action in actions for name in action.choices or ()]
    sections = {name: page.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in names}
    assert [name for name, text in sections.items() if f"rembg-tuner {name}" not in text] == []


def test_every_setting_and_preset_is_named() -> None:
    """docs/settings.md lists every flag of a knob and every preset."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    missing = [flag_of(name) for name in KNOBS if f"`{flag_of(name)}`" not in page]
    assert missing + [name for name in read_presets() if f"`{name}`" not in page] == []


def test_the_space_has_its_settings() -> None:
    """A Space reads its settings from the front matter of its README.md."""
    head = (ROOT / "docs" / "space" / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert {"sdk: docker", "app_port: 7860"} <= set(head.splitlines())


def test_every_document_is_linked() -> None:
    """README or docs/command-line.md links to every document."""
    names = [f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")]
    linked = README + (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    known = {*re.findall(r"\]\(([^)#]+)\)", linked)}
    assert [name for name in names if not {name, name.removeprefix("docs/")} & known] == []


def _commands() -> list[str]:
    """Return the commands shown on the pages, without those that have placeholders."""
    found = [words for page in PAGES for words in PROGRAM.findall((ROOT / page).read_text("utf-8"))]
    return [words for words in found if not re.search(r"[\[<A-Z]{2,}|\.\.\.|\[", words)]


@pytest.mark.parametrize("words", _commands())
def test_a_command_of_a_page_parses(words: str) -> None:
    """The parser accepts each command that a page shows."""
    assert build_parser(words.split()[0]).parse_args(shlex.split(words)).command in words


@pytest.mark.parametrize("page", PAGES)
def test_every_benchmark_that_a_page_names_is_there(page: str) -> None:
    """Each `python benchmarks/...` names an existing script, and flags that it has."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for script, words in re.findall(r"python (benchmarks/[\w/]+\.py)((?: --?[\w-]+)*)", text):
        source = (ROOT / script).read_text(encoding="utf-8")
        assert [flag for flag in words.split() if f'"{flag}"' not in source] == [], script


def test_readme_opens_with_two_commands() -> None:
    """The first block of code has the two commands, and the Makefile has both targets."""
    block = re.search(r"(?:^ {4}.+\n)+", README, re.MULTILINE)
    assert block is not None
    assert block[0].split() == ["make", "test", "make", "run"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in ("test", "run", "bench", "check"))


def test_links_lead_somewhere() -> None:
    """Every relative link of README and docs names an existing file."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    dead = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_requirements_are_pinned() -> None:
    """Every requirement has an exact version."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        asked = [line for line in lines if line and not line.startswith(("#", "-r"))]
        assert [line for line in asked if "==" not in line] == []
