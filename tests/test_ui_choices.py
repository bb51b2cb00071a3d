"""The settings that a visitor's form allows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.errors import PictureError, PresetError, SettingsError
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.settings import KNOBS, Settings
from rembg_tuner.web.pages.choices import (
    LIMITS,
    fill_form,
    form_settings,
    max_pixels_of,
    parse_form,
    preset_settings,
    visitor_settings,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("preset", read_presets())
def test_an_untouched_form_is_its_preset(preset: str) -> None:
    """Every preset passes through the form unchanged."""
    settings = preset_settings(preset)
    assert form_settings(preset, dict(fill_form(settings)))[0] == settings


@given(
    st.builds(
        Settings,
        engine=st.just("onnxruntime"),
        network_size=st.sampled_from([0, 64, 320, 1024]),
        max_side=st.sampled_from([0, 64, 512]),
        intra_op_threads=st.integers(0, 16),
        cpu_mem_arena=st.booleans(),
        mem_pattern=st.booleans(),
        spinning=st.booleans(),
        timeout_s=st.floats(0.5, 60),
        memory_limit_bytes=st.none() | st.integers(1, 4000).map(lambda mib: mib * MIB),
    )
)
def test_a_form_holds_any_settings(settings: Settings) -> None:
    """The form returns the settings that it was filled with."""
    assert parse_form(dict(fill_form(settings))) == settings.to_dict()
    assert form_settings("balanced", dict(fill_form(settings)))[0] == settings


def test_a_greyed_knob_is_not_looked_at() -> None:
    """The value of a knob that the engine does not support is ignored."""
    form = dict(fill_form(preset_settings("balanced"))) | {"cpu_mem_arena": False}
    assert form_settings("balanced", form)[0].cpu_mem_arena is True


def test_numbers_as_a_browser_sends_them() -> None:
    """Whole floats become integers, an empty field the default, a fraction of a thread an error."""
    form = dict(fill_form(preset_settings("balanced")))
    changed = form | {
        "max_side": 512.0,
        "timeout_s": 5,
        "memory_limit_bytes": 1000,
        "intra_op_threads": None,
    }
    settings, _ = form_settings("balanced", changed)
    assert (settings.max_side, settings.timeout_s, settings.intra_op_threads) == (512, 5.0, 0)
    assert settings.memory_limit_bytes == 1000 * MIB
    with pytest.raises(SettingsError, match=r"intra_op_threads must be a whole number, got 1\.5"):
        form_settings("balanced", form | {"intra_op_threads": 1.5})


@pytest.mark.parametrize(
    ("given_knobs", "message"),
    [
        pytest.param({"model": "/etc/passwd"}, "model must be one of u2netp", id="path"),
        pytest.param({"model": "../../secret.onnx"}, "model must be one of", id="relative"),
        pytest.param({"model": 3}, "model must be one of", id="number"),
        pytest.param(
            {"network_size": 2048},
            "network_size must be at most 1024 px on this page, got 2048",
            id="size",
        ),
        pytest.param(
            {"intra_op_threads": 200}, "intra_op_threads must be at most 16 threads", id="threads"
        ),
        pytest.param(
            {"timeout_s": 3600.0},
            "timeout_s must be at most 60 s on this page, got 3600",
            id="deadline",
        ),
        pytest.param(
            {"memory_limit_bytes": 2**49},
            "memory_limit_bytes must be at most",
            id="memory",
        ),
        pytest.param({"wings": 2}, "'wings' is not a setting", id="unknown"),
        pytest.param(
            {"cpu_mem_arena": False},
            "engine openvino does not support cpu_mem_arena",
            id="unhonoured",
        ),
    ],
)
def test_what_a_visitor_may_not_ask_is_refused(
    given_knobs: dict[str, object], message: str
) -> None:
    """The error has the given value and the allowed ones."""
    with pytest.raises(SettingsError) as caught:
        visitor_settings("balanced", given_knobs)
    assert message in str(caught.value)


def test_an_unknown_preset_is_refused() -> None:
    """The error has the name and the known presets."""
    with pytest.raises(PresetError, match="there is no preset 'x'; the presets are balanced"):
        visitor_settings("x", {})


@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOBS)),
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    )
)
def test_any_form_is_settings_or_a_sentence(form: dict[str, object]) -> None:
    """Invalid input raises SettingsError and no other exception."""
    try:
        settings, _ = form_settings("balanced", form)
    except SettingsError:
        return
    assert settings.timeout_s <= LIMITS.timeout_s


def test_the_pixel_limit_is_the_formats(tmp_path: Path) -> None:
    """The limit is higher for formats that are read in strips than for others.

    A file that is not a picture is rejected by its name.
    """
    assert max_pixels_of(ROOT / "examples" / "coffee.png") == LIMITS.strip_pixels
    gif = tmp_path / "a.gif"
    gif.write_bytes(b"GIF89a" + bytes(60))
    assert max_pixels_of(gif) == LIMITS.whole_pixels
    text = tmp_path / "notes.jpg"
    text.write_text("nothing", encoding="utf-8")
    with pytest.raises(PictureError) as caught:
        max_pixels_of(text)
    assert str(caught.value).startswith("notes.jpg is not a picture")
