"""`sweep`: measure many settings on the user's pictures, recommend one, write a report."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.base.messages import Message, plural
from rembg_tuner.base.units import format_guess_range, format_seconds
from rembg_tuner.cli.console import emit, emit_whole, log, show_progress
from rembg_tuner.cli.exits import DONE, FAILED, INTERRUPTED, stop_word
from rembg_tuner.cli.flags import (
    add_axes,
    add_budgets,
    add_ignore_history,
    add_json,
    history_use,
    log_older_measurements,
    whole_number,
)
from rembg_tuner.cli.recommend import count_text, print_recommendation, resume_command
from rembg_tuner.cli.sweep_plan import plan_of_flags
from rembg_tuner.runtime.meter import OwnLoad, busy_warning
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import PresetFigures, note_figures
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import is_busy
from rembg_tuner.tuning.folder import lock_folder
from rembg_tuner.tuning.measure import DirectTrialRunner
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.report import write_sweep_report
from rembg_tuner.tuning.stats import CONFIRMING
from rembg_tuner.tuning.sweep import open_sweep
from rembg_tuner.tuning.trials import differing_knobs, figures_of, label_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.sweep import Sweep, SweepProgress
    from rembg_tuner.tuning.trials import Trial


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `sweep`."""
    parser.description = (
        "Measure every setting that the axes combine to, each in a worker of its own, and recommend"
        " one. An axis is a knob with several values: --engine onnxruntime,openvino --network-size"
        " 192,256,320."
    )
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="pictures of your kind, or folders of them; with --resume the sweep's own",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="the knobs that are not an axis; default: the knobs' own defaults",
    )
    _add_numbers(parser)
    parser.add_argument(
        "--reference",
        metavar="PRESET|MODEL|MASK|DIR",
        help=(
            "what agreement is measured against; of a folder the masks named as the pictures;"
            " default: the model in fp32 at its own size"
        ),
    )
    parser.add_argument(
        "--again", action="store_true", help="measure again what was measured here before"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=(
            "continue the sweep in -o, with all settings of its plan.json; budgets, --confirm and"
            " more --trials may be given again"
        ),
    )
    parser.add_argument(
        "-o",
        "--output",
        default="sweep",
        metavar="DIR",
        help="where trials and report go; default: sweep",
    )
    add_ignore_history(parser)
    add_json(parser)
    add_budgets(parser)
    add_axes(parser)


