"""`recommend`: choose among the trials of a sweep; `sweep` prints the same text at its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, plural
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import BUDGET_FLAGS, add_budgets, add_json, parse_budgets
from rembg_tuner.settings.results import is_busy
from rembg_tuner.settings.settings import flag_of
from rembg_tuner.tuning.budgets import ANY
from rembg_tuner.tuning.folder import read_sweep_folder
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.report import busy_text
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.folder import SweepRecord
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.trials import Trial

_MAX_ROWS = 12  # of the table; the report contains all trials


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `recommend`."""
    parser.add_argument("folder", metavar="DIR", help="a sweep's folder")
    add_json(parser)
    add_budgets(parser)


def run(arguments: argparse.Namespace) -> int:
    """Recommend a setting under these budgets, without measuring."""
    folder = Path(arguments.folder)
    summary = read_sweep_folder(folder)
    log_missing_trials(summary, folder)
    trials, budgets = summary.trials, parse_budgets(arguments, summary.budgets)
    found = recommend(trials, budgets)
    if arguments.json:
        emit_json(found.to_dict())
    else:
        print_recommendation(found, trials, budgets, folder, summary.budgets)
    return DONE if found.fits else FAILED


def log_missing_trials(summary: SweepRecord, folder: Path) -> None:
    """Log how many trials of a sweep are missing, or were measured with other weights."""
    done, planned = len(summary.trials), summary.planned
    if planned is not None and done < planned:
        log(
            f"{done} of {count_text(planned)} of the sweep in {folder} are done; continue with:"
            f" {resume_command(folder)}"
        )
    if summary.outdated:
        log(
            f"{count_text(summary.outdated)} in {folder} ran other weights than the present ones,"
            f" and are left out; measure them again with: {resume_command(folder)}"
        )


def count_text(count: int) -> Message:
    """Return the number of trials as text."""
    return plural("{n} trial", "{n:,} trials", n=count)


def print_recommendation(
    found: Recommendation, trials: list[Trial], budgets: Budgets, folder: Path, own: Budgets
) -> None:
    """Print the table of the best trials, the recommendation, and the next commands.

    Args:
        found: the recommendation.
        trials: the trials of the sweep.
        budgets: the budgets of the recommendation.
        folder: the folder of the sweep.
        own: the sweep's own budgets, which the next commands use without flags.
    """
    names = differing_knobs([t.settings for t in trials])
    _print_table(found, trials, names)
    if (busy := busy_text(trials)) is not None:
        emit(str(busy))
    for trial in trials:
        if trial.failure is not None:
            label = label_of(trial.settings, names)
            emit(f"failed: trial {trial.number}, {label}: {trial.failure}")
    if found.chosen is None:
        _print_nothing_fits(found, budgets, folder, own)
        return
    emit(f"recommended: trial {found.chosen.number}, {found.why}")
    if (second := found.runner_up) is not None:
        label = label_of(second.settings, names)
        emit(f"runner-up: trial {second.number}, {label}: {figures_of(second)}")
    emit(*(f"  {step.text}" for step in found.steps))
    if found.expected is not None:
        emit(str(found.expected))
    emit(f"run it: {cut_command(found.chosen.settings)}")
    emit(f"ship it: {_export_command(folder, *_flags_of(budgets, own))}")


def _print_table(found: Recommendation, trials: list[Trial], names: Sequence[str]) -> None:
    """Print the fastest trials, and the recommended or nearest one in any case."""
    measured = sorted((t for t in trials if t.is_measured), key=lambda t: t.time_s or 0)
    pick = found.chosen or found.nearest
    shown = measured[:_MAX_ROWS] + [t for t in measured[_MAX_ROWS:] if t is pick]
    if shown:
        emit(f"{'trial':>5}  {'time':>9}  {'peak':>9}  {'agree':>6}  setting")
    for trial in shown:
        mark = "*" if trial is found.chosen else "~" if trial is pick else " "
        label = f"{mark}{label_of(trial.settings, names)}{busy_mark(trial)}"
        emit(f"{trial.number:>5}  {_figures(trial)} {label}")
    if len(measured) > len(shown):
        emit(f"… {len(measured) - len(shown)} more in the report")


def _figures(trial: Trial) -> str:
    """Return a trial's figures as columns of the table."""
    agreement = "-" if trial.agreement is None else f"{trial.agreement:.3f}"
    return f"{format_seconds(trial.time_s):>9}  {format_bytes(trial.peak_bytes):>9}  {agreement:>6}"


def busy_mark(trial: Trial) -> str:
    """Return the mark of a trial that was measured while the machine was busy."""
    return " (machine busy)" if is_busy(trial.warnings) else ""


def _print_nothing_fits(
    found: Recommendation, budgets: Budgets, folder: Path, own: Budgets
) -> None:
    """Print that all trials miss the budgets, which one is nearest, and what to do."""
    emit(f"nothing fits: {found.why}")
    if found.nearest is None:
        return
    number = found.nearest.number
    emit(f"nearest: trial {number}")
    emit(f"lift what it misses: {lifting_command(found.nearest, budgets, folder, own)}")
    emit(f"or take it by name: {_export_command(folder, '--setting', str(number))}")


def resume_command(folder: Path) -> str:
    """Return the command that resumes a sweep."""
    return shlex.join(["rembg-tuner", "sweep", "--resume", "-o", str(folder)])


def _export_command(folder: Path, *flags: str) -> str:
    """Return the command that exports a setting of a sweep."""
    return shlex.join(["rembg-tuner", "export", str(folder), "--to", "compose", *flags])


def lifting_command(trial: Trial, budgets: Budgets, folder: Path, own: Budgets) -> str:
    """Return the command that removes the budgets that a trial misses, and keeps the others."""
    kept = _flags_of(budgets, own, without=budgets.missed(trial))
    lifted = lifting_flags(trial, budgets)
    return shlex.join(["rembg-tuner", "recommend", str(folder), *kept, *lifted])


def lifting_flags(trial: Trial, budgets: Budgets) -> list[str]:
    """Return the flags that remove the budgets that a trial misses."""
    return [word for name in budgets.missed(trial) for word in (BUDGET_FLAGS[name], ANY)]


def _flags_of(budgets: Budgets, own: Budgets, without: Sequence[str] = ()) -> list[str]:
    """Return the flags that change a sweep's own budgets to others.

    Args:
        budgets: the new budgets.
        own: the sweep's own budgets.
        without: memory, time or agreement, whose flags are omitted.
    """
    exact = {  # in the format of the flags, without rounding
        "memory": (budgets.max_memory_bytes, own.max_memory_bytes, "{}B"),
        "time": (budgets.max_time_s, own.max_time_s, "{:.9f}s"),
        "agreement": (budgets.min_agreement, own.min_agreement, "{!r}"),
    }
    flags = [
        word
        for name, (value, others, form) in exact.items()
        if value != others and name not in without
        for word in (BUDGET_FLAGS[name], ANY if value is None else form.format(value))
    ]
    if budgets.models != own.models:
        flags.append("--no-commercial" if budgets.models is None else "--commercial")
    return flags


def cut_command(settings: Settings) -> str:
    """Return the command that cuts out a picture with a setting.

    It always contains model and engine; other knobs if they differ from the default.
    """
    words = ["rembg-tuner", "cut", "PICTURE"]
    named = {"model": settings.model, "engine": settings.engine}
    for name, value in {**named, **settings.changed()}.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    return shlex.join(words)
