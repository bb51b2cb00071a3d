"""What was measured, in SQLite: a trial is on disk before the next begins, and none is there twice.

The same table serves a sweep's own folder, so that it goes on after a crash, and this machine's cache,
so that what was measured here once is not measured again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.errors import SettingsError
from rembg_tuner.sweep.weights import trial_key, weights_key
from rembg_tuner.tables import use_rebuilt, use_tables
from rembg_tuner.trials import read_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rembg_tuner.settings import Settings
    from rembg_tuner.trials import Trial

STORE_FILE = "trials.sqlite"
T = TypeVar("T")
_TIMEOUT_S = 10.0  # for another process that is writing
_SCHEMA = """CREATE TABLE IF NOT EXISTS trials (
    context TEXT NOT NULL,  -- pictures, reference, runs, machine: see `context_of`
    setting TEXT NOT NULL,  -- every knob and the weights: see `trial_key`
    number INTEGER NOT NULL,
    trial TEXT NOT NULL,    -- as Trial.to_dict
    PRIMARY KEY (context, setting)
)"""
_ADD = "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?)"
_FORGET = "DELETE FROM trials WHERE context = ? AND setting = ?"
_PRUNE = "DELETE FROM trials WHERE rowid NOT IN (SELECT rowid FROM trials ORDER BY rowid DESC LIMIT ?)"  # fmt: skip
_FIND = "SELECT trial FROM trials WHERE context = ? AND setting = ?"
_CONTEXTS = "SELECT DISTINCT context FROM trials"
_LIST_CONTEXT = "SELECT setting, trial FROM trials WHERE context = ? ORDER BY rowid"
_LIST = "SELECT context, setting, trial FROM trials ORDER BY number"


class TrialStore:
    """A file of trials. Every method may raise sqlite3.Error: the file is damaged or cannot be written."""

    def __init__(self, path: Path, *, is_rebuilt: bool = False) -> None:
        """Name the file; it is made when first written.

        Args:
            path: of the file.
            is_rebuilt: whether a damaged file is set aside and made anew, as a cache's is; a sweep's own
                results are not thrown away like that.
        """
        self._path = path
        self._is_rebuilt = is_rebuilt

    def thumbnails_folder(self) -> Path:
        """Give the folder beside it for what its trials look like."""
        return self._path.with_name("trial-thumbnails")

    def add(self, context: str, trial: Trial) -> None:
        """Keep a trial; one of the same setting, weights and context is replaced."""
        row = (context, trial_key(trial.settings), trial.number, json.dumps(trial.to_dict()))
        self._use(lambda file: file.execute(_ADD, row))

    def forget(self, context: str, settings: Settings) -> None:
        """Drop a setting's trial."""
        key = (context, trial_key(settings))
        self._use(lambda file: file.execute(_FORGET, key))

    def keep_newest(self, most: int) -> None:
        """Forget all but so many trials, those written longest ago first."""
        self._use(lambda file: file.execute(_PRUNE, (most,)))

    def find(self, context: str, settings: Settings) -> Trial | None:
        """Give a setting's trial; None: it was not measured with these weights in this context."""
        if not self._path.is_file():
            return None
        key = (context, trial_key(settings))
        row = self._use(lambda file: file.execute(_FIND, key).fetchone())
        return _read(row[0]) if row else None

    def all(self, context: str) -> list[Trial]:
        """List a context's trials in the order they were run, as far as their weights are still the same."""
        return [trial for trial, is_current in self._rows(context) if is_current]

    def contexts(self) -> list[str]:
        """List the contexts that trials were measured in."""
        if not self._path.is_file():
            return []
        rows = self._use(lambda file: file.execute(_CONTEXTS).fetchall())
        return [row[0] for row in rows]

    def kept(self, context: str) -> tuple[list[Trial], int]:
        """List a context's trials, as far as it is not known that their weights have changed.

        Returns:
            The trials in the order they were run, of each setting and number the one written last; and how many
            were left out, since other weights lie here now.
        """
        if not self._path.is_file():
            return [], 0
        rows = self._use(lambda file: file.execute(_LIST_CONTEXT, (context,)).fetchall())
        found: dict[Settings, Trial] = {}
        outdated: set[Settings] = set()
        for key, text in rows:
            trial = _read(text)
            if trial is not None and _has_its_weights(key, trial.settings):
                found[trial.settings] = trial
            elif trial is not None:
                outdated.add(trial.settings)
        by_number = {trial.number: trial for trial in found.values()}
        return [by_number[number] for number in sorted(by_number)], len(outdated - found.keys())

    def others(self, context: str) -> list[Trial]:
        """List the trials of other contexts: another machine, other versions, other weights."""
        return [trial for trial, is_current in self._rows(context) if not is_current]

    def _rows(self, context: str) -> list[tuple[Trial, bool]]:
        """Read every trial, with whether it holds in a context; those of another version are left out."""
        if not self._path.is_file():
            return []
        rows = self._use(lambda file: file.execute(_LIST).fetchall())
        return [
            (trial, where == context and key == trial_key(trial.settings))
            for where, key, text in rows
            if (trial := _read(text)) is not None
        ]

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Read or write the file, made if it is not there."""
        function = use_rebuilt if self._is_rebuilt else use_tables
        return function(self._path, (_SCHEMA,), use, timeout_s=_TIMEOUT_S)


def _has_its_weights(key: str, settings: Settings) -> bool:
    """Return whether a row's weights are those that lie here now; where none lie here, they are taken to be."""
    is_known = any(one is not None for one in json.loads(weights_key(settings)))
    return not is_known or key == trial_key(settings)


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


def context_of(
    pictures: Sequence[Path], reference: str, *, rounds: int, machine: Sequence[str]
) -> str:
    """Name what a trial's figures depend on besides its setting.

    Args:
        pictures: by their content, in this order.
        reference: what agreement is measured against, its weights too.
        rounds: timed runs of each picture.
        machine: CPU, cores, what the CPU can do, versions, slots.

    Returns:
        A SHA-256 as hex.

    Raises:
        OSError: a picture cannot be read.
    """
    digest = hashlib.sha256()
    for path in pictures:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(json.dumps([reference, rounds, *machine]).encode())
    return digest.hexdigest()
