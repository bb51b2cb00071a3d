"""SQLite files, opened so that nothing stays open where their schema cannot be."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_tables(path: Path, schema: str, *, timeout_s: float) -> sqlite3.Connection:
    """Open a file, made if it is not there.

    Args:
        path: of the file.
        schema: one statement that makes its table if it is not there.
        timeout_s: waited for another process that is writing.

    Raises:
        sqlite3.Error: it cannot be opened, or is none of ours.
    """
    file = sqlite3.connect(path, timeout=timeout_s)
    try:
        file.execute(schema)
    except sqlite3.Error:
        file.close()
        raise
    return file
