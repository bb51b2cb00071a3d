"""One picture from standard input, one cut-out to standard output, by way of a temporary folder.

A picture travels as a path, since the worker reads it twice and the libraries want to seek in it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PictureError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.cli.console import emit_file
from rembg_tuner.imaging.formats import OUTPUT_SUFFIXES, sniff
from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STANDARD = "-"
STREAM_FORMATS = tuple(suffix.removeprefix(".") for suffix in OUTPUT_SUFFIXES)
MAX_INPUT_BYTES = 2 * 2**30  # an uncompressed TIFF of the greatest size; more is hardly meant
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What a command line's words stand for.

    Attributes:
        images: paths of the pictures; standard input's is a temporary file.
        output: as -o; standard output's is a temporary file.
        names: what a person calls each temporary file, by its path.
    """

    images: list[str]
    output: str | None
    names: dict[PurePath, str]
    _cutout: Path | None = None

    @property
    def is_written(self) -> bool:
        """Whether the cut-out goes to standard output, so that nothing else may."""
        return self._cutout is not None

    def named(self, run: Result | Failure) -> Result | Failure:
        """Return a run with `-` for a stream's temporary file."""
        if not self.names:
            return run
        picture = STANDARD if Path(run.input) in self.names else run.input
        if isinstance(run, Failure):
            return replace(run, input=picture, message=run.message.with_paths(self.names))
        output = STANDARD if Path(run.output) in self.names else run.output
        warnings = tuple(one.with_paths(self.names) for one in run.warnings)
        return replace(run, input=picture, output=output, warnings=warnings)

    def write(self, run: Result | Failure | None) -> None:
        """Write the cut-out to standard output, if it goes there and was made.

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
    """Read standard input where it is asked for; the temporary folder goes when the block ends.

    Args:
        images: as the command line names them; `-`: standard input.
        output: as -o; `-`, or None with standard input: standard output.
        suffix: of STREAM_FORMATS, for standard output only; None: the default.
        is_json: whether a JSON document goes to standard output.

    Raises:
        SettingsError: a stream cannot be what it is asked to be.
        PictureError: standard input cannot be read, or is too large.
        OutputError: there is no room for it.
    """
    is_read = STANDARD in images
    is_written = output == STANDARD or (is_read and output is None)
    _refuse(images, is_read=is_read, is_written=is_written, suffix=suffix, is_json=is_json)
    if not is_read and not is_written:
        yield Streams(images=list(images), output=output, names={})
        return
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="rembg-tuner-cut-"))
            )
        except OSError as error:
            raise OutputError(
                Message(
                    "there is no temporary folder for the picture: {reason}; set TMPDIR to one that"
                    " can be written",
                    reason=error.strerror,
                )
            ) from error
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


def _refuse(
    images: Sequence[str], *, is_read: bool, is_written: bool, suffix: str | None, is_json: bool
) -> None:
    """Refuse what a stream cannot be.

    Raises:
        SettingsError: with what to do instead.
    """
    problems: list[Message] = []
    if (is_read or is_written) and len(images) > 1:
        problems.append(
            Message(
                "- is for one picture, and {count} are named; give one, or name a folder by -o",
                count=len(images),
            )
        )
    if is_written and is_json:
        problems.append(
            Message("standard output cannot take both the picture and --json; name a file by -o")
        )
    if suffix is not None and not is_written:
        problems.append(
            Message("--format is for standard output (-o -); a file's format is its name's end")
        )
    if is_read and sys.stdin is None:
        problems.append(Message("standard input is closed; give the path of a picture"))
    elif is_read and sys.stdin.isatty():
        problems.append(
            Message(
                "standard input is a terminal; give it a picture (rembg-tuner cut - -o - < cup.jpg"
                " > cup.png), or a path instead of -"
            )
        )
    if is_written and not is_json and sys.stdout is None:
        problems.append(Message("standard output is closed; name a file by -o"))
    elif is_written and not is_json and sys.stdout.isatty():
        problems.append(
            Message(
                "standard output is a terminal, which cannot show the picture; send it to a file (>"
                " cup.png), or name one by -o"
            )
        )
    if problems:
        raise SettingsError(problems)


def _read_input(target: Path) -> None:
    """Copy standard input to a file.

    What does not begin as a picture is not read on, and fails in its run.

    Raises:
        PictureError: it cannot be read, or is too large.
        OutputError: it cannot be kept.
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
    """Read some of standard input; nothing: its end.

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
    """Return whether a file's first bytes are those of a format that is read."""
    try:
        sniff(path)
    except PictureError:
        return False
    return True
