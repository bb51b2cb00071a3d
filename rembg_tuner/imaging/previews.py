"""The process that makes previews: `python -m rembg_tuner.imaging.previews`.

It is separate from the worker, so previews do not add to the measured memory and time, and from the
page, which does not decode pictures. Requests are read from stdin and answers are written to
stdout, as one line of JSON each. The answer contains "error": null or a message as JSON. "op" is
the kind of request: "make" for the previews of a run, "inspect" for an upload's header, "original"
for the preview of an upload, "ready" to wait until the process has started.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from rembg_tuner.base.errors import OutputError, TunerError, message_of
from rembg_tuner.base.files import replacing
from rembg_tuner.imaging import libvips
from rembg_tuner.imaging.complaints import unwritable_text
from rembg_tuner.imaging.compose import Composition, join, multiply_alphas
from rembg_tuner.imaging.formats import PREVIEW_SIDE
from rembg_tuner.imaging.header import PictureHeader, read_header, reading
from rembg_tuner.imaging.libvips import STRIP_ROWS
from rembg_tuner.imaging.matte import PictureMatte, mask_image
from rembg_tuner.imaging.png_writer import SIGNATURE, png_chunk
from rembg_tuner.imaging.source import read_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.imaging.header import PictureHeader
    from rembg_tuner.imaging.matte import Mask


_JPEG_QUALITY = 90  # the lowest at which libvips does not subsample chroma
_WEBP = {"Q": 90, "alpha_q": 100, "effort": 0}
_OPACITIES = 256
_OPAQUE = 255


def preview_sides(header: PictureHeader, max_side: int) -> tuple[int, int]:
    """Return width and height of a preview, px.

    At most 1600, and at most a run's `max_side` unless that is 0.
    """
    return header.scaled(min(max_side or PREVIEW_SIDE, PREVIEW_SIDE))


def write_original(header: PictureHeader, target: Path, *, max_side: int) -> None:
    """Write a picture's colours as JPEG, and also as WebP if any pixel is transparent.

    Args:
        header: of the picture.
        target: path of the JPEG; the WebP has the same name with the suffix .webp.
        max_side: of a run, px; 0: the picture's.

    Raises:
        PictureError: the picture is damaged or truncated.
        OutputError: a file cannot be written.
    """
    width, height = preview_sides(header, max_side)
    small = read_small(header, width=width, height=height)
    with reading(header.path):
        colours = small[:3] if small.hasalpha() else small
        files = {target: colours.jpegsave_buffer(Q=_JPEG_QUALITY, keep="icc")}
        # The encoder drops an alpha that is opaque everywhere; such a picture needs no WebP.
        if small.hasalpha() and small[small.bands - 1].min() < _OPAQUE:
            files[target.with_suffix(".webp")] = small.webpsave_buffer(keep="icc", **_WEBP)
    for path, content in files.items():
        _write_file(path, content)


def write_webp(image: pyvips.Image, path: Path, target: Path) -> None:
    """Write a small picture or a cut-out as WebP with lossless alpha.

    Args:
        image: 8-bit RGB or RGBA.
        path: of the source picture, for the message.
        target: replaced if it exists.

    Raises:
        PictureError: the source picture is damaged or truncated.
        OutputError: the file cannot be written.
    """
    with reading(path):
        content = image.webpsave_buffer(keep="icc", **_WEBP)
    _write_file(target, content)


def write_preview(composition: Composition, target: Path) -> None:
    """Write a cut-out as WebP of at most 1600 px, for a page that cannot combine picture and mask.

    Raises:
        PictureError, OutputError: as `write_cutout`.
    """
    header = composition.header
    width, height = preview_sides(header, composition.max_side)
    small = read_small(header, width=width, height=height)
    alpha = mask_image(composition.matte.mask(width, height))
    with reading(header.path):
        cutout = join(small, alpha, None).copy_memory()
    write_webp(cutout, header.path, target)


def write_mask(mask: Mask, target: Path, *, own: Path) -> None:
    """Write a cut-out's alpha as PNG.

    The mask is multiplied by the picture's own alpha if the picture has one.

    Args:
        mask: uint8 (h, w) in [0, 255], of the preview's size.
        target: replaced if it exists.
        own: the WebP that `write_original` wrote for a picture with transparency; it does not exist
            for others.

    Raises:
        PictureError: that WebP is damaged.
        OutputError: the file cannot be written.
    """
    if own.is_file():
        with reading(own):
            alpha = pyvips.Image.webpload(str(own))[3].write_to_memory()
        mask = multiply_alphas(mask, np.frombuffer(alpha, np.uint8).reshape(mask.shape))
    _write_file(target, encode_alpha(mask))


def encode_alpha(mask: Mask) -> bytes:
    """Encode a mask as an 8-bit palette PNG: black with 256 opacities, rows filtered with Up.

    Args:
        mask: uint8 (h, w) in [0, 255]; 255 is opaque.

    Returns:
        The content of the file.
    """
    height, width = mask.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = 2  # filter Up: the difference from the row above
    rows[:1, 1:] = mask[:1]
    np.subtract(mask[1:], mask[:-1], out=rows[1:, 1:])
    # A mask is smooth, so only runs of equal differences are worth compressing.
    deflate = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    data = deflate.compress(rows.tobytes()) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    return b"".join(
        (
            SIGNATURE,
            *png_chunk(b"IHDR", header),
            *png_chunk(b"PLTE", bytes(3 * _OPACITIES)),
            *png_chunk(b"tRNS", bytes(range(_OPACITIES))),
            *png_chunk(b"IDAT", data),
            *png_chunk(b"IEND"),
        )
    )


def _write_file(target: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with replacing(target) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(unwritable_text(target, error)) from error


SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WebP", "GIF")


def make_previews(request: dict[str, Any]) -> None:
    """Make the previews of a finished run: at most 1600 px, upright.

    Args:
        request: `input` and `output` of the run; `matte`: path of its matte, None: the output is
            scaled down instead; `preview`: path of the cut-out as WebP, `mask`: path of its alpha
            as PNG, None: not requested; `before`: path of the picture's JPEG, written if it does
            not exist; `max_side` of the run, px.

    Raises:
        TunerError: a picture cannot be read, or a preview cannot be written.
    """
    picture, max_side = Path(request["input"]), request["max_side"]
    before, mask, preview = (
        request[name] and Path(request[name]) for name in ("before", "mask", "preview")
    )
    header = read_header(picture)
    if before and not before.is_file():
        write_original(header, before, max_side=max_side)
    if request["matte"] is None:
        if preview:
            _scale_to_preview(read_header(Path(request["output"])), preview)
        return
    kept = Path(request["matte"])
    if mask:
        alpha = _mask(kept, *preview_sides(header, max_side))
        write_mask(alpha, mask, own=before.with_suffix(".webp"))
    if preview:
        composition = Composition(
            header=header,
            matte=PictureMatte.load(kept),
            max_side=max_side,
            background=None,
        )
        write_preview(composition, preview)
    kept.unlink(missing_ok=True)


def _mask(kept: Path, width: int, height: int) -> Mask:
    """Return the mask of a run at a preview's size: uint8 (height, width) in [0, 255]."""
    rows = PictureMatte.load(kept).mask(width, height)
    # In strips, as for the cut-out: each strip needs only a few rows of the matte.
    strips = [rows.rows(top, min(height, top + STRIP_ROWS)) for top in range(0, height, STRIP_ROWS)]
    return np.concatenate(strips)


