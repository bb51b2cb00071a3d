"""`batch`: cut out a folder of pictures, several at once through the network."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.batch.plan import plan_jobs
from rembg_tuner.batch.run import run_batch, sum_up
from rembg_tuner.cli.console import emit, emit_json, log, show_progress
from rembg_tuner.cli.cut import failure_text
from rembg_tuner.cli.exits import exit_code, stop_word
from rembg_tuner.cli.flags import add_cutting_flags, find_and_log, history_use, parse_settings
from rembg_tuner.cli.streams import STANDARD
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from rembg_tuner.batch.run import BatchSummary
    from rembg_tuner.settings.results import Result


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `batch`."""
    parser.description = (
        "Cut out every picture of a folder, --batch-size of them at once through the network."
    )
    parser.add_argument("images", nargs="+", metavar="DIR|FILE", help="folders, or pictures")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="the folder for <stem>.png"
    )
    add_cutting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Cut out every picture; log each failure, and continue with the other pictures."""
    if STANDARD in (*arguments.images, arguments.output):
        raise SettingsError(
            [
                Message(
                    "- is for one picture, and batch takes folders; use cut - -o -, or name folders"
                )
            ]
        )
    settings, warnings = parse_settings(arguments)
    found = find_and_log(arguments.images)
    jobs = plan_jobs(found.images, f"{arguments.output}/", arguments.background)
    early = arguments.early
    started = early.started_at or time.perf_counter()
    with Runner(early=early, history=history_use(arguments), machine=read_machine()) as runner:
        outcomes = run_batch(jobs, settings, runner, warnings=warnings)
        runs, is_interrupted = _print_all(outcomes, len(jobs), is_quiet=arguments.json)
    elapsed_s = time.perf_counter() - started
    summary = sum_up(found, runs, elapsed_s=elapsed_s, batch_size=settings.batch_size)
    if arguments.json:
        emit_json(
            {
                "summary": asdict(summary),
                "skipped": [one.to_dict() for one in found.skipped],
                "runs": [one.to_dict() for one in runs],
            }
        )
    else:
        emit(_describe(summary))
    return exit_code(runs, is_interrupted=is_interrupted)


def _print_all(
    outcomes: Iterable[Result | Failure], count: int, *, is_quiet: bool
) -> tuple[list[Result | Failure], bool]:
    """Print each outcome as soon as it is available.

    Returns:
        The outcomes, and whether the batch was interrupted.
    """
    runs: list[Result | Failure] = []
    try:
        with show_progress(count, "pictures") as advance:
            for one in outcomes:
                runs.append(one)
                if isinstance(one, Failure):
                    log(f"rembg-tuner: {failure_text(one)}")
                elif not is_quiet:
                    emit(f"{one.input} -> {one.output} ({format_seconds(one.total_s)})")
                advance(len(runs))
    except KeyboardInterrupt as error:
        log(f"rembg-tuner: {stop_word(error)}; what was done before is kept")
        return runs, True
    return runs, False


def _describe(summary: BatchSummary) -> str:
    """Return a summary of the whole batch in one line."""
    others = [
        f"{count} {word}"
        for count, word in (
            (summary.failed, "failed"),
            (summary.skipped, "skipped"),
            (summary.not_run, "not run"),
        )
        if count
    ]
    also = f" ({', '.join(others)})" if others else ""
    return (
        f"{summary.done} of {summary.inputs} inputs cut out{also} in"
        f" {format_seconds(summary.elapsed_s)}, start and load included:"
        f" {summary.pictures_per_s:.1f} a second, {summary.batch_size} at once,"
        f" {format_seconds(summary.cpu_s)} of CPU, peak {format_bytes(summary.peak_rss_bytes)}"
    )
