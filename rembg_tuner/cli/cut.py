"""`cut`: pictures in, cut-outs out, and what each took."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.cli.arguments import chosen_settings
from rembg_tuner.errors import OutputError, SettingsError
from rembg_tuner.host import read_host
from rembg_tuner.imaging.formats import check_output
from rembg_tuner.measurement import Failure, Result, setting_peak_bytes
from rembg_tuner.pipeline import Job
from rembg_tuner.runner import Runner
from rembg_tuner.stats import summarise
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from rembg_tuner.settings import Settings

Run = Result | Failure

DONE, FAILED, TIMED_OUT, INTERRUPTED = 0, 1, 124, 130


def run(arguments: argparse.Namespace) -> int:
    """Cut out every picture; the bad ones are named and the others done."""
    settings, warnings = chosen_settings(arguments, has_bf16=read_host().has_bf16)
    background = _read_colour(arguments.background)
    jobs = [
        Job(input=str(image), output=str(output), background=background)
        for image, output in plan_outputs(arguments.images, arguments.output)
    ]
    _check_formats(jobs)
    runs, is_interrupted = _run_all(jobs, settings, warnings, arguments)
    if arguments.json:
        print(json.dumps({"runs": [run.to_dict() for run in runs]}, indent=2))
    elif arguments.repeat > 1:
        _print_spread(runs)
    return _exit_code(runs, is_interrupted=is_interrupted)


def _run_all(
    jobs: list[Job], settings: Settings, warnings: tuple[str, ...], arguments: argparse.Namespace
) -> tuple[list[Run], bool]:
    """Run every job, telling of each as it is done."""
    runs: list[Run] = []
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Runner() as runner:
            for job in jobs:
                for _ in range(arguments.repeat):
                    run = runner.run(job, settings, warnings=warnings)
                    runs.append(run)
                    if isinstance(run, Failure):
                        print(f"rembg-tuner: {_failure_text(run)}", file=sys.stderr)
                        break  # the same picture would fail the same way again
                    if not arguments.json:
                        print(_describe(run, is_brief=run.run_index > 0 and arguments.repeat > 1))
    except KeyboardInterrupt:
        print("rembg-tuner: interrupted; what was done before is kept", file=sys.stderr)
        return runs, True
    return runs, False


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that the worker goes too."""
    raise KeyboardInterrupt


def _exit_code(runs: list[Run], *, is_interrupted: bool) -> int:
    """Give the exit code: of several, 130, then 124, then 1."""
    kinds = {run.kind for run in runs if isinstance(run, Failure)}
    if is_interrupted or "cancelled" in kinds:
        return INTERRUPTED
    if "timeout" in kinds:
        return TIMED_OUT
    return FAILED if kinds else DONE


def plan_outputs(images: list[str], output: str | None) -> list[tuple[Path, Path]]:
    """Say where each picture's cut-out goes, before any work.

    Args:
        images: the pictures' paths.
        output: a file, a folder, or None for beside each picture.

    Raises:
        SettingsError: two would collide, one would take its picture's place, or a file was named for
            several pictures.
    """
    inputs = [Path(image) for image in images]
    if output is None:
        plan = [(path, path.with_name(f"{path.stem}.cutout.png")) for path in inputs]
    elif _is_folder(output):
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise SettingsError(
                [f"-o {output} is a file, and a folder is needed for its cut-outs; name another"]
            )
        plan = [(path, folder / f"{path.stem}.png") for path in inputs]
    elif len(inputs) > 1:
        raise SettingsError(
            [f"-o {output} names one file for {len(inputs)} pictures; name a folder (end it in /)"]
        )
    else:
        plan = [(inputs[0], Path(output))]
    _refuse_collisions(plan)
    for _, target in plan:
        if output is not None and _is_folder(output):
            _make_folder(target.parent)
    return plan


def _is_folder(output: str) -> bool:
    """Tell whether -o names a folder: it is one, ends in a slash, or has no suffix of a picture."""
    path = Path(output)
    return path.is_dir() or output.endswith("/") or path.suffix == ""


