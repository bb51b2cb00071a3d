"""The public Python API, tested with the embedded model."""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import pytest
from PIL import Image

from rembg_tuner import api
from rembg_tuner.api import Cutter, Failure, Result, TunerError
from rembg_tuner.base.errors import OutputError, PresetError, SettingsError

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"


def test_pictures_are_cut_out_in_one_warm_worker(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each picture returns a Result or a Failure; nothing is printed, and no worker is left."""
    picture = tmp_path / "cup.png"
    picture.write_bytes(COFFEE.read_bytes())
    with Cutter("fastest", engine="onnxruntime", precision="fp32", network_size=128) as cutter:
        first = cutter.cut(str(picture))
        absent = cutter.cut(tmp_path / "absent.png")
        again = cutter.cut(picture, tmp_path / "cup.jpg", background="white")
    assert isinstance(first, Result)
    assert isinstance(again, Result)
    assert isinstance(absent, Failure)
    assert absent.kind == "bad_input"
    assert first.run_index == 0 < again.run_index  # the same worker
    assert first.settings.network_size == first.effective["network_size"] == 128
    assert first.output == str(tmp_path / "cup.cutout.png")
    assert (first.total_s > 0, (first.peak_rss_bytes or 0) > 2**20) == (True, True)
    with Image.open(first.output) as image:
        assert (image.mode, image.size) == ("RGBA", (600, 400))
    with Image.open(again.output) as image:
        assert image.mode == "RGB"
    assert not [child for child in psutil.Process().children() if "worker" in str(child.cmdline())]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SettingsError, match="this Cutter is closed"):
        cutter.cut(picture)


@pytest.mark.parametrize(
    ("preset", "overrides", "error", "text"),
    [
        pytest.param("nope", {}, PresetError, "'nope'", id="preset"),
        pytest.param("fastest", {"nope": 1}, SettingsError, "nope", id="knob"),
        pytest.param(None, {"network_size": 100}, SettingsError, "multiple of 32", id="value"),
        pytest.param(
            None, {"engine": "onnxruntime", "batch_size": 4}, SettingsError, "one at a", id="batch"
        ),
    ],
)
def test_misuse_raises_before_any_work(
    preset: str | None, overrides: dict[str, object], error: type[TunerError], text: str
) -> None:
    """Invalid presets and settings raise the same messages as on the command line."""
    with pytest.raises(error, match=text):
        Cutter(preset, **overrides)


@pytest.mark.parametrize(
    ("output", "background", "error", "text"),
    [
        pytest.param("x.bmp", None, OutputError, "x.bmp", id="format"),
        pytest.param("x.jpg", None, OutputError, "no transparency", id="jpeg"),
        pytest.param(str(COFFEE), None, OutputError, "would replace the picture", id="itself"),
        pytest.param("x.png", "puce", SettingsError, "puce", id="colour"),
    ],
)
def test_an_impossible_output_raises_before_any_work(
    output: str, background: str | None, error: type[TunerError], text: str
) -> None:
    """An invalid output or background raises before a worker starts."""
    with Cutter() as cutter, pytest.raises(error, match=text):
        cutter.cut(COFFEE, output, background=background)


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples of the module's docstring and of docs/python.md run."""
    monkeypatch.chdir(tmp_path)
    for name in ("cup.jpg", "lamp.jpg"):
        with Image.open(COFFEE) as image:
            image.convert("RGB").resize((96, 64)).save(name)
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shown = str(api.__doc__).split("\n\n")
    indented = [part for part in shown if part.startswith("    ")]
    docstring = "\n".join(line.removeprefix("    ") for line in "\n".join(indented).splitlines())
    for example in (docstring, *re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        exec(example, {})
    assert capsys.readouterr().out.count("cup.cutout.png ") == 2
