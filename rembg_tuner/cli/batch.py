"""`batch`: a folder of pictures, several at once through the network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cli.chosen import chosen_settings
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.cut import failure_text
from rembg_tuner.cli.exits import exit_code
from rembg_tuner.cli.plan import plan_jobs
from rembg_tuner.cli.stopping import stop_word
from rembg_tuner.errors import PictureError, SettingsError
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.measurement import Failure, Result
from rembg_tuner.running.runner import Runner
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings


def run(arguments: argparse.Namespace) -> int:
    """Cut out every picture; the bad ones are named and the others done."""
    settings, warnings = chosen_settings(arguments)
    images = find_images(arguments.images)
    jobs = plan_jobs(images, f"{arguments.output}/", arguments.background)
    started = time.perf_counter()
    runs, is_interrupted = _run_all(jobs, settings, warnings, is_quiet=arguments.json)
    elapsed_s = time.perf_counter() - started
    if arguments.json:
        emit_json({"runs": [one.to_dict() for one in runs]})
    else:
        _print_summary(runs, elapsed_s, settings)
    return exit_code(runs, is_interrupted=is_interrupted)


_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif"}


def find_images(names: list[str]) -> list[str]:
    """List the pictures of folders, and those named one by one; what else lies in a folder is left out.

    A file that is called a picture and is none is named on standard error.

    Raises:
        SettingsError: there are none.
    """
    found: list[str] = []
    for name in names:
        path = Path(name)
        inside = sorted(path.iterdir()) if path.is_dir() else []
        found += [str(one) for one in inside if _is_picture(one)] if path.is_dir() else [name]
        for one in inside:
            if one.suffix.lower() in _SUFFIXES and str(one) not in found:
                log(f"rembg-tuner: {one} is left out: it is called a picture, and does not read as one")  # fmt: skip
    if not found:
        raise SettingsError([f"there are no pictures in {', '.join(names)}"])
    return found


def _is_picture(path: Path) -> bool:
    """Tell whether a file is a picture that is read."""
    try:
        sniff(path)
    except PictureError:
        return False
    return True


def _run_all(
    jobs: list[Job], settings: Settings, warnings: tuple[str, ...], *, is_quiet: bool
) -> tuple[list[Result | Failure], bool]:
    """Run every group of pictures, telling of each as it is done."""
    runs: list[Result | Failure] = []
    size = settings.batch_size
    try:
        with Runner() as runner:
            for i in range(0, len(jobs), size):
                came = runner.run_together(jobs[i : i + size], settings, warnings=warnings)
                for one in came:
                    if isinstance(one, Failure):
                        log(f"rembg-tuner: {failure_text(one)}")
                    elif not is_quiet:
                        emit(f"{one.input} -> {one.output} ({format_seconds(one.total_s)})")
                runs += came
    except KeyboardInterrupt as error:
        log(f"rembg-tuner: {stop_word(error)}; what was done before is kept")
        return runs, True
    return runs, False


def _print_summary(runs: list[Result | Failure], elapsed_s: float, settings: Settings) -> None:
    """Tell what the whole took."""
    done = [one for one in runs if isinstance(one, Result)]
    if not done:
        return
    peaks = [one.peak_rss_bytes for one in done if one.peak_rss_bytes is not None]
    emit(
        f"{len(done)} of {len(runs)} pictures in {format_seconds(elapsed_s)}, start and load included: {len(done) / elapsed_s:.1f} a second, {settings.batch_size} at once, peak {format_bytes(max(peaks, default=None))}"
    )
