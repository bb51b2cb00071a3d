"""Visits across reloads: found by the tab's token only, for an hour, up to a maximum."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from made_tasks import unfinished_long_task
from test_ui_visit import turn

from rembg_tuner.web.pages.page_folder import PageFolder
from rembg_tuner.web.pages.visitors import (
    KEPT_S,
    MAX_KEPT,
    ChosenPicture,
    KeptVisits,
    Visitor,
    Visitors,
    read_token,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import gradio as gr

TOKEN = "0123456789abcdef" * 2


def session(name: str) -> gr.Request:
    """Return a request of a session."""
    return cast("gr.Request", SimpleNamespace(session_hash=name, query_params={}, headers={}))


@pytest.fixture
def visitors(tmp_path: Path) -> Iterator[Visitors]:
    """Create a page's visitors."""
    with PageFolder(tmp_path) as folder:
        yield Visitors(folder)


def come(visitors: Visitors, name: str, token: object = TOKEN) -> Visitor:
    """Load the page and add a run."""
    visitor = visitors.resume(session(name), token)
    visitor.visit = visitor.visit.add(turn())
    return visitor


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_reload_finds_its_visit(visitors: Visitors, leaves_first: bool) -> None:
    """The order of the old page's end and the new page's load does not matter."""
    visitor = come(visitors, "old")
    if leaves_first:
        visitors.leave("old")
    again = visitors.resume(session("new"), TOKEN)
    if not leaves_first:
        visitors.leave("old")
    assert again is visitor
    assert visitors.of(session("new")) is visitor
    visitors.leave("new")
    assert visitors.resume(session("newer"), TOKEN) is visitor


def test_a_late_end_of_the_old_page_stops_nothing(visitors: Visitors) -> None:
    """Tasks of the old page stop, and those of the new page run until it is closed."""
    visitor = come(visitors, "old")
    visitor.comparing = unfinished_long_task()
    visitors.resume(session("new"), TOKEN)
    assert visitor.comparing.is_stopped
    visitor.sweeping = unfinished_long_task()
    visitors.leave("old")
    assert not visitor.sweeping.is_stopped
    visitors.leave("new")
    assert visitor.sweeping.is_stopped


@pytest.mark.parametrize(
    "token", ["f" * 32, "", None, TOKEN[:-1], TOKEN.upper(), f"{TOKEN}\n", 7, [TOKEN]]
)
def test_nobody_else_finds_it(visitors: Visitors, token: object) -> None:
    """A wrong, partial or missing token gets a new visit.

    A visit without a token is not kept.
    """
    visitor = come(visitors, "old")
    visitors.leave("old")
    other = come(visitors, "other", token)
    assert other is not visitor
    assert len(other.visit.turns) == 1
    visitors.leave("other")
    if read_token(token) is None:
        assert visitors.resume(session("third"), token).visit.turns == ()


def test_only_work_is_kept(visitors: Visitors) -> None:
    """A visit without runs and without a picture is not kept."""
    empty = visitors.resume(session("a"), TOKEN)
    visitors.leave("a")
    chosen = visitors.resume(session("b"), TOKEN)
    assert chosen is not empty
    chosen.chosen = ChosenPicture(path="cup.png", shown="cup.png")
    visitors.leave("b")
    assert visitors.resume(session("c"), TOKEN) is chosen


def test_it_ends_after_an_hour_and_beyond_the_bound() -> None:
    """A visit expires after an hour, and above the maximum the oldest is removed."""
    now = [0.0]
    kept, visitor = KeptVisits(clock=lambda: now[0]), Visitor(language="en")
    kept.keep(TOKEN, visitor)
    now[0] = KEPT_S
    assert kept.take(TOKEN) is None
    tokens = [secrets.token_hex(16) for _ in range(MAX_KEPT + 1)]
    for token in tokens:
        kept.keep(token, visitor)
    assert len(kept) == MAX_KEPT
    assert kept.take(tokens[0]) is None
    assert kept.take(tokens[1]) is visitor
    assert kept.take(tokens[1]) is None


def test_a_visit_that_was_pushed_out_is_found_again(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visit is found on the next page load, even if many others came meanwhile."""
    monkeypatch.setattr("rembg_tuner.web.pages.visitors.MAX_VISITORS", 2)
    visitor = come(visitors, "old")
    for name in "abc":
        come(visitors, name, secrets.token_hex(16))
    assert visitors.of(session("old")) is not visitor
    found: Any = visitors.resume(session("new"), TOKEN)
    assert found is visitor
