"""The page's own folder: uploads and outputs, for an hour and up to so many bytes.

Nobody can guess a job's folder, so who knows a file's address is who was given it.
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
    from types import TracebackType


MOST_BYTES = 2048 * MIB
MOST_AGE_S = 3600.0
LEAST_AGE_S = 120.0  # a younger file may be one that is being worked on
SWEEP_EVERY_S = 60.0
_STARTED_AT_S = time.time()  # by the clock that files are stamped with
_PREFIX = "rembg-tuner-page-"
_NAME = re.compile(re.escape(_PREFIX) + r"(\d{1,10})-[0-9a-f]{16}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as the sweep sees it."""

    path: Path
    age_s: float
    bytes: int


class PageFolder:
    """A folder of this process, mode 0700, removed at the end. Use it with `with`."""

    def __init__(self, parent: Path | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        """Make the folder, and remove those that dead servers left.

        Args:
            parent: where; None: the system's temporary folder.
            most_bytes: of all files together; beyond it the oldest go first.

        Raises:
            OSError: it cannot be made.
        """
        parent = parent or Path(tempfile.gettempdir())
        _remove_orphans(parent)
        self.path = parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}"
        self.path.mkdir(mode=0o700)
        self._most_bytes = most_bytes
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Keep the folder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.close()

    def close(self) -> None:
        """Stop sweeping and remove the folder with all that is in it."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_job(self) -> Path:
        """Make a folder that nobody can guess: 128 random bits.

        Raises:
            OutputError: it cannot be made.
        """
        folder = self.path / secrets.token_hex(16)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(disk_text(error)) from error
        return folder

    def check_upload(self, picture: Path) -> None:
        """Check that a picture lies in this folder.

        Raises:
            SettingsError: it does not.
        """
        if not picture.resolve().is_relative_to(self.path.resolve()):
            raise SettingsError([Message("the picture must be uploaded to this page first")])

    def start_sweeping(self) -> None:
        """Sweep once a minute, in a thread of its own, until the folder is closed."""
        self._thread = threading.Thread(target=self._sweep_often, daemon=True, name="sweep")
        self._thread.start()

    def _sweep_often(self) -> None:
        """Sweep until closed; trouble is told and tried again."""
        while not self._closed.wait(SWEEP_EVERY_S):
            try:
                self.sweep()
            except OSError:
                _LOG.exception(
                    "the page's folder could not be swept; it is tried again in a minute"
                )

    def sweep(self, now_s: float | None = None) -> None:
        """Delete files older than an hour, then the oldest until the rest fits; then empty folders.

        Args:
            now_s: the time since the epoch; None: now.
        """
        now_s = time.time() if now_s is None else now_s
        files = sorted(_files(self.path, now_s), key=lambda file: -file.age_s)
        total = sum(file.bytes for file in files)
        for file in files:
            is_over = total > self._most_bytes and file.age_s > LEAST_AGE_S
            if file.age_s > MOST_AGE_S or is_over:
                file.path.unlink(missing_ok=True)
                total -= file.bytes
        for folder in sorted(self.path.rglob("*"), reverse=True):
            if folder.is_dir() and not folder.is_symlink() and _age_s(folder, now_s) > MOST_AGE_S:
                _remove_if_empty(folder)


def _files(folder: Path, now_s: float) -> Iterator[_File]:
    """Find the files below a folder.

    Links are not followed, and what vanishes meanwhile is no file.
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
    """Give the seconds since something was changed; 0 for what is gone."""
    try:
        return now_s - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    try:
        folder.rmdir()
    except OSError:
        if folder.is_dir() and not any(folder.iterdir()):
            raise


def _remove_orphans(parent: Path) -> None:
    """Remove the folders of servers that are dead, as far as they are this user's."""
    for folder in parent.glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(folder.name)
        if match is None or folder.is_symlink() or not folder.is_dir():
            continue
        if _is_alive(int(match[1])) and not _is_older_than_this(folder, int(match[1])):
            continue
        if folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _is_older_than_this(folder: Path, pid: int) -> bool:
    """Tell whether a folder of this process's number is an earlier process's.

    In a container each is number 1.
    """
    return pid == os.getpid() and folder.stat().st_mtime < _STARTED_AT_S


def _is_alive(pid: int) -> bool:
    """Tell whether a process of that number runs, anybody's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
