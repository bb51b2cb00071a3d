"""The record of a preset: its figures, where they were measured, and its cut-outs' mattes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PresetError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.base.small_matte import SmallMatte, read_small_matte
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.host import formats_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.settings.host import Host
    from rembg_tuner.settings.presets import Preset

OWN_PICTURES = "own pictures"  # the name in a record of pictures that are not the bench's
HASH_LETTERS = 16  # of a picture's SHA-256 in hex: 64 bits identify one of a user's pictures
_MAX_FIGURE = 1e9  # seconds or MiB; a greater number is a mistake, and cannot be written as bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPicture:
    """A picture that a setting was measured on.

    Attributes:
        name: of its file, or of a picture of the bench.
        sha256: the first hex digits of the file's SHA-256; None: a picture of the bench, which
            can be created again.
        matte: of the cut-out.
    """

    name: str
    sha256: str | None
    matte: SmallMatte

    def to_dict(self) -> dict[str, object]:
        """Return it as a preset's record has it."""
        digest = {} if self.sha256 is None else {"sha256": self.sha256}
        return {"name": self.name, **digest, "matte": self.matte.to_text()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The record of a preset.

    Attributes:
        date: ISO, UTC.
        picture: description of the picture.
        n: timed runs of each picture.
        time_s: median of a run; of several pictures the mean over them.
        small_time_s: median on the picture with a small subject; None: not measured.
        peak_bytes: peak of the setting, bytes.
        engine: its name, and its version if it was recorded.
        precision: the number format that `auto` meant; empty: not recorded.
        pictures: the pictures with recorded mattes; empty: the record of an older version.
    """

    date: str
    picture: str
    n: int
    time_s: float
    small_time_s: float | None
    peak_bytes: int
    engine: str
    precision: str
    pictures: tuple[RecordedPicture, ...]


def read_record(preset: Preset) -> Record:
    """Read a preset's record.

    Raises:
        PresetError: there is no record, or it is not valid.
    """
    found = preset.measured
    if found is None:
        raise PresetError(
            Message(
                "preset {name} has no record: {reason}; a sweep's preset has one (export DIR --to"
                " preset), and python -m tools.presets measures those of presets.yaml",
                code="no_record",
                name=preset.name,
                reason=preset.why_not_measured,
            )
        )
    check_record(preset.name, found)
    try:
        small = small_subject_of(found)
        return Record(
            date=str(found["date"]),
            picture=str(found["picture"]),
            n=int(str(found["n"])),
            time_s=float(str(found["latency_p50_s"])),
            small_time_s=None if small is None else small.time_s,
            peak_bytes=round(float(str(found["peak_rss_mib"])) * MIB),
            engine=str(found["engine"]),
            precision=str(found.get("precision", "")),
            pictures=_read_pictures(found),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise bad_record(preset.name, _reason(error)) from error


def _reason(error: Exception) -> Message | Quoted:
    """Return what is missing in a record, or cannot be read."""
    if isinstance(error, KeyError):
        return Message("{part} is missing", part=str(error.args[0]))
    return Quoted(str(error))


def _read_pictures(found: Mapping[str, object]) -> tuple[RecordedPicture, ...]:
    """Read the pictures of a record.

    Raises:
        KeyError, TypeError, ValueError: one of them is not valid.
    """
    listed = found.get("pictures", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError(f"pictures must be a list of mappings, got {listed!r:.80}")
    return tuple(
        RecordedPicture(
            name=str(one["name"]),
            sha256=None if one.get("sha256") is None else str(one["sha256"]),
            matte=read_small_matte(str(one["matte"])),
        )
        for one in listed
    )


def engine_with_version(engine: str, versions: str) -> str:
    """Return an engine's name with its version, as a sweep records it.

    Args:
        engine: the engine's name.
        versions: of all engines, such as "onnxruntime 1.27.0, openvino 2026.2.1".

    Returns:
        The name alone if the version is not recorded.
    """
    named = (one.strip() for one in versions.split(","))
    return next((one for one in named if one.startswith(f"{engine} ")), engine)


def check_record(name: str, measured: Mapping[str, object]) -> None:
    """Check the figures of a record.

    Args:
        name: of the preset.
        measured: its record.

    Raises:
        PresetError: a figure is missing or not valid.
    """
    _check_fields(name, "", measured, _FIELDS)
    _check_fields(name, "", measured, _OPTIONAL_FIELDS, is_optional=True)
    small = measured.get("small_subject")
    if isinstance(small, dict):
        _check_fields(name, "small_subject.", small, _SMALL_FIELDS)


def _check_fields(
    name: str,
    prefix: str,
    found: Mapping[str, object],
    fields: Mapping[str, tuple[Callable[[object], bool], Message]],
    *,
    is_optional: bool = False,
) -> None:
    """Check fields of a record.

    Raises:
        PresetError: one is missing or not valid.
    """
    for field, (is_valid, wanted) in fields.items():
        if field not in found:
            if is_optional:
                continue
            raise bad_record(name, Message("{part} is missing", part=f"{prefix}{field}"))
        if not is_valid(found[field]):
            raise bad_record(
                name,
                Message(
                    "{part} must be {wanted}, got {value:.80}",
                    part=f"{prefix}{field}",
                    wanted=wanted,
                    value=repr(found[field]),
                ),
            )


def bad_record(name: str, reason: Message | Quoted) -> PresetError:
    """Return the error for a record that is not valid.

    Args:
        name: of the preset.
        reason: what is wrong.
    """
    return PresetError(
        Message(
            "preset {name}: its record is not valid: {reason}",
            code="bad_record",
            name=name,
            reason=reason,
        )
    )


def _is_text(value: object) -> bool:
    """Return whether a value is text and not empty."""
    return isinstance(value, str) and bool(value)


def _is_date(value: object) -> bool:
    """Return whether a value is a date: text, or the date object of YAML for an unquoted date."""
    return _is_text(value) or isinstance(value, date)


def _is_count(value: object) -> bool:
    """Return whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_figure(value: object) -> bool:
    """Return whether a value is a finite number of at least 0."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_FIGURE
    )


def _is_list_of_text(value: object) -> bool:
    """Return whether a value is a list of text."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_TEXT = (_is_text, Message("text"))
_COUNT = (_is_count, Message("a whole number of at least 1"))
_FIGURE = (_is_figure, Message("a number of at least 0"))
# The fields of a record, the optional ones, and those of a small subject.
_FIELDS = {
    "cpu": _TEXT,
    "cores": _COUNT,
    "date": (_is_date, Message("a date")),
    "picture": _TEXT,
    "n": _COUNT,
    "latency_p50_s": _FIGURE,
    "peak_rss_mib": _FIGURE,
}
_OPTIONAL_FIELDS = {
    "cpu_formats": (_is_list_of_text, Message("a list of text")),
    "engine": _TEXT,
    "precision": _TEXT,
    "small_subject": (lambda value: isinstance(value, dict | None), Message("a mapping")),
}
_SMALL_FIELDS = {"share": _FIGURE, "passes": _COUNT, "latency_p50_s": _FIGURE}


def measured_on_text(measured: Mapping[str, object]) -> Message:
    """Return the kind of CPU that a preset's figures were measured on.

    >>> print(measured_on_text({"cpu": "AMD EPYC", "cores": 2, "cpu_formats": ["bf16", "VNNI"]}))
    AMD EPYC, 2 cores with bf16 and VNNI
    """
    cpu, cores, formats = str(measured["cpu"]), str(measured["cores"]), measured.get("cpu_formats")
    if not isinstance(formats, list):
        return Message("{cpu}, {cores} cores", cpu=cpu, cores=cores)
    return Message(
        "{cpu}, {cores} cores {formats}", cpu=cpu, cores=cores, formats=formats_text(formats)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSubject:
    """The figures of a preset on a picture with a small subject.

    Attributes:
        share: the share of the picture that the subject's box covers.
        passes: number of runs of the network.
        time_s: median of the warm runs, seconds.
    """

    share: float
    passes: int
    time_s: float


def small_subject_of(measured: Mapping[str, object]) -> SmallSubject | None:
    """Read a record's figures of a small subject; None: the network always runs once.

    >>> small_subject_of({"small_subject": {"share": 0.1, "passes": 3, "latency_p50_s": 1}}).passes
    3
    """
    found = measured.get("small_subject")
    if not isinstance(found, dict):
        return None
    return SmallSubject(
        share=float(found["share"]),
        passes=int(found["passes"]),
        time_s=float(found["latency_p50_s"]),
    )


def measured_elsewhere_text(preset: Preset, host: Host) -> Message | None:
    """Return a note if a preset's figures were measured on another kind of CPU, else None.

    The kind is the CPU's name, how many of them this process may use, and the number formats that
    it has instructions for, if they were recorded.
    """
    if preset.measured is None:
        return None
    here = {"cpu": host.cpu, "cores": host.usable_cpus, "cpu_formats": list(host.fast_formats)}
    if here == {name: preset.measured.get(name, here["cpu_formats"]) for name in here}:
        return None
    return Message(
        "measured on {there}, not on this CPU, which is {here}: time and memory differ here",
        there=measured_on_text(preset.measured),
        here=measured_on_text(here),
    )
