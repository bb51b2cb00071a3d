"""Open SQLite files, create their tables, and replace damaged files."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")
# The file is not a database, or was damaged, or its tables are another version's.
_NOT_OURS = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
_COMPANIONS = ("-journal", "-wal", "-shm")  # of a file; they must not be applied to its replacement
_DAMAGED = ".damaged"
_LOG = logging.getLogger(__name__)


def open_tables(path: Path, schema: Sequence[str], *, timeout_s: float) -> sqlite3.Connection:
    """Open a file, and create the file and its tables if they do not exist.

    Args:
        path: of the file.
        schema: for each table, the statement that creates it if it does not exist.
        timeout_s: how long to wait for another process that is writing.

    Raises:
        sqlite3.Error: it cannot be opened, or is not a file of this program.
    """
    file = sqlite3.connect(path, timeout=timeout_s)
    try:
        for statement in schema:
            file.execute(statement)
    except sqlite3.Error:
        file.close()
        raise
    return file


def use_tables(
    path: Path, schema: Sequence[str], use: Callable[[sqlite3.Connection], T], *, timeout_s: float
) -> T:
    """Open a file, use it in one transaction, and close it.

    Raises:
        sqlite3.Error: it cannot be opened or used, or belongs to another program.
    """
    with contextlib.closing(open_tables(path, schema, timeout_s=timeout_s)) as file, file:
        return use(file)


def use_rebuilt(
    path: Path, schema: Sequence[str], use: Callable[[sqlite3.Connection], T], *, timeout_s: float
) -> T:
    """Use a file whose rows can be created again; rename a damaged file and create a new one.

    Args:
        path: of the file.
        schema: see `open_tables`.
        use: reads or writes it, in one transaction; called again if the file was damaged.
        timeout_s: how long to wait for another process that is writing.

    Raises:
        sqlite3.Error: it cannot be opened or written, or the new file cannot be used either.
    """
    try:
        return use_tables(path, schema, use, timeout_s=timeout_s)
    except sqlite3.DatabaseError as error:
        # The lower byte is the error's class. An error without a code is a mistake of the caller.
        code = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in _NOT_OURS:
            raise
        _set_aside(path, error)
    return use_tables(path, schema, use, timeout_s=timeout_s)


def _set_aside(path: Path, error: sqlite3.Error) -> None:
    """Rename a damaged file; it replaces an earlier renamed one.

    Raises:
        sqlite3.OperationalError: it cannot be renamed.
    """
    aside = path.with_name(f"{path.name}{_DAMAGED}")
    try:
        for companion in _COMPANIONS:
            path.with_name(f"{path.name}{companion}").unlink(missing_ok=True)
        path.replace(aside)
    except FileNotFoundError:  # another process has just renamed it
        return
    except OSError as problem:
        raise sqlite3.OperationalError(
            f"{path} is damaged ({error}) and cannot be renamed: {problem.strerror}"
        ) from problem
    _LOG.warning(
        "%s was damaged (%s); it was renamed to %s and a new one made", path, error, aside.name
    )
