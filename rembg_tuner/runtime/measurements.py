"""The measurements of this machine, in one SQLite file of the cache: peaks, trials and timings.

Rows are keyed by the measurement key of a setting (`resolve.ResolvedSettings`): the content of a
worker, the hash of the weights, and the versions of the engine, libvips and rembg tuner. After an
upgrade, or with other weights under the same name, older rows do not match. The module does not
depend on how the values are measured.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.base.sqlite_files import use_rebuilt
from rembg_tuner.settings.building import build_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.settings.settings import Settings

FILE = "measurements.sqlite"
OLDER_FILES = ("history.sqlite", "trials.sqlite")  # of versions without measurement keys
T = TypeVar("T")
# with fewer runs a peak may still grow: ONNX Runtime plans its memory from the second run on
MIN_RUNS = 3
_TIMEOUT_S = 2.0  # maximum wait for another process that is writing
_MAX_ROWS = 2000  # of each table except the trials', which `sweep.store` limits
TRIALS_SCHEMA = """CREATE TABLE IF NOT EXISTS measured_trials (
    context TEXT NOT NULL,  -- pictures, reference, runs, CPU: see `sweep.store.context_of`
    key TEXT NOT NULL,      -- the measurement key
    rest TEXT NOT NULL,     -- the knobs of a run that are not in it, as JSON
    setting TEXT NOT NULL,  -- as asked, as JSON
    weights TEXT NOT NULL,  -- see `sweep.weights`
    number INTEGER NOT NULL,
    trial TEXT NOT NULL,    -- as Trial.to_dict
    PRIMARY KEY (context, key, rest, setting)
)"""
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS peaks (
    key TEXT PRIMARY KEY,
    settings TEXT NOT NULL,          -- as asked, the knobs that decide the peak, as JSON
    load_bytes INTEGER NOT NULL,     -- the highest peak of a load
    run_bytes INTEGER NOT NULL,      -- the highest of a run, without its picture's own share; 0: no run
    picture_bytes INTEGER NOT NULL,  -- the highest share of a picture
    ended_bytes INTEGER NOT NULL,    -- what a worker had reached when its limit ended it; 0: none was ended
    runs INTEGER NOT NULL,
    is_first INTEGER NOT NULL,       -- whether all of these are of the setting's very first start
    latest TEXT NOT NULL
)""",
    "CREATE TABLE IF NOT EXISTS starts (key TEXT PRIMARY KEY, latest TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS timings (
    key TEXT NOT NULL,
    machine TEXT NOT NULL,  -- CPU, how many of it, and its number formats
    time_s REAL NOT NULL,
    low_s REAL NOT NULL,
    high_s REAL NOT NULL,
    n INTEGER NOT NULL,
    about TEXT NOT NULL,    -- what else is known, as JSON
    latest TEXT NOT NULL,
    PRIMARY KEY (key, machine)
)""",
    (
        "CREATE TABLE IF NOT EXISTS digests (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL, latest"
        " TEXT NOT NULL)"
    ),
    TRIALS_SCHEMA,
)
TABLES = ("peaks", "starts", "timings", "measured_trials")
_NOTE = """INSERT INTO peaks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    load_bytes = max(load_bytes, excluded.load_bytes), run_bytes = max(run_bytes, excluded.run_bytes),
    picture_bytes = max(picture_bytes, excluded.picture_bytes),
    ended_bytes = max(ended_bytes, excluded.ended_bytes), runs = runs + excluded.runs,
    is_first = min(is_first, excluded.is_first), latest = excluded.latest"""
# The first start of a setting on a machine compiles or converts, which takes more memory than later
# starts.
_FORGET_FIRST = "DELETE FROM peaks WHERE key = ? AND is_first AND runs"
_PEAK = (
    "SELECT settings, load_bytes, run_bytes, picture_bytes, ended_bytes, runs FROM peaks WHERE"
    " key = ?"
)
_PEAKS = """SELECT key, settings, load_bytes, run_bytes, picture_bytes, ended_bytes, runs FROM peaks
    ORDER BY max(load_bytes, run_bytes)"""
_COUNT = "SELECT count(*) FROM {table}"
_START = "INSERT INTO starts VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET latest = excluded.latest"
_WAS_STARTED = (
    "SELECT 1 FROM starts WHERE key = ?1 UNION SELECT 1 FROM peaks WHERE key = ?1 AND runs"
)
_TIME = "INSERT OR REPLACE INTO timings VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_TIMING = (
    "SELECT time_s, low_s, high_s, n, about, latest FROM timings WHERE key = ? AND machine = ?"
)
_DIGEST = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)"
_FIND_DIGEST = "SELECT sha256 FROM digests WHERE file = ?"
_PRUNE = (
    "DELETE FROM {table} WHERE rowid NOT IN (SELECT rowid FROM {table} ORDER BY latest DESC LIMIT"
    " {rows})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The memory that a setting took here, bytes; the share of its pictures is separate.

    Attributes:
        settings: the knobs that determine it; the others have their defaults.
        load_bytes: the highest peak of a load.
        run_bytes: the highest peak of a run, without its picture's share; 0: no run succeeded.
        picture_bytes: the highest share of a picture: decoded or encoded whole, or its strips.
        ended_bytes: the memory of a worker when it was killed at its limit, so that the setting
            takes more; 0: no worker was killed.
        runs: the number of successful runs.
    """

    settings: Settings
    load_bytes: int = 0
    run_bytes: int = 0
    picture_bytes: int = 0
    ended_bytes: int = 0
    runs: int = 0

    @property
    def peak_bytes(self) -> int:
        """The setting's peak: the maximum of load and runs; 0: no load or run succeeded."""
        return max(self.load_bytes, self.run_bytes)

    @property
    def known_bytes(self) -> int:
        """The memory that the setting takes at least, as far as known."""
        return max(self.peak_bytes, self.ended_bytes)

    @property
    def is_settled(self) -> bool:
        """Whether there were enough runs for a reliable peak."""
        return self.runs >= MIN_RUNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The time that a setting took on this machine, seconds.

    Attributes:
        time_s: the median.
        low_s, high_s: the minimum and the maximum.
        n: the number of runs.
        about: other stored values: versions, pictures, load.
        date: the day of the measurement, ISO, UTC; set when it is stored.
    """

    time_s: float
    low_s: float
    high_s: float
    n: int
    about: dict[str, object]
    date: str = ""


class Measurements:
    """The database file. Every method may raise sqlite3.Error: it cannot be read or written.

    A damaged file is renamed and created again: its content can be measured again.
    """

    def __init__(self, folder: Path) -> None:
        """Use a file in a folder; it is created by the first write."""
        self.path = folder / FILE

    def note_run(
        self,
        key: str,
        settings: Settings,
        *,
        load_bytes: int,
        run_bytes: int,
        picture_bytes: int = 0,
        is_first: bool = False,
    ) -> None:
        """Store a successful run.

        Args:
            key: the measurement key.
            settings: the requested settings.
            load_bytes: the peak of its worker's load.
            run_bytes: the run's peak without its picture's share; 0: unknown.
            picture_bytes: the share of the picture.
            is_first: whether its worker was the first of this setting here, which may have
                compiled; the values of such a worker are replaced by those of the next worker.
        """
        self._note(key, settings, (load_bytes, run_bytes, picture_bytes, 0, 1), is_first=is_first)

    def note_ended(self, key: str, settings: Settings, reached_bytes: int) -> None:
        """Store the memory of a worker when it was killed at its limit."""
        self._note(key, settings, (0, 0, 0, reached_bytes, 0), is_first=True)

    def _note(
        self,
        key: str,
        settings: Settings,
        figures: tuple[int, int, int, int, int],
        *,
        is_first: bool,
    ) -> None:
        """Merge values into the row of a setting."""
        row = (key, _written(settings), *figures, is_first, _now())

        def write(file: sqlite3.Connection) -> None:
            if not is_first:
                file.execute(_FORGET_FIRST, (key,))
            file.execute(_NOTE, row)

        self._write(write, "peaks")

    def find_peak(self, key: str) -> Peak | None:
        """Return the peak of a setting; None: unknown."""
        rows = self._read(lambda file: file.execute(_PEAK, (key,)).fetchall())
        return _peak_of(rows[0]) if rows else None

    def all_peaks(self) -> list[tuple[str, Peak]]:
        """List the keys and peaks of all settings, the smallest peak first.

        Settings of other versions and other weights are included, except those whose knobs this
        version does not have.
        """
        rows = self._read(lambda file: file.execute(_PEAKS).fetchall())
        return [(key, peak) for key, *row in rows if (peak := _peak_of(row)) is not None]

    def note_start(self, key: str) -> None:
        """Store that a setting started here, without its peaks.

        For runs of visitors' pictures, whose memory must not cause the refusal of the next visitor.
        """
        self._write(lambda file: file.execute(_START, (key, _now())), "starts")

    def was_started(self, key: str) -> bool:
        """Return whether a setting ran here before, so that the cache has its files."""
        return bool(self._read(lambda file: file.execute(_WAS_STARTED, (key,)).fetchall()))

    def note_timing(self, key: str, machine: str, timing: Timing) -> None:
        """Store the timing of a setting; it replaces an earlier timing.

        Args:
            key: the measurement key.
            machine: the CPU, the number of CPUs, and its number formats; timings of other machines
                are not returned.
            timing: the timing.
        """
        row = (key, machine, timing.time_s, timing.low_s, timing.high_s, timing.n)
        about = json.dumps(timing.about)
        self._write(lambda file: file.execute(_TIME, (*row, about, _now())), "timings")

    def find_timing(self, key: str, machine: str) -> Timing | None:
        """Return the timing of a setting on this machine; None: unknown."""
        rows = self._read(lambda file: file.execute(_TIMING, (key, machine)).fetchall())
        if not rows:
            return None
        time_s, low_s, high_s, n, about, latest = rows[0]
        known, date = json.loads(about), latest.partition("T")[0]
        return Timing(time_s=time_s, low_s=low_s, high_s=high_s, n=n, about=known, date=date)

    def note_digest(self, file: str, sha256: str) -> None:
        """Store a file's hash.

        Args:
            file: its path, size, times and inode.
            sha256: in hexadecimal.
        """
        self._write(lambda tables: tables.execute(_DIGEST, (file, sha256, _now())), "digests")

    def find_digest(self, file: str) -> str | None:
        """Return a file's hash; None: it was not computed here, or the file has changed since."""
        rows = self._read(lambda tables: tables.execute(_FIND_DIGEST, (file,)).fetchall())
        return str(rows[0][0]) if rows else None

    def counts(self) -> dict[str, int]:
        """Count the rows of each table."""

        def count(file: sqlite3.Connection) -> list[tuple[int]]:
            return [file.execute(_COUNT.format(table=table)).fetchone() for table in TABLES]

        counted = self._read(count) or [(0,)] * len(TABLES)
        return {table: row[0] for table, row in zip(TABLES, counted, strict=True)}

    def _read(self, use: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        """Read rows; a missing file has no rows, and is not created."""
        return self._use(use) if self.path.is_file() else []

    def _write(self, use: Callable[[sqlite3.Connection], object], table: str) -> None:
        """Write to a table, and delete the oldest rows above the maximum number."""

        def write(file: sqlite3.Connection) -> None:
            # A run does not wait for the disk at its end. A power failure may damage the file,
            # which is then renamed: its content is measured again.
            file.execute("PRAGMA synchronous = OFF")
            use(file)
            file.execute(_PRUNE.format(table=table, rows=_MAX_ROWS))

        self._use(write)

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Read or write the file; create it if it is missing, and again if it is damaged."""
        return use_rebuilt(self.path, SCHEMA, use, timeout_s=_TIMEOUT_S)


def _now() -> str:
    """Return the current time, ISO, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _written(settings: Settings) -> str:
    """Return the knobs that determine a peak as JSON."""
    focus = {name: getattr(settings, name) for name in ("focus", "focus_box", "focus_max_share")}
    return json.dumps({**dict(settings.peak_key()), **focus}, sort_keys=True)


def _peak_of(row: tuple[str, int, int, int, int, int] | list[int]) -> Peak | None:
    """Parse a row; None: this version does not have such a setting."""
    settings, load_bytes, run_bytes, picture_bytes, ended_bytes, runs = row
    try:
        held = build_settings(json.loads(str(settings)))
    except ValueError:
        return None
    return Peak(
        settings=held,
        load_bytes=load_bytes,
        run_bytes=run_bytes,
        picture_bytes=picture_bytes,
        ended_bytes=ended_bytes,
        runs=runs,
    )


def set_older_aside(folder: Path) -> tuple[Message, ...]:
    """Rename the files in which versions without measurement keys stored their figures.

    Their content cannot be imported: the versions of libvips and rembg tuner are unknown, and the
    peaks include the pictures' share.

    Returns:
        A warning for each file.
    """
    said = []
    for name in OLDER_FILES:
        path = folder / name
        if not path.exists():
            continue
        aside = _free_name(path)
        try:
            path.rename(aside)
            journal = path.with_name(f"{name}-journal")
            if journal.exists():  # left by a process that was killed while writing
                journal.rename(aside.with_name(f"{aside.name}-journal"))
        except FileNotFoundError:  # another process has just renamed it
            continue
        except OSError as error:
            said.append(
                Message(
                    "{file} of an older version cannot be renamed ({reason}); it is not read, and"
                    " settings are measured anew",
                    code="older_measurements_left",
                    file=path,
                    reason=error.strerror or Quoted(str(error)),
                )
            )
        else:
            said.append(
                Message(
                    "{file} of an older version was renamed to {name}: it does not say with which"
                    " versions of libvips and rembg-tuner its figures were measured, so settings"
                    " are measured anew",
                    code="older_measurements_renamed",
                    file=path,
                    name=aside.name,
                )
            )
    return tuple(said)


def _free_name(path: Path) -> Path:
    """Return an unused file name, so that files renamed before are not overwritten."""
    names = (path.with_name(f"{path.name}.old{number or ''}") for number in itertools.count())
    return next(name for name in names if not name.exists())
