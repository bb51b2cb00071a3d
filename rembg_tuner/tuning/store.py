"""Store trials in SQLite, each before the next one starts, without duplicates.

The same table is used in a sweep's folder, to resume it after a crash, and in this machine's
database (`runtime.measurements`), to avoid measuring the same trial again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.sqlite_files import use_rebuilt, use_tables
from rembg_tuner.runtime.measurements import FILE, SCHEMA, TRIALS_SCHEMA
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import CONCURRENT_RUN
from rembg_tuner.tuning.environment import key_of, older_trial_key, weights_key
from rembg_tuner.tuning.trials import read_trial, settings_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.trials import Trial

STORE_FILE = "trials.sqlite"  # in a sweep's folder
MAX_THUMBNAILS = 2000  # in the cache: about 20 MB
MAX_KNOWN_TRIALS = 5000  # in the cache: about 15 MB
_TIMEOUT_S = 10.0  # maximum wait for another process that writes
_REST = ("max_side",)  # knobs that change the figures and are not in the measurement key
_TABLE, _OLDER_TABLE = "measured_trials", "trials"  # the older one, of release 0.1.0, is only read
_ADD = f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET = f"DELETE FROM {_TABLE} WHERE context = ? AND key = ? AND rest = ?"
_PRUNE = f"""DELETE FROM {_TABLE} WHERE rowid NOT IN
    (SELECT rowid FROM {_TABLE} ORDER BY rowid DESC LIMIT ?)"""
_FIND = f"""SELECT trial FROM {_TABLE} WHERE context = ? AND key = ? AND rest = ?
    ORDER BY setting = ? DESC, rowid DESC LIMIT 1"""


class TrialStore:
    """A file of trials; every method raises sqlite3.Error if it is damaged or cannot be written."""

    def __init__(
        self, path: Path, *, machine: Machine | None = None, is_rebuilt: bool = False
    ) -> None:
        """Create a store; its file is created by the first write.

        Args:
            path: path of the file.
            machine: its versions and weights determine which trials are current; None: read it now.
            is_rebuilt: whether a damaged file is renamed and created again, as in a cache; the
                results of a sweep are never discarded.
        """
        self._path = path
        self._machine = machine or read_machine()
        self._is_rebuilt = is_rebuilt

    @classmethod
    def of_this_machine(cls, cache: Path, machine: Machine | None = None) -> TrialStore:
        """Return the store of this machine's trials in the cache."""
        return cls(cache / FILE, machine=machine, is_rebuilt=True)

    def identity(self, settings: Settings) -> tuple[str, str]:
        """Return the identity of a trial in a context: measurement key, and other knobs as JSON."""
        rest = {name: getattr(settings, name) for name in _REST}
        return key_of(settings, self._machine), json.dumps(rest, sort_keys=True)

    def add(self, context: str, trial: Trial) -> None:
        """Store a trial; it replaces one with the same setting, weights, versions and context."""
        settings = trial.settings
        self._write(
            _ADD,
            context,
            *self.identity(settings),
            settings_key(settings),
            weights_key(settings),
            trial.number,
            json.dumps(trial.to_kept()),
        )

    def remember(self, context: str, trial: Trial, thumbnails: Path | None) -> None:
        """Store a trial for later sweeps, without the names and paths of its pictures.

        A trial that ran at the same time as others is not stored. A failed trial removes the stored
        one.

        Args:
            context: the context of the trial.
            trial: the trial to store.
            thumbnails: a folder whose size the caller limits; None: the folder beside the store.

        Raises:
            OSError: thumbnails cannot be removed.
        """
        if not trial.is_measured:
            self.forget(context, trial.settings)
            return
        if CONCURRENT_RUN in trial.warnings:
            return
        folder = thumbnails or self._path.with_name("trial-thumbnails")
        identity = "".join((context, *self.identity(trial.settings)))
        stem = hashlib.sha256(identity.encode()).hexdigest()[:32]
        copied = _with_thumbnails(trial, folder, stem)
        pictures = tuple(replace(one, input="") for one in copied.pictures)
        self.add(context, replace(copied, number=0, pictures=pictures))
        self.keep_newest(MAX_KNOWN_TRIALS)
        if thumbnails is None:
            keep_newest_files(folder, MAX_THUMBNAILS)

    def forget(self, context: str, settings: Settings) -> None:
        """Remove the trial of a setting."""
        self._write(_FORGET, context, *self.identity(settings))

    def keep_newest(self, count: int) -> None:
        """Remove all trials except the given number of newest ones."""
        self._write(_PRUNE, count)

    def find(self, context: str, settings: Settings) -> Trial | None:
        """Return the trial of a setting or of one that resolves to the same; None: not found."""
        rows = self._select(_FIND, context, *self.identity(settings), settings_key(settings))
        found = _read(rows[0][0]) if rows else None
        return None if found is None else replace(found, settings=settings)

    def all(self, context: str) -> list[Trial]:
        """Return the current trials of a context, in the order they were run."""
        return [trial for trial, is_current in self._trials(context) if is_current]

    def others(self, context: str) -> list[Trial]:
        """Return the trials of other machines, versions or weights."""
        return [trial for trial, is_current in self._trials(context) if not is_current]

    def contexts(self) -> list[str]:
        """Return the contexts of all trials."""
        newer = self._select(f"SELECT DISTINCT context FROM {_TABLE}")
        return list(dict.fromkeys(row[0] for row in (*newer, *self._older())))

    def kept(self, context: str) -> tuple[list[Trial], int]:
        """Return the trials of a context, except those whose weights are known to have changed.

        Returns:
            The trials in the order they were run, the newest one of each setting and number; and
            the number of trials left out because the model now has other weights.
        """
        found: dict[Settings, Trial] = {}
        outdated: set[Settings] = set()
        query = f"SELECT weights, trial FROM {_TABLE} WHERE context = ? ORDER BY rowid"
        # In an older key, the weights follow the JSON of the settings.
        older = [(key.rpartition("} ")[2], text) for c, key, text in self._older() if c == context]
        for weights, text in (*older, *self._select(query, context)):
            trial = _read(text)
            if trial is not None and _has_current_weights(weights, trial.settings):
                found[trial.settings] = trial
            elif trial is not None:
                outdated.add(trial.settings)
        by_number = {trial.number: trial for trial in found.values()}
        return [by_number[number] for number in sorted(by_number)], len(outdated - found.keys())

    def migrate(self, context: str, older_context: str) -> None:
        """Copy the trials of release 0.1.0 into the current table.

        Release 0.1.0 did not record the version of libvips; it is assumed to be unchanged.

        Args:
            context: the context of the sweep.
            older_context: the same context in the form of release 0.1.0.
        """
        known = {trial.settings for trial in self.all(context)}
        for where, key, text in self._older():
            trial = _read(text) if where == older_context else None
            if trial and trial.settings not in known and key == older_trial_key(trial.settings):
                self.add(context, trial)

    def _trials(self, context: str) -> list[tuple[Trial, bool]]:
        """Return every readable trial, and whether it is current in a context."""
        rows = self._select(f"SELECT context, key, rest, trial FROM {_TABLE} ORDER BY number")
        rows += [(where, "", "", text) for where, _, text in self._older()]
        return [
            (trial, where == context and identity == list(self.identity(trial.settings)))
            for where, *identity, text in rows
            if (trial := _read(text)) is not None
        ]

    def _older(self) -> list[tuple[Any, ...]]:
        """Return context, key and trial of the rows of release 0.1.0."""
        return self._select(f"SELECT context, setting, trial FROM {_OLDER_TABLE} ORDER BY rowid")

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows without writing, as the folder may be read-only; empty: there is no table."""
        if not self._path.is_file():
            return []
        table = _TABLE if _TABLE in query else _OLDER_TABLE
        has = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        use = use_rebuilt if self._is_rebuilt else use_tables
        return use(
            self._path,
            (),
            lambda file: (
                file.execute(query, values).fetchall()
                if file.execute(has, (table,)).fetchone()
                else []
            ),
            timeout_s=_TIMEOUT_S,
        )

    def _write(self, query: str, *values: object) -> None:
        """Write to the file; create it if it is missing."""
        use, schema = (use_rebuilt, SCHEMA) if self._is_rebuilt else (use_tables, (TRIALS_SCHEMA,))
        use(self._path, schema, lambda file: file.execute(query, values), timeout_s=_TIMEOUT_S)


def _has_current_weights(weights: str, settings: Settings) -> bool:
    """Return whether a row has the weights of the current files; True if there are no files."""
    now = weights_key(settings)
    return weights == now or all(one is None for one in json.loads(now))


def _read(text: str) -> Trial | None:
    """Read a trial from its JSON; None: this version cannot read it."""
    try:
        return read_trial(json.loads(text))
    except (SettingsError, ValueError):
        return None


def copy_trial(trial: Trial, number: int, folder: Path, pictures: Sequence[Path]) -> Trial:
    """Copy a trial that was measured before into a sweep.

    Args:
        trial: a trial of the same context, so that its pictures are the same, but their names may
            differ.
        number: its number in the sweep.
        folder: the folder of the sweep; thumbnails are copied there.
        pictures: the pictures of the sweep.
    """
    copied = with_inputs(_with_thumbnails(trial, folder, f"trial-{number}"), pictures)
    return replace(copied, number=number, was_measured_before=True)


def with_inputs(trial: Trial, pictures: Sequence[Path]) -> Trial:
    """Replace the paths of a trial's pictures; a failed trial has no pictures."""
    if not trial.pictures:
        return trial
    parts = zip(trial.pictures, pictures, strict=True)
    return replace(trial, pictures=tuple(replace(part, input=str(path)) for part, path in parts))


def _with_thumbnails(trial: Trial, folder: Path, stem: str) -> Trial:
    """Copy a trial's thumbnails into a folder; a thumbnail that cannot be copied becomes None."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for i, picture in enumerate(trial.pictures):
        copy: str | None = str(folder / f"{stem}-{i}.webp")
        try:
            shutil.copyfile(str(picture.thumbnail), str(copy))
        except OSError:
            copy = None
        pictures.append(replace(picture, thumbnail=copy))
    return replace(trial, pictures=tuple(pictures))


def keep_newest_files(folder: Path, count: int) -> None:
    """Remove all files of a folder except the given number of newest ones.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns, reverse=True)[
        count:
    ]:
        path.unlink(missing_ok=True)
