"""Texts of errors for visitors and for the log, without values that a visitor sent."""

from __future__ import annotations

import errno
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.web.pages.templating import render

if TYPE_CHECKING:
    import logging

DISK_FULL = Message("the server's disk is full; try again later", code="disk_full")
UNEXPECTED = Message("unexpected error; the server log says where")
_MAX_FRAMES = 6
_SAY_EVERY_S = 60.0
_logged_at_s: dict[str, float] = {}  # by log message; one per failing code location


def is_disk_full(error: BaseException) -> bool:
    """Return whether the cause of an error is a full disk or an exceeded quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_text(error: OSError) -> Message:
    """Return the message that the server's disk is full or cannot be written."""
    if is_disk_full(error):
        return DISK_FULL
    return Message("the server's disk cannot be written: {reason}", reason=error.strerror)


def trail_of(error: BaseException) -> str:
    """Return the class of an error and its last traceback locations.

    The message of the error is left out, since it can contain values of a visitor.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} at {places}"


def log_unexpected(log: logging.Logger, where: str, error: BaseException) -> None:
    """Log an error's trail; the same trail at most once a minute, to limit the log's size."""
    line = f"unexpected error in {where}: {trail_of(error)}"
    now_s = time.monotonic()
    if now_s - _logged_at_s.get(line, -_SAY_EVERY_S) >= _SAY_EVERY_S:
        _logged_at_s[line] = now_s
        log.error("%s", line)


def show_problem(message: Message, language: str, *, kind: str | None = None) -> str:
    """Render why a run did not start; `kind` is a Failure's, or None for an error in the form."""
    return render("notice", language, state="failed", message=message, kind=kind)


def show_hint(message: Message, language: str) -> str:
    """Render a hint about what to do first; it is not an error."""
    return render("notice", language, state="hint", message=message)


def show_wait(message: Message, language: str) -> str:
    """Render that the server is busy with another visitor's work; it is not an error."""
    return render("notice", language, state="wait", message=message)
