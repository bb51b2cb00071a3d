"""Render a sweep: its progress, the plot, the recommendation, one trial, and all trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.plot import WORDS, draw_plot, lay_out_plot
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import TOLD, file_link, guess_range, label_text, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.long_tasks import LongTask

_FILES = {"report.html": "", "trials.csv": "CSV", "trials.json": "JSON", "plot.svg": "SVG"}


def show_count(plan: Plan, language: str) -> str:
    """Render the number of trials, the expected duration, and what is left out."""
    return render(
        "sweep_count",
        language,
        count=plan.count(),
        settings=len(plan.grid()),
        time=guess_range(plan.guess_range_s(), language),
        left_out=plan.left_out(),
    )


def show_sweep(task: LongTask, found: Recommendation, language: str) -> str:
    """Render a running sweep, or its result."""
    trials = task.progress.trials if task.progress else ()
    is_running = task.is_running
    names = differing_knobs([trial.settings for trial in trials])
    return render(
        "sweep",
        language,
        task=task,
        is_running=is_running,
        status=_status(task, language, is_running=is_running),
        bar=_bar(task) if is_running else None,
        trials=sorted(trials, key=lambda trial: (not trial.is_measured, trial.time_s or 0.0)),
        plot=_plot(task, trials, found, language),
        found=found,
        shown=next(
            (trial for trial in trials if trial.number == task.shown), found.chosen or found.nearest
        ),
        files={
            task.folder / name: word or page_text("sweep.report", language)
            for name, word in _FILES.items()
            if (task.folder / name).is_file()
        },
        blind=_without_foreground(trials),
        label_of=lambda trial: label_text(trial.settings, names, language),
        figures_of=figures_of,
        describe=lambda trial: Message(
            "{setting}: {figures}",
            setting=label_of(trial.settings, names),
            figures=figures_of(trial),
        ),
    )


def _plot(task: LongTask, trials: Sequence[Trial], found: Recommendation, language: str) -> Markup:
    """Draw the plot of the trials, with links to their thumbnails."""
    small = {trial.number: trial.pictures[0].thumbnail for trial in trials if trial.pictures}
    chosen = None if found.chosen is None else found.chosen.number
    return draw_plot(
        lay_out_plot(trials, task.budgets, chosen=chosen),
        words={word: page_text(f"plot.{word}", language) for word in WORDS},
        thumbnails={number: file_link(path) for number, path in small.items() if path},
        write=lambda label: message_text(label, language),
    )


def _without_foreground(trials: Sequence[Trial]) -> list[str]:
    """Return the names of pictures without a clear foreground; averages exclude them."""
    pictures = [picture for trial in trials for picture in trial.pictures]
    return sorted({Path(one.input).name for one in pictures if not one.has_foreground})


def _bar(task: LongTask) -> tuple[int, int] | None:
    """Return the maximum and the value of the progress bar; None: not known yet."""
    progress = task.progress
    if progress is None:
        return None
    if len(progress.trials) < progress.planned:
        return progress.planned, len(progress.trials)
    again = progress.confirmed or 0
    return max(again, task.sweep.confirming), again


def _status(task: LongTask, language: str, *, is_running: bool) -> str:
    """Return the progress of a running sweep, or how a sweep ended, as text."""
    progress = task.progress
    if is_running:
        return f"{_running_text(task, language)} {_now(task, language)}".strip()
    if progress is None or not progress.trials:
        return page_text("sweep.stopped.first", language)
    done, planned = len(progress.trials), progress.planned
    key = "sweep.stopped" if done < planned else "sweep.done.one" if done == 1 else "sweep.done"
    elapsed = format_guess(progress.elapsed_s)
    parts = [page_text(key, language, done=done, planned=planned, elapsed=elapsed)]
    if before := sum(trial.was_measured_before for trial in progress.trials):
        parts.append(page_text("sweep.known", language, count=before))
    if _lacks_confirmation(task):
        parts.append(page_text("sweep.stopped.again", language))
    return " ".join(parts)


def _running_text(task: LongTask, language: str) -> str:
    """Return the progress of a running sweep as text."""
    progress = task.progress
    if progress is None:
        return page_text("sweep.reference", language)
    done, planned = len(progress.trials), progress.planned
    if done >= planned:
        again, most = progress.confirmed or 0, task.sweep.confirming
        return page_text("sweep.again", language, done=again, most=most)
    left = guess_range(progress.left_s, language)
    return page_text("sweep.progress", language, done=done, planned=planned, left=left)


def _now(task: LongTask, language: str) -> str:
    """Return the setting that is being measured as text, with the knobs that the sweep varies."""
    if task.measuring is None:
        return ""
    axes = task.plan.axes if task.plan else {}
    varied = [name for name in KNOBS if len(axes.get(name, ())) > 1]
    setting = label_text(task.measuring, varied or TOLD, language)
    return page_text("task.now", language, setting=setting)


def _lacks_confirmation(task: LongTask) -> bool:
    """Return whether the sweep was stopped before the best trials were fully confirmed."""
    progress, sweep = task.progress, task.sweep
    if not task.is_stopped or progress is None or sweep is None:
        return False
    if len(progress.trials) < progress.planned or (sweep.confirmed or 0) >= sweep.confirming:
        return False
    again = [len(t.worker_times_s) - 1 for t in progress.trials if t.is_measured]
    return bool(again) and sum(again) < sweep.confirming
