"""`compare`: measure a few presets on one picture, and print them in one table."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.cli.console import emit, emit_json, log, write_files
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import (
    add_count,
    add_ignore_history,
    add_json,
    history_use,
    log_older_measurements,
)
from rembg_tuner.cli.recommend import busy_mark
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import distinct, is_busy
from rembg_tuner.tuning.comparison import (
    MAX_COMPARED,
    MIN_COMPARED,
    ComparisonRequest,
    NamedSettings,
    compare_settings,
)
from rembg_tuner.tuning.measure import DirectTrialRunner
from rembg_tuner.tuning.reference import ReferenceChoice, find_mask, find_reference
from rembg_tuner.tuning.trials import differing_knobs, label_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.tuning.comparison import ComparisonRow


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `compare`."""
    parser.description = (
        "Measure presets on one picture, each in a worker of its own, and compare their mattes."
    )
    parser.add_argument("image", metavar="IMAGE", help="the picture")
    parser.add_argument(
        "--presets", required=True, metavar="A,B,...", help="two to six presets' names"
    )
    parser.add_argument(
        "--reference",
        default="",
        metavar="PRESET|MODEL|MASK|DIR",
        help=(
            "what agreement is measured against; of a folder the mask named as the picture;"
            " default: the first preset"
        ),
    )
    add_count(parser, "--rounds", 3, "timed runs of each, after a warm-up; ")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="keep cut-outs, maps of differences and compare.json",
    )
    add_ignore_history(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure each preset on the picture, and print the differences."""
    entries = _entries(arguments.presets)
    log_older_measurements()
    with ExitStack() as stack:
        kept = arguments.output is not None
        folder = (
            Path(arguments.output)
            if kept
            else Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="rembg-tuner-compare-"))
            )
        )
        write_files(folder, {})
        reference = _reference(arguments.reference, entries, Path(arguments.image), folder)
        comparer = stack.enter_context(Comparer())
        request = ComparisonRequest(
            picture=Path(arguments.image),
            entries=tuple(entries),
            reference=reference.name,
            mask=reference.mask,
            reference_settings=reference.settings,
            rounds=arguments.rounds,
        )
        compared = compare_settings(
            request, folder, DirectTrialRunner(history_use(arguments)), comparer
        )
    document = {
        "picture": arguments.image,
        "reference": str(reference.name),
        "compared": [one.to_dict() for one in compared],
    }
    if kept:
        write_files(folder, {"compare.json": json.dumps(document, indent=2)})
    if arguments.json:
        emit_json(document)
    else:
        _print(compared, reference)
    return FAILED if any(one.trial.failure is not None for one in compared) else DONE


def _entries(text: str) -> list[NamedSettings]:
    """Return the named presets with their settings."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not MIN_COMPARED <= len(names) <= MAX_COMPARED or len(set(names)) != len(names):
        raise SettingsError(
            [
                Message(
                    "--presets takes two to six names that differ, got {given!r}; the presets are"
                    " {known}",
                    given=text,
                    known=join_parts(read_presets()),
                )
            ]
        )
    machine, entries = read_machine(), []
    for name in names:
        settings, warnings = requested_settings(find_preset(name), {}, machine)
        entries.append(NamedSettings(name=name, settings=settings))
        for warning in warnings:
            log(f"preset {name}: {warning}")
    return entries


def _reference(
    text: str, entries: list[NamedSettings], picture: Path, folder: Path
) -> ReferenceChoice:
    """Return the reference that --reference names.

    It is one of the compared presets, a mask, a folder with a mask, another preset or a model.

    Raises:
        OutputError: the mask cannot be copied to the output folder.
    """
    if not text or any(entry.name == text for entry in entries):
        return ReferenceChoice(name=text or entries[0].name)
    path = Path(text)
    if path.is_dir():
        path = find_mask(picture, path)
    if not path.is_file():
        return find_reference(text)
    copy = folder / f"reference{path.suffix}"
    try:
        if path.resolve() != copy.resolve():
            shutil.copyfile(path, copy)
    except OSError as error:
        raise OutputError(
            Message(
                "{path} could not be copied to {copy}: {reason}",
                path=path,
                copy=copy,
                reason=error.strerror,
            )
        ) from error
    return ReferenceChoice(name=path.name, mask=str(copy))


def _print(compared: list[ComparisonRow], reference: ReferenceChoice) -> None:
    """Print the table, and how to read it."""
    names = differing_knobs([one.entry.settings for one in compared])
    width = max(len(one.entry.name) for one in compared)
    emit(f"{'':{width}}  {'time':>9}  {'peak':>9}  {'IoU':>6}  {'diff.':>6}  stars")
    for one in compared:
        text = one.trial.failure or _row(one, names)
        emit(f"{one.entry.name:{width}}  {text}")
    busy = distinct(w for one in compared for w in one.trial.warnings if is_busy([w]))
    emit(*map(str, busy))
    if any(not picture.has_foreground for one in compared for picture in one.trial.pictures):
        emit(f"{reference.name} has no clear foreground here, so agreement is not measured")
        return
    kind = "" if reference.mask else ", which is no ground truth"
    emit(
        f"agreement with {reference.name}{kind}; stars: of the boundary's F-measure"
        " (docs/measuring.md, Edge stars)"
    )


def _row(one: ComparisonRow, names: Sequence[str]) -> str:
    """Return the figures of a preset as a row of the table."""
    trial = one.trial
    agreement = (
        "     -       -      -"
        if trial.agreement is None
        else f"{trial.agreement:6.3f}  {trial.mae:6.4f}  {one.stars or 0:5.1f}"
    )
    unstable = " (may be unstable)" if trial.may_be_unstable else ""
    return (
        f"{format_seconds(trial.time_s):>9}  {format_bytes(trial.peak_bytes):>9}  {agreement} "
        f" {label_of(one.entry.settings, names)}{unstable}{busy_mark(trial)}"
    )
