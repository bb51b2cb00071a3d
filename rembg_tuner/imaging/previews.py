"""Previews of files that another program wrote: `python -m rembg_tuner.imaging.previews FROM TO [FROM TO]`.

The stock pipeline's worker is there to be measured as it is, so libvips is not loaded into it: what a
page shows of its cut-outs is made here, in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyvips

from rembg_tuner.cache import replacing
from rembg_tuner.errors import TunerError
from rembg_tuner.imaging import formats, source
from rembg_tuner.imaging.compose import ENCODERS


def write_preview(picture: Path, preview: Path) -> None:
    """Write a picture's preview: at most 1600 px, upright, its transparency kept, as WebP.

    Raises:
        PictureError: the picture does not read.
        OSError: the preview cannot be written.
    """
    header = source.read_header(picture)
    width, height = header.scaled(formats.PREVIEW_SIDE)
    suffix, options = ENCODERS[".webp"]
    with source.reading(picture):
        small = source.read_small(header, width=width, height=height)
        encoded = small.write_to_buffer(suffix, keep="icc", **{**options, "effort": 0})
    with replacing(preview) as file:
        file.write(encoded)


def main(words: list[str]) -> int:
    """Write the previews asked for; a reason goes to stderr."""
    try:
        for picture, preview in zip(words[::2], words[1::2], strict=True):
            write_preview(Path(picture), Path(preview))
    except (TunerError, OSError, pyvips.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
