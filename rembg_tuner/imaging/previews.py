"""The process that makes previews: `python -m rembg_tuner.imaging.previews`, requests on stdin, answers on stdout.

Apart from the worker, so that what a page shows adds nothing to the memory and time that a run is
measured with; and apart from the page, which decodes nothing. One request a line as JSON:
{"input", "output", "matte", "preview", "before", "max_side"}; one answer a line: {"error": null or a
sentence}. A request {"inspect", "max_pixels", "preview"} checks an upload, and is answered with its header
too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyvips

from rembg_tuner.cache import replacing
from rembg_tuner.errors import OutputError, TunerError
from rembg_tuner.imaging import compose, formats, libvips, placed, source

SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WebP", "GIF")


def make_previews(request: dict[str, Any]) -> None:
    """Make the previews of a run that is done: at most 1600 px, upright, as WebP.

    Args:
        request: `input` and `output` of the run; `matte`: where it left its matte, None where it
            left none and the output itself is scaled down; `preview` and `before`: what to write, None
            for what is not wanted; `max_side` of the run, px.

    Raises:
        TunerError: a picture does not read, or a preview cannot be written.
    """
    picture, preview, before = Path(request["input"]), request["preview"], request["before"]
    if request["matte"] is None:
        for file, target in ((request["output"], preview), (picture, before)):
            if target is not None:
                _scale_to_preview(source.read_header(Path(file)), Path(target))
        return
    kept = Path(request["matte"])
    composition = compose.Composition(
        header=source.read_header(picture),
        matte=placed.PictureMatte.load(kept),
        max_side=request["max_side"],
        background=None,
    )
    compose.write_previews(
        composition,
        cutout=Path(preview) if preview else None,
        before=Path(before) if before else None,
    )
    kept.unlink(missing_ok=True)


def inspect_picture(request: dict[str, Any]) -> dict[str, Any]:
    """Check a picture's header, and make a preview if browsers cannot be relied on to show the file.

    Args:
        request: `inspect`: the picture; `max_pixels`: the page's limit; `preview`: where a preview goes.

    Returns:
        `width` and `height`, px, and `has_preview`.

    Raises:
        TunerError: the picture is refused, or the preview cannot be written.
    """
    picture = Path(request["inspect"])
    header = source.read_header(picture, max_pixels=request["max_pixels"])
    needs_preview = header.format.name not in SHOWN_BY_BROWSERS
    if needs_preview:
        _scale_to_preview(header, Path(request["preview"]))
    return {"width": header.width, "height": header.height, "has_preview": needs_preview}


def _scale_to_preview(header: source.PictureHeader, preview: Path) -> None:
    """Scale a picture down, its transparency kept.

    Raises:
        TunerError: it does not read, or the preview cannot be written.
    """
    width, height = header.scaled(formats.PREVIEW_SIDE)
    suffix, options = compose.ENCODERS[".webp"]
    small = source.read_small(header, width=width, height=height)
    with source.reading(header.path):
        encoded = small.write_to_buffer(suffix, keep="icc", **{**options, "effort": 0})
    try:
        with replacing(preview) as file:
            file.write(encoded)
    except OSError as error:
        raise OutputError(f"{preview} cannot be written: {error.strerror}") from error


def main() -> None:
    """Serve requests until stdin closes."""
    libvips.start_libvips(1)
    for line in sys.stdin:
        answer: dict[str, Any] = {"error": None}
        try:
            request = json.loads(line)
            if "inspect" in request:
                answer |= inspect_picture(request)
            else:
                make_previews(request)
        except (TunerError, OSError, ValueError, pyvips.Error, MemoryError) as reason:
            answer["error"] = str(reason) or type(reason).__name__
            answer["kind"] = reason.kind if isinstance(reason, TunerError) else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
