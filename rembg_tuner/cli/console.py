"""What the commands write: results to standard output, progress and messages to standard error.

The only module of the program that prints. It escapes every line, so that no file name reaches a
terminal as a control sequence; see `escapes`.
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

_bar: Any = None  # tqdm's bar that the terminal shows


class Advance(Protocol):
    """Set how much is done, and the total if it became known."""

    def __call__(self, done: int, total: int | None = None, /) -> None:
        """Update the bar."""


def prepare_streams() -> None:
    """Let the streams escape letters that their encoding lacks, and open missing descriptors.

    A pipe to a worker must not get the number of a standard descriptor.
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
        BrokenPipeError: its reader is gone.
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
    """Write a text of several lines, in which names are escaped already, to standard output.

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
        total: of what is counted; None: unknown.
        unit: what is counted: pictures, trials; `B` for bytes.
        name: written before the bar.

    Yields:
        A function that takes how much is done, and the total if it became known.
    """
    global _bar  # other lines are written above the bar that is shown
    if not is_terminal():
        yield lambda _done, _total=None: None
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread that redraws
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
    """Create a folder, and write text files into it, each whole or not at all.

    Raises:
        OutputError: it cannot be written.
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
    """Write what standard output still buffers.

    Raises:
        BrokenPipeError, OutputError: as `emit`.
    """
    _write(sys.stdout, "")


def _write(stream: IO[str] | None, content: str | bytes) -> None:
    """Write to standard output at once."""
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
        # The buffer cannot be written either; the interpreter would report it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(
            Message("standard output cannot be written: {reason}", reason=error.strerror)
        ) from error


def _log(text: str) -> None:
    """Write to standard error; if that fails, there is no one to report it to."""
    with contextlib.suppress(OSError), _above_bar():
        print(text, end="", file=sys.stderr, flush=True)