def _make_folder(folder: Path) -> None:
    """Make the folder for the cut-outs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"the folder {folder} cannot be made: {error.strerror}"]) from error


def _refuse_collisions(plan: list[tuple[Path, Path]]) -> None:
    """Refuse a plan in which a cut-out would take another's place, or a picture's."""
    problems: list[str] = []
    sources = {path.resolve(): path for path, _ in plan}
    taken: dict[Path, Path] = {}
    for path, target in plan:
        place = target.resolve()
        if place in sources:
            problems.append(
                f"the cut-out of {path} would take the place of the picture {sources[place]}; choose another -o"
            )
        elif place in taken:
            problems.append(
                f"{taken[place]} and {path} would both be written to {target}; cut them out one by one"
            )
        taken[place] = path
    if problems:
        raise SettingsError(problems)


def _check_formats(jobs: list[Job]) -> None:
    """Refuse, before any work, a name whose format is not written, or a JPEG without a background."""
    try:
        for job in jobs:
            check_output(Path(job.output), job.background)
    except OutputError as error:
        raise SettingsError([str(error)]) from error


def _read_colour(text: str | None) -> tuple[int, int, int] | None:
    """Read --background."""
    if text is None:
        return None
    from rembg_tuner.colours import parse_colour

    try:
        return parse_colour(text)
    except ValueError as error:
        raise SettingsError([f"--background: {error}"]) from error


def _failure_text(run: Failure) -> str:
    """Say what failed, naming the picture once."""
    return run.message if run.input in run.message else f"{run.input}: {run.message}"


def _describe(run: Result, *, is_brief: bool) -> str:
    """Tell a run in a few lines."""
    effective = run.effective
    stages = " + ".join(f"{name} {format_seconds(value)}" for name, value in run.stages_s.items())
    how = " ".join(
        str(effective[key]) for key in ("model", "engine", "precision") if effective.get(key)
    )
    lines = [f"  time     {format_seconds(run.total_s)} = {stages}"]
    peak_word = "VmHWM" if run.peak_source == "vmhwm" else "sampled"
    lines.append(
        f"  memory   peak {format_bytes(run.peak_rss_bytes)} ({peak_word}) · kept {format_bytes(run.retained_rss_bytes)}, {format_bytes(run.rss_file_bytes)} of it mapped files · load's peak {format_bytes(run.load_peak_rss_bytes)} · before it {format_bytes(run.baseline_rss_bytes)}"
    )
    if is_brief:
        return f"  run {run.run_index + 1:<4} {format_seconds(run.total_s)} · peak {format_bytes(run.peak_rss_bytes)}"
    lines.insert(0, f"{run.input} -> {run.output} ({format_bytes(run.output_bytes)})")
    lines.append(
        f"  started  {format_seconds(run.start_s)} + model loaded {format_seconds(run.load_s)}, once"
    )
    lines.append(
        f"  ran      {how}, {effective.get('network_size')} px, {effective.get('intra_op_threads')} threads, {format_seconds(run.cpu_s)} of CPU"
    )
    lines += [f"  warning  {warning}" for warning in run.warnings]
    return "\n".join(lines)


def _print_spread(runs: list[Run]) -> None:
    """Tell the spread of repeated runs, the cold one apart, and whether it is to be trusted."""
    done = [run for run in runs if isinstance(run, Result)]
    warm = [run for run in done if run.run_index > 0]
    if not warm:
        return
    total = summarise([run.total_s for run in warm])
    print(
        f"warm     median {format_seconds(total.median)}, {format_seconds(total.low)} to {format_seconds(total.high)} (n = {total.n}, the first run left out)"
    )
    print(
        f"peak     {format_bytes(setting_peak_bytes(done))} of the setting: the highest of the load and {len(done)} runs"
    )
    if total.is_unstable() and len({run.input for run in warm}) == 1:
        print(
            f"the times may be unstable: their standard deviation is {total.standard_deviation / total.mean:.0%} of their mean; close other programs, or give a greater --repeat",
            file=sys.stderr,
        )
