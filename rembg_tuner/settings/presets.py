"""Presets: named settings with the record of their measurement."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rembg_tuner.base.errors import PresetError, SettingsError
from rembg_tuner.base.messages import Message, Quoted, Term, join_parts
from rembg_tuner.base.yaml_files import YamlFileError, read_mapping
from rembg_tuner.settings.check import checked_settings
from rembg_tuner.settings.records import check_record

DEFAULT_PRESET = "balanced"
MORE_PRESETS_VARIABLE = "REMBG_TUNER_PRESETS"  # the user's own file, as `export --to preset` writes
_KEYS = {"for", "settings", "measured", "why_not_measured"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Named settings.

    Attributes:
        name: its key in presets.yaml.
        purpose: what it is for, in one sentence.
        values: the knobs that it sets; the others take their defaults.
        measured: the record: figures, and where and when they were measured; None: not measured.
            `precision` is the number format of the runs if the setting is auto. If the network runs
            again for a small subject, `passes` is the number of runs, and `small_subject` has the
            figures of such a picture.
        why_not_measured: the reason if there is no record.
    """

    name: str
    purpose: str
    values: dict[str, object]
    measured: dict[str, object] | None
    why_not_measured: str | None

    def to_dict(self) -> dict[str, object]:
        """Return the preset as presets.yaml has it."""
        content: dict[str, object] = {
            "for": self.purpose,
            "settings": dict(self.values),
            "measured": self.measured,
        }
        return content if self.measured else {**content, "why_not_measured": self.why_not_measured}


def presets_path() -> Path:
    """Return the path of presets.yaml: beside the package in a checkout, in it when installed."""
    package = Path(__file__).parent.parent
    beside = package.parent / "presets.yaml"
    return beside if beside.is_file() else package / "presets.yaml"


@cache
def read_presets(path: Path | None = None) -> dict[str, Preset]:
    """Read presets by name, in the file's order.

    Args:
        path: of another file; None: presets.yaml, and the file that REMBG_TUNER_PRESETS names,
            whose presets replace those of the same name.

    Raises:
        PresetError: the file cannot be read, or a preset or a record is not valid.
    """
    if path is None:
        more = os.environ.get(MORE_PRESETS_VARIABLE)
        return {**_read_file(presets_path()), **(_read_file(Path(more)) if more else {})}
    return _read_file(path)


def find_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        PresetError: the name is unknown.
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


def _read_file(path: Path) -> dict[str, Preset]:
    """Read one file of presets."""
    try:
        content = read_mapping(path)
    except (YamlFileError, OSError) as error:
        reason = (
            error.message
            if isinstance(error, YamlFileError)
            else error.strerror or Quoted(str(error))
        )
        raise PresetError(Message("the presets cannot be read: {reason}", reason=reason)) from error
    return {
        name: _read_preset(
            Message("{file}: preset {preset!r}", file=path.name, preset=name), name, entry
        )
        for name, entry in content.items()
    }


def _read_preset(where: Message, name: str, entry: Any) -> Preset:
    """Check and read one preset."""
    problem = _problem_of(where, entry)
    if problem is not None:
        raise PresetError(problem)
    values, measured = entry["settings"], entry["measured"]
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
        why_not_measured=entry.get("why_not_measured"),
    )


def _problem_of(where: Message, entry: object) -> Message | None:
    """Return what is wrong with the keys of a preset or the types of its parts; None: nothing."""
    if not isinstance(entry, dict) or not {"for", "settings", "measured"} <= entry.keys() <= _KEYS:
        return Message(
            "{where}: its keys must be for, settings, measured, and why_not_measured if measured"
            " is null",
            where=where,
        )
    values, measured = entry["settings"], entry["measured"]
    if not isinstance(values, dict):
        return Message(
            "{where}: settings must be a mapping, got {value}", where=where, value=repr(values)
        )
    if (measured is None) == (entry.get("why_not_measured") is None):
        return Message(
            "{where}: measured must have figures, or be null together with why_not_measured",
            where=where,
        )
    if not isinstance(measured, dict | None):
        return Message(
            "{where}: measured must be a mapping or null, got {value:.80}",
            where=where,
            value=repr(measured),
        )
    return None
