"""`cut`: cut out pictures one at a time, and print the measurements of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, plural
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.batch.plan import plan_jobs
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.exits import exit_code, stop_word
from rembg_tuner.cli.flags import (
    add_cutting_flags,
    given_knobs,
    history_use,
    parse_settings,
    whole_number,
)
from rembg_tuner.cli.streams import STANDARD, STREAM_FORMATS, open_streams
from rembg_tuner.imaging.formats import OUTPUT_SUFFIXES
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure, Result, distinct, is_busy, setting_peak_bytes
from rembg_tuner.tuning.stats import summarise

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rembg_tuner.cli.streams import Streams
    from rembg_tuner.settings.results import EffectiveValue
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

Run = Result | Failure


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `cut`."""
    parser.description = "Cut pictures out of their background, one at a time, each measured."
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF; -: standard input, for one picture",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help=(
            f"where to write: a file ({', '.join(OUTPUT_SUFFIXES)}), a folder for <stem>.png, or -"
            " for standard output; default: <stem>.cutout.png beside each picture, and standard"
            " output for standard input"
        ),
    )
    parser.add_argument(
        "--format",
        choices=STREAM_FORMATS,
        help=f"of standard output; default: {STREAM_FORMATS[0]}",
    )
    parser.add_argument(
        "--repeat",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="run each picture N times; default: 1",
    )
    add_cutting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Cut out every picture; log each failure, and continue with the other pictures."""
    settings, warnings = _one_at_a_time(arguments)
    with open_streams(
        arguments.images, arguments.output, suffix=arguments.format, is_json=arguments.json
    ) as streams:
        try:
            jobs = plan_jobs(streams.images, streams.output, arguments.background)
        except SettingsError as error:
            raise SettingsError(
                [problem.with_paths(streams.names) for problem in error.problems]
            ) from error
        runs, is_interrupted = _run_all(jobs, settings, warnings, arguments, streams)
        if not is_interrupted:
            streams.write(runs[-1])
    if arguments.json:
        emit_json({"runs": [run.to_dict() for run in runs]})
    elif arguments.repeat > 1:
        done = [run for run in runs if isinstance(run, Result)]
        _print_spread(done, log if streams.is_written else emit)
    return exit_code(runs, is_interrupted=is_interrupted)


def _one_at_a_time(arguments: argparse.Namespace) -> tuple[Settings, tuple[Message, ...]]:
    """Return the settings with a batch size of 1, because `cut` runs one picture at a time.

    With a larger batch, the network would run on copies of the picture. A preset's batch size is
    replaced, with a warning.

    Raises:
        SettingsError: a larger batch was requested by flag.
    """
    settings, warnings = parse_settings(arguments)
    size = settings.batch_size
    if size == 1:
        return settings, warnings
    if "batch_size" in given_knobs(arguments):
        raise SettingsError(
            [
                Message(
                    "batch_size {size} is for several pictures at once, and cut takes one at a"
                    " time; leave it out, or use command batch",
                    size=size,
                )
            ]
        )
    reason = Message(
        "batch_size {size} of the preset is left out, batch_size 1 is used: cut takes one picture"
        " at a time, command batch takes several",
        code="knob_dropped",
        size=size,
    )
    return replace(settings, batch_size=1), (*warnings, reason)


def _run_all(
    jobs: list[Job],
    settings: Settings,
    warnings: tuple[Message, ...],
    arguments: argparse.Namespace,
    streams: Streams,
) -> tuple[list[Run], bool]:
    """Run every job, and print each outcome as soon as it is available.

    Returns:
        The outcomes, and whether the command was interrupted.
    """
    runs: list[Run] = []
    write = log if streams.is_written else emit
    try:
        with Runner(
            early=arguments.early, history=history_use(arguments), machine=read_machine()
        ) as runner:
            for job in jobs:
                for _ in range(arguments.repeat):
                    run = streams.named(runner.run(job, settings, warnings=warnings))
                    runs.append(run)
                    if isinstance(run, Failure):
                        log(f"rembg-tuner: {failure_text(run)}")
                        break  # the same picture would fail again for the same reason
                    if not arguments.json:
                        write(*_describe(run, is_brief=run.run_index > 0 and arguments.repeat > 1))
    except KeyboardInterrupt as error:
        log(f"rembg-tuner: {stop_word(error)}; what was done before is kept")
        return runs, True
    return runs, False


def failure_text(run: Failure) -> str:
    """Return the message of a failure, which contains the picture's name once."""
    is_named = run.input == STANDARD or run.message.mentions(Path(run.input))
    return str(run.message) if is_named else f"{run.input}: {run.message}"