def inspect_picture(request: dict[str, Any]) -> dict[str, Any]:
    """Check a picture's header.

    Args:
        request: `input`: path of the picture; `max_pixels`: the page's limit.

    Returns:
        `width` and `height`, px, and `is_shown`: whether all browsers can display the file.

    Raises:
        TunerError: the picture is rejected.
    """
    header = read_header(Path(request["input"]), max_pixels=request["max_pixels"])
    is_shown = header.format.name in SHOWN_BY_BROWSERS
    return {"width": header.width, "height": header.height, "is_shown": is_shown}


def make_original(request: dict[str, Any]) -> None:
    """Write the preview of a picture that has not been run yet.

    Args:
        request: `input`: path of the picture; `max_pixels`: the page's limit; `before`: path of
            the JPEG.

    Raises:
        TunerError: the picture cannot be read, or the file cannot be written.
    """
    header = read_header(Path(request["input"]), max_pixels=request["max_pixels"])
    write_original(header, Path(request["before"]), max_side=0)


def _scale_to_preview(header: PictureHeader, preview: Path) -> None:
    """Scale a cut-out down with its transparency, and write it.

    Raises:
        TunerError: it cannot be read, or the preview cannot be written.
    """
    width, height = preview_sides(header, 0)
    small = read_small(header, width=width, height=height)
    write_webp(small, header.path, preview)


_ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "make": make_previews,
    "inspect": inspect_picture,
    "original": make_original,
    "ready": lambda _: None,
}


def main() -> None:
    """Handle requests until stdin closes."""
    libvips.start_libvips(1)
    for line in sys.stdin:
        answer: dict[str, Any] = {"error": None}
        try:
            request = json.loads(line)
            answer |= _ANSWERS[request["op"]](request) or {}
        except (TunerError, OSError, ValueError, pyvips.Error, MemoryError) as reason:
            answer["error"] = message_of(reason).to_json()
            answer["kind"] = reason.kind if isinstance(reason, TunerError) else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
