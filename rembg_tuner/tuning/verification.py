"""A preset measured again, and compared with its record.

After an upgrade, or on another machine.
"""

from __future__ import annotations

import sqlite3
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.errors import OutputError, PictureError, SettingsError
from rembg_tuner.base.messages import Message, Quoted, join_parts
from rembg_tuner.base.small_matte import read_small_matte
from rembg_tuner.imaging.formats import first_bytes
from rembg_tuner.models.spec import file_digests
from rembg_tuner.runtime.preset_figures import PresetFigures, note_figures
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.records import (
    HASH_LETTERS,
    OWN_PICTURES,
    engine_with_version,
    measured_elsewhere_text,
    read_record,
)
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import is_busy, is_disturbed, message_to_dict
from rembg_tuner.tuning.bench.pictures import P1080, P1080_SMALL
from rembg_tuner.tuning.environment import sweep_environment
from rembg_tuner.tuning.measure import SweepContext, measure_trial
from rembg_tuner.tuning.reference import Reference
from rembg_tuner.tuning.stats import VERIFY_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.base.small_matte import SmallMatte
    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.records import Record
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.measure import TrialRunner
    from rembg_tuner.tuning.trials import Trial

State = Literal["inside", "outside", "not_compared"]


What = Literal["settings", "precision", "time", "time_small_subject", "peak", "matte"]


