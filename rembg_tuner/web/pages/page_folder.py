"""The folder of the page for uploads and outputs, limited in age and in total size.

The names of job folders cannot be guessed, so a file can be read only by those who were given its
URL.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.web.pages.failures import disk_text

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_BYTES = 2048 * MIB
MAX_AGE_S = 3600.0
MIN_AGE_S = 120.0  # a younger file may still be in use
SWEEP_EVERY_S = 60.0
_STARTED_AT_S = time.time()  # from the clock of file timestamps
_PREFIX = "rembg-tuner-page-"
_NAME = re.compile(re.escape(_PREFIX) + r"(\d{1,10})-[0-9a-f]{16}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file with its age and size, as the sweep uses it."""

    path: Path
    age_s: float
    bytes: int


class PageFolder:
    """A folder of this process, mode 0700, removed on exit; a context manager."""

    def __init__(self, parent: Path | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        """Create the folder, and remove the folders of servers that no longer run.

        Args:
            parent: the parent folder; None: the system's temporary folder.
            max_bytes: maximum size of all files; above it, the oldest files are deleted.

        Raises:
            OSError: the folder cannot be created.
        """
        parent = parent or Path(tempfile.gettempdir())
        _remove_orphans(parent)
        self.path = parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        self.path.mkdir(mode=0o700)
        self._most_bytes = max_bytes
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        self.close()

    def close(self) -> None:
        """Stop sweeping, and remove the folder with its content."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_job(self) -> Path:
        """Create a folder with an unguessable name of 128 random bits.

        Raises:
            OutputError: the folder cannot be created.
        """
        folder = self.path / secrets.token_hex(16)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(disk_text(error)) from error
        return folder

    def check_upload(self, picture: Path) -> None:
        """Check that a picture is in this folder.

        Raises:
            SettingsError: it is not.
        """
        if not picture.resolve().is_relative_to(self.path.resolve()):
            raise SettingsError([Message("the picture must be uploaded to this page first")])

    def start_sweeping(self) -> None:
        """Start a thread that sweeps once a minute until the folder is closed."""
        self._thread = threading.Thread(target=self._sweep_often, daemon=True, name="sweep")
        self._thread.start()

    def _sweep_often(self) -> None:
        """Sweep until the folder is closed; log errors, and try again."""
        while not self._closed.wait(SWEEP_EVERY_S):
            try:
                self.sweep()
            except OSError:
                _LOG.exception(
                    "the page's folder could not be swept; it is tried again in a minute"
                )

    def sweep(self, now_s: float | None = None) -> None:
        """Delete files that are too old, then the oldest until the rest fits; then empty folders.

        Args:
            now_s: seconds since the epoch; None: the current time.
        """
        now_s = time.time() if now_s is None else now_s
        files = sorted(_files(self.path, now_s), key=lambda file: -file.age_s)
        total = sum(file.bytes for file in files)
        for file in files:
            is_over = total > self._most_bytes and file.age_s > MIN_AGE_S
            if file.age_s > MAX_AGE_S or is_over:
                file.path.unlink(missing_ok=True)
                total -= file.bytes
        for folder in sorted(self.path.rglob("*"), reverse=True):
            if folder.is_dir() and not folder.is_symlink() and _age_s(folder, now_s) > MAX_AGE_S:
                _remove_if_empty(folder)


def _files(folder: Path, now_s: float) -> Iterator[_File]:
    """Find the files below a folder.

    Links are not followed. Files that are removed meanwhile are skipped.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            yield _File(path=path, age_s=now_s - status.st_mtime, bytes=status.st_size)


def _age_s(path: Path, now_s: float) -> float:
    """Return the seconds since the last change of a path; 0 if it does not exist."""
    try:
        return now_s - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is empty."""
    try:
        folder.rmdir()
    except OSError:
        if folder.is_dir() and not any(folder.iterdir()):
            raise


def _remove_orphans(parent: Path) -> None:
    """Remove the folders of servers of this user that no longer run."""
    for folder in parent.glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(folder.name)
        if match is None or folder.is_symlink() or not folder.is_dir():
            continue
        if _is_alive(int(match[1])) and not _is_older_than_this(folder, int(match[1])):
            continue
        if folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _is_older_than_this(folder: Path, pid: int) -> bool:
    """Return whether a folder with this process's pid is from an earlier process.

    In a container, each server has pid 1.
    """
    return pid == os.getpid() and folder.stat().st_mtime < _STARTED_AT_S


def _is_alive(pid: int) -> bool:
    """Return whether a process with this pid exists, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