def _describe(run: Result, *, is_brief: bool) -> list[str]:
    """Return the lines that describe a run."""
    effective = run.effective
    stages = " + ".join(f"{name} {format_seconds(value)}" for name, value in run.stages_s.items())
    shown = ("model", "engine", "provider", "precision")
    how = " ".join(str(effective[key]) for key in shown if effective.get(key) not in (None, "cpu"))
    lines = [f"  time     {format_seconds(run.total_s)} = {stages}"]
    peak_word = "VmHWM" if run.peak_source == "vmhwm" else "sampled"
    lines.append(
        f"  memory   peak {format_bytes(run.peak_rss_bytes)} ({peak_word}) · kept"
        f" {format_bytes(run.retained_rss_bytes)}, {format_bytes(run.rss_file_bytes)} of it mapped"
        f" files · load's peak {format_bytes(run.load_peak_rss_bytes)} · before it"
        f" {format_bytes(run.baseline_rss_bytes)}"
    )
    if is_brief:
        return [
            f"  run {run.run_index + 1:<4} {format_seconds(run.total_s)} · peak"
            f" {format_bytes(run.peak_rss_bytes)}"
        ]
    lines.insert(0, f"{run.input} -> {run.output} ({format_bytes(run.output_bytes)})")
    lines.append(
        f"  started  {format_seconds(run.start_s)} + model loaded {format_seconds(run.load_s)},"
        " once"
    )
    lines.append(
        f"  ran      {how}, {effective.get('network_size')} px, {effective.get('intra_op_threads')}"
        f" threads, {format_seconds(run.cpu_s)} of CPU"
    )
    if (focus := effective["focus"]) is not None and run.settings.focus != "off":
        lines.append(f"  focus    {_focus_text(focus)}")
    lines += [f"  warning  {warning}" for warning in run.warnings]
    return lines


def _focus_text(focus: EffectiveValue) -> Message:
    """Return the number of network runs and the box of the subject as text."""
    assert isinstance(focus, dict)
    runs = plural("{n} run", "{n:,} runs", n=focus["passes"])
    if focus["box"] is None:
        return Message("{runs} of the network; the first shows no subject", runs=runs)
    left, top, width, height = focus["box"]
    return Message(
        "{runs} of the network; the subject's box is {width} x {height} px at {left}, {top}:"
        " {share:.1%} of the picture",
        runs=runs,
        width=width,
        height=height,
        left=left,
        top=top,
        share=focus["share"],
    )


def _print_spread(done: list[Result], write: Callable[..., None]) -> None:
    """Print the spread of repeated runs without the first one; log if it may be unstable."""
    warm = [run for run in done if run.run_index > 0]
    if not warm:
        return
    total = summarise([run.total_s for run in warm])
    busy = distinct(one for run in warm for one in run.warnings if is_busy([one]))
    write(
        f"warm     median {format_seconds(total.median)}, {format_seconds(total.low)} to"
        f" {format_seconds(total.high)} (n = {total.n}, the first run left out)",
        *(f"warning  {text}" for text in busy),
        f"peak     {format_bytes(setting_peak_bytes(done))} of the setting: the highest of the load"
        f" and {len(done)} runs",
    )
    if total.is_unstable() and len({run.input for run in warm}) == 1:
        deviation = total.standard_deviation / total.mean
        log(
            f"the times may be unstable: their standard deviation is {deviation:.0%} of their mean;"
            " close other programs, or increase --repeat"
        )
