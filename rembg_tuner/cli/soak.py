"""`soak`: many runs in one worker, and what stays."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cache import replacing
from rembg_tuner.cli.batch import find_images
from rembg_tuner.cli.chosen import chosen_settings
from rembg_tuner.cli.cut import DONE, FAILED, INTERRUPTED, exit_code, failure_text
from rembg_tuner.cli.plan import make_output_folder
from rembg_tuner.errors import OutputError
from rembg_tuner.measurement import Failure
from rembg_tuner.soak import draw_soak, run_soak
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.measurement import Result
    from rembg_tuner.soak import Soak

_TOLD_EVERY = 20


def run(arguments: argparse.Namespace) -> int:
    """Soak. The first Ctrl-C ends it after the run that goes on, and what was done is told."""
    settings, warnings = chosen_settings(arguments)
    for text in warnings:
        print(f"note: {text}", file=sys.stderr)
    if arguments.output is not None:
        make_output_folder(Path(arguments.output))  # before an hour's runs, not after
    pictures = [Path(name) for name in find_images(arguments.images)]
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))

    def tell(number: int, result: Result) -> None:
        if number % _TOLD_EVERY == 0:
            print(f"{number}/{arguments.runs} {format_seconds(result.total_s)}, {format_bytes(result.retained_rss_bytes)} after it", file=sys.stderr)  # fmt: skip

    try:
        found = run_soak(
            pictures,
            settings,
            runs=arguments.runs,
            idle_s=arguments.idle,
            on_run=tell,
            is_cancelled=lambda: bool(stopped),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    if isinstance(found, Failure):
        print(f"rembg-tuner: {failure_text(found)}", file=sys.stderr)
        return exit_code([found], is_interrupted=False)
    if arguments.output is not None:
        _write(found, Path(arguments.output))
    print(json.dumps(found.to_dict(), indent=2) if arguments.json else _describe(found))
    if stopped:
        return INTERRUPTED
    return FAILED if found.failure else DONE


def _write(found: Soak, folder: Path) -> None:
    """Write soak.json and soak.svg."""
    try:
        texts = {"soak.json": json.dumps(found.to_dict(), indent=2), "soak.svg": draw_soak(found)}
        for name, text in texts.items():
            with replacing(folder / name) as file:
                file.write(text.encode())
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def _describe(found: Soak) -> str:
    """Tell a soak in a few lines."""
    error = found.slope_error_bytes
    within = "" if error is None else f" ± {error / 1024:.1f}"
    grows = {True: "it grows", False: "no growth beyond chance", None: "too few runs to tell"}[found.is_growing()]  # fmt: skip
    p95 = "" if found.p95_s is None else f", p95 {format_seconds(found.p95_s)}"
    lines = [
        f"{len(found.times_s)} runs: p50 {format_seconds(found.p50_s)}{p95}; {found.pictures_per_s:.2f} pictures a second, {found.pictures_a_day:,} a day at one slot",
        f"memory: peak {format_bytes(found.peak_bytes)}; slope {found.slope_bytes / 1024:.1f}{within} KiB a picture over the second half ({grows}); {format_bytes(found.idle_bytes)} stay when idle",
    ]
    if found.failure:
        lines.append(f"ended early: {found.failure}")
    return "\n".join(lines)
