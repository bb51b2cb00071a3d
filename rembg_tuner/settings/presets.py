"""Presets: named settings with what was measured of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PresetError, SettingsError
from rembg_tuner.base.messages import Message, Quoted, Term, join_parts
from rembg_tuner.base.yaml_files import YamlFileError, read_mapping
from rembg_tuner.settings.check import checked_settings
from rembg_tuner.settings.host import formats_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.settings.host import Host

DEFAULT_PRESET = "balanced"
MORE_PRESETS_VARIABLE = "REMBG_TUNER_PRESETS"  # a file of one's own, as `export --to preset` writes
_KEYS = {"for", "settings", "measured", "why_not_measured"}
_MAX_FIGURE = 1e9  # seconds or MiB; more is a slip, and cannot be written as bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Named settings.

    Attributes:
        name: as it stands in presets.yaml.
        purpose: what it is for, one sentence.
        values: the knobs it sets; the others take their defaults.
        measured: what was measured of it, where and when; None: nothing. `precision` is there where
            the settings say auto: the number format that it ran in. Where the network runs again
            for a small subject, `passes` is how often it ran, and `small_subject` what such a
            picture took.
        why_not_measured: the reason, where nothing was.
    """

    name: str
    purpose: str
    values: dict[str, object]
    measured: dict[str, object] | None
    why_not_measured: str | None

    def to_dict(self) -> dict[str, object]:
        """Give the preset as it stands in presets.yaml."""
        content: dict[str, object] = {
            "for": self.purpose,
            "settings": dict(self.values),
            "measured": self.measured,
        }
        return content if self.measured else {**content, "why_not_measured": self.why_not_measured}


def bad_record(name: str, reason: Message | Quoted) -> PresetError:
    """Make the error of a record that does not read.

    Args:
        name: of the preset.
        reason: what is wrong.
    """
    return PresetError(
        Message(
            "preset {name}: its record does not read: {reason}",
            code="bad_record",
            name=name,
            reason=reason,
        )
    )


def check_record(name: str, measured: Mapping[str, object]) -> None:
    """Check the figures of a record, and where they are from.

    Args:
        name: of the preset.
        measured: of it.

    Raises:
        PresetError: a figure is missing, or cannot be.
    """
    _check_fields(name, "", measured, _FIELDS)
    _check_fields(name, "", measured, _FIELDS_LEFT_OUT, may_lack=True)
    small = measured.get("small_subject")
    if isinstance(small, dict):
        _check_fields(name, "small_subject.", small, _SMALL_FIELDS)


def _check_fields(
    name: str,
    prefix: str,
    found: Mapping[str, object],
    fields: Mapping[str, tuple[Callable[[object], bool], Message]],
    *,
    may_lack: bool = False,
) -> None:
    """Check fields of a record.

    Raises:
        PresetError: one is missing, or cannot be.
    """
    for field, (is_one, wanted) in fields.items():
        if field not in found:
            if may_lack:
                continue
            raise bad_record(name, Message("{part} is missing", part=f"{prefix}{field}"))
        if not is_one(found[field]):
            raise bad_record(
                name,
                Message(
                    "{part} must be {wanted}, got {value:.80}",
                    part=f"{prefix}{field}",
                    wanted=wanted,
                    value=repr(found[field]),
                ),
            )


def _is_text(value: object) -> bool:
    """Return whether a value is text that says something."""
    return isinstance(value, str) and bool(value)


def _is_date(value: object) -> bool:
    """Return whether a value is a date, which YAML reads as such where it is not quoted."""
    return _is_text(value) or isinstance(value, date)


def _is_count(value: object) -> bool:
    """Return whether a value is a whole number from 1 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_figure(value: object) -> bool:
    """Return whether a value is a finite number from 0 on."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_FIGURE
    )


