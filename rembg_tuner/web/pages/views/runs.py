"""This visit's runs as a table, newest first."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.web.locale.words import page_text, setting_name
from rembg_tuner.web.pages.choices import preset_settings
from rembg_tuner.web.pages.templating import file_link, setting_text
from rembg_tuner.web.pages.visit import compare, differences, is_same_picture

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.settings.settings import Value
    from rembg_tuner.web.pages.visit import Turn, Visit


def show_runs(
    visit: Visit, files: tuple[Path, Path] | None, language: str, *, has_ended: bool = False
) -> str:
    """Draw the table.

    Args:
        visit: its turns.
        files: the same as CSV and JSON; None: not written.
        language: of the words.
        has_ended: the tab had a visit before, which is no longer kept.
    """
    title = f"<h2>{page_text('runs.title', language)}</h2>"
    if not visit.turns:
        ended = f'<p class="rt-ended" role="status">{page_text("runs.ended", language)}</p>'
        return (
            f'<section class="rt-runs">{title}{ended if has_ended else ""}<p'
            f' class="rt-empty">{page_text("runs.empty", language)}</p></section>'
        )
    note = f'<p class="rt-note">{page_text("runs.note", language)}</p>'
    kept = f'<p class="rt-note">{page_text("runs.kept", language)}</p>'
    links = ""
    if files:
        links = "".join(
            f'<a href="{file_link(path)}" download="{path.name}">{path.suffix[1:].upper()}</a>'
            for path in files
        )
        links = f'<p class="rt-links">{page_text("runs.download", language)} {links}</p>'
    columns = ("number", "picture", "differs", "time", "peak", "ratio", "baseline")
    heads = "".join(
        f'<th scope="col">{page_text(f"runs.{name}", language)}</th>' for name in columns
    )
    rows = "".join(_row(turn, visit, language) for turn in reversed(visit.turns))
    return (
        f'<section class="rt-runs"><header>{title}{links}</header>{note}<div class="rt-scroll"'
        f' tabindex="0" role="region" aria-label="{page_text("runs.title", language)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{kept}</section>"
    )


def _row(turn: Turn, visit: Visit, language: str) -> str:
    """Draw a turn's row; the button in it covers the whole row and restores picture and settings."""
    is_baseline, is_shown = turn.number == visit.pinned, turn.number == visit.shown
    classes = " ".join(
        name for name, holds in (("rt-pinned", is_baseline), ("rt-shown", is_shown)) if holds
    )
    name = escape(page_text("runs.show", language, number=turn.number, picture=turn.picture))
    show = (
        f'<button type="button" data-show="{turn.number}" aria-label="{name}" title="{name}"'
        f"{' aria-current=true' if is_shown else ''}>{turn.number}</button>"
    )
    failure = turn.failure
    if turn.time is None:
        kind = failure.kind if failure else "crash"
        style = "rt-cancelled" if turn.is_cancelled else "rt-failed"
        figures = f'<td colspan="3" class="{style}">{page_text(f"failure.{kind}", language)}</td><td></td>'
    else:
        figures = _figures(turn, visit, language)
    return (
        f'<tr class="{classes}" data-row="{turn.number}"><td>{show}</td><td class="rt-name"'
        f' title="{escape(turn.picture)}">{escape(turn.picture)}</td>'
        f"<td>{_differs(turn, visit, language)}</td>{figures}</tr>"
    )


def _figures(turn: Turn, visit: Visit, language: str) -> str:
    """Draw time, peak, ratio and the pin."""
    time, baseline = turn.time, visit.baseline
    assert time is not None  # the caller looked
    ratio = compare(turn, baseline) if baseline else None
    against = f"{ratio.speed:.1f} ×" if ratio else ""
    if baseline and not is_same_picture(turn, baseline):
        against = page_text("runs.other_picture", language)
    if ratio and ratio.memory is not None:
        against += f" · {ratio.memory * 100:.0f} %"
    n = f" <small>n={time.n}</small>" if time.n > 1 else ""
    is_baseline = turn.number == visit.pinned
    pin = (
        f'<button type="button" data-pin="{turn.number}"'
        f' aria-pressed="{"true" if is_baseline else "false"}" '
        f'aria-label="{page_text("runs.pin", language, number=turn.number)}">{page_text("runs.pinned" if is_baseline else "runs.pin.short", language)}</button>'
    )
    return (
        f'<td class="rt-n">{format_seconds(time.median)}{n}</td><td'
        f' class="rt-n">{format_bytes(turn.peak_bytes)}</td><td'
        f' class="rt-n">{against}</td><td>{pin}</td>'
    )


def _differs(turn: Turn, visit: Visit, language: str) -> str:
    """Name a turn's preset, and say how its settings differ.

    From the baseline's, or from the preset's.
    """
    baseline = visit.baseline
    if baseline is not None and baseline.number != turn.number:
        changed = differences(turn.settings, baseline.settings)
        text = (
            page_text("runs.than", language, changes=_changes(changed, language))
            if changed
            else page_text("runs.same", language)
        )
        return escape(f"{setting_name(turn.preset, language)} · {text}")
    changed = differences(turn.settings, preset_settings(turn.preset))
    words = _changes(changed, language)
    return escape(f"{setting_name(turn.preset, language)}{': ' + words if words else ''}")


def _changes(changed: dict[str, Value], language: str) -> str:
    """Write changed knobs in a line."""
    return ", ".join(
        f"{page_text(f'knob.{name}', language)} {setting_text(name, value, language)}"
        for name, value in changed.items()
    )
