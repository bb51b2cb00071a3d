"""A soak as the page shows it: memory after each run, and what a day would do."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.tuning.stats import MIN_VERDICT_RUNS
from rembg_tuner.tuning.stress_test import draw_stress_test
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import TOLD, duration, label_text, size

if TYPE_CHECKING:
    from rembg_tuner.web.pages.long_tasks import LongTask


def show_soak(study: LongTask, language: str, *, most: int) -> str:
    """Draw a soak that goes on, or is done.

    Args:
        study: the soak.
        language: of the page.
        most: runs that it makes, if they do not take too long for a page.
    """
    if study.problem:
        return (
            f'<p class="rt-failed" role="alert">{escape(message_text(study.problem, language))}</p>'
        )
    found = study.soaked
    if not study.is_running and found is None:
        return f'<p role="status">{escape(page_text("soak.stopped", language))}</p>'
    if found is None:
        text = (
            f"{_subject(study, language)} {page_text('soak.running', language, most=most)}".strip()
        )
        return (
            f'<div class="rt-head"><p role="status">{escape(text)}</p><progress'
            f' aria-label="{escape(page_text("soak.go", language))}"></progress></div>'
        )
    growth = page_text(f"soak.{found.verdict or 'none'}", language, least=MIN_VERDICT_RUNS)
    runs = len(found.times_s)
    text = page_text(
        "soak.done" if found.p95_s is not None else "soak.done.few",
        language,
        runs=runs,
        p50=duration(found.p50_s, language),
        p95=duration(found.p95_s, language),
        day=f"{found.pictures_a_day:,}",
        peak=size(found.peak_bytes, language),
        slope=f"{'−' if found.slope_bytes < 0 else '+'}{abs(found.slope_bytes) / 1024:.1f} KiB",
        growth=growth,
    )
    bound = (
        ""
        if found.failure or runs >= most
        else page_text("soak.bound", language, runs=runs, most=most)
    )
    words = {word: page_text(f"soak.{word}", language) for word in ("memory", "run")}
    failed = (
        f'<p class="rt-failed">{escape(message_text(found.failure, language))}</p>'
        if found.failure
        else ""
    )
    return (
        f'<section class="rt-study"><p><b>{escape(_subject(study, language))}</b>'
        f' {escape(text)}</p><p class="rt-muted">{escape(bound)}</p>{failed}<div'
        f' class="rt-plane">{draw_stress_test(found, words)}</div></section>'
    )


def _subject(study: LongTask, language: str) -> str:
    """Name what is soaked: the setting, and the picture."""
    if study.subject is None:
        return ""
    settings, picture = study.subject
    setting = label_text(settings, TOLD, language)
    return page_text("soak.subject", language, setting=setting, picture=picture)
