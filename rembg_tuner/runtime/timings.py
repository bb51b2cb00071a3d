"""Times of presets and number formats on this machine, stored in the measurements database.

They are stored by commands of the machine's user, not from the pictures of visitors.
"""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.files import open_cache
from rembg_tuner.runtime.measurements import Measurements, Timing
from rembg_tuner.settings.precision import stable_times
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings

_TIMES = "times_s"
_REST = ("max_side",)  # knobs that change the time of a run, but are not in a measurement key


def find_times(folder: Path, key: str, machine: str) -> dict[str, float]:
    """Return the time of each format, seconds; empty: they were not timed.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    found = Measurements(folder).find_timing(key, machine)
    times = None if found is None else found.about.get(_TIMES)
    if not isinstance(times, dict) or not all(map(_is_time, times.values())):
        return {}
    return {str(name): float(time_s) for name, time_s in times.items()}


def _is_time(value: object) -> bool:
    """Return whether a stored value is a time; a damaged row counts as not timed."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < cast("float", value) < math.inf


def note_times(
    folder: Path, key: str, machine: str, times_s: Mapping[str, float], n: int
) -> Mapping[str, float]:
    """Store the time of each format.

    Args:
        folder: the cache.
        key: see `machine.times_key`.
        machine: the CPU, the number of CPUs, and its features.
        times_s: seconds by format; at least one.
        n: number of runs of each format.

    Returns:
        The stored times: the earlier ones if the new ones differ only by noise.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    kept = stable_times(find_times(folder, key, machine), times_s)
    values = kept.values()
    timing = Timing(
        time_s=min(values), low_s=min(values), high_s=max(values), n=n, about={_TIMES: dict(kept)}
    )
    Measurements(folder).note_timing(key, machine, timing)
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetFigures:
    """The figures of a setting on this machine.

    Attributes:
        time_s: median of a run, seconds.
        low_s, high_s: the minimum and the maximum.
        small_time_s: median on the bench's picture with a small subject; None: it was not run.
        peak_bytes: peak of the setting.
        n: timed runs of each picture.
        is_of_bench: whether the pictures are the bench's, at 1080p, or the user's own.
        date: ISO, UTC.
    """

    time_s: float
    low_s: float
    high_s: float
    small_time_s: float | None
    peak_bytes: int
    n: int
    is_of_bench: bool
    date: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


def note_figures(settings: Settings, machine: Machine, figures: PresetFigures) -> None:
    """Store the figures of a setting.

    Raises:
        ModelError: the file of its model is missing.
        OSError, sqlite3.Error: the file or the database cannot be read or written.
    """
    about: dict[str, object] = {
        "peak_bytes": figures.peak_bytes,
        "small_time_s": figures.small_time_s,
    }
    timing = Timing(
        time_s=figures.time_s, low_s=figures.low_s, high_s=figures.high_s, n=figures.n, about=about
    )
    key = _key(settings, machine, is_of_bench=figures.is_of_bench)
    Measurements(open_cache()[0]).note_timing(key, machine.kind, timing)


def find_figures(settings: Settings, machine: Machine) -> PresetFigures | None:
    """Return the figures of a setting here, with the current versions.

    Figures on the bench's pictures take precedence. None: the setting was not measured.
    """
    try:
        known = Measurements(open_cache()[0])
        for is_of_bench in (True, False):
            key = _key(settings, machine, is_of_bench=is_of_bench)
            found = known.find_timing(key, machine.kind)
            if found is not None:
                small = found.about.get("small_time_s")
                return PresetFigures(
                    time_s=found.time_s,
                    low_s=found.low_s,
                    high_s=found.high_s,
                    small_time_s=small if isinstance(small, float) else None,
                    peak_bytes=int(str(found.about["peak_bytes"])),
                    n=found.n,
                    is_of_bench=is_of_bench,
                    date=found.date,
                )
    except (ModelError, OSError, sqlite3.Error):  # running the setting reports the reason
        return None
    return None


def _key(settings: Settings, machine: Machine, *, is_of_bench: bool) -> str:
    """Return the key of a setting's figures in the database."""
    rest = [getattr(settings, name) for name in _REST]
    pictures = "bench" if is_of_bench else "own"
    return f"figures {pictures} {json.dumps(rest)} {resolve(settings, machine).measurement_key}"
