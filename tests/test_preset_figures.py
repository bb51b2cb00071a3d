"""Measurements of presets on this machine, written by verify and sweep, read by page and CLI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_trial

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.cli.main import main
from rembg_tuner.cli.sweep import _keep_preset_figures
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.timings import PresetFigures, find_figures, note_figures
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.choices import preset_settings
from rembg_tuner.web.pages.cut_tab.form import show_note
from rembg_tuner.web.pages.visitors import Visitor

FIGURES = PresetFigures(
    time_s=0.0444,
    low_s=0.04,
    high_s=0.05,
    small_time_s=0.0666,
    peak_bytes=123 * MIB,
    n=7,
    is_of_bench=True,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without measurements."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path / "cache"))


def note_of(preset: str, language: str) -> str:
    """Return the note under a preset on the page."""
    return show_note(Visitor(language=language), preset, preset_settings(preset).to_dict())


def test_figures_are_of_a_setting_on_a_machine() -> None:
    """`auto` and its resolved value share figures; other settings, CPUs or sides do not."""
    machine, settings = read_machine(), preset_settings("fastest")
    assert find_figures(settings, machine) is None
    note_figures(settings, machine, FIGURES)
    found = find_figures(settings, machine)
    assert found is not None
    assert replace(found, date="") == FIGURES
    assert found.date[:2] == "20"
    assert find_figures(replace(settings, max_side=500), machine) is None
    assert find_figures(replace(settings, network_size=256), machine) is None
    assert find_figures(settings, replace(machine, cpu="another")) is None
    assert find_figures(Settings(model="/nowhere.onnx"), machine) is None
    note_figures(settings, machine, replace(FIGURES, time_s=9.0, is_of_bench=False))
    again = find_figures(settings, machine)
    assert again is not None
    assert again.time_s == 0.0444  # figures at 1080p take precedence over the user's pictures


@pytest.mark.parametrize(
    ("language", "said", "own"),
    [
        (
            "en",
            "44 ms, 123 MiB at 1080p, measured on this machine on 20",
            "123 MiB on its operator&#39;s pictures, measured on this machine",
        ),
        ("zh-CN", "1080p：44 ms，123 MiB，20", "运营者自己的图片：44 ms，123 MiB"),
    ],
)
def test_the_page_shows_them_as_soon_as_there_are_any(language: str, said: str, own: str) -> None:
    """The page shows the recorded figures with their CPU first, and later this machine's."""
    before = note_of("fastest", language)
    assert "75 ms" in before
    assert "Intel(R) Xeon(R) Processor" in before
    settings = preset_settings("fastest")
    note_figures(settings, read_machine(), replace(FIGURES, is_of_bench=False, small_time_s=None))
    assert own in note_of("fastest", language)
    note_figures(settings, read_machine(), FIGURES)
    after = note_of("fastest", language)
    assert said in after
    assert "67 ms" in after  # with the small subject
    assert "75 ms" not in after


def test_presets_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The command shows them beside the recorded figures, also in JSON."""
    assert main(["presets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fastest"]["measured_here"] is None
    note_figures(preset_settings("fastest"), read_machine(), FIGURES)
    assert main(["presets"]) == 0
    said = capsys.readouterr().out
    assert (
        "    on this machine, 1080p JPEG to PNG: median 0.044 s (n = 7), peak 123 MiB; 20" in said
    )
    assert "    on this machine, small subject: median 0.067 s" in said
    assert main(["presets", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fastest"]["measured_here"]["peak_bytes"] == 123 * MIB
    assert found["smallest"]["measured_here"] is None


def test_a_sweep_leaves_the_figures_of_its_presets() -> None:
    """A sweep records the figures of settings whose resolved values equal a preset's.

    Trials that ran under load, or were measured before, are excluded.
    """
    settings, machine = preset_settings("fastest"), read_machine()
    trial = replace(make_trial(0, 100, 0.2, 0.9), settings=settings)
    busy = replace(trial, warnings=(Message("the machine was busy", code="machine_busy"),))
    _keep_preset_figures(
        [busy, replace(trial, was_measured_before=True), make_trial(1, 90, 0.1, 0.9)]
    )
    assert find_figures(settings, machine) is None
    assert find_figures(make_trial(1, 90, 0.1, 0.9).settings, machine) is None
    _keep_preset_figures([trial])
    found = find_figures(settings, machine)
    assert found is not None
    assert (found.time_s, found.peak_bytes, found.is_of_bench) == (0.2, 100 * MIB, False)
