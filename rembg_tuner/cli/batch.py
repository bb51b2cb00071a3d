"""`batch`: a folder of pictures, several at once through the network."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError, SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.batch.plan import plan_jobs
from rembg_tuner.cli.console import emit, emit_json, log
from rembg_tuner.cli.cut import failure_text
from rembg_tuner.cli.exits import exit_code, stop_word
from rembg_tuner.cli.flags import add_cutting_flags, history_use, parse_settings
from rembg_tuner.cli.streams import STANDARD
from rembg_tuner.imaging.formats import READ_SUFFIXES, sniff
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file of a folder that is not run, and the reason."""

    input: str
    reason: Message

    def to_dict(self) -> dict[str, str]:
        """Return the fields by name, ready for JSON."""
        return {"input": self.input, "reason": str(self.reason)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in the folders that were named.

    Attributes:
        images: paths of the pictures, those named one by one too.
        skipped: everything else.
    """

    images: list[str]
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a whole batch came to.

    Attributes:
        inputs: all: done, failed, skipped and not_run.
        not_run: left when the batch was ended.
        elapsed_s: start and load included.
        cpu_s: of the runs that are done.
        pictures_per_s: done ones by elapsed_s.
        batch_size: how many run together.
        peak_rss_bytes: the highest of a run; None: unknown.
    """

    inputs: int
    done: int
    failed: int
    skipped: int
    not_run: int
    elapsed_s: float
    cpu_s: float
    pictures_per_s: float
    batch_size: int
    peak_rss_bytes: int | None


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
    """Cut out every picture; the bad ones are named and the others done."""
    if STANDARD in (*arguments.images, arguments.output):
        raise SettingsError(
            [
                Message(
                    "- is for one picture, and batch takes folders; use cut - -o -, or name folders"
                )
            ]
        )
    settings, warnings = parse_settings(arguments)
    found = look_for_images(arguments.images)
    jobs = plan_jobs(found.images, f"{arguments.output}/", arguments.background)
    early = arguments.early
    started = early.started_at or time.perf_counter()
    with Runner(early=early, history=history_use(arguments), machine=read_machine()) as runner:
        runs, is_interrupted = _run_all(jobs, settings, warnings, runner, is_quiet=arguments.json)
    elapsed_s = time.perf_counter() - started
    summary = summarise(found, runs, elapsed_s=elapsed_s, batch_size=settings.batch_size)
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


def look_for_images(names: Sequence[str]) -> Found:
    """List the pictures of folders, and those named one by one, with what else lies in the folders.

    A file that is called a picture and is none is named on standard error.

    Raises:
        SettingsError: there are none.
    """
    images: list[str] = []
    skipped: list[Skipped] = []
    for name in names:
        path = Path(name)
        if not path.is_dir():
            images.append(name)
            continue
        for one in _entries(path):
            try:
                sniff(one)
            except PictureError as error:
                skipped.append(Skipped(input=str(one), reason=error.message))
                if one.suffix.lower() in READ_SUFFIXES:
                    log(
                        f"rembg-tuner: {one} is left out: it is called a picture, and does not read"
                        " as one"
                    )
            else:
                images.append(str(one))
    if not images:
        raise SettingsError(
            [Message("there are no pictures in {folders}", folders=join_parts(map(Path, names)))]
        )
    return Found(images=images, skipped=skipped)


def _entries(folder: Path) -> list[Path]:
    """List a folder.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(
            [
                Message(
                    "the folder {folder} cannot be read: {reason}",
                    folder=folder,
                    reason=error.strerror,
                )
            ]
        ) from error


def find_images(names: Sequence[str]) -> list[str]:
    """List the pictures of folders, and those named one by one.

    What else lies in a folder is left out.

    Raises:
        SettingsError: as `look_for_images`.
    """
    return look_for_images(names).images


def summarise(
    found: Found, runs: Sequence[Result | Failure], *, elapsed_s: float, batch_size: int
) -> Summary:
    """Count all inputs, and sum up what the runs took."""
    done = [one for one in runs if isinstance(one, Result)]
    peaks = [one.peak_rss_bytes for one in done if one.peak_rss_bytes is not None]
    return Summary(
        inputs=len(found.images) + len(found.skipped),
        done=len(done),
        failed=len(runs) - len(done),
        skipped=len(found.skipped),
        not_run=len(found.images) - len(runs),
        elapsed_s=elapsed_s,
        cpu_s=sum(one.cpu_s for one in done),
        pictures_per_s=len(done) / elapsed_s,
        batch_size=batch_size,
        peak_rss_bytes=max(peaks, default=None),
    )


def _run_all(
    jobs: list[Job],
    settings: Settings,
    warnings: tuple[Message, ...],
    runner: Runner,
    *,
    is_quiet: bool,
) -> tuple[list[Result | Failure], bool]:
    """Run every group of pictures, telling of each as it is done."""
    runs: list[Result | Failure] = []
    size = settings.batch_size
    try:
        for i in range(0, len(jobs), size):
            came = runner.run_together(
                jobs[i : i + size],
                settings,
                warnings=warnings,
                following=jobs[i + size : i + 2 * size],
            )
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


def _describe(summary: Summary) -> str:
    """Describe what the whole took, in a line."""
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
