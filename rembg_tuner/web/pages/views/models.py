"""The models as the page shows them: what there is, what is here, and how the rest is got."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.models.catalogue import INT8_ENDINGS, int8_file, read_catalogue, read_unfit
from rembg_tuner.web.locale.words import message_text, page_text, translate
from rembg_tuner.web.pages.templating import size

if TYPE_CHECKING:
    from rembg_tuner.models.catalogue import CatalogueEntry
    from rembg_tuner.web.pages.downloads import Download, Downloads


def show_models(downloads: Downloads, language: str) -> str:
    """Draw every model: those that are here first."""
    entries = sorted(read_catalogue().values(), key=lambda entry: entry.find() is None)
    rows = "".join(
        _row(entry, downloads.state_of(entry.name), language, may_get=downloads.are_allowed)
        for entry in entries
    )
    unfit = "".join(
        f"<li><b>{escape(name)}</b> <p>{escape(translate(reason, language))}</p></li>"
        for name, reason in read_unfit().items()
    )
    lead = "models.lead" if downloads.are_allowed else "models.lead.closed"
    return (
        '<div class="rt-models"><p'
        f' class="rt-lead">{escape(page_text(lead, language))}</p><ul>{rows}</ul>'
        f"<details><summary>{escape(page_text('models.unfit', language))}</summary><ul>{unfit}</ul></details></div>"
    )


def _row(entry: CatalogueEntry, state: Download | None, language: str, *, may_get: bool) -> str:
    """Draw one model."""
    is_here = entry.find() is not None
    word = page_text("here" if is_here else "absent", language)
    int8 = [engine for engine in INT8_ENDINGS if entry.find(int8_file(entry.file, engine))]
    facts = [
        (
            size(entry.bytes, language)
            if entry.bytes is not None
            else message_text(entry.size_text(), language)
        ),
        f"{entry.side} px",
        entry.licence,
        page_text(f"models.commercial.{entry.commercial}", language),
    ]
    if int8:
        facts.append(page_text("models.int8", language, engines=", ".join(int8)))
    facts_text = " · ".join(escape(fact) for fact in facts if fact)
    good_for = escape(translate(entry.good_for, language))
    return (
        f'<li class="{"rt-here" if is_here else "rt-absent"}"><div><b>{escape(entry.name)}</b>'
        f" <span>{word}</span>"
        f"<p>{good_for}</p><p><i>{facts_text}</i></p>{_problem(entry, state, language)}</div>"
        f"<div>{'' if is_here else _getting(entry, state, language, may_get=may_get)}</div></li>"
    )


def _problem(entry: CatalogueEntry, state: Download | None, language: str) -> str:
    """Say why a download failed, or how a model is had that cannot be downloaded."""
    if state is not None and state.problem:
        return (
            f'<p class="rt-failed" role="alert">{escape(message_text(state.problem, language))}</p>'
        )
    if entry.url is None and entry.find() is None:
        return f"<p>{escape(message_text(entry.get_text(), language))}</p>"
    return ""


def _getting(entry: CatalogueEntry, state: Download | None, language: str, *, may_get: bool) -> str:
    """Draw the button that gets a model, or how far that is."""
    if state is not None and state.is_running:
        progress = state.progress
        name = escape(entry.name)
        stop = (
            '<button type="button"'
            f' data-stop="{name}">{escape(page_text("models.stop", language))}</button>'
        )
        if progress is None or progress.is_waiting or not progress.total_bytes:
            text = page_text(
                "models.waiting" if progress and progress.is_waiting else "models.asking", language
            )
            return (
                f'<progress aria-label="{name}"></progress><p'
                f' role="status">{escape(text)}</p>{stop}'
            )
        text = page_text(
            "models.progress",
            language,
            done=size(progress.done_bytes, language),
            total=size(progress.total_bytes, language),
        )
        return (
            f'<progress aria-label="{name}" max="{progress.total_bytes}"'
            f' value="{progress.done_bytes}"></progress><p role="status">{escape(text)}</p>{stop}'
        )
    if entry.url is None:
        return ""
    if not may_get:
        return f"<code>rembg-tuner models get {escape(entry.name)}</code>"
    label = page_text("models.get", language, size=message_text(entry.size_text(), language))
    return f'<button type="button" data-get="{escape(entry.name)}">{escape(label)}</button>'