def _add_numbers(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that take a number."""
    for flag, read, summary in (
        (
            "--trials",
            whole_number(1),
            "measure N of them, by a guided search (Optuna's TPE); default: all",
        ),
        (
            "--rounds",
            whole_number(1),
            "timed runs of each picture in a trial, after a warm-up; default: 3",
        ),
        (
            "--confirm",
            whole_number(0),
            "workers in which the best are measured again at the end, the recommended one first;"
            f" 0: none; default: {CONFIRMING}",
        ),
        # the maximum is the largest seed of numpy, which the guided search uses
        ("--seed", whole_number(0, 2**32 - 1), "of the order of trials; default: 0"),
    ):
        parser.add_argument(flag, type=read, metavar="N", help=summary)


def run(arguments: argparse.Namespace) -> int:
    """Sweep, recommend and report. Ctrl-C keeps the finished trials, and --resume continues."""
    plan, folder = plan_of_flags(arguments), Path(arguments.output)
    for text in plan.left_out():
        log(f"left out: {text}")
    log(str(_announce(plan, is_resumed=arguments.resume)))
    if busy := busy_warning(OwnLoad()):  # before our own workers start
        log(f"warning: {busy}")
    log_older_measurements()
    with lock_folder(folder), Comparer() as comparer:
        runner = DirectTrialRunner(history_use(arguments))
        sweep = open_sweep(plan, folder, runner, comparer, resume=arguments.resume)
        if arguments.resume:
            log(str(_announce_rest(sweep)))
        if sweep.outdated:
            log(
                f"{sweep.outdated} trials in {folder} were measured on another machine, with other"
                " versions, or with other weights; they are measured again"
            )
        is_interrupted = _measure(sweep, plan, folder)
    if known := sweep.progress(0.0).remembered:
        log(
            f"{known} of {len(sweep.trials)} trials were measured on this machine before; --again"
            " measures them again"
        )
    _keep_preset_figures(sweep.trials)
    found = recommend(sweep.trials, plan.budgets)
    written = write_sweep_report(folder, sweep, plan, found, plan.budgets)
    if arguments.json:
        emit_whole(written.read_text(encoding="utf-8") + "\n")
    else:
        print_recommendation(found, sweep.trials, plan.budgets, folder, plan.budgets)
        emit(f"report: {folder / 'report.html'}")
    if is_interrupted:
        return INTERRUPTED
    return DONE if found.fits else FAILED


def _measure(sweep: Sweep, plan: Plan, folder: Path) -> bool:
    """Run all trials, and the best settings again; return whether this was interrupted."""
    names = differing_knobs(plan.grid())
    with show_progress(plan.count(), "trials") as advance:

        def on_trial(progress: SweepProgress) -> None:
            _log_trial(names, progress)
            advance(len(progress.trials))

        try:
            sweep.run(on_trial=on_trial, is_cancelled=lambda: False)
            sweep.confirm(plan.budgets, on_trial=on_trial, is_cancelled=lambda: False)
        except KeyboardInterrupt as error:
            log(
                f"rembg-tuner: {stop_word(error)}; {count_text(len(sweep.trials))} kept, continue"
                f" with: {resume_command(folder)}"
            )
            return True
    return False


def _announce(plan: Plan, *, is_resumed: bool) -> Message:
    """Return the number of planned trials, and for a new sweep its approximate duration."""
    how = (
        Message("all of them, in random order")
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
        trials=count_text(plan.count()),
        settings=plural("{n} setting", "{n:,} settings", n=len(plan.grid())),
        how=how,
        seed=plan.seed,
        runs=plural("{n} run", "{n:,} runs", n=plan.rounds),
        pictures=plural("{n} picture", "{n:,} pictures", n=len(plan.pictures)),
        again=again if plan.confirming else "",
        guess="" if is_resumed else guess,
    )


def _announce_rest(sweep: Sweep) -> Message:
    """Return the number of completed trials of a resumed sweep, and the estimated time left."""
    left_s = sweep.progress(0.0).left_s
    rest = Message("nothing is left")
    if any(left_s):
        rest = Message("about {time} left", time=format_guess_range(*left_s))
    if not sweep.trials:
        return rest
    return Message("{trials} done before; {rest}", trials=count_text(len(sweep.trials)), rest=rest)


def _log_trial(names: Sequence[str], progress: SweepProgress) -> None:
    """Log a finished trial, with the knobs in which the grid's settings differ."""
    trial = progress.newest
    if trial is None:
        return
    text = str(trial.failure or figures_of(trial))
    if trial.was_measured_before and progress.confirmed is None:
        text += " (measured before)"
    if trial.may_be_unstable:
        text += f" (may be unstable: {trial.spread:.0%} spread)"
    if is_busy(trial.warnings):
        text += " (the machine was busy with other work)"
    if progress.confirmed is None:
        count = f"{len(progress.trials)}/{progress.planned}"
        if any(progress.left_s):
            text += f"; about {format_guess_range(*progress.left_s)} left"
    else:
        count = "again"
        if trial.is_measured:
            text += f" ({', '.join(map(format_seconds, trial.worker_times_s))} in its workers)"
    log(f"{count} {label_of(trial.settings, names)}: {text}")


def _keep_preset_figures(trials: Sequence[Trial]) -> None:
    """Store the figures of presets among a sweep's settings, if the machine was not busy.

    Figures that cannot be stored are logged.
    """
    machine, keys = read_machine(), set()
    for preset in read_presets().values():
        with contextlib.suppress(SettingsError, ModelError, OSError):  # it cannot run here
            keys.add(_identity(requested_settings(preset, {}, machine)[0], machine))
    for trial in trials:
        if trial.was_measured_before or is_busy(trial.warnings) or not trial.is_measured:
            continue
        assert trial.time_s is not None
        assert trial.peak_bytes is not None
        figures = PresetFigures(
            time_s=trial.time_s,
            low_s=trial.time_low_s or trial.time_s,
            high_s=trial.time_high_s or trial.time_s,
            small_time_s=None,
            peak_bytes=trial.peak_bytes,
            n=trial.n,
            is_of_bench=False,
        )
        try:
            if _identity(trial.settings, machine) in keys:
                note_figures(trial.settings, machine, figures)
        except (ModelError, OSError, sqlite3.Error) as error:
            log(f"the figures of trial {trial.number} are not kept as its preset's: {error}")


def _identity(settings: Settings, machine: Machine) -> tuple[str, int]:
    """Return the identity of a setting: two equal settings have the same.

    Raises:
        ModelError, OSError: the model's file is missing.
    """
    return resolve(settings, machine).measurement_key, settings.max_side
