"""`export`: write a file that runs a preset, or a sweep's recommended setting, elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PresetError, SettingsError
from rembg_tuner.base.escapes import encode_text
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.cli.console import emit_whole, log
from rembg_tuner.cli.exits import DONE, FAILED
from rembg_tuner.cli.flags import add_budgets, given_budgets, parse_budgets
from rembg_tuner.cli.recommend import lifting_flags, log_missing_trials
from rembg_tuner.cli.streams import STANDARD
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Measured, measured_of_trial
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.records import read_record
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.tuning.folder import read_sweep_folder
from rembg_tuner.tuning.recommend import recommend
from rembg_tuner.tuning.trials import differing_knobs, label_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.export.values import Export
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.folder import SweepRecord
    from rembg_tuner.tuning.trials import Trial

_MAX_LISTED = 12  # maximum number of trials in an error message


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `export`."""
    parser.add_argument("preset", metavar="PRESET|DIR", help="a preset's name, or a sweep's folder")
    parser.add_argument("--to", required=True, choices=TARGETS, help="what is to run it")
    parser.add_argument("-o", "--output", metavar="FILE|DIR", help="default: standard output")
    parser.add_argument(
        "--setting",
        metavar="N|LABEL",
        help=(
            "of a sweep's folder, take this trial, by its number or its label as `recommend DIR`"
            " prints them, whatever it misses"
        ),
    )
    parser.add_argument(
        "--allow-misses",
        action="store_true",
        help=(
            "if nothing fits the budgets, take the setting nearest to them; without this or"
            " --setting, nothing is written then"
        ),
    )
    add_budgets(parser, "choose among a sweep's trials under other budgets than the sweep's own")


def run(arguments: argparse.Namespace) -> int:
    """Write the export; log the notes.

    If all trials of a sweep miss its budgets, the export is only written for a named setting or
    with --allow-misses.
    """
    source = Path(arguments.preset)
    if source.is_dir():
        summary = read_sweep_folder(source)
        log_missing_trials(summary, source)
        trial = _trial_of(source, summary, arguments)
        if trial is None:
            return FAILED
        settings, name = trial.settings, "tuned"
        measured: Measured | None = measured_of_trial(trial, summary.environment)
    else:
        settings, measured, name = _of_preset(arguments)
    made = export(settings, arguments.to, measured=measured, name=name)
    if arguments.output in (None, STANDARD):
        emit_whole(made.text)
        _log_notes(*made.beside_notes())
    else:
        _write(made, Path(arguments.output))
    _log_notes(*made.notes)
    return DONE


def _write(made: Export, target: Path) -> None:
    """Write the text to a file or a folder, and copy the files that it needs beside it.

    Raises:
        OutputError: it cannot be written.
    """
    target = target / made.file_name if target.is_dir() else target
    try:
        with replacing(target) as file:
            file.write(encode_text(made.text))
    except OSError as error:
        raise OutputError(
            Message("{target} cannot be written: {reason}", target=target, reason=error.strerror)
        ) from error
    log(f"{target}")
    for name, path in made.beside:
        _copy_beside(Path(path), target.parent / name)


def _copy_beside(source: Path, target: Path) -> None:
    """Copy a file, unless the target has the same content.

    Raises:
        OutputError: it cannot be copied, or the target is a different file.
    """
    try:
        if target.exists():
            if target.samefile(source) or target.read_bytes() == source.read_bytes():
                return
            raise OutputError(
                Message(
                    "{target} is there already and is another file than {source}; move it, or name"
                    " another folder with -o",
                    target=target,
                    source=source,
                )
            )
        with replacing(target) as file, source.open("rb") as content:
            shutil.copyfileobj(content, file)
    except OSError as error:
        raise OutputError(
            Message("{target} cannot be written: {reason}", target=target, reason=error.strerror)
        ) from error
    log(f"{target}")


def _log_notes(*notes: Message) -> None:
    """Log notes."""
    for note in notes:
        log(f"note: {note}")


def _of_preset(arguments: argparse.Namespace) -> tuple[Settings, Measured | None, str]:
    """Return a preset's settings, its figures in presets.yaml if they apply here, and its name.

    Raises:
        PresetError: the preset is unknown.
        SettingsError: a flag for choosing from a sweep was given.
    """
    try:
        preset = find_preset(arguments.preset)
    except PresetError as error:
        raise PresetError(
            Message(
                "{problem}; or name a sweep's folder, of which there is none called {preset!r}",
                problem=error.message,
                preset=arguments.preset,
            )
        ) from error
    _check_no_sweep_flags(arguments)
    machine = read_machine()
    settings, warnings = requested_settings(preset, {}, machine)
    _log_notes(*warnings)
    measured = measured_of_preset(preset)
    if measured is not None and (reason := _why_another(preset, settings, measured, machine)):
        _log_notes(
            Message(
                "what was measured of preset {preset} does not hold here: {reason}",
                preset=preset.name,
                reason=reason,
            )
        )
        measured = None
    return settings, measured, preset.name


