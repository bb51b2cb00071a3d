"""Measure a preset again and compare it with its record, after an upgrade or elsewhere."""

from __future__ import annotations

import sqlite3
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PictureError, SettingsError
from rembg_tuner.base.messages import Message, Quoted, join_parts
from rembg_tuner.base.small_matte import read_small_matte
from rembg_tuner.imaging.formats import first_bytes
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import PresetFigures, note_figures
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.records import (
    HASH_LETTERS,
    OWN_PICTURES,
    engine_with_version,
    measured_elsewhere_text,
    read_record,
)
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import is_busy, is_disturbed
from rembg_tuner.tuning.bench.pictures import P1080, P1080_SMALL
from rembg_tuner.tuning.environment import sweep_environment
from rembg_tuner.tuning.measure import SweepContext, measure_trial
from rembg_tuner.tuning.record_check import Check, MeasuredFigures, Ranges, compare_with_record
from rembg_tuner.tuning.reference import Reference
from rembg_tuner.tuning.stats import VERIFY_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.records import Record
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.measure import TrialRunner
    from rembg_tuner.tuning.trials import Trial

_BENCH_PICTURES = {picture.name: picture for picture in (P1080, P1080_SMALL)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A preset compared with its record.

    Attributes:
        preset: the measured preset.
        record: the record of the preset.
        settings: the settings that ran.
        engine: the engine with its version.
        trial: the measured trial.
        checks: one for each figure.
        elsewhere: a text that the record is of another kind of CPU; None: it is of this kind.
        ranges: the allowed differences.
    """

    preset: Preset
    record: Record
    settings: Settings
    engine: str
    trial: Trial
    checks: tuple[Check, ...]
    elsewhere: Message | None = None
    ranges: Ranges = field(default_factory=Ranges)

    @property
    def is_inside(self) -> bool:
        """Whether every compared figure is inside its range."""
        return all(check.state != "outside" for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRequest:
    """The options of a verification.

    Attributes:
        pictures: files that include those of the record; empty: search in `beside`.
        beside: the folder of the preset's file; None: the preset is not in a user's file.
        rounds: timed runs of each picture, at least 1.
        ranges: the allowed differences.
    """

    pictures: tuple[Path, ...] = ()
    beside: Path | None = None
    rounds: int = VERIFY_ROUNDS
    ranges: Ranges = field(default_factory=Ranges)


def verify(
    preset: Preset,
    request: VerificationRequest,
    folder: Path,
    runner: TrialRunner,
    comparer: Comparer,
) -> Verification:
    """Measure a preset again, and compare it with its record.

    Args:
        preset: a preset with a record.
        request: the options.
        folder: for the cut-outs.
        runner: runs the pictures.
        comparer: makes the small mattes.

    Raises:
        PresetError: the preset has no record, or a damaged one.
        SettingsError: a picture of the record is missing or cannot be read, or the record cannot be
            compared on this machine.
        OutputError: the preset does not run here, or a picture of the bench cannot be written.
    """
    record = read_record(preset)
    files = find_pictures(
        preset.name, record, request.pictures or _files_beside(record, request.beside)
    )
    settings, warnings = requested_settings(preset, {}, read_machine())
    elsewhere = measured_elsewhere_text(preset, read_host())
    _check_comparable(preset.name, record, elsewhere, request.ranges)
    context = SweepContext(
        pictures=tuple(files),
        reference=Reference(name=preset.name),
        folder=folder,
        comparer=comparer,
        rounds=request.rounds,
    )
    trial = _measure(settings, context, runner)
    found = _figures(record, trial, warnings)
    unkept = _keep(record, settings, trial, found)
    return Verification(
        preset=preset,
        record=record,
        settings=settings,
        engine=engine_with_version(settings.engine, sweep_environment()["versions"]),
        trial=replace(trial, warnings=(*trial.warnings, *unkept)),
        checks=compare_with_record(record, found, request.ranges, elsewhere=elsewhere),
        elsewhere=elsewhere,
        ranges=request.ranges,
    )


def _measure(settings: Settings, context: SweepContext, runner: TrialRunner) -> Trial:
    """Measure a preset, whose name is that of the reference.

    Raises:
        OutputError: it does not run.
    """
    trial = measure_trial(0, settings, context, runner)
    if trial.is_measured:
        return trial
    raise OutputError(
        Message(
            "preset {name} does not run here: {reason}",
            code="preset_does_not_run",
            name=context.reference.name,
            reason=trial.failure,
        )
    )


def _keep(
    record: Record, settings: Settings, trial: Trial, found: MeasuredFigures
) -> tuple[Message, ...]:
    """Store this machine's figures of the preset, unless the machine was busy.

    Returns:
        A warning if they cannot be stored.
    """
    if is_busy(trial.warnings):
        return ()
    # Without a separate time of the small subject, the times are of all pictures, otherwise of the
    # first.
    times_s = (
        (trial.time_low_s or found.time_s, trial.time_high_s or found.time_s)
        if found.small_time_s is None
        else trial.pictures[0].times_s
    )
    figures = PresetFigures(
        time_s=found.time_s,
        low_s=min(times_s),
        high_s=max(times_s),
        small_time_s=found.small_time_s,
        peak_bytes=found.peak_bytes,
        n=trial.n,
        is_of_bench=_is_of_bench(record),
    )
    try:
        note_figures(settings, read_machine(), figures)
    except (OSError, sqlite3.Error) as error:
        return (
            Message(
                "what was measured could not be kept: {reason}",
                code="figures_not_kept",
                reason=Quoted(str(error)),
            ),
        )
    return ()


def _files_beside(record: Record, folder: Path | None) -> list[Path]:
    """Return the files in a folder that have the names of the record's pictures."""
    if folder is None:
        return []
    named = (folder / Path(one.name).name for one in record.pictures)
    return [path for path in named if path.is_file()]


def find_pictures(name: str, record: Record, given: Sequence[Path]) -> list[Path]:
    """Return the pictures of a record: make those of the bench, find the user's by their content.

    Args:
        name: name of the preset.
        record: the record of the preset.
        given: files.

    Raises:
        SettingsError: a picture is missing or cannot be read, or the record does not name its
            pictures.
        PictureError: a picture of the bench cannot be made here.
        OutputError: a picture of the bench cannot be written.
    """
    # Refuses unreadable files, whatever the record.
    files = {_digest(path): path for path in given}
    if not record.pictures and record.picture == OWN_PICTURES:
        problem = Message(
            "the record of preset {name} does not name its pictures: an older version wrote it;"
            " export it again from its sweep",
            code="record_without_pictures",
            name=name,
        )
    elif _is_of_bench(record):
        return _make_bench_pictures(name, _picture_names(record))
    elif missing := [one.name for one in record.pictures if one.sha256 not in files]:
        problem = Message(
            "the unchanged pictures that preset {name} was measured on are needed; missing:"
            " {pictures}; name them, or their folder, after the preset",
            code="record_pictures_missing",
            name=name,
            pictures=join_parts(missing),
        )
    else:
        return [files[str(one.sha256)] for one in record.pictures]
    raise SettingsError([problem])


def _make_bench_pictures(name: str, pictures: list[str]) -> list[Path]:
    """Make the pictures of the bench that a record names.

    Raises:
        SettingsError: this version does not have one of them.
    """
    unknown = [one for one in pictures if one not in _BENCH_PICTURES]
    if unknown:
        problem = Message(
            "the record of preset {name} names pictures that this version cannot make: {pictures}",
            code="record_pictures_unknown",
            name=name,
            pictures=join_parts(unknown),
        )
        raise SettingsError([problem])
    return [_BENCH_PICTURES[one].make() for one in pictures]


def _digest(path: Path) -> str:
    """Return the digest of a file in the form of a record.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        first_bytes(path)  # raises the reason, and does not block on a FIFO
        return file_digests(path, ["sha256"])["sha256"][:HASH_LETTERS]
    except PictureError as error:
        raise SettingsError([error.message]) from error
    except OSError as error:
        problem = Message(
            "{path} cannot be read: {reason}",
            path=path,
            reason=error.strerror or Quoted(str(error)),
        )
        raise SettingsError([problem]) from error


def _is_of_bench(record: Record) -> bool:
    """Return whether the pictures of a record are those of the bench."""
    return all(one.sha256 is None for one in record.pictures)


def _picture_names(record: Record) -> list[str]:
    """Return the names of a record's pictures; for older records, the bench's usual ones."""
    usual = [P1080.name] if record.small_time_s is None else [P1080.name, P1080_SMALL.name]
    return [one.name for one in record.pictures] or usual


def _check_comparable(name: str, record: Record, elsewhere: Message | None, ranges: Ranges) -> None:
    """Check before measuring that a figure of a record can be compared.

    Raises:
        SettingsError: the record is of another kind of CPU, and has no mattes.
    """
    if elsewhere is None or record.pictures or ranges.is_time_given or ranges.is_peak_given:
        return
    raise SettingsError(
        [
            Message(
                "nothing in the record of preset {name} can be compared here: it has no mattes, and"
                " was {elsewhere}; --time-range and --peak-range compare time and memory anyway",
                code="nothing_to_compare",
                name=name,
                elsewhere=elsewhere,
            )
        ]
    )


def _figures(record: Record, trial: Trial, left_out: tuple[Message, ...]) -> MeasuredFigures:
    """Return the figures of a measured trial in the fields of a record."""
    time_s, small_time_s = trial.time_s, None
    has_both = _picture_names(record) == [P1080.name, P1080_SMALL.name] and _is_of_bench(record)
    if record.small_time_s is not None and has_both:  # each picture has its own time
        time_s, small_time_s = (statistics.median(part.times_s) for part in trial.pictures)
    assert time_s is not None
    assert trial.peak_bytes is not None
    texts = [part.small_matte for part in trial.pictures]
    return MeasuredFigures(
        time_s=time_s,
        small_time_s=small_time_s,
        peak_bytes=trial.peak_bytes,
        precision=str(trial.effective.get("precision") or ""),
        mattes=tuple(read_small_matte(text) for text in texts if text is not None),
        left_out=left_out,
        is_disturbed=is_disturbed(trial.warnings),
    )
