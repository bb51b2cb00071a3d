"""`soak`: run the stress test, many runs in one worker, and print the growth of its memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.units import format_bytes, format_seconds, parse_seconds
from rembg_tuner.cli.console import emit, emit_json, log, show_progress, write_files
from rembg_tuner.cli.cut import failure_text
from rembg_tuner.cli.exits import DONE, FAILED, exit_code, exit_code_of, noting_stops
from rembg_tuner.cli.flags import (
    add_ignore_history,
    add_json,
    add_knobs,
    add_preset,
    explained,
    find_and_log,
    history_use,
    parse_settings,
    whole_number,
)
from rembg_tuner.settings.results import Failure
from rembg_tuner.tuning.stats import MIN_VERDICT_RUNS
from rembg_tuner.tuning.stress_test import StressPlan, draw_stress_test, run_stress_test

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.settings.results import Result
    from rembg_tuner.tuning.stress_test import StressTest

_VERDICTS = {"growing": "it grows", "steady": "no growth beyond chance"}
_LOGGED_EVERY = 20


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `soak`."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="pictures, run in turn")
    parser.add_argument(
        "--runs",
        type=whole_number(1),
        default=MIN_VERDICT_RUNS,
        metavar="N",
        help="default: %(default)s; with fewer there is no verdict on growth",
    )
    parser.add_argument(
        "--idle",
        type=explained(parse_seconds),
        default=2.0,
        metavar="TIME",
        help="idle time at the end, before retained memory is read; default: 2s",
    )
    add_preset(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="write soak.json and soak.svg")
    add_ignore_history(parser)
    add_json(parser)
    add_knobs(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run a stress test; the first Ctrl-C ends it after the current run and prints its results."""
    settings, warnings = parse_settings(arguments)
    for text in warnings:
        log(f"note: {text}")
    if arguments.output is not None:
        write_files(Path(arguments.output), {})  # raises an error before the runs, not after them
    pictures = [Path(name) for name in find_and_log(arguments.images).images]

    with noting_stops() as stopped, show_progress(arguments.runs, "runs") as advance:

        def show(number: int, result: Result) -> None:
            advance(number)
            if number % _LOGGED_EVERY == 0:
                log(
                    f"{number}/{arguments.runs} {format_seconds(result.total_s)},"
                    f" {format_bytes(result.retained_rss_bytes)} after it"
                )

        found = run_stress_test(
            pictures,
            settings,
            StressPlan(runs=arguments.runs, idle_s=arguments.idle, history=history_use(arguments)),
            on_run=show,
            is_cancelled=lambda: bool(stopped),
        )
    if isinstance(found, Failure):
        log(f"rembg-tuner: {failure_text(found)}")
        return exit_code([found], is_interrupted=False)
    if arguments.output is not None:
        texts = {
            "soak.json": json.dumps(found.to_dict(), indent=2),
            "soak.svg": draw_stress_test(found),
        }
        write_files(Path(arguments.output), texts)
    if arguments.json:
        emit_json(found.to_dict())
    else:
        emit(*_describe(found))
    if stopped:
        return exit_code_of(stopped[0])
    return FAILED if found.failure is not None else DONE


def _describe(found: StressTest) -> list[str]:
    """Return the lines that describe a stress test."""
    error = found.slope_error_bytes
    within = "" if error is None else f" ± {error / 1024:.1f}"
    verdict = "" if found.verdict is None else f" ({_VERDICTS[found.verdict]})"
    p95 = "" if found.p95_s is None else f", p95 {format_seconds(found.p95_s)}"
    lines = [
        (
            f"{len(found.times_s)} runs: p50 {format_seconds(found.p50_s)}{p95};"
            f" {found.pictures_per_s:.2f} pictures a second, {found.pictures_a_day:,} a day at one"
            " slot"
        ),
        (
            f"memory: peak {format_bytes(found.peak_bytes)}; slope"
            f" {found.slope_bytes / 1024:.1f}{within} KiB a picture over the second half{verdict};"
            f" {format_bytes(found.idle_bytes)} stay when idle"
        ),
    ]
    if found.no_verdict is not None:
        lines.append(str(found.no_verdict))
    if found.failure is not None:
        lines.append(f"ended early: {found.failure}")
    return lines
