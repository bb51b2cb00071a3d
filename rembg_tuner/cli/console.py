"""What the commands write: results to standard output, everything else to standard error.

The only module of the program's that prints. Every line is escaped here, so that no file's name
reaches a terminal as a command; see `escapes`.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import IO

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.escapes import escape_text
from rembg_tuner.base.messages import Message


def prepare_streams() -> None:
    """Have every letter written, as an escape where the stream's encoding has none for it.

    A descriptor that the process was started without is opened, so that no pipe to a worker gets
    its number.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def emit(*lines: str) -> None:
    """Write lines of a result to standard output.

    Raises:
        BrokenPipeError: nobody reads it any more.
        OutputError: it cannot be written.
    """
    _write(sys.stdout, "".join(f"{escape_text(line)}\n" for line in lines))


def emit_json(document: object) -> None:
    r"""Write one JSON document to standard output; a byte that is not UTF-8 stands in it as `\udce9`.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    emit_whole(json.dumps(document, indent=2) + "\n")


def emit_whole(text: str) -> None:
    """Write a text of several lines that holds no name unescaped to standard output.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    _write(sys.stdout, text)


def emit_file(file: IO[bytes]) -> None:
    """Write a file's bytes to standard output.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    while piece := file.read(2**20):
        _write(sys.stdout, piece)


def log(*lines: str) -> None:
    """Write lines to standard error: progress, notes, warnings, errors."""
    _log("".join(f"{escape_text(line)}\n" for line in lines))


def log_over(text: str) -> None:
    """Write over the terminal's current line."""
    _log(f"\r{escape_text(text)}\x1b[K")


def flush() -> None:
    """Write what is held back of standard output.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    _write(sys.stdout, "")


def _write(stream: IO[str] | None, content: str | bytes) -> None:
    """Write to standard output at once."""
    if stream is None:  # closed by the process that started the program
        return
    try:
        if isinstance(content, str):
            stream.write(content)
        else:
            stream.buffer.write(content)  # type: ignore[attr-defined]  # a text stream over bytes
        stream.flush()
    except OSError as error:
        # What is held back cannot be written either; the interpreter would complain of it at its
        # end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(
            Message("standard output cannot be written: {reason}", reason=error.strerror)
        ) from error


def _log(text: str) -> None:
    """Write to standard error; where that fails, nobody can be told."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        return
