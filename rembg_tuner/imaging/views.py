"""Define which parts of a picture's file a decoder reads: all of it, or pieces and added bytes.

Files are opened by descriptor: libvips does not get a name, so names may contain any bytes, and the
inspected file is the decoded one. Pieces are read when the decoder requests them.
"""

from __future__ import annotations

import bisect
import itertools
import os
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import pyvips

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rembg_tuner.imaging.bmp import BmpPicture
    from rembg_tuner.imaging.colorimetry import NumbersColour
    from rembg_tuner.imaging.heif import HeifPicture
    from rembg_tuner.imaging.tiff import TiffPicture

    Piece = bytes | tuple[int, int]  # added bytes, or (offset, length) in the file
    Strictness = Literal["none", "truncated", "error", "warning"]

MAX_PROFILE_BYTES = 4 * 2**20
MAX_EXIF_BYTES = 2**20
_MAX_SKIPPED_PARTS = 256
MAX_SKIPPED_BYTES = 2**20  # unnecessary metadata that is still passed to a decoder
END_MISSING = Message(
    "the end of the file is missing, but all of its pixels are there; copy or save the picture"
    " again if you can",
    code="end_missing",
)
PROFILE_TOO_LARGE = Message(
    "the colour profile is larger than 4 MiB and was left out; the colours are read as sRGB",
    code="profile_too_large",
)
EXIF_TOO_LARGE = Message(
    "the EXIF block is larger than 1 MiB and was left out; the picture may be on its side",
    code="exif_too_large",
)
EXIF_CUT = Message(
    "the EXIF block is incomplete, so the picture may be on its side", code="exif_cut"
)
NO_OPACITY = Message(
    "the opacity is 0 everywhere, as written by programs that do not store it; the picture is read"
    " as opaque",
    code="no_opacity",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """The parts of a file that a decoder reads, and how it reads them.

    Attributes:
        pieces: in order; empty: the whole file.
        strictness: libvips' `fail_on`; None: the default.
        is_cut: the file is truncated; it may still contain all pixels.
        warnings: about the picture, for the user.
        colour: colour definition of a PNG, an AVIF or a HEIC; None: none that is used.
        box: left, top, width and height of a GIF's first frame, px; None: not determined.
        tiff: the chosen picture of a TIFF file; None: not a TIFF.
        bmp: the header of a BMP, which libvips does not read; None: not a BMP.
        heif: the picture of a HEIC file, which libvips does not read; None: not a HEIC.
        is_whole: this picture is decoded whole, although its format is decoded in strips.
    """

    pieces: tuple[Piece, ...] = ()
    strictness: Strictness | None = None
    is_cut: bool = False
    warnings: tuple[Message, ...] = ()
    colour: NumbersColour | None = None
    box: tuple[int, int, int, int] | None = None
    tiff: TiffPicture | None = None
    bmp: BmpPicture | None = None
    heif: HeifPicture | None = None
    is_whole: bool = False


WHOLE_FILE = FileView()


def is_costly(lengths: Iterable[int]) -> bool:
    """Return whether unnecessary metadata is more than a little.

    Args:
        lengths: of its parts, bytes.
    """
    parts = list(lengths)
    return len(parts) > _MAX_SKIPPED_PARTS or sum(parts) > MAX_SKIPPED_BYTES


def too_many_parts(path: Path, most: int) -> PictureError:
    """Return the error for a file with more chunks, segments or extensions than a picture needs."""
    return PictureError(
        Message(
            "{path} has more than {most:,} parts, which is more than a picture needs; save it"
            " again",
            path=path,
            most=most,
        )
    )


class PictureFile:
    """A regular file, read at any position."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
        """
        self._file = path.open("rb", buffering=0)
        self.descriptor = self._file.fileno()
        self.size = os.fstat(self.descriptor).st_size

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer at the file's end."""
        return os.pread(self.descriptor, length, offset)


class _PiecesFile:
    """Consecutive pieces of a file, with the methods `read` and `seek` of a file."""

    def __init__(self, descriptor: int, pieces: tuple[Piece, ...]) -> None:
        """Take ownership of a descriptor, which is closed with this object."""
        self._descriptor = descriptor
        self._pieces = pieces
        lengths = [len(one) if isinstance(one, bytes) else one[1] for one in pieces]
        self._starts = [0, *itertools.accumulate(lengths)]
        self._position = 0
        weakref.finalize(self, os.close, descriptor)

    def read(self, length: int) -> bytes:
        """Return up to `length` bytes from the current position; fewer at the end of a piece."""
        i = bisect.bisect_right(self._starts, self._position) - 1
        if i >= len(self._pieces):
            return b""
        piece, offset = self._pieces[i], self._position - self._starts[i]
        if isinstance(piece, bytes):
            block = piece[offset : offset + length]
        else:
            length = min(length, piece[1] - offset)
            block = os.pread(self._descriptor, length, piece[0] + offset)
        self._position += len(block)
        return block

    def seek(self, offset: int, whence: int) -> int:
        """Change the position, as `io.IOBase.seek` does."""
        self._position = offset + (0, self._position, self._starts[-1])[whence]
        return self._position


def open_view(file: PictureFile, view: FileView) -> pyvips.Source:
    """Return a libvips source of a view; the file may be closed afterwards."""
    if not view.pieces:
        return pyvips.Source.new_from_descriptor(file.descriptor)
    shown = _PiecesFile(os.dup(file.descriptor), view.pieces)
    source = pyvips.SourceCustom()
    source.on_read(shown.read)
    source.on_seek(shown.seek)
    return source


def load_view(file: PictureFile, view: FileView, loader: str, **options: object) -> pyvips.Image:
    """Open a view with a format's loader for one pass from top to bottom.

    Raises:
        pyvips.Error: it cannot be opened.
    """
    source = open_view(file, view)
    image = getattr(pyvips.Image, f"{loader}_source")(source, access="sequential", **options)
    # As in pyvips' new_from_source: images derived from this one keep the callbacks alive.
    image._references.append(source)
    return image
