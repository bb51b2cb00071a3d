"""Gradio's import without the work that a server does not need."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from rembg_tuner.web.server import gradio_start

ROOT = Path(__file__).parent.parent
# In a new Python process, since this one may have imported Gradio.
SCRIPT = """
import sys
from pathlib import Path
from rembg_tuner.web.server.gradio_start import import_gradio

written = []
write_text = Path.write_text
Path.write_text = lambda path, *rest, **named: (written.append(path.name), write_text(path, *rest, **named))
import_gradio()
assert "pandas" not in sys.modules, "pandas was loaded"
import gradio as gr
import gradio.caching
assert not [name for name in written if name.endswith(".pyi")], written
assert gr.Button.click.__doc__.startswith("Triggered when the Button is clicked."), gr.Button.click.__doc__
assert gr.Image.clear.__doc__ != gr.Textbox.input.__doc__
import rembg_tuner.web.server.page_server
assert not {"pandas", "optuna"} & sys.modules.keys(), "this program's page loads them"
import pandas
assert gradio.caching.pd.DataFrame is pandas.DataFrame
import pandas.io.formats.style
"""


def test_gradio_is_imported_without_interfaces_and_pandas() -> None:
    """No .pyi file is written, and pandas is imported only when it is used.

    The docstrings of events are complete. The test fails if a new version of Gradio does this
    elsewhere, since the start would be slow again.
    """
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_module_of_another_shape_is_left_as_it_is() -> None:
    """A module without the expected functions is not changed."""
    for change in gradio_start._CHANGES.values():
        module = type(sys)("gradio.anything")
        before = set(vars(module))
        change(module)
        assert set(vars(module)) == before


def test_a_stand_in_gives_way_to_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first use imports the module; a stand-in that is kept still returns its attributes."""
    later = gradio_start._LaterModule("colorsys")
    monkeypatch.setitem(sys.modules, "colorsys", later)
    assert later.rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    import colorsys

    assert colorsys is not later
    assert later.hsv_to_rgb is colorsys.hsv_to_rgb
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = later.no_such_name


def test_garbage_is_collected_again_after_the_start() -> None:
    """Objects that exist after the start are excluded from later collections."""
    try:
        with gradio_start.collection_paused():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        with pytest.raises(OSError, match="the port"), gradio_start.collection_paused():
            raise OSError("the port is taken")
        assert gc.isenabled()
    finally:
        gc.unfreeze()
