"""Define the picture formats that are read and written, and detect formats by the first bytes.

libvips supports more formats (SVG, CSV, PDF), so each file is opened with the loader of its format.
Raw files of cameras, which contain sensor data and a small preview, are rejected by name.
"""

from __future__ import annotations

import importlib.util
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PictureError, PictureTooLargeError
from rembg_tuner.base.messages import Message, Term, join_parts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rembg_tuner.base.colours import Colour


MAX_PIXELS_IN_STRIPS = 2**28  # 268 MP; memory does not grow with the number of pixels
MAX_PIXELS_WHOLE = 100_000_000  # about 0.8 GB (WebP) to 1.6 GB (AVIF) while decoding
PREVIEW_SIDE = 1600  # px, of the previews on the page
_SNIFFED_BYTES = 64
BMP_HEADER_BYTES = (12, 16, 40, 52, 56, 64, 108, 124)  # of OS/2 and Windows
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
ACCEPTED = Message("JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF (its first frame)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """A format that is read.

    Attributes:
        name: for messages.
        suffixes: of file names, in lower case.
        loader: libvips' loader; empty: libvips does not read the format.
        whole_bytes_per_pixel: memory of decoding in addition to strips, bytes per pixel; 0: it is
            decoded in strips. Measured from 1080p to 48 MP with libvips 8.18.
        interlaced_bytes_per_pixel: the same for a progressive or interlaced file.
        whole_name: name of the kind that is decoded whole, if other kinds are decoded in strips.
    """

    name: str
    suffixes: tuple[str, ...]
    loader: str = ""
    whole_bytes_per_pixel: float = 0.0
    interlaced_bytes_per_pixel: float = 0.0
    whole_name: Message | None = None


JPEG = PictureFormat(
    name="JPEG",
    suffixes=(".jpg", ".jpeg"),
    loader="jpegload",
    interlaced_bytes_per_pixel=6.8,
    whole_name=Message("progressive JPEG"),
)
PNG = PictureFormat(
    name="PNG",
    suffixes=(".png",),
    loader="pngload",
    interlaced_bytes_per_pixel=3.9,
    whole_name=Message("interlaced PNG"),
)
WEBP = PictureFormat(name="WebP", suffixes=(".webp",), loader="webpload", whole_bytes_per_pixel=8.4)
AVIF = PictureFormat(
    name="AVIF", suffixes=(".avif",), loader="heifload", whole_bytes_per_pixel=16.4
)
TIFF = PictureFormat(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    loader="tiffload",
    whole_name=Message("TIFF (large strips or tiles)"),
)
GIF = PictureFormat(name="GIF", suffixes=(".gif",), loader="gifload", whole_bytes_per_pixel=8.0)
# Read by pi-heif if it is installed; the libvips of pyvips-binary has no HEVC decoder.
HEIC = PictureFormat(name="HEIC", suffixes=(".heic", ".heif"), whole_bytes_per_pixel=8.0)
# Read without libvips; only run-length encoded files are decoded whole, to one index per pixel.
BMP = PictureFormat(
    name="BMP",
    suffixes=(".bmp",),
    interlaced_bytes_per_pixel=2.0,
    whole_name=Message("run-length BMP"),
)
READ_SUFFIXES = frozenset(
    suffix for kind in (JPEG, PNG, WEBP, AVIF, TIFF, GIF, HEIC, BMP) for suffix in kind.suffixes
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """A format that is written.

    Attributes:
        name: for messages.
        suffixes: of file names, in lower case; libvips selects its encoder by the first.
        options: of libvips' encoder.
        has_alpha: whether a picture can be transparent; if not, a background is required.
        max_side: px; None: no limit.
        whole_bytes_per_pixel: memory of an encoder that keeps the whole picture, bytes per pixel;
            0: it encodes in strips. Measured at 12 MP.
    """

    name: str
    suffixes: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    has_alpha: bool = True
    max_side: int | None = None
    whole_bytes_per_pixel: int = 0


# The formats that are written; the first is the default. Used by the command line, batches, checks
# and encoders. PNG is encoded by `png_writer`, the others by libvips.
PNG_OUTPUT = OutputFormat(name="PNG", suffixes=(".png",))
OUTPUT_FORMATS = (
    PNG_OUTPUT,
    OutputFormat(
        name="WebP",
        suffixes=(".webp",),
        options={"Q": 90, "alpha_q": 100, "effort": 2},
        max_side=16383,
        whole_bytes_per_pixel=22,
    ),
    OutputFormat(
        name="JPEG",
        suffixes=(".jpg", ".jpeg"),
        options={"Q": 92},
        has_alpha=False,
        max_side=65500,
    ),
)
OUTPUT_SUFFIXES = tuple(kind.suffixes[0] for kind in OUTPUT_FORMATS)

_SIGNATURES = {
    b"\xff\xd8\xff": JPEG,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,  # BigTIFF
    b"MM\0+": TIFF,
}


def sniff(path: Path) -> PictureFormat:
    """Return a picture's format, detected by its first bytes.

    Raises:
        PictureError: the file cannot be read, is empty, or is not in a supported format.
    """
    head = first_bytes(path)
    if not head:
        raise PictureError(
            Message("{path} is empty (0 bytes); save or copy the picture again", path=path)
        )
    raw = raw_name(head)
    if raw is not None:
        raise raw_error(path, raw)
    found = _by_magic(head)
    if found is HEIC and importlib.util.find_spec("pi_heif") is None:
        raise PictureError(
            Message(
                "{path} is a HEIC picture, which requires pi-heif; install it with `pip install"
                " pi-heif`, or save the picture as JPEG or PNG",
                path=path,
            )
        )
    if found is not None:
        return found
    raise PictureError(
        Message(
            "{path} is not a picture in a supported format; the formats are {formats}",
            path=path,
            formats=ACCEPTED,
        )
    )


def first_bytes(path: Path) -> bytes:
    """Read the first bytes of a regular file.

    Other files are not opened, because reading a FIFO would block.

    Raises:
        PictureError: the file does not exist, cannot be read, or is not a regular file.
    """
    try:
        mode = path.stat().st_mode
        head = b""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                head = file.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise PictureError(Message("{path} does not exist; check the path", path=path)) from None
    except PermissionError:
        raise PictureError(
            Message("{path} cannot be read by this user; check its permissions", path=path)
        ) from None
    except OSError as error:
        raise PictureError(
            Message("{path} cannot be read: {reason}", path=path, reason=error.strerror)
        ) from error
    if stat.S_ISDIR(mode):
        raise PictureError(
            Message("{path} is a folder, not a picture; give the path of a picture", path=path)
        )
    if not stat.S_ISREG(mode):
        raise PictureError(
            Message("{path} is not a regular file; give the path of a picture", path=path)
        )
    return head


def _by_magic(head: bytes) -> PictureFormat | None:
    """Return the format whose signature matches the first bytes; None: no format does."""
    for start, kind in _SIGNATURES.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADER_BYTES:
        return BMP
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[i : i + 4] for i in (8, *range(16, size - 3, 4))]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return AVIF
        return HEIC if head[8:12] in _HEIC_BRANDS else None
    return None


def check_pixels(path: Path, width: int, height: int, limit: int) -> None:
    """Check that a picture has no more pixels than a limit.

    Raises:
        PictureTooLargeError: it has more.
    """
    if width * height > limit:
        raise PictureTooLargeError(
            Message(
                "{path} has {width} x {height} px ({megapixels:,.0f} MP), more than the"
                " {max_megapixels:,.0f} MP allowed for this kind; scale it down first",
                path=path,
                width=width,
                height=height,
                megapixels=width * height / 1e6,
                max_megapixels=limit / 1e6,
            )
        )


def output_format(output: Path) -> OutputFormat:
    """Return the output format for a file name.

    Raises:
        OutputError: the suffix is not one of an output format.
    """
    suffix = output.suffix.lower()
    for kind in OUTPUT_FORMATS:
        if suffix in kind.suffixes:
            return kind
    raise OutputError(
        Message(
            "{path} does not name an output format; use one of the suffixes {suffixes}",
            path=output,
            suffixes=join_parts(OUTPUT_SUFFIXES),
        )
    )


def check_output(output: Path, background: Colour | None) -> None:
    """Check that a file's format is supported, and supports transparency if it is needed.

    Raises:
        OutputError: it does not.
    """
    kind = output_format(output)
    if background is None and not kind.has_alpha:
        raise OutputError(
            Message(
                "{path}: {format} has no transparency; give a background, such as --background"
                " white, or write {suffix}",
                path=output,
                format=kind.name,
                suffix=PNG_OUTPUT.suffixes[0],
            )
        )


# Signatures of raw files: offset, bytes, and the format's name.
_RAW_HEADS = (
    (0, b"IIU\0", "Panasonic or Leica RW2"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"\0MRM", "Minolta MRW"),
    (0, b"FOVb", "Sigma X3F"),
    (4, b"ftypcrx ", "Canon CR3"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (0, b"II*\0\x10\0\0\0CR", "Canon CR2"),
)
# Phase One's second header, after that of TIFF
_PHASE_ONE = re.compile(rb"(?s)(II\*\0.{4}IIII.waR|MM\0\*.{4}MMMMRaw)")
# Raw formats based on TIFF, by the first words of tag Make in upper case.
_RAW_MAKERS = {
    "CANON": "Canon CR2",
    "EASTMAN KODAK": "Kodak DCR",
    "HASSELBLAD": "Hasselblad 3FR",
    "KODAK": "Kodak DCR",
    "LEAF": "Leaf MOS",
    "MAMIYA": "Mamiya MEF",
    "NIKON": "Nikon NEF",
    "PENTAX": "Pentax PEF",
    "PHASE ONE": "Phase One IIQ",
    "RICOH": "Pentax PEF",
    "SAMSUNG": "Samsung SRW",
    "SEIKO EPSON": "Epson ERF",
    "SONY": "Sony ARW",
}
_OTHER_RAW = "camera raw"
RAW_NAMES = {
    *(name for _, _, name in _RAW_HEADS),
    "Phase One IIQ",
    *_RAW_MAKERS.values(),
    _OTHER_RAW,
}


def raw_name(head: bytes) -> str | None:
    """Return the name of the raw format that the first bytes of a file identify.

    None: not a raw file.
    """
    for offset, magic, name in _RAW_HEADS:
        if head[offset:].startswith(magic):
            return name
    return "Phase One IIQ" if _PHASE_ONE.match(head) else None


def raw_name_by_maker(make: str) -> str:
    """Return the name of a maker's raw format; `make` is the text of TIFF tag Make."""
    begun = make.upper()
    return next(
        (name for maker, name in _RAW_MAKERS.items() if begun.startswith(maker)), _OTHER_RAW
    )


def raw_error(path: Path, name: str) -> PictureError:
    """Return the error for a raw file."""
    return PictureError(
        Message(
            "{path} is a camera raw file ({name}), which is not supported; develop it and save it"
            " as JPEG, PNG or TIFF",
            path=path,
            name=Term(name, "camera"),
        )
    )
