"""The script that `export --to python` fills in.

It needs its engine, numpy and Pillow, and none of this program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rembg_tuner.engines.spec import Script

_HEAD = '''# /// script
# requires-python = ">=3.11"
# dependencies = @DEPENDENCIES@
# ///
"""Cut a picture out of its background: python cutout.py in.jpg out.png. Written by rembg tuner.

`uv run cutout.py in.jpg out.png` installs what it needs first. The model's file lies beside this script.
"""

@BLOCK@

import numpy as np
@IMPORT@
from PIL import Image, ImageOps

@CONSTANTS@


'''

_TAIL = '''

def cut_out(network, picture):
    """Give an RGBA picture whose alpha is the network's matte; colours are the picture's own."""
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    if MAX_SIDE and max(picture.size) > MAX_SIDE:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    small = small / max(float(small.max()), 1e-6)
    tensor = ((small - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[np.newaxis]
    raw = predict(network, tensor.astype(np.float32))[0, 0]
    low, high = float(raw.min()), float(raw.max())
    matte = (raw - low) / (high - low) if high > low else np.zeros_like(raw)
    mask = Image.fromarray((matte * 255).astype(np.uint8))
    picture.putalpha(mask.resize(picture.size, Image.Resampling.LANCZOS))
    return picture


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].lower().endswith((".png", ".webp", ".tif", ".tiff")):
        sys.exit("use: python cutout.py in.jpg out.png (or .webp, .tif: a JPEG has no transparency)")
    source, target = sys.argv[1:]
    if not MODEL.is_file():
        sys.exit(f"{MODEL} is missing: put a copy of the model's file there")
    try:
        picture = Image.open(source)
    except OSError as error:
        sys.exit(f"{source} cannot be read: {error}")
    cut_out(load(), picture).save(target)
'''


def script_with(part: Script) -> str:
    """Return the whole script with an engine's part.

    Its constants and dependencies are to be filled in.
    """
    head = _HEAD.replace("@BLOCK@", part.block).replace("@IMPORT@", part.imports)
    return head + part.body + _TAIL
