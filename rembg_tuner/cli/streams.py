"""Read a picture from standard input, and write a cut-out to standard output.

Both use a temporary folder, because the worker reads a picture twice and the libraries seek in it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PictureError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.cli.console import emit_file
from rembg_tuner.imaging.formats import OUTPUT_SUFFIXES, sniff
from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STANDARD = "-"
STREAM_FORMATS = tuple(suffix.removeprefix(".") for suffix in OUTPUT_SUFFIXES)
MAX_INPUT_BYTES = 2 * 2**30  # the largest accepted uncompressed TIFF
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The paths for the arguments of a command line.

    Attributes:
        images: paths of the pictures; that of standard input is a temporary file.
        output: the value of -o; for standard output, a temporary file.
        names: the name of each temporary file in messages, by its path.
    """

    images: list[str]
    output: str | None
    names: dict[PurePath, str]
    _cutout: Path | None = None

    @property
    def is_written(self) -> bool:
        """Whether the cut-out goes to standard output, so that other output must not."""
        return self._cutout is not None

    def named(self, run: Result | Failure) -> Result | Failure:
        """Return a run in which temporary files of streams are named `-`."""
        if not self.names:
            return run
        picture = STANDARD if Path(run.input) in self.names else run.input
        if isinstance(run, Failure):
            return replace(run, input=picture, message=run.message.with_paths(self.names))
        output = STANDARD if Path(run.output) in self.names else run.output
        warnings = tuple(one.with_paths(self.names) for one in run.warnings)
        return replace(run, input=picture, output=output, warnings=warnings)

    def write(self, run: Result | Failure | None) -> None:
        """Write the cut-out to standard output, if it goes there and exists.

        Raises:
            BrokenPipeError, OutputError: it cannot be written.
        """
        if self._cutout is not None and isinstance(run, Result):
            with self._cutout.open("rb") as file:
                emit_file(file)


@contextlib.contextmanager
def open_streams(
    images: Sequence[str], output: str | None, *, suffix: str | None, is_json: bool
) -> Iterator[Streams]:
    """Read standard input if it is named; the temporary folder is deleted when the block ends.

    Args:
        images: the arguments of the command line; `-`: standard input.
        output: the value of -o; `-`, or None with standard input: standard output.
        suffix: of STREAM_FORMATS, for standard output only; None: the default.
        is_json: whether a JSON document goes to standard output.

    Raises:
        SettingsError: a stream cannot be used as requested.
        PictureError: standard input cannot be read, or is too large.
        OutputError: a temporary file cannot be written.
    """
    is_read = STANDARD in images
    is_written = output == STANDARD or (is_read and output is None)
    _check(images, is_read=is_read, is_written=is_written, suffix=suffix, is_json=is_json)
    if not is_read and not is_written:
        yield Streams(images=list(images), output=output, names={})
        return
    with _temporary_folder() as name:
        folder = Path(name)
        picture = folder / "stdin"
        cutout = folder / f"stdout.{suffix or STREAM_FORMATS[0]}"
        if is_read:
            _read_input(picture)
        yield Streams(
            images=[str(picture)] if is_read else list(images),
            output=str(cutout) if is_written else output,
            names={picture: "standard input", cutout: "standard output"},
            _cutout=cutout if is_written else None,
        )


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="rembg-tuner-cut-")
    except OSError as error:
        raise OutputError(
            Message(
                "there is no temporary folder for the picture: {reason}; set TMPDIR to one that can"
                " be written",
                reason=error.strerror,
            )
        ) from error


def _check(
    images: Sequence[str], *, is_read: bool, is_written: bool, suffix: str | None, is_json: bool
) -> None:
    """Check that the streams can be used as requested.

    Raises:
        SettingsError: lists the problems, with what to do instead.
    """
    read_from = _state(sys.stdin) if is_read else None
    written_to = _state(sys.stdout) if is_written and not is_json else None
    checks = (
        (
            (is_read or is_written) and len(images) > 1,
            Message(
                "- is for one picture, and {count} are named; give one, or name a folder by -o",
                count=len(images),
            ),
        ),
        (
            is_written and is_json,
            Message("standard output cannot take both the picture and --json; name a file by -o"),
        ),
        (
            suffix is not None and not is_written,
            Message("--format is for standard output (-o -); a file's format is its name's end"),
        ),
        (
            read_from == "closed",
            Message("standard input is closed; give the path of a picture"),
        ),
        (
            read_from == "terminal",
            Message(
                "standard input is a terminal; give it a picture (rembg-tuner cut - -o - < cup.jpg"
                " > cup.png), or a path instead of -"
            ),
        ),
        (
            written_to == "closed",
            Message("standard output is closed; name a file by -o"),
        ),
        (
            written_to == "terminal",
            Message(
                "standard output is a terminal, which cannot show the picture; send it to a file (>"
                " cup.png), or name one by -o"
            ),
        ),
    )
    if problems := [message for is_problem, message in checks if is_problem]:
        raise SettingsError(problems)


def _state(stream: IO[str] | None) -> str | None:
    """Return why a standard stream cannot be used for a picture; None: it can."""
    if stream is None:
        return "closed"
    return "terminal" if stream.isatty() else None


def _read_input(target: Path) -> None:
    """Copy standard input to a file.

    If its beginning is not a picture's, reading stops, and the run fails with the reason.

    Raises:
        PictureError: it cannot be read, or is too large.
        OutputError: the copy cannot be written.
    """
    done = 0
    try:
        with target.open("wb", buffering=0) as file:
            while piece := _read_piece():
                file.write(piece)
                done += len(piece)
                if done > MAX_INPUT_BYTES:
                    raise PictureError(
                        Message(
                            "standard input holds more than {limit:bytes}, the limit there; give"
                            " the path of a file",
                            limit=MAX_INPUT_BYTES,
                        )
                    )
                if done == len(piece) and not _begins_as_picture(target):
                    return
    except OSError as error:
        raise OutputError(
            Message(
                "standard input cannot be kept in {folder}: {reason}; set TMPDIR to a folder with"
                " more space",
                folder=target.parent,
                reason=error.strerror,
            )
        ) from error


def _read_piece() -> bytes:
    """Read a piece of standard input; empty: end of file.

    Raises:
        PictureError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read(_PIECE_BYTES)
    except OSError as error:
        raise PictureError(
            Message("standard input cannot be read: {reason}", reason=error.strerror)
        ) from error


def _begins_as_picture(path: Path) -> bool:
    """Return whether a file begins with the first bytes of a supported format."""
    try:
        sniff(path)
    except PictureError:
        return False
    return True
