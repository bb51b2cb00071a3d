"""Write results to standard output, and progress and messages to standard error.

This is the only module of the program that prints. It escapes every line, so that a file name
cannot send control sequences to a terminal; see `escapes`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Protocol

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.escapes import encode_text, escape_text
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_bar: Any = None  # the tqdm bar on the terminal, if any


class Advance(Protocol):
    """A function that sets the progress, and the total once it is known."""

    def __call__(self, done: int, total: int | None = None, /) -> None:
        """Update the bar."""


def prepare_streams() -> None:
    """Make the streams escape unsupported characters, and open missing standard descriptors.

    Otherwise a pipe to a worker could get the number of a standard descriptor.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this descriptor
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def emit(*lines: str) -> None:
    """Write lines of a result to standard output.

    Raises:
        BrokenPipeError: its reader has closed it.
        OutputError: it cannot be written.
    """
    _write(sys.stdout, "".join(f"{escape_text(line)}\n" for line in lines))


def emit_json(document: object) -> None:
    r"""Write one JSON document to standard output; a byte that is not UTF-8 becomes `\udce9`.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    emit_whole(json.dumps(document, indent=2) + "\n")


def emit_whole(text: str) -> None:
    """Write a text of several lines, in which names are already escaped, to standard output.

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


@contextlib.contextmanager
def show_progress(total: int | None, unit: str, name: str = "") -> Iterator[Advance]:
    """Show a bar on standard error while the block runs, if that is a terminal.

    Args:
        total: the total number of units; None: unknown.
        unit: the unit: pictures, trials; `B` for bytes.
        name: written before the bar.

    Yields:
        A function that sets the number of completed units, and the total once it is known.
    """
    global _bar  # `_above_bar` hides the current bar while other lines are written
    if not is_terminal():
        yield lambda _done, _total=None: None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that redraws the bar
    tqdm.set_lock(threading.RLock())  # instead of multiprocessing's
    is_bytes = unit == "B"
    with tqdm(
        total=total,
        unit=unit if is_bytes else f" {unit}",
        unit_scale=is_bytes,
        unit_divisor=1024,
        desc=escape_text(name) or None,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
    ) as bar:

        def advance(done: int, total: int | None = None) -> None:
            bar.total = total or bar.total
            bar.update(done - bar.n)

        _bar = bar
        try:
            yield advance
        finally:
            _bar = None


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def _above_bar() -> Iterator[None]:
    """Hide the bar, if one is shown, while lines are written."""
    if _bar is not None:
        _bar.clear()
    yield
    if _bar is not None:
        _bar.refresh()


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Create a folder, and write text files into it; each file is either complete or missing.

    Raises:
        OutputError: a file or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replacing(folder / name) as file:
                file.write(encode_text(text))
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error


def flush() -> None:
    """Write the buffered content of standard output.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    _write(sys.stdout, "")


def _write(stream: IO[str] | None, content: str | bytes) -> None:
    """Write to standard output, and flush it."""
    if stream is None:  # closed by the process that started the program
        return
    try:
        with _above_bar():
            if isinstance(content, str):
                stream.write(content)
            else:
                stream.buffer.write(content)  # type: ignore[attr-defined]  # over bytes
            stream.flush()
    except OSError as error:
        # The interpreter would report an error at exit, since the buffer cannot be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(
            Message("standard output cannot be written: {reason}", reason=error.strerror)
        ) from error


def _log(text: str) -> None:
    """Write to standard error; ignore errors, since there is no other stream to report them."""
    with contextlib.suppress(OSError), _above_bar():
        print(text, end="", file=sys.stderr, flush=True)
