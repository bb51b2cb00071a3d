"""A comparison as the page shows it.

Two settings under one slider, all side by side, where they differ, one table.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess
from rembg_tuner.tuning.trials import differing_knobs
from rembg_tuner.web.locale.words import message_text, page_text, setting_name
from rembg_tuner.web.pages.templating import (
    busy_mark,
    busy_note,
    duration,
    explain_agreement,
    file_link,
    label_text,
    size,
    stars_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.tuning.comparison import ComparisonRow
    from rembg_tuner.web.pages.long_tasks import LongTask

_BACKDROPS = ("checker", "white", "black")


def show_comparison(study: LongTask, language: str) -> str:
    """Draw a comparison that goes on, or is done."""
    if study.problem:
        return (
            f'<p class="rt-failed" role="alert">{escape(message_text(study.problem, language))}</p>'
        )
    if study.is_running:
        planned = len(study.question.entries) if study.question else 0
        text = page_text(
            "compare.running", language, count=planned, elapsed=format_guess(study.elapsed_s())
        )
        text = f"{text} {_now(study, language)}".strip()
        return (
            '<section class="rt-study rt-begun"><div class="rt-head"><p'
            f' role="status">{escape(text)}</p><progress'
            f' aria-label="{escape(page_text("tab.compare", language))}"></progress></div></section>'
        )
    compared: Sequence[ComparisonRow] = study.compared
    if not compared or (study.is_stopped and not any(one.trial.is_measured for one in compared)):
        return f'<p role="status">{escape(page_text("compare.stopped", language))}</p>'
    seen = [one for one in compared if one.preview]
    reference = (
        "" if study.question is None or study.question.mask else str(study.question.reference)
    )
    body = f"{_slider(seen, language)}{_side_by_side(seen, reference, language)}" if seen else ""
    busy = busy_note([one.trial for one in compared if one.trial.is_measured], language)
    return (
        '<section class="rt-study rt-compare"'
        f' data-backdrop="checker">{body}{_table(compared, language)}{busy}{_held(study, language)}{explain_agreement(language)}</section>'
    )


def _now(study: LongTask, language: str) -> str:
    """Name the setting that is being measured.

    One of those compared, else what they are compared with.
    """
    question, measuring = study.question, study.measuring
    if question is None or measuring is None:
        return ""
    names = [one.name for one in question.entries if one.settings == measuring]
    name = setting_name(names[0] if names else str(question.reference), language)
    return page_text("study.now", language, setting=name)


def _held(study: LongTask, language: str) -> str:
    """Say what agreement is with, and when it says nothing."""
    question, compared = study.question, study.compared
    if question is None:
        return ""
    held = question.reference
    name = (
        message_text(held, language) if isinstance(held, Message) else setting_name(held, language)
    )
    measured = [one.trial for one in compared if one.trial.is_measured]
    if any(not picture.has_foreground for trial in measured for picture in trial.pictures):
        text = page_text("compare.nothing", language, name=name)
    elif all(trial.agreement is None for trial in measured):
        text = page_text("compare.lost", language)
    else:
        kind = "" if question.mask else page_text("compare.no_truth", language)
        text = page_text("compare.held", language, name=name, kind=kind, n=question.rounds)
    return f'<p class="rt-muted">{escape(text)}</p>'


def _slider(seen: Sequence[ComparisonRow], language: str) -> str:
    """Lay two cut-outs over each other, with a choice of either and a range that wipes."""
    options = [
        "".join(
            "<option"
            f' value="{escape(file_link(str(one.preview)))}"{" selected" if i == place else ""}>{escape(setting_name(one.entry.name, language))}</option>'
            for i, one in enumerate(seen)
        )
        for place in (0, min(1, len(seen) - 1))
    ]
    left, right = (file_link(str(seen[min(i, len(seen) - 1)].preview)) for i in (0, 1))
    tools = "".join(
        f'<button type="button" role="radio" data-ground="{name}"'
        f' aria-checked="{str(name == "checker").lower()}"'
        f' tabindex="{0 if name == "checker" else -1}">{escape(page_text(f"compare.{name}", language))}</button>'
        for name in _BACKDROPS
    )
    return (
        '<div class="rt-pair"><div class="rt-pair-stage"><div class="rt-half"><img'
        f' class="rt-pair-left" src="{escape(left)}"'
        f' alt="{escape(setting_name(seen[0].entry.name, language))}"></div><div'
        f' class="rt-half"><img class="rt-pair-right" src="{escape(right)}"'
        f' alt="{escape(setting_name(seen[min(1, len(seen) - 1)].entry.name, language))}"></div><span'
        ' class="rt-handle" aria-hidden="true"></span><input class="rt-wipe" type="range" min="0"'
        f' max="100" value="50" aria-label="{escape(page_text("compare.wipe", language))}"></div><div'
        ' class="rt-tools"><select data-side="left"'
        f' aria-label="{escape(page_text("compare.left", language))}">{options[0]}</select><span'
        ' aria-hidden="true">⟷</span><select data-side="right"'
        f' aria-label="{escape(page_text("compare.right", language))}">{options[1]}</select><span'
        ' class="rt-modes" role="radiogroup"'
        f' aria-label="{escape(page_text("viewer.backdrops", language))}">{tools}</span><label'
        ' class="rt-colour"><input type="color" data-ground-colour value="#2f6fde"'
        f' aria-label="{escape(page_text("viewer.colour", language))}"></label><label'
        f' class="rt-zoom">{escape(page_text("compare.zoom", language))} <input type="range" data-zoom'
        ' min="1" max="8" step="0.5" value="1"></label><label><input type="checkbox"'
        f" data-differences> {escape(page_text('compare.differences', language))}</label></div></div>"
    )


def _side_by_side(seen: Sequence[ComparisonRow], reference: str, language: str) -> str:
    """Show every cut-out; their zoom moves together.

    The reference differs nowhere, and says why.
    """
    note = escape(page_text("compare.reference", language))
    figures = "".join(
        '<figure><div class="rt-loupe" tabindex="0" role="group"'
        f' aria-label="{escape(setting_name(one.entry.name, language))}"><img'
        f' src="{escape(file_link(str(one.preview)))}"'
        f' alt="{escape(setting_name(one.entry.name, language))}">'
        + (
            f'<img class="rt-difference" src="{escape(file_link(one.difference))}"'
            f' alt="{escape(page_text("compare.difference.alt", language, name=setting_name(one.entry.name, language)))}">'
            if one.difference
            else ""
        )
        + (f'<span class="rt-same">{note}</span>' if one.entry.name == reference else "")
        + f"</div><figcaption>{escape(setting_name(one.entry.name, language))}</figcaption></figure>"
        for one in seen
    )
    return (
        f'<div class="rt-side">{figures}</div><p'
        f' class="rt-muted">{escape(page_text("compare.note", language))}</p>'
    )


def _table(compared: Sequence[ComparisonRow], language: str) -> str:
    """Tell time, peak, agreement, and what differs."""
    names = differing_knobs([one.entry.settings for one in compared])
    heads = "".join(
        f"<th>{escape(page_text(f'sweep.head.{key}', language))}</th>"
        for key in ("setting", "time", "faster", "peak", "share", "agreement", "edge", "differs")
    )
    first = next((one for one in compared if one.trial.is_measured), None)
    rows = "".join(_row(one, first, names, language) for one in compared)
    return (
        '<div class="rt-runs rt-trials" tabindex="0" role="region"'
        f' aria-label="{escape(page_text("tab.compare", language))}"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(
    one: ComparisonRow, first: ComparisonRow | None, names: Sequence[str], language: str
) -> str:
    """Draw one setting's row, with its ratios to the first that was measured."""
    trial, name = (
        one.trial,
        f'<th scope="row">{escape(setting_name(one.entry.name, language))}</th>',
    )
    if trial.failure is not None:
        kind = "rt-muted" if trial.failure_kind == "cancelled" else "rt-failed"
        return (
            f'<tr>{name}<td colspan="7"'
            f' class="{kind}">{escape(message_text(trial.failure, language))}</td></tr>'
        )
    agreement = "" if trial.agreement is None else f"{trial.agreement:.3f}"
    faster = share = ""
    if first is not None and trial.is_measured:
        ours, theirs = trial.costs(), first.trial.costs()
        faster, share = f"{theirs[1] / ours[1]:.2f}", f"{ours[0] / theirs[0]:.0%}"
    time = f"{duration(trial.time_s, language)}{busy_mark(trial.warnings, language)}"
    return (
        f"<tr>{name}<td>{time}</td><td>{faster}</td><td>{size(trial.peak_bytes, language)}</td><td>{share}</td><td>{agreement}</td>"
        f"<td>{stars_text(trial.boundary_f)}</td><td>{escape(label_text(one.entry.settings, names, language))}</td></tr>"
    )
