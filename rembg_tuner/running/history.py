"""What settings took here before: each one's highest peak, kept in the cache between starts.

It answers one question before a run: will this fit? Only what was measured on this machine is said.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.errors import ModelError
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings import KNOBS, build_settings
from rembg_tuner.tables import use_rebuilt
from rembg_tuner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.settings import Settings, Value

T = TypeVar("T")
_FILE = "history.sqlite"
_TIMEOUT_S = 2.0  # for another process that is writing
_MOST_OFFERS = 2
_MOST_ROWS = 2000
_SCHEMA = """CREATE TABLE IF NOT EXISTS setting_peaks (
    setting TEXT NOT NULL,  -- the knobs that decide the peak, as JSON
    made_by TEXT NOT NULL,  -- see `made_by`
    peak_bytes INTEGER NOT NULL,
    runs INTEGER NOT NULL,  -- 0: it was only ever ended at a limit, and takes more than peak_bytes
    latest TEXT NOT NULL,
    PRIMARY KEY (setting, made_by)
)"""
_REMEMBER = """INSERT INTO setting_peaks VALUES (?, ?, ?, ?, ?) ON CONFLICT (setting, made_by) DO UPDATE SET
    peak_bytes = max(peak_bytes, excluded.peak_bytes), runs = runs + excluded.runs, latest = excluded.latest"""
_LOOK_UP = "SELECT peak_bytes, runs FROM setting_peaks WHERE setting = ? AND made_by = ?"
_LIST = "SELECT setting, made_by, peak_bytes, runs FROM setting_peaks ORDER BY peak_bytes"
_PRUNE = "DELETE FROM setting_peaks WHERE rowid NOT IN (SELECT rowid FROM setting_peaks ORDER BY latest DESC LIMIT ?)"  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A setting's highest peak here.

    Attributes:
        settings: the knobs that decide it; the others at their defaults.
        peak_bytes: the highest of load and runs, those included that were ended at a limit; 0: not known.
        runs: how many went through; 0: it was ended each time, and takes more than `peak_bytes`.
    """

    settings: Settings
    peak_bytes: int
    runs: int


class History:
    """The file with the peaks. Where it cannot be used nothing is remembered, and no run is refused."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a folder."""
        self._path = folder / _FILE

    def remember(self, settings: Settings, peak_bytes: int) -> None:
        """Note the peak of a run that went through.

        Raises:
            sqlite3.Error: the file cannot be written, or belongs to another program.
        """
        self._note(settings, peak_bytes, runs=1)

    def remember_ended(self, settings: Settings, reached_bytes: int) -> None:
        """Note what a worker had reached when it was ended: the setting takes at least that.

        Raises:
            sqlite3.Error: the file cannot be written, or belongs to another program.
        """
        self._note(settings, reached_bytes, runs=0)

    def remember_started(self, settings: Settings) -> None:
        """Note that a setting went through here, and nothing of what it took.

        For runs whose pictures are a visitor's: what these took must not refuse the next visitor.

        Raises:
            sqlite3.Error: the file cannot be written, or belongs to another program.
        """
        self._note(settings, 0, runs=1)

    def _note(self, settings: Settings, peak_bytes: int, *, runs: int) -> None:
        """Add to what is known of a setting."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = (_key(settings), made_by(settings), peak_bytes, runs, now)

        def write(file: sqlite3.Connection) -> None:
            file.execute(_REMEMBER, row)
            file.execute(_PRUNE, (_MOST_ROWS,))

        self._use(write)

    def look_up(self, settings: Settings) -> Peak | None:
        """Give what is known of a setting with this engine and these weights; None: nothing is.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        if not self._path.is_file():
            return None
        key = (_key(settings), made_by(settings))
        row = self._use(lambda file: file.execute(_LOOK_UP, key).fetchone())
        held = _read(_key(settings))
        return None if row is None or held is None else Peak(settings=held, peak_bytes=row[0], runs=row[1])  # fmt: skip

    def find(self, settings: Settings) -> Peak | None:
        """Give what a setting took; None: no run of it has gone through here.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        own = self.look_up(settings)
        return own if own is not None and own.runs else None

    def all(self) -> list[Peak]:
        """List every setting's peak with the engines and weights of now, the smallest first.

        Those that can no longer be are left out.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        if not self._path.is_file():
            return []
        rows = self._use(lambda file: file.execute(_LIST).fetchall())
        read = ((_read(setting), by, peak_bytes, runs) for setting, by, peak_bytes, runs in rows)
        return [
            Peak(settings=settings, peak_bytes=peak_bytes, runs=runs)
            for settings, by, peak_bytes, runs in read
            if settings is not None and by == made_by(settings)
        ]

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Read or write the file, made if it is not there, and anew if it is damaged."""

        def use_unsynced(file: sqlite3.Connection) -> T:
            # Nobody waits for the disk at the end of a run: a power failure may cost peaks, which are found again.
            file.execute("PRAGMA synchronous = OFF")
            return use(file)

        return use_rebuilt(self._path, (_SCHEMA,), use_unsynced, timeout_s=_TIMEOUT_S)


def made_by(settings: Settings) -> str:
    """Name what a peak depends on besides the knobs: the engine's version, and the weights by size and time.

    Another version or other weights may take more or less, and compile anew at their first start.
    """
    int8_for = settings.engine if settings.precision == "int8" else None
    try:
        stat = Path(find_model(settings.model, int8_for=int8_for).path).stat()
        weights = f"{stat.st_size} {stat.st_mtime_ns}"
    except (ModelError, OSError):  # it is not there; whoever runs it says so
        weights = "absent"
    return f"{settings.engine} {_version_of(settings.engine)}, {weights}"


@cache
def _version_of(package: str) -> str:
    """Give an installed package's version; an engine's name is its package's."""
    try:
        return version(package)
    except PackageNotFoundError:  # under another name, such as onnxruntime-gpu
        return "of another package"


