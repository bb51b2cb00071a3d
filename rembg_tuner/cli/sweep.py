"""`sweep`: many settings measured on one's own pictures, one recommended, a report written."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message, plural
from rembg_tuner.base.units import format_bytes, format_guess_range, format_seconds
from rembg_tuner.cli.console import emit, emit_whole, log
from rembg_tuner.cli.exits import DONE, FAILED, INTERRUPTED
from rembg_tuner.cli.history import history_of, log_older_measurements
from rembg_tuner.cli.stopping import stop_word
from rembg_tuner.cli.sweep_figures import keep_presets_figures
from rembg_tuner.cli.sweep_plan import plan_of_arguments
from rembg_tuner.runtime.comparer import Comparer
from rembg_tuner.runtime.load import OwnLoad, busy_warning
from rembg_tuner.settings.results import is_busy
from rembg_tuner.settings.settings import flag_of
from rembg_tuner.tuning.budgets import ANY
from rembg_tuner.tuning.opening import open_sweep
from rembg_tuner.tuning.plan_file import hold_folder
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.summary import busy_text, write_summary
from rembg_tuner.tuning.trial_runner import DirectTrialRunner
from rembg_tuner.tuning.trials import differences, figures_of, label_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.opening import Plan
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.summary import Summary
    from rembg_tuner.tuning.sweep import Sweep, SweepProgress
    from rembg_tuner.tuning.trials import Trial

_BUDGET_FLAGS = {"memory": "--max-memory", "time": "--max-latency", "agreement": "--min-agreement"}
_SHOWN = 12  # rows of the table; all of them stand in the report


def run(arguments: argparse.Namespace) -> int:
    """Sweep, recommend, report. Ctrl-C keeps what is done; --resume goes on from there."""
    plan, folder = plan_of_arguments(arguments), Path(arguments.output)
    budgets = plan.budgets
    for text in plan.left_out():
        log(f"left out: {text}")
    log(str(_announce(plan, is_resumed=arguments.resume)))
    if busy := busy_warning(OwnLoad()):  # nothing of ours runs yet
        log(f"warning: {busy}")
    log_older_measurements()
    names = differences(plan.grid())
    is_interrupted = False
    with hold_folder(folder), Comparer() as comparer:
        sweep = open_sweep(
            plan,
            folder,
            DirectTrialRunner(history_of(arguments)),
            comparer,
            resume=arguments.resume,
        )
        if arguments.resume:
            log(str(_announce_rest(sweep)))
        if sweep.outdated:
            log(
                f"{sweep.outdated} trials in {folder} were measured on another machine, with other"
                " versions, or with other weights; they are measured anew"
            )
        try:
            sweep.run(on_trial=partial(_tell, names), is_cancelled=lambda: False)
            sweep.confirm(budgets, on_trial=partial(_tell, names), is_cancelled=lambda: False)
        except KeyboardInterrupt as error:
            is_interrupted = True
            kept = _trials(len(sweep.trials))
            log(
                f"rembg-tuner: {stop_word(error)}; {kept} kept, go on with:"
                f" {resume_command(folder)}"
            )
    if known := sweep.progress(0.0).remembered:
        log(
            f"{known} of {len(sweep.trials)} trials were measured on this machine before; --again"
            " measures them anew"
        )
    keep_presets_figures(sweep.trials)
    found = recommend(sweep.trials, budgets)
    written = write_summary(folder, sweep, plan, found, budgets)
    if arguments.json:
        emit_whole(written.read_text(encoding="utf-8") + "\n")
    else:
        print_recommendation(found, sweep.trials, budgets, folder, budgets)
        emit(f"report: {folder / 'report.html'}")
    if is_interrupted:
        return INTERRUPTED
    return DONE if found.fits else FAILED


def resume_command(folder: Path) -> str:
    """Write the command that goes on with a sweep."""
    return shlex.join(["rembg-tuner", "sweep", "--resume", "-o", str(folder)])


def tell_what_is_missing(summary: Summary, folder: Path) -> None:
    """Say on stderr which trials of a sweep are not done, or are of other weights."""
    done, planned = len(summary.trials), summary.planned
    if planned is not None and done < planned:
        log(
            f"{done} of {_trials(planned)} of the sweep in {folder} are done; go on with:"
            f" {resume_command(folder)}"
        )
    if summary.outdated:
        log(
            f"{_trials(summary.outdated)} in {folder} ran other weights than those that lie here"
            f" now, and are left out; measure them anew with: {resume_command(folder)}"
        )


def _trials(count: int) -> Message:
    """Return how many trials there are."""
    return plural("{n} trial", "{n:,} trials", n=count)


def _announce(plan: Plan, *, is_resumed: bool) -> Message:
    """Return how many trials there will be, and about how long they take, unless a part may be done."""
    how = (
        Message("all of them, in an order by chance")
        if plan.trials is None
        else Message("chosen by a guided search")
    )
    again = plural(
        ", then the best again in {n} worker more",
        ", then the best again in {n:,} workers more",
        n=plan.confirming,
    )
    guess = Message(
        ": about {time}, corrected after the first trial",
        time=format_guess_range(*plan.guess_range_s()),
    )
    return Message(
        "{trials} of {settings}, {how} (seed {seed}), {runs} of each of {pictures} after a"
        " warm-up{again}{guess}; Ctrl-C keeps what is done",
        trials=_trials(plan.count()),
        settings=plural("{n} setting", "{n:,} settings", n=len(plan.grid())),
        how=how,
        seed=plan.seed,
        runs=plural("{n} run", "{n:,} runs", n=plan.rounds),
        pictures=plural("{n} picture", "{n:,} pictures", n=len(plan.pictures)),
        again=again if plan.confirming else "",
        guess="" if is_resumed else guess,
    )


def _announce_rest(sweep: Sweep) -> Message:
    """Return how many trials of a resumed sweep are done, and about how long the others take."""
    left_s = sweep.progress(0.0).left_s
    rest = Message("nothing is left")
    if any(left_s):
        rest = Message("about {time} left", time=format_guess_range(*left_s))
    if not sweep.trials:
        return rest
    return Message("{trials} done before; {rest}", trials=_trials(len(sweep.trials)), rest=rest)


def _tell(names: Sequence[str], progress: SweepProgress) -> None:
    """Tell of a trial that is done, by the knobs in which the grid's settings differ."""
    trial = progress.newest
    if trial is None:
        return
    said = str(trial.failure or figures_of(trial))
    if trial.was_measured_before and progress.confirmed is None:
        said += " (measured before)"
    if trial.may_be_unstable:
        said += f" (may be unstable: {trial.spread:.0%} spread)"
    if is_busy(trial.warnings):
        said += " (the machine was busy with other work)"
    if progress.confirmed is None:
        count = f"{len(progress.trials)}/{progress.planned}"
        if any(progress.left_s):
            said += f"; about {format_guess_range(*progress.left_s)} left"
    else:
        count = "again"
        if trial.is_measured:
            said += f" ({', '.join(map(format_seconds, trial.worker_times_s))} in its workers)"
    log(f"{count} {label_of(trial.settings, names)}: {said}")


