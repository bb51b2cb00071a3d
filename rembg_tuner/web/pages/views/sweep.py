"""A sweep as the page shows it.

How far it is, the plot, the recommendation, the trial that is looked at.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.plot import WORDS, draw_plot, lay_out_plot
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import (
    TOLD,
    busy_mark,
    busy_note,
    duration,
    explain_agreement,
    file_link,
    guess_range,
    label_text,
    size,
    stars_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.long_tasks import LongTask


def show_sweep(study: LongTask, found: Recommendation, budgets: Budgets, language: str) -> str:
    """Draw a sweep that goes on, or is done."""
    trials = study.progress.trials if study.progress else ()
    chosen = None if found.chosen is None else found.chosen.number
    shown = next((t for t in trials if t.number == study.shown), found.chosen or found.nearest)
    head = f'<div class="rt-head">{_head(study, language)}</div>'
    if not trials:
        frame = '<div class="rt-plane"></div>' if study.is_running else ""  # where the plot will be
        return f'<section class="rt-study rt-begun">{head}{frame}</section>'
    plot = draw_plot(
        lay_out_plot(trials, budgets, chosen=chosen),
        words={word: page_text(f"plot.{word}", language) for word in WORDS},
        thumbnails=_thumbnails(trials),
        write=lambda label: message_text(label, language),
    )
    names = differing_knobs([trial.settings for trial in trials])
    return (
        f'<section class="rt-study" data-state="{"running" if study.is_running else "done"}">{head}'
        f'<div class="rt-plane">{plot}</div>{_why(found, names, language)}'
        f"{_card(shown, names, language, is_taken=shown.number == study.taken) if shown else ''}{_files(study, language)}"
        f"{_table(trials, names, chosen, language)}{busy_note(trials, language)}{_blind(trials, language)}{explain_agreement(language)}</section>"
    )


def _thumbnails(trials: Sequence[Trial]) -> dict[int, str]:
    """Give the address of each trial's first small cut-out, by its number."""
    first = {t.number: t.pictures[0].thumbnail for t in trials if t.pictures}
    return {number: file_link(path) for number, path in first.items() if path}


def _head(study: LongTask, language: str) -> str:
    """Say how far it is, or why it ended."""
    if study.problem:
        return (
            f'<p class="rt-failed" role="alert">{escape(message_text(study.problem, language))}</p>'
        )
    progress, name = study.progress, escape(page_text("tab.sweep", language))
    if not study.is_running and (progress is None or not progress.trials):
        return f'<p role="status">{escape(page_text("sweep.stopped.first", language))}</p>'
    if progress is None:
        text = f"{page_text('sweep.reference', language)} {_now(study, language)}".strip()
        return f'<p role="status">{escape(text)}</p><progress aria-label="{name}"></progress>'
    done, planned = len(progress.trials), progress.planned
    if study.is_running and done >= planned:
        again, most = progress.confirmed or 0, study.sweep.confirming
        text = (
            f"{page_text('sweep.again', language, done=again, most=most)} {_now(study, language)}"
        )
        return (
            f'<p role="status">{escape(text)}</p><progress aria-label="{name}"'
            f' max="{max(again, most)}" value="{again}"></progress>'
        )
    if study.is_running:
        text = page_text(
            "sweep.progress",
            language,
            done=done,
            planned=planned,
            left=guess_range(progress.left_s, language),
        )
        text = f"{text} {_now(study, language)}"
        return (
            f'<p role="status">{escape(text)}</p><progress aria-label="{name}" max="{planned}"'
            f' value="{done}"></progress>'
        )
    key = "sweep.stopped" if done < planned else "sweep.done.one" if done == 1 else "sweep.done"
    before = sum(trial.was_measured_before for trial in progress.trials)
    known = page_text("sweep.known", language, count=before) if before else ""
    text = page_text(
        key, language, done=done, planned=planned, elapsed=format_guess(progress.elapsed_s)
    )
    unsure = page_text("sweep.stopped.again", language) if _lacks_the_best_again(study) else ""
    return f'<p role="status">{escape(" ".join(filter(None, (text, known, unsure))))}</p>'


def _now(study: LongTask, language: str) -> str:
    """Name the setting that is being measured, by the knobs that the sweep varies."""
    if study.measuring is None:
        return ""
    axes = study.plan.axes if study.plan else {}
    varied = [name for name in KNOBS if len(axes.get(name, ())) > 1]
    setting = label_text(study.measuring, varied or TOLD, language)
    return page_text("study.now", language, setting=setting)


def _lacks_the_best_again(study: LongTask) -> bool:
    """Tell whether a sweep with all its trials was stopped before enough workers measured the best again."""
    progress, sweep = study.progress, study.sweep
    if not study.is_stopped or progress is None or sweep is None:
        return False
    if len(progress.trials) < progress.planned or (sweep.confirmed or 0) >= sweep.confirming:
        return False
    again = [len(t.worker_times_s) - 1 for t in progress.trials if t.is_measured]
    return bool(again) and sum(again) < sweep.confirming


def _blind(trials: Sequence[Trial], language: str) -> str:
    """Name the pictures that are left out of the averages, having no clear foreground."""
    names = {Path(one.input).name for t in trials for one in t.pictures if not one.has_foreground}
    if not names:
        return ""
    text = page_text("sweep.blind", language, names=", ".join(sorted(names)))
    return f'<p class="rt-muted">{escape(text)}</p>'