def _check_no_sweep_flags(arguments: argparse.Namespace) -> None:
    """Check that no flag for choosing from a sweep was given.

    Raises:
        SettingsError: lists these flags.
    """
    flags = given_budgets(arguments)
    flags += ["--setting"] if arguments.setting is not None else []
    flags += ["--allow-misses"] if arguments.allow_misses else []
    if flags:
        raise SettingsError(
            [
                Message(
                    "{flags} choose from a sweep's folder, and {preset} is a preset; leave them"
                    " out, or name a folder",
                    flags=join_parts(flags),
                    preset=arguments.preset,
                )
            ]
        )


def _why_another(
    preset: Preset, settings: Settings, measured: Measured, machine: Machine
) -> Message | None:
    """Return why a preset's settings differ from the measured ones; None: they are equal."""
    if settings != build_settings(preset.values):
        return Message("its settings are others on this machine")
    if settings.precision != "auto":
        return None
    here = resolve(settings, machine).precision
    if here == measured.precision:
        return None
    then = measured.precision or Message("not told")
    return Message(
        "precision auto is {here} on this machine, and was {then} there", here=here, then=then
    )


def measured_of_preset(preset: Preset) -> Measured | None:
    """Return a preset's figures; None: the preset was not measured."""
    found = preset.measured
    if found is None:
        return None
    record, formats = read_record(preset), found.get("cpu_formats")
    return Measured(
        peak_bytes=record.peak_bytes,
        time_s=record.time_s,
        n=record.n,
        date=record.date,
        cpu=str(found["cpu"]),
        cores=int(str(found["cores"])),
        picture=record.picture,
        precision=record.precision,
        cpu_formats=tuple(map(str, formats)) if isinstance(formats, list) else None,
        engine=record.engine,
        pictures=record.pictures,
    )


def _trial_of(folder: Path, summary: SweepRecord, arguments: argparse.Namespace) -> Trial | None:
    """Return the named trial, or the recommended one, or the nearest if misses are allowed.

    Returns:
        None: all trials miss the budgets, and no setting was named; this is logged.

    Raises:
        SettingsError: the named trial is missing, or failed.
    """
    budgets = parse_budgets(arguments, summary.budgets)
    found = recommend(summary.trials, budgets)
    if arguments.setting is not None:
        trial = find_trial(arguments.setting, summary.trials)
        if misses := budgets.misses(trial):
            _log_notes(
                Message(
                    "trial {number} is exported as named; it misses {misses}",
                    number=trial.number,
                    misses=join_parts(misses, " and "),
                )
            )
        return trial
    if found.chosen is not None:
        return found.chosen
    if found.nearest is None:
        log(f"rembg-tuner: nothing of the sweep in {folder} can be exported: {found.why}")
        return None
    if not arguments.allow_misses:
        log(
            f"rembg-tuner: nothing fits: {found.why}; export that one by --setting"
            f" {found.nearest.number} or --allow-misses, or lift what it misses by"
            f" {' '.join(lifting_flags(found.nearest, budgets))}"
        )
        return None
    _log_notes(
        Message(
            "nothing fits the budgets; trial {number}, the nearest, is exported; it misses"
            " {misses}",
            number=found.nearest.number,
            misses=join_parts(found.misses, " and "),
        )
    )
    return found.nearest


def find_trial(name: str, trials: Sequence[Trial]) -> Trial:
    """Return a measured trial by its number or its label.

    Args:
        name: entered by the user; a label in upper or lower case.
        trials: the trials of a sweep.

    Raises:
        SettingsError: no trial or several trials match, or the trial failed.
    """
    names = differing_knobs([trial.settings for trial in trials])
    labels = {trial.number: str(label_of(trial.settings, names)) for trial in trials}
    key = _plain(name)
    by_number = key.isascii() and key.isdigit()
    found = [
        trial
        for trial in trials
        if (trial.number == int(key) if by_number else _plain(labels[trial.number]) == key)
    ]
    if len(found) != 1:
        raise _not_one(name, found, labels)
    [trial] = found
    if not trial.is_measured:
        raise SettingsError(
            [
                Message(
                    "trial {number} failed ({problem}), so it has no figures to export; name"
                    " another --setting",
                    number=trial.number,
                    problem=trial.failure,
                )
            ]
        )
    return trial


def _not_one(name: str, found: Sequence[Trial], labels: dict[int, str]) -> SettingsError:
    """Return the error of a name that matches no trial, or several."""
    if found:
        numbers = join_parts(str(one.number) for one in found)
        return SettingsError(
            [
                Message(
                    "--setting {name!r} names the trials {trials}; give a number",
                    name=name,
                    trials=numbers,
                )
            ]
        )
    known = [
        Message("{number}: {label}", number=number, label=label)
        for number, label in list(labels.items())[:_MAX_LISTED]
    ]
    if len(labels) > _MAX_LISTED:
        known.append(Message("and {n} more", n=len(labels) - _MAX_LISTED))
    return SettingsError(
        [
            Message(
                "--setting {name!r} is not a trial of this sweep, which has {known}",
                name=name,
                known=join_parts(known, "; "),
            )
        ]
    )


def _plain(label: str) -> str:
    """Return a label without its spaces, in lower case."""
    return "".join(label.split()).casefold()
