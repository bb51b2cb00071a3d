"""The process that makes previews.

`python -m rembg_tuner.imaging.previews`, requests on stdin, answers on stdout.

Apart from the worker, so that what a page shows adds nothing to the memory and time that a run is
measured with; and apart from the page, which decodes nothing. One request a line as JSON, one
answer a line: {"error": null or a message as JSON}. "op" names the request: "make" for the previews
of a run, "inspect" for an upload's header, "original" for what the page shows of an upload; "ready"
asks for nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips

from rembg_tuner.base.errors import TunerError, message_of
from rembg_tuner.imaging import compose, libvips, placed, preview_files, source
from rembg_tuner.imaging.computed_tiff import STRIP_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.imaging.matte import Mask

SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WebP", "GIF")


def make_previews(request: dict[str, Any]) -> None:
    """Make the previews of a run that is done: at most 1600 px, upright.

    Args:
        request: `input` and `output` of the run; `matte`: where it left its matte, None where it
            left none and the output itself is scaled down; `preview`: the cut-out as WebP, `mask`:
            its alpha as PNG, None for what is not wanted; `before`: the picture's JPEG, written if
            it is not there; `max_side` of the run, px.

    Raises:
        TunerError: a picture does not read, or a preview cannot be written.
    """
    picture, max_side = Path(request["input"]), request["max_side"]
    before, mask, preview = (
        request[name] and Path(request[name]) for name in ("before", "mask", "preview")
    )
    header = source.read_header(picture)
    if before and not before.is_file():
        preview_files.write_original(header, before, max_side=max_side)
    if request["matte"] is None:
        if preview:
            _scale_to_preview(source.read_header(Path(request["output"])), preview)
        return
    kept = Path(request["matte"])
    if mask:
        alpha = _mask(kept, *preview_files.preview_sides(header, max_side))
        preview_files.write_mask(alpha, mask, own=before.with_suffix(".webp"))
    if preview:
        composition = compose.Composition(
            header=header,
            matte=placed.PictureMatte.load(kept),
            max_side=max_side,
            background=None,
        )
        compose.write_preview(composition, preview)
    kept.unlink(missing_ok=True)


def _mask(kept: Path, width: int, height: int) -> Mask:
    """Return the mask of a run at a preview's size: uint8 (height, width) in 0..255."""
    rows = placed.PictureMatte.load(kept).mask(width, height)
    # in strips, as for the cut-out: each needs a few rows of the matte only
    strips = [rows.rows(top, min(height, top + STRIP_ROWS)) for top in range(0, height, STRIP_ROWS)]
    return np.concatenate(strips)


def inspect_picture(request: dict[str, Any]) -> dict[str, Any]:
    """Check a picture's header.

    Args:
        request: `input`: the picture; `max_pixels`: the page's limit.

    Returns:
        `width` and `height`, px, and `is_shown`: whether browsers can be relied on to show the
        file.

    Raises:
        TunerError: the picture is refused.
    """
    header = source.read_header(Path(request["input"]), max_pixels=request["max_pixels"])
    is_shown = header.format.name in SHOWN_BY_BROWSERS
    return {"width": header.width, "height": header.height, "is_shown": is_shown}


def make_original(request: dict[str, Any]) -> None:
    """Write what a page shows of a picture, before it is run.

    Args:
        request: `input`: the picture; `max_pixels`: the page's limit; `before`: where the JPEG
            goes.

    Raises:
        TunerError: the picture does not read, or the file cannot be written.
    """
    header = source.read_header(Path(request["input"]), max_pixels=request["max_pixels"])
    preview_files.write_original(header, Path(request["before"]), max_side=0)


def _scale_to_preview(header: source.PictureHeader, preview: Path) -> None:
    """Scale a cut-out down, its transparency kept.

    Raises:
        TunerError: it does not read, or the preview cannot be written.
    """
    width, height = preview_files.preview_sides(header, 0)
    small = source.read_small(header, width=width, height=height)
    preview_files.write_webp(small, header.path, preview)


_ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "make": make_previews,
    "inspect": inspect_picture,
    "original": make_original,
    "ready": lambda _: None,
}


def main() -> None:
    """Serve requests until stdin closes."""
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
