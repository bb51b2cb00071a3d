"""Pillow's errors for a damaged picture in engine rembg."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from rembg_tuner.base.errors import PictureError
from rembg_tuner.engines.rembg import RembgEngine


def _engine(fault: Exception | None = None) -> RembgEngine:
    """Create the engine with a replacement for rembg that decodes, or raises an error."""

    def remove(picture: bytes, **_: Any) -> bytes:
        if fault is not None:
            raise fault
        return Image.open(io.BytesIO(picture)).tobytes()

    engine = RembgEngine.__new__(RembgEngine)
    engine._rembg = SimpleNamespace(remove=remove)
    engine._session, engine._extras = object(), {}
    engine._inner = SimpleNamespace(seconds=0.0, run_options=None)  # type: ignore[assignment]
    return engine


def test_an_avif_that_was_cut_is_refused_in_a_sentence() -> None:
    """Pillow's AVIF reader raises SyntaxError, which becomes a PictureError."""
    file = io.BytesIO()
    Image.effect_noise((96, 64), 90).convert("RGB").save(file, "AVIF", quality=95)
    with pytest.raises(PictureError, match="rembg cannot cut this picture out"):
        _engine().remove_background(file.getvalue()[:-5], 0)


@pytest.mark.parametrize("fault", [EOFError("no more"), struct.error("unpack requires 4 bytes")])
def test_pillows_other_faults_are_told_of_the_picture(fault: Exception) -> None:
    """Pillow's other errors are reported as errors of the picture."""
    with pytest.raises(PictureError, match="rembg cannot cut this picture out"):
        _engine(fault).remove_background(b"", 0)