def _is_list_of_text(value: object) -> bool:
    """Return whether a value is a list of words."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_TEXT = (_is_text, Message("text"))
_COUNT = (_is_count, Message("a whole number from 1 on"))
_FIGURE = (_is_figure, Message("a number from 0 on"))
# What a record has, what it may lack, and what it has of a small subject.
_FIELDS = {
    "cpu": _TEXT,
    "cores": _COUNT,
    "date": (_is_date, Message("a date")),
    "picture": _TEXT,
    "n": _COUNT,
    "latency_p50_s": _FIGURE,
    "peak_rss_mib": _FIGURE,
}
_FIELDS_LEFT_OUT = {
    "cpu_formats": (_is_list_of_text, Message("a list of text")),
    "engine": _TEXT,
    "precision": _TEXT,
    "small_subject": (lambda value: isinstance(value, dict | None), Message("a mapping")),
}
_SMALL_FIELDS = {"share": _FIGURE, "passes": _COUNT, "latency_p50_s": _FIGURE}


def measured_on_text(measured: Mapping[str, object]) -> Message:
    """Name the kind of CPU that a preset's figures were measured on.

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
    """What a preset took on a picture whose subject is small.

    Attributes:
        share: of the picture, of the subject's box.
        passes: how often the network ran.
        time_s: median of the warm runs.
    """

    share: float
    passes: int
    time_s: float


def small_subject_of(measured: Mapping[str, object]) -> SmallSubject | None:
    """Read what a preset took on a small subject; None: the network always runs once.

    >>> small_subject_of({"small_subject": {"share": 0.16, "passes": 3, "latency_p50_s":
    0.2}}).passes 3
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

    A kind is the CPU's name, how many this process may use, and the number formats that the CPU has
    instructions for, where they were recorded.
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


def presets_path() -> Path:
    """Find presets.yaml: beside the package in a checkout, in it when installed."""
    package = Path(__file__).parent.parent
    beside = package.parent / "presets.yaml"
    return beside if beside.is_file() else package / "presets.yaml"


@cache
def read_presets(path: Path | None = None) -> dict[str, Preset]:
    """Read presets by name, in the file's order.

    Args:
        path: another file; None: presets.yaml, and after it the file that REMBG_TUNER_PRESETS
            names, whose presets take the place of those of the same name.

    Raises:
        PresetError: the file does not read, or one of its presets or records cannot be.
    """
    if path is None:
        more = os.environ.get(MORE_PRESETS_VARIABLE)
        return {**_read_file(presets_path()), **(_read_file(Path(more)) if more else {})}
    return _read_file(path)


def _read_file(path: Path) -> dict[str, Preset]:
    """Read one file of presets."""
    try:
        content = read_mapping(path)
    except YamlFileError as error:
        raise PresetError(
            Message("the presets do not read: {reason}", reason=error.message)
        ) from error
    except OSError as error:
        raise PresetError(
            Message(
                "the presets do not read: {reason}", reason=error.strerror or Quoted(str(error))
            )
        ) from error
    return {
        name: _read_preset(
            Message("{file}: preset {preset!r}", file=path.name, preset=name), name, entry
        )
        for name, entry in content.items()
    }


def _read_preset(where: Message, name: str, entry: object) -> Preset:
    """Check one preset."""
    if not isinstance(entry, dict) or not {"for", "settings", "measured"} <= entry.keys() <= _KEYS:
        raise PresetError(
            Message(
                "{where}: its keys must be for, settings, measured, and why_not_measured where"
                " measured is null",
                where=where,
            )
        )
    values, measured, reason = entry["settings"], entry["measured"], entry.get("why_not_measured")
    if not isinstance(values, dict):
        raise PresetError(
            Message(
                "{where}: settings must be a mapping, got {value}", where=where, value=repr(values)
            )
        )
    if (measured is None) == (reason is None):
        raise PresetError(
            Message("{where}: give what was measured, or null and why_not_measured", where=where)
        )
    if not isinstance(measured, dict | None):
        raise PresetError(
            Message(
                "{where}: measured must be a mapping or null, got {value:.80}",
                where=where,
                value=repr(measured),
            )
        )
    if measured is not None:
        check_record(name, measured)
    try:
        checked_settings(values)
    except SettingsError as error:
        raise PresetError(
            Message("{where}: {reason}", where=where, reason=error.message)
        ) from error
    return Preset(
        name=name,
        purpose=str(entry["for"]),
        values=values,
        measured=measured,
        why_not_measured=reason,
    )


def find_preset(name: str) -> Preset:
    """Find a preset by name.

    Raises:
        PresetError: there is none of that name.
    """
    presets = read_presets()
    if name not in presets:
        known = join_parts(Term(one, "preset") for one in presets)
        raise PresetError(
            Message(
                "there is no preset {name!r:.80}; the presets are {presets}",
                name=name,
                presets=known,
            )
        )
    return presets[name]