def print_recommendation(
    found: Recommendation, trials: list[Trial], budgets: Budgets, folder: Path, own: Budgets
) -> None:
    """Print the table of the best, what is recommended, and what to do next.

    Args:
        found: of the trials.
        trials: of the sweep.
        budgets: under which it was found.
        folder: of the sweep.
        own: budgets of the sweep, which hold in the commands to run next where no flag says
            otherwise.
    """
    names = differences([t.settings for t in trials])
    _print_table(found, trials, names)
    if (busy := busy_text(trials)) is not None:
        emit(str(busy))
    for trial in trials:
        if trial.failure is not None:
            emit(
                f"failed: trial {trial.number}, {label_of(trial.settings, names)}: {trial.failure}"
            )
    if found.chosen is None:
        _print_nothing_fits(found, budgets, folder, own)
        return
    emit(f"recommended: trial {found.chosen.number}, {found.why}")
    if found.runner_up is not None:
        emit(
            f"runner-up: trial {found.runner_up.number},"
            f" {label_of(found.runner_up.settings, names)}: {figures_of(found.runner_up)}"
        )
    for step in found.steps:
        emit(f"  {step.text}")
    if found.expected is not None:
        emit(str(found.expected))
    emit(f"run it: {command_of(found.chosen.settings)}")
    emit(
        "ship it:"
        f" {shlex.join(['rembg-tuner', 'export', str(folder), '--to', 'compose', *_flags_of(budgets, own)])}"
    )


