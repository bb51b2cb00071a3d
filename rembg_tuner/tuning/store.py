"""What was measured, in SQLite: a trial is on disk before the next begins, and none is there twice.

The same table serves a sweep's own folder, so that it goes on after a crash, and this machine's
database (`measurements`), so that what was measured here once is not measured again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.sqlite_files import use_rebuilt, use_tables
from rembg_tuner.runtime.measurements import FILE, SCHEMA, TRIALS_SCHEMA
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.tuning.environment import key_of, older_trial_key, weights_key
from rembg_tuner.tuning.trials import read_trial, settings_key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.trials import Trial

STORE_FILE = "trials.sqlite"  # of a sweep's folder


T = TypeVar("T")


_TIMEOUT_S = 10.0  # for another process that is writing


# Knobs of a run that are in no measurement key, and change what it takes.
_REST = ("max_side",)


_ADD = "INSERT OR REPLACE INTO measured_trials VALUES (?, ?, ?, ?, ?, ?, ?)"


_FORGET = "DELETE FROM measured_trials WHERE context = ? AND key = ? AND rest = ?"


_PRUNE = (
    "DELETE FROM measured_trials WHERE rowid NOT IN (SELECT rowid FROM measured_trials ORDER BY"
    " rowid DESC LIMIT ?)"
)


_FIND = """SELECT trial FROM measured_trials WHERE context = ? AND key = ? AND rest = ?
    ORDER BY setting = ? DESC, rowid DESC LIMIT 1"""


_CONTEXTS = "SELECT DISTINCT context FROM measured_trials"


_LIST_CONTEXT = "SELECT weights, trial FROM measured_trials WHERE context = ? ORDER BY rowid"


_LIST = "SELECT context, key, rest, trial FROM measured_trials ORDER BY number"


# The table of versions before there was a measurement key; it is read, and never written.
_HAS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


_OLDER_CONTEXTS = "SELECT DISTINCT context FROM trials"


_LIST_OLDER = "SELECT context, setting, trial FROM trials ORDER BY rowid"


class TrialStore:
    """A file of trials. Every method may raise sqlite3.Error.

    The file is damaged or cannot be written.
    """

    def __init__(
        self, path: Path, *, machine: Machine | None = None, is_rebuilt: bool = False
    ) -> None:
        """Name the file; it is made when first written.

        Args:
            path: of the file.
            machine: whose versions and weights its trials are held against; None: as it is now.
            is_rebuilt: whether a damaged file is set aside and made anew, as a cache's is; a
                sweep's own results are not thrown away like that.
        """
        self._path = path
        self._machine = machine or read_machine()
        self._is_rebuilt = is_rebuilt

    @classmethod
    def of_this_machine(cls, cache: Path, machine: Machine | None = None) -> TrialStore:
        """Return what was measured on this machine, in the cache's database."""
        return cls(cache / FILE, machine=machine, is_rebuilt=True)

    def thumbnails_folder(self) -> Path:
        """Give the folder beside it for what its trials look like."""
        return self._path.with_name("trial-thumbnails")

    def identity(self, settings: Settings) -> tuple[str, str]:
        """Return what makes a trial the same within a context.

        Measurement key, and the rest of the knobs as JSON.
        """
        rest = {name: getattr(settings, name) for name in _REST}
        return key_of(settings, self._machine), json.dumps(rest, sort_keys=True)

    def add(self, context: str, trial: Trial) -> None:
        """Keep a trial; one of the same setting, weights, versions and context is replaced."""
        settings = trial.settings
        asked, weights = settings_key(settings), weights_key(settings)
        row = (
            context,
            *self.identity(settings),
            asked,
            weights,
            trial.number,
            json.dumps(trial.to_kept()),
        )
        self._use(lambda file: file.execute(_ADD, row))

    def forget(self, context: str, settings: Settings) -> None:
        """Drop a setting's trial."""
        key = (context, *self.identity(settings))
        self._use(lambda file: file.execute(_FORGET, key))

    def keep_newest(self, most: int) -> None:
        """Forget all but so many trials, those written longest ago first."""
        self._use(lambda file: file.execute(_PRUNE, (most,)))

    def find(self, context: str, settings: Settings) -> Trial | None:
        """Return a setting's trial, perhaps asked for in other words.

        None: it was not measured like this.
        """
        key = (context, *self.identity(settings), settings_key(settings))
        rows = self._look(lambda file: file.execute(_FIND, key).fetchall())
        found = _read(rows[0][0]) if rows else None
        return None if found is None else replace(found, settings=settings)

    def all(self, context: str) -> list[Trial]:
        """List a context's trials in the order they were run, as far as weights and versions are still the same."""
        return [trial for trial, is_current in self._rows(context) if is_current]

    def contexts(self) -> list[str]:
        """List the contexts that trials were measured in."""
        rows = self._look(lambda file: file.execute(_CONTEXTS).fetchall())
        older = self._look(lambda file: file.execute(_OLDER_CONTEXTS).fetchall(), "trials")
        return list(dict.fromkeys(row[0] for row in (*rows, *older)))

    def kept(self, context: str) -> tuple[list[Trial], int]:
        """List a context's trials, as far as it is not known that their weights have changed.

        Returns:
            The trials in the order they were run, of each setting and number the one written last;
            and how many were left out, since other weights lie here now.
        """
        found: dict[Settings, Trial] = {}
        outdated: set[Settings] = set()
        rows = self._look(lambda file: file.execute(_LIST_CONTEXT, (context,)).fetchall())
        older = [
            (_older_weights(key), text) for where, key, text in self._older() if where == context
        ]
        for weights, text in (*older, *rows):
            trial = _read(text)
            if trial is not None and _has_its_weights(weights, trial.settings):
                found[trial.settings] = trial
            elif trial is not None:
                outdated.add(trial.settings)
        by_number = {trial.number: trial for trial in found.values()}
        return [by_number[number] for number in sorted(by_number)], len(outdated - found.keys())

    def others(self, context: str) -> list[Trial]:
        """List the trials of other contexts: another machine, other versions, other weights."""
        return [trial for trial, is_current in self._rows(context) if not is_current]

    def take_over(self, context: str, older_context: str) -> None:
        """Keep an older version's trials of this sweep as trials of a context.

        What that version did not write down, libvips' version, is taken to be the same: its
        pictures, weights, CPU and all other versions are.

        Args:
            context: of the sweep now.
            older_context: as that version named it.
        """
        known = {trial.settings for trial in self.all(context)}
        for where, key, text in self._older():
            trial = _read(text) if where == older_context else None
            if trial is None or trial.settings in known or key != older_trial_key(trial.settings):
                continue
            self.add(context, trial)

    def _rows(self, context: str) -> list[tuple[Trial, bool]]:
        """Read every trial, with whether it holds in a context.

        Those of another version are left out.
        """
        newer = self._look(lambda file: file.execute(_LIST).fetchall())
        rows = [(where, (key, rest), text) for where, key, rest, text in newer]
        rows += [(where, ("", ""), text) for where, _, text in self._older()]
        return [
            (trial, where == context and identity == self.identity(trial.settings))
            for where, identity, text in rows
            if (trial := _read(text)) is not None
        ]

    def _older(self) -> list[tuple[str, str, str]]:
        """Read an older version's table: contexts, settings with their weights, trials.

        Empty: there is none.
        """
        return self._look(lambda file: file.execute(_LIST_OLDER).fetchall(), "trials")

    def _look(
        self, read: Callable[[sqlite3.Connection], list[T]], table: str = "measured_trials"
    ) -> list[T]:
        """Read a table; empty where it is not there.

        Nothing is written: the folder may be read-only.
        """
        if not self._path.is_file():
            return []

        def read_if_there(file: sqlite3.Connection) -> list[T]:
            return read(file) if file.execute(_HAS, (table,)).fetchone() else []

        return self._use(read_if_there, ())

    def _use(
        self, use: Callable[[sqlite3.Connection], T], schema: Sequence[str] | None = None
    ) -> T:
        """Use the file, made if it is not there."""
        if self._is_rebuilt:
            schema = SCHEMA if schema is None else schema
            return use_rebuilt(self._path, schema, use, timeout_s=_TIMEOUT_S)
        schema = (TRIALS_SCHEMA,) if schema is None else schema
        return use_tables(self._path, schema, use, timeout_s=_TIMEOUT_S)