def _why(found: Recommendation, names: Sequence[str], language: str) -> str:
    """Say what is recommended, what comes second, and what a step would buy."""
    key = "sweep.recommended" if found.fits else "sweep.nothing"
    steps = "".join(
        '<li><button type="button"'
        f' data-trial="{step.trial}">{escape(message_text(step.text, language))}</button></li>'
        for step in found.steps
    )
    second = ""
    if found.runner_up is not None:
        setting, figures = label_of(found.runner_up.settings, names), figures_of(found.runner_up)
        text = message_text(
            Message("{setting}: {figures}", setting=setting, figures=figures), language
        )
        second = (
            f'<p class="rt-muted">{escape(page_text("sweep.second", language))} {escape(text)}</p>'
        )
    expected = ""
    if found.expected is not None:
        expected = f'<p class="rt-muted">{escape(message_text(found.expected, language))}</p>'
    return (
        '<div class="rt-why"'
        f' data-fits="{str(found.fits).lower()}"><p><b>{escape(page_text(key, language))}</b>'
        f" {escape(message_text(found.why, language))}</p>{second}<ul>{steps}</ul>{expected}</div>"
    )


def _card(trial: Trial, names: Sequence[str], language: str, *, is_taken: bool) -> str:
    """Show one trial: its cut-out, its settings, its figures, and the button that takes it."""
    thumbs = "".join(
        f'<img src="{escape(file_link(one.thumbnail))}" alt="{escape(Path(one.input).name)}">'
        for one in trial.pictures[:4]
        if one.thumbnail
    )
    figures = trial.failure or figures_of(trial)
    stars = stars_text(trial.boundary_f)
    spread = ""
    if trial.time_low_s is not None:
        spread = page_text(
            "sweep.spread",
            language,
            low=duration(trial.time_low_s, language),
            high=duration(trial.time_high_s, language),
            n=trial.n,
        )
        if trial.may_be_unstable:
            spread += f" · {page_text('sweep.unstable', language)}"
    told = "".join(
        f'<p class="rt-muted">{escape(message_text(warning, language))}</p>'
        for warning in trial.warnings
    )
    return (
        f'<div class="rt-card" data-card="{trial.number}"><div'
        f' class="rt-card-thumbs">{thumbs}</div><div><p><b>{escape(label_text(trial.settings, names, language))}</b></p><p>{escape(message_text(figures, language))}'
        f' {stars}</p><p class="rt-muted">{escape(spread)}</p>{told}<button type="button"'
        ' class="rt-take"'
        f' data-use="{trial.number}">{escape(page_text("sweep.use", language))}</button><p'
        ' class="rt-taken"'
        f' role="status">{escape(page_text("sweep.taken", language)) if is_taken else ""}</p></div></div>'
    )


def _files(study: LongTask, language: str) -> str:
    """Link what can be downloaded once it is done."""
    if study.is_running:
        return ""
    links = [
        (name, word)
        for name, word in (
            ("report.html", page_text("sweep.report", language)),
            ("trials.csv", "CSV"),
            ("trials.json", "JSON"),
            ("plot.svg", "SVG"),
        )
        if (study.folder / name).is_file()
    ]
    drawn = "".join(
        f'<a href="{escape(file_link(study.folder / name))}" download="{name}">{escape(word)}</a>'
        for name, word in links
    )
    png = '<button type="button" data-png="plot.png">PNG</button>' if links else ""
    return f'<p class="rt-files">{drawn}{png}</p>'


def _table(trials: Sequence[Trial], names: Sequence[str], chosen: int | None, language: str) -> str:
    """List every trial, the fastest first, those that failed last with their reason."""
    ordered = sorted(trials, key=lambda t: (not t.is_measured, t.time_s or 0.0))
    rows = "".join(_line(trial, names, chosen, language) for trial in ordered)
    heads = "".join(
        f"<th>{escape(page_text(f'sweep.head.{key}', language))}</th>"
        for key in ("setting", "time", "range", "peak", "agreement", "edge")
    )
    return (
        '<div class="rt-runs rt-trials" tabindex="0" role="region"'
        f' aria-label="{escape(page_text("sweep.trials", language))}"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _line(trial: Trial, names: Sequence[str], chosen: int | None, language: str) -> str:
    """Draw one trial's row."""
    label = escape(label_text(trial.settings, names, language))
    mark = ' aria-current="true"' if trial.number == chosen else ""
    name = (
        f'<th scope="row"><button type="button" data-trial="{trial.number}">{label}</button></th>'
    )
    if not trial.is_measured:
        return (
            f'<tr>{name}<td colspan="5"'
            f' class="rt-failed">{escape(message_text(trial.failure or figures_of(trial), language))}</td></tr>'
        )
    agreement = "" if trial.agreement is None else f"{trial.agreement:.3f}"
    spread = f"{duration(trial.time_low_s, language)} – {duration(trial.time_high_s, language)}"
    if trial.may_be_unstable:
        spread += f' <i class="rt-unstable">{escape(page_text("sweep.unstable", language))}</i>'
    spread += busy_mark(trial.warnings, language)
    return (
        f"<tr{mark}>{name}<td>{duration(trial.time_s, language)}</td><td>{spread}</td><td>{size(trial.peak_bytes, language)}</td>"
        f"<td>{agreement}</td><td>{stars_text(trial.boundary_f)}</td></tr>"
    )
