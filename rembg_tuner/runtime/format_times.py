"""What a model's number formats took on this machine, as the measurements database keeps it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from rembg_tuner.runtime.measurements import Measurements, Timing
from rembg_tuner.settings.precision import stable_times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TIMES = "times_s"


def find_times(folder: Path, key: str, machine: str) -> dict[str, float]:
    """Return what each format took, seconds; empty: they were not timed.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    found = Measurements(folder).find_timing(key, machine)
    times = None if found is None else found.about.get(_TIMES)
    if not isinstance(times, dict) or not all(map(_is_time, times.values())):
        return {}
    return {str(name): float(time_s) for name, time_s in times.items()}


def _is_time(value: object) -> bool:
    """Return whether a kept value is a time; a damaged row counts as not timed."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 < cast("float", value) < math.inf


def note_times(
    folder: Path, key: str, machine: str, times_s: Mapping[str, float], n: int
) -> Mapping[str, float]:
    """Keep what each format took.

    Args:
        folder: the cache.
        key: see `machine.times_key`.
        machine: CPU, how many of it, and what it can do.
        times_s: by format, seconds; at least one.
        n: runs of each.

    Returns:
        What is kept: the earlier times, where the new ones differ by no more than noise.

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