def _older_weights(key: str) -> str:
    """Return the weights in an older version's key, which follow the settings' JSON."""
    return key.rpartition("} ")[2]


def _has_its_weights(weights: str, settings: Settings) -> bool:
    """Return whether a row's weights are those that lie here now.

    Where none lie here, they are taken to be.
    """
    now = weights_key(settings)
    is_known = any(one is not None for one in json.loads(now))
    return not is_known or weights == now


def _read(text: str) -> Trial | None:
    """Read a row; None where this version knows no such trial."""
    try:
        return read_trial(json.loads(text))
    except (SettingsError, ValueError):
        return None


def remembered(trial: Trial, number: int, folder: Path, pictures: Sequence[Path]) -> Trial:
    """Take a trial that was measured before as this sweep's.

    Args:
        trial: of the same context, so that its pictures are these, perhaps by other names.
        number: that it gets.
        folder: of this sweep; its thumbnails are copied there.
        pictures: of this sweep.
    """
    moved = with_thumbnails(trial, folder, f"trial-{number}")
    return replace(with_inputs(moved, pictures), number=number, was_measured_before=True)


def with_inputs(trial: Trial, pictures: Sequence[Path]) -> Trial:
    """Name a trial's pictures as they are named now.

    Args:
        trial: of the same context, so that its pictures are these; one that failed has none.
        pictures: of this sweep.
    """
    if not trial.pictures:
        return trial
    parts = zip(trial.pictures, pictures, strict=True)
    return replace(trial, pictures=tuple(replace(part, input=str(path)) for part, path in parts))


def with_thumbnails(trial: Trial, folder: Path, stem: str) -> Trial:
    """Copy a trial's thumbnails.

    Args:
        trial: whose they are.
        folder: where they go; made if it is not there.
        stem: of their names.

    Returns:
        The trial with the copies; one that is gone, or cannot be copied, is told as none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for i, picture in enumerate(trial.pictures):
        copy: Path | None = folder / f"{stem}-{i}.webp"
        try:
            shutil.copyfile(str(picture.thumbnail), str(copy))
        except OSError:
            copy = None
        pictures.append(replace(picture, thumbnail=None if copy is None else str(copy)))
    return replace(trial, pictures=tuple(pictures))


def keep_newest(folder: Path, most: int) -> None:
    """Remove the oldest files of a folder, so that it does not grow without end.

    Args:
        folder: of files only.
        most: files that stay.

    Raises:
        OSError: one cannot be removed.
    """
    files = [(path.stat().st_mtime_ns, path) for path in folder.iterdir()]
    for _, path in sorted(files, reverse=True)[most:]:
        path.unlink(missing_ok=True)
