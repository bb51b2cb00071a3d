"""Which pictures are taken, told by their first bytes and never by their name.

And which are written.

libvips would open more (SVG, CSV, PDF): each format is opened by its own loader here, so nothing
else is ever tried.
"""

from __future__ import annotations

import importlib.util
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, PictureError, PictureTooLargeError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.raw_files import raw_error, raw_name

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.base.colours import Colour

MAX_PIXELS_IN_STRIPS = 2**28  # 268 MP: memory does not grow with these
MAX_PIXELS_WHOLE = 100_000_000  # about 0.8 GB (WebP) to 1.6 GB (AVIF) while decoding
PREVIEW_SIDE = 1600  # px; what a page shows
_SNIFFED_BYTES = 64
BMP_HEADER_BYTES = (12, 16, 40, 52, 56, 64, 108, 124)  # of OS/2 and Windows
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_JPEG_SUFFIXES = (".jpg", ".jpeg")
WRITTEN_SUFFIXES = (".png", ".webp", *_JPEG_SUFFIXES)
ACCEPTED = Message("JPEG, PNG, WebP, AVIF, TIFF, BMP and GIF (its first frame)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """A format that is read.

    Attributes:
        name: for people.
        loader: libvips' loader.
        whole_bytes_per_pixel: what decoding takes beyond strips, per pixel; 0: it goes in strips.
            Measured from 1080p to 48 MP with libvips 8.18.
        interlaced_bytes_per_pixel: the same for a progressive or interlaced file.
    """

    name: str
    loader: str
    whole_bytes_per_pixel: float = 0.0
    interlaced_bytes_per_pixel: float = 0.0


JPEG = PictureFormat(name="JPEG", loader="jpegload", interlaced_bytes_per_pixel=6.8)
PNG = PictureFormat(name="PNG", loader="pngload", interlaced_bytes_per_pixel=3.9)
WEBP = PictureFormat(name="WebP", loader="webpload", whole_bytes_per_pixel=8.4)
AVIF = PictureFormat(name="AVIF", loader="heifload", whole_bytes_per_pixel=16.4)
TIFF = PictureFormat(name="TIFF", loader="tiffload")
GIF = PictureFormat(name="GIF", loader="gifload", whole_bytes_per_pixel=8.0)
# Read by pi-heif where that is installed; libvips of pyvips-binary has no decoder of HEVC.
HEIC = PictureFormat(name="HEIC", loader="", whole_bytes_per_pixel=8.0)
# Read without libvips; only a run-length code is decoded whole, to an index a pixel.
BMP = PictureFormat(name="BMP", loader="", interlaced_bytes_per_pixel=2.0)

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
    """Tell a picture's format by its first bytes.

    Raises:
        PictureError: the file cannot be read, is empty, or is none of the formats taken.
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
                "{path} is a HEIC picture, which is read only with pi-heif; install that with `pip"
                " install pi-heif`, or save the picture as JPEG or PNG",
                path=path,
            )
        )
    if found is not None:
        return found
    raise PictureError(
        Message(
            "{path} is not a picture that is read here; the formats are {formats}",
            path=path,
            formats=ACCEPTED,
        )
    )


def first_bytes(path: Path) -> bytes:
    """Read the first bytes of a regular file.

    Nothing else is opened, since a FIFO would wait for ever.

    Raises:
        PictureError: it is not there, may not or cannot be read, or is no regular file.
    """
    try:
        mode = path.stat().st_mode
        head = b""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                head = file.read(_SNIFFED_BYTES)
    except FileNotFoundError:
        raise PictureError(Message("{path} is not there; check the path", path=path)) from None
    except PermissionError:
        raise PictureError(
            Message("{path} may not be read by this user; check its permissions", path=path)
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
    """Match the first bytes against each format's signature."""
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
    """Refuse a picture of more pixels than a limit.

    Raises:
        PictureTooLargeError: with both.
    """
    if width * height > limit:
        raise PictureTooLargeError(
            Message(
                "{path} has {width} x {height} px ({megapixels:,.0f} MP), more than the"
                " {most_megapixels:,.0f} MP allowed for this kind; scale it down first",
                path=path,
                width=width,
                height=height,
                megapixels=width * height / 1e6,
                most_megapixels=limit / 1e6,
            )
        )


def check_output(output: Path, background: Colour | None) -> None:
    """Refuse a name whose format is not written, or a JPEG with nothing behind the cut-out.

    Raises:
        OutputError: with what to do.
    """
    suffix = output.suffix.lower()
    if suffix not in WRITTEN_SUFFIXES:
        raise OutputError(
            Message(
                "{path} names no format that is written; end it in .png, .webp or .jpg", path=output
            )
        )
    if suffix in _JPEG_SUFFIXES and background is None:
        raise OutputError(
            Message(
                "{path} is a JPEG, which has no transparency; give a background, such as"
                " --background white, or write .png",
                path=output,
            )
        )
