"""Where the network looked: what focus did, or that it would look again at a small subject."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from rembg_tuner.settings.check import check
from rembg_tuner.web.locale.words import page_text
from rembg_tuner.web.pages.choices import machine_here
from rembg_tuner.web.pages.templating import percent

if TYPE_CHECKING:
    from rembg_tuner.settings.results import Result
    from rembg_tuner.web.pages.visit import Turn


def focus_text(focus: dict[str, Any], language: str) -> str:
    """Write how often the network ran, and how much of the picture the subject's box is."""
    looks = page_text("focus.looks", language, n=focus["passes"])
    if focus["share"] is None:
        return looks
    return f"{looks} · {page_text('focus.share', language, share=percent(focus['share']))}"


def show_looks(turn: Turn, result: Result, language: str) -> str:
    """Write the note about focus: that the subject is small, with a button.

    Or what was done about it.

    Empty where the subject is not small, where nothing is known of it, and where focus is not
    measured with a network as large.
    """
    focus, settings = result.effective.get("focus"), turn.settings
    if not isinstance(focus, dict) or focus["share"] is None:
        return ""
    share = percent(focus["share"])
    if settings.focus == "box":
        return _note(page_text("focus.box", language, box=settings.focus_box, share=share))
    if focus["passes"] > 1:
        looked = page_text(_times_key(focus["passes"]), language, n=focus["passes"])
        return _note(page_text("focus.looked", language, looked=looked, share=share))
    is_small = focus["share"] <= settings.focus_max_share
    looking = replace(settings, focus="auto", focus_box=None)
    is_advised = not any(one.knob == "focus" for one in check(looking, machine_here(), given=()))
    if settings.focus == "auto" or not is_small or not is_advised:
        return ""
    again = (
        '<button type="button"'
        f' data-focus="{turn.number}">{escape(page_text("focus.again", language))}</button>'
    )
    return _note(page_text("focus.small", language, share=share), again)


def _times_key(passes: int) -> str:
    """Return the key of the words that say how often the network looked."""
    return {2: "focus.twice", 3: "focus.thrice"}.get(passes, "focus.times")


def _note(text: str, button: str = "") -> str:
    """Write the note."""
    return f'<p class="rt-looks">{escape(text)}{" · " if button else ""}{button}</p>'