_BENCH_PICTURES = {picture.name: picture for picture in (P1080, P1080_SMALL)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """How far figures may be from their record.

    Attributes:
        time: by which share of the recorded time a run may be slower.
        peak: by which share of the recorded peak the peak may be higher.
        matte: the minimum overlap of each picture's matte with the recorded one, 0 to 1.
        is_time_given, is_peak_given: whether the user asks for that comparison on another kind of
            CPU too.
    """

    time: float = 0.25
    peak: float = 0.10
    matte: float = 0.99
    is_time_given: bool = False
    is_peak_given: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure and its record.

    Attributes:
        what: is compared.
        recorded: seconds, bytes, an overlap of 1, or a word; None: nothing was recorded.
        measured: the same, as it is now; None: it was not measured.
        limit: the most (time, peak) or the least (matte) that is inside the range; None: there is
            none.
        state: inside or outside the range, or not compared.
        picture: of a matte; empty: the figure is of all pictures.
        note: why it was not compared, or what is different.
    """

    what: What
    recorded: float | str | None
    measured: float | str | None
    limit: float | None
    state: State
    picture: str = ""
    note: Message | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON."""
        note = None if self.note is None else message_to_dict(self.note)
        return {
            "what": self.what,
            "picture": self.picture or None,
            "recorded": self.recorded,
            "measured": self.measured,
            "limit": self.limit,
            "state": self.state,
            "note": note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFigures:
    """What was measured now, in the fields of a record.

    Attributes:
        mattes: of the recorded pictures, in their order.
        left_out: what of the preset is not possible here.
        is_disturbed: other work ran meanwhile, so that a longer time says nothing.
    """

    time_s: float
    small_time_s: float | None
    peak_bytes: int
    precision: str
    mattes: tuple[SmallMatte, ...] = ()
    left_out: tuple[Message, ...] = ()
    is_disturbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A preset and its record compared.

    Attributes:
        record: that it is compared with.
        engine: that ran it, with its version.
        checks: one for each figure.
        trial: that was measured.
        elsewhere: the record is of another kind of CPU; None: of this one.
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
        """Whether every figure that was compared is inside its range."""
        return all(check.state != "outside" for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationRequest:
    """How a preset is verified.

    Attributes:
        pictures: files, among which are those of the record; empty: they are looked for in
            `beside`.
        beside: the folder of the preset's file; None: the preset is in no file of the user's.
        rounds: timed runs of each picture, from 1 on.
        ranges: how far the figures may be from the record.
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
        preset: with a record.
        request: how.
        folder: where cut-outs go.
        runner: runs them.
        comparer: makes their small mattes.

    Raises:
        PresetError: the preset has no record, or one that does not read.
        SettingsError: a picture of the record is missing or cannot be read, or nothing of it can be
        compared here.
        OutputError: it does not run here, or a picture of the bench cannot be written.
    """
    record = read_record(preset)
    files = find_pictures(
        preset.name, record, request.pictures or _files_beside(record, request.beside)
    )
    settings, warnings = requested_settings(preset, {}, read_machine())
    elsewhere = measured_elsewhere_text(preset, read_host())
    _refuse_nothing_to_compare(preset.name, record, elsewhere, request.ranges)
    ground = SweepContext(
        pictures=tuple(files),
        reference=Reference(name=preset.name),
        folder=folder,
        comparer=comparer,
        rounds=request.rounds,
    )
    trial = measure_trial(0, settings, ground, runner)
    if trial.time_s is None or trial.peak_bytes is None:
        raise OutputError(
            Message(
                "preset {name} does not run here: {reason}",
                code="preset_does_not_run",
                name=preset.name,
                reason=trial.failure,
            )
        )
    found = _found(record, trial, warnings)
    is_of_bench = all(one.sha256 is None for one in record.pictures)
    kept = _keep(settings, trial, found, is_of_bench=is_of_bench)
    versions = sweep_environment()["versions"]
    return Verification(
        preset=preset,
        record=record,
        settings=settings,
        engine=engine_with_version(settings.engine, versions),
        trial=replace(trial, warnings=(*trial.warnings, *kept)),
        checks=compare_with_record(record, found, request.ranges, elsewhere=elsewhere),
        elsewhere=elsewhere,
        ranges=request.ranges,
    )


def _keep(
    settings: Settings, trial: Trial, found: MeasuredFigures, *, is_of_bench: bool
) -> tuple[Message, ...]:
    """Keep what the preset took as this machine's figures, unless the machine was busy.

    Returns:
        A warning, where it cannot be kept.
    """
    if is_busy(trial.warnings):
        return ()
    low_s, high_s = trial.time_low_s or found.time_s, trial.time_high_s or found.time_s
    if found.small_time_s is not None:  # the trial's are of both pictures together
        low_s, high_s = min(trial.pictures[0].times_s), max(trial.pictures[0].times_s)
    figures = PresetFigures(
        time_s=found.time_s,
        low_s=low_s,
        high_s=high_s,
        small_time_s=found.small_time_s,
        peak_bytes=found.peak_bytes,
        n=trial.n,
        is_of_bench=is_of_bench,
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
    """List the files in a folder that are named as the record's pictures."""
    if folder is None:
        return []
    named = (folder / Path(one.name).name for one in record.pictures)
    return [path for path in named if path.is_file()]


def find_pictures(name: str, record: Record, given: Sequence[Path]) -> list[Path]:
    """Find the pictures of a record.

    Those of the bench are made, the user's are found among files by their content.

    Args:
        name: of the preset.
        record: of it.
        given: files.

    Raises:
        SettingsError: one is missing or cannot be read, or the record does not name them.
        PictureError: those of the bench cannot be made here.
        OutputError: those of the bench cannot be written.
    """
    if not record.pictures and record.picture == OWN_PICTURES:
        raise SettingsError(
            [
                Message(
                    "the record of preset {name} does not name its pictures, since an older version"
                    " wrote it; export it again from its sweep",
                    code="record_without_pictures",
                    name=name,
                )
            ]
        )
    files = {_digest(path): path for path in given}  # wrong ones are told of any record
    names = [one.name for one in record.pictures] or _usual_names(record)
    if all(one.sha256 is None for one in record.pictures):
        unknown = [one for one in names if one not in _BENCH_PICTURES]
        if unknown:
            raise SettingsError(
                [
                    Message(
                        "the record of preset {name} names pictures that this version cannot make:"
                        " {pictures}",
                        code="record_pictures_unknown",
                        name=name,
                        pictures=join_parts(unknown),
                    )
                ]
            )
        return [_BENCH_PICTURES[one].make() for one in names]
    missing = [one.name for one in record.pictures if one.sha256 not in files]
    if missing:
        raise SettingsError(
            [
                Message(
                    "the pictures that preset {name} was measured on are needed, as they were then;"
                    " missing: {pictures}; name them, or their folder, after the preset",
                    code="record_pictures_missing",
                    name=name,
                    pictures=join_parts(missing),
                )
            ]
        )
    return [files[str(one.sha256)] for one in record.pictures]


def _digest(path: Path) -> str:
    """Return by what a record names a file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        first_bytes(path)  # raises why a file cannot be read, and does not wait for a FIFO
        return file_digests(path, ["sha256"])["sha256"][:HASH_LETTERS]
    except PictureError as error:
        raise SettingsError([error.message]) from error
    except OSError as error:
        raise SettingsError(
            [
                Message(
                    "{path} cannot be read: {reason}",
                    path=path,
                    reason=error.strerror or Quoted(str(error)),
                )
            ]
        ) from error


def _usual_names(record: Record) -> list[str]:
    """Name the bench's pictures of a record that does not."""
    return [P1080.name] if record.small_time_s is None else [P1080.name, P1080_SMALL.name]


def _refuse_nothing_to_compare(
    name: str, record: Record, elsewhere: Message | None, ranges: Ranges
) -> None:
    """Refuse a record of which nothing can be compared here, before it is measured.

    Raises:
        SettingsError: it is of another kind of CPU, and has no mattes.
    """
    if elsewhere is None or record.pictures or ranges.is_time_given or ranges.is_peak_given:
        return
    raise SettingsError(
        [
            Message(
                "nothing of the record of preset {name} can be compared here: it has no mattes, and"
                " was {elsewhere}; --time-range and --peak-range compare time and memory anyway",
                code="nothing_to_compare",
                name=name,
                elsewhere=elsewhere,
            )
        ]
    )


def _found(record: Record, trial: Trial, left_out: tuple[Message, ...]) -> MeasuredFigures:
    """Collect what was measured, in the fields of a record."""
    time_s, small_time_s = trial.time_s, None
    if record.small_time_s is not None and _has_both(record):  # each has a time of its own
        time_s, small_time_s = (statistics.median(part.times_s) for part in trial.pictures)
    assert time_s is not None  # looked at before
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


def _has_both(record: Record) -> bool:
    """Return whether a record is of the bench's usual picture and of its small subject, in this order."""
    names = [one.name for one in record.pictures] or _usual_names(record)
    is_of_bench = all(one.sha256 is None for one in record.pictures)
    return is_of_bench and names == [P1080.name, P1080_SMALL.name]


def compare_with_record(
    record: Record, found: MeasuredFigures, ranges: Ranges, *, elsewhere: Message | None
) -> tuple[Check, ...]:
    """Compare figures with their record.

    Args:
        record: of a preset.
        found: what was measured now.
        ranges: how far it may be from the record.
        elsewhere: the record is of another kind of CPU, so that time and peak are compared where
            the user asks for it; None: of this kind.
    """
    checks = [
        Check(what="settings", recorded=None, measured=None, limit=None, state="outside", note=one)
        for one in found.left_out
    ]
    is_other = record.precision not in ("", found.precision)
    if is_other:
        note = Message(
            "precision auto is {now} here, and was {then} there",
            code="auto_differs",
            now=found.precision,
            then=record.precision,
        )
        state: State = "outside" if elsewhere is None else "not_compared"
        checks.append(
            Check(
                what="precision",
                recorded=record.precision,
                measured=found.precision,
                limit=None,
                state=state,
                note=note,
            )
        )
    times: list[tuple[What, float | None, float | None]] = [
        ("time", record.time_s, found.time_s),
        ("time_small_subject", record.small_time_s, found.small_time_s),
    ]
    for what, then, now in times:
        if then is not None and now is not None:
            check = _at_most(
                what, then, now, ranges.time, None if ranges.is_time_given else elsewhere
            )
            checks.append(_unless_disturbed(check) if found.is_disturbed else check)
    if record.small_time_s is not None and found.small_time_s is None:
        note = Message(
            "the time on a small subject is compared only of a record of the bench's two pictures",
            code="small_subject_not_compared",
        )
        checks.append(
            Check(
                what="time_small_subject",
                recorded=record.small_time_s,
                measured=None,
                limit=None,
                state="not_compared",
                note=note,
            )
        )
    checks.append(
        _at_most(
            "peak",
            record.peak_bytes,
            found.peak_bytes,
            ranges.peak,
            None if ranges.is_peak_given else elsewhere,
        )
    )
    return (*checks, *_matte_checks(record, found, ranges.matte))


def _at_most(
    what: What, recorded: float, measured: float, share: float, elsewhere: Message | None
) -> Check:
    """Compare a figure that may not be higher than its record by more than a share."""
    limit = recorded * (1 + share)
    state: State = "inside" if measured <= limit else "outside"
    if elsewhere is not None:
        return Check(
            what=what,
            recorded=recorded,
            measured=measured,
            limit=None,
            state="not_compared",
            note=elsewhere,
        )
    return Check(what=what, recorded=recorded, measured=measured, limit=limit, state=state)


def _unless_disturbed(check: Check) -> Check:
    """Leave a time that is too long out of the comparison, since other work made it longer."""
    if check.state != "outside":
        return check
    note = Message(
        "the machine was busy with other work, so a longer time says nothing; run again when it is"
        " quiet",
        code="time_disturbed",
    )
    return replace(check, limit=None, state="not_compared", note=note)


def _matte_checks(record: Record, found: MeasuredFigures, least: float) -> tuple[Check, ...]:
    """Compare each picture's matte with the recorded one."""
    if not record.pictures:
        note = Message(
            "the record has no mattes, since an older version wrote it",
            code="record_without_mattes",
        )
        return (
            Check(
                what="matte",
                recorded=None,
                measured=None,
                limit=None,
                state="not_compared",
                note=note,
            ),
        )
    checks = []
    for then, now in zip(record.pictures, found.mattes, strict=True):
        is_same_size = (then.matte.width, then.matte.height) == (now.width, now.height)
        overlap = then.matte.overlap(now) if is_same_size else 0.0
        state: State = "inside" if overlap >= least else "outside"
        checks.append(
            Check(
                what="matte",
                recorded=1.0,
                measured=overlap,
                limit=least,
                state=state,
                picture=then.name,
            )
        )
    return tuple(checks)
