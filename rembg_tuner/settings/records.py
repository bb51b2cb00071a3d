"""What a preset's record says in full.

Figures, where they are from, and what its cut-outs looked like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PresetError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.base.small_matte import SmallMatte, read_small_matte
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.presets import bad_record, check_record, small_subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.settings.presets import Preset

OWN_PICTURES = "own pictures"  # what a record calls pictures that are not the bench's
HASH_LETTERS = 16  # of a picture's SHA-256 as hex: 64 bits name a picture among a user's own


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPicture:
    """A picture that a setting was measured on.

    Attributes:
        name: of its file, or of a picture of the bench.
        sha256: the first hex digits of the file's SHA-256; None: a picture of the bench, which
            makes it again.
        matte: what the cut-out's matte was.
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
    """What was measured of a preset.

    Attributes:
        date: ISO, UTC.
        picture: what was cut out, for people.
        n: timed runs of each picture.
        time_s: median of a run; of several pictures the mean over them.
        small_time_s: median on the picture with a small subject; None: there was none.
        peak_bytes: peak of the setting.
        engine: its name, with its version where that was recorded.
        precision: the number format that `auto` ran in; empty: not recorded.
        pictures: those whose mattes were recorded; empty: an older version's record.
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
        PresetError: nothing was measured of it, or what stands there is not a record.
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
    """Return what a record lacks, or what cannot be read of it."""
    if isinstance(error, KeyError):
        return Message("{part} is missing", part=str(error.args[0]))
    return Quoted(str(error))


def _read_pictures(found: Mapping[str, object]) -> tuple[RecordedPicture, ...]:
    """Read the pictures of a record.

    Raises:
        KeyError, TypeError, ValueError: one of them is not one.
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