def _key(settings: Settings) -> str:
    """Write what of settings decides the peak: runs with equal keys have equal peaks."""
    return json.dumps(dict(settings.peak_key()), sort_keys=True)


def _peak_of(settings: Settings, peaks: list[Peak]) -> Peak | None:
    """Find what is known of a setting among peaks."""
    return next((peak for peak in peaks if _key(peak.settings) == _key(settings)), None)


def _read(setting: str) -> Settings | None:
    """Read a key back; None where this version knows no such setting."""
    try:
        return build_settings(json.loads(setting))
    except ValueError:
        return None


def why_not_fit(settings: Settings, limit_bytes: int, peaks: list[Peak]) -> str | None:
    """Say that a setting will not fit, and offer what would; None: it fits, or was never run here.

    Args:
        settings: that are about to run.
        limit_bytes: of memory.
        peaks: what was measured here, the smallest first.
    """
    own = _peak_of(settings, peaks)
    if own is None or own.peak_bytes <= limit_bytes:
        return None
    fitting = [peak for peak in peaks if peak.runs and 0 < peak.peak_bytes <= limit_bytes]
    # The nearest to what was asked first: the same model, then the most of the memory that there is.
    fitting.sort(key=lambda peak: (peak.settings.model != settings.model, -peak.peak_bytes))
    offers = [
        f"{_difference(settings, peak.settings)} ({format_bytes(peak.peak_bytes)})"
        for peak in fitting[:_MOST_OFFERS]
    ]
    advice = (
        f"choose what fitted here: {' or '.join(offers)}"
        if offers
        else "choose a smaller network_size or model, since nothing that fits has been run here"
    )
    if not own.runs:
        return (
            f"this setting was ended at {format_bytes(own.peak_bytes)} here before, more than the memory limit of "
            f"{format_bytes(limit_bytes)} (memory_limit_bytes), so it was not started; raise the limit, or {advice}"
        )
    return (
        f"this setting took {format_bytes(own.peak_bytes)} here before, more than the memory limit of "
        f"{format_bytes(limit_bytes)} (memory_limit_bytes), so it was not started; raise the limit, or {advice}"
    )


def _difference(asked: Settings, other: Settings) -> str:
    """Name the knobs in which a setting differs from the one asked for."""
    theirs, ours = ({"focus": "off", **dict(one.peak_key())} for one in (other, asked))
    different = [f"{name} {_text(theirs[name])}" for name in KNOBS if theirs.get(name) != ours.get(name)]  # fmt: skip
    return ", ".join(different)


def _text(value: Value) -> str:
    """Write a knob's value as a person would."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