def _print_table(found: Recommendation, trials: list[Trial], names: Sequence[str]) -> None:
    """Print the fastest trials, and the recommended or nearest one wherever it stands."""
    measured = sorted((t for t in trials if t.is_measured), key=lambda t: t.time_s or 0)
    pick = found.chosen or found.nearest
    shown = [t for i, t in enumerate(measured) if i < _SHOWN or t is pick]
    if shown:
        emit(f"{'trial':>5}  {'time':>9}  {'peak':>9}  {'agree':>6}  setting")
    for trial in shown:
        busy = " (machine busy)" if is_busy(trial.warnings) else ""
        mark = "*" if trial is found.chosen else "~" if trial is found.nearest else " "
        agreement = "-" if trial.agreement is None else f"{trial.agreement:.3f}"
        emit(
            f"{trial.number:>5}  {format_seconds(trial.time_s):>9} "
            f" {format_bytes(trial.peak_bytes):>9}  {agreement:>6}"
            f" {mark}{label_of(trial.settings, names)}{busy}"
        )
    if len(measured) > len(shown):
        emit(f"… {len(measured) - len(shown)} more in the report")


def _print_nothing_fits(
    found: Recommendation, budgets: Budgets, folder: Path, own: Budgets
) -> None:
    """Say that nothing fits, which setting is nearest, and what to do."""
    emit(f"nothing fits: {found.why}")
    if found.nearest is None:
        return
    emit(f"nearest: trial {found.nearest.number}")
    emit(f"lift what it misses: {lifting_command(found.nearest, budgets, folder, own)}")
    emit(
        "or take it by name:"
        f" {shlex.join(['rembg-tuner', 'export', str(folder), '--to', 'compose', '--setting', str(found.nearest.number)])}"
    )


def lifting_command(trial: Trial, budgets: Budgets, folder: Path, own: Budgets) -> str:
    """Write the command that recommends with the budgets lifted that a trial misses, and the others kept."""
    kept = _flags_of(budgets, own, without=budgets.missed(trial))
    lifted = lifting_flags(trial, budgets)
    return shlex.join(["rembg-tuner", "recommend", str(folder), *kept, *lifted])


def lifting_flags(trial: Trial, budgets: Budgets) -> list[str]:
    """Return the flags that lift the budgets that a trial misses."""
    return [word for name in budgets.missed(trial) for word in (_BUDGET_FLAGS[name], ANY)]


def _flags_of(budgets: Budgets, own: Budgets, without: Sequence[str] = ()) -> list[str]:
    """Return the flags that turn a sweep's own budgets into others.

    Args:
        budgets: wanted.
        own: of the sweep.
        without: memory, time or agreement, whose flags are left out.
    """
    exact = {  # as the flags read them, without rounding
        "memory": (budgets.max_memory_bytes, own.max_memory_bytes, "{}B"),
        "time": (budgets.max_time_s, own.max_time_s, "{:.9f}s"),
        "agreement": (budgets.min_agreement, own.min_agreement, "{!r}"),
    }
    flags = [
        word
        for name, (value, others, form) in exact.items()
        if value != others and name not in without
        for word in (_BUDGET_FLAGS[name], ANY if value is None else form.format(value))
    ]
    if budgets.models != own.models:
        flags.append("--no-commercial" if budgets.models is None else "--commercial")
    return flags


def command_of(settings: Settings) -> str:
    """Write the command that cuts a picture out with a setting.

    Model and engine always, else what is not the default.
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
