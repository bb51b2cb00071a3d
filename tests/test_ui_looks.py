"""Focus on the page: the note about a small subject, its button, and the knobs of focus."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from test_ui_visit import RESULT, turn

from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.choices import fill_form, form_settings, machine_here
from rembg_tuner.web.pages.cut_tab.rendering import show_focus
from rembg_tuner.web.pages.cut_tab.runs import RunEvents
from rembg_tuner.web.pages.sweep_tab.layout import read_axes
from rembg_tuner.web.pages.visit import Visit
from rembg_tuner.web.pages.visitors import Visitor
from rembg_tuner.web.pages.widgets import grey_updates, knob_updates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.web.pages.choices import Form
    from rembg_tuner.web.pages.visit import Turn

OFF = Settings(engine="openvino")
AUTO = replace(OFF, focus="auto")
BOX = replace(OFF, focus="box", focus_box="10%,5%,50%,80%")


def looked(settings: Settings, *, share: float | None, passes: int = 1) -> Turn:
    """Return a run whose first pass found a box of this share."""
    box = None if share is None else [1, 2, 30, 40]
    focus = {"passes": passes, "box": box, "share": share}
    result = replace(RESULT, settings=settings, effective={**RESULT.effective, "focus": focus})
    return replace(turn(result), number=7, settings=settings)


def note_of(one: Turn, language: str = "en") -> str:
    """Return the HTML of the note of a run."""
    assert one.typical is not None
    return show_focus(one, one.typical, language)


@pytest.mark.parametrize(
    ("language", "note"),
    [
        pytest.param("en", "The subject&#39;s box fills 9 % of the picture · ", id="en"),
        pytest.param("zh-CN", "主体框占图片的 9 % · ", id="zh"),
    ],
)
def test_a_small_subject_has_a_button_that_runs_again(language: str, note: str) -> None:
    """With focus off, the first matte determines the share."""
    html = note_of(looked(OFF, share=0.0914), language)
    assert note in html
    assert '<button type="button" data-focus="7">' in html


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(looked(OFF, share=0.21), id="above-the-cap"),
        pytest.param(looked(AUTO, share=0.21), id="auto-above-the-cap"),
        pytest.param(looked(replace(AUTO, focus_max_share=0.05), share=0.09), id="own-cap"),
        pytest.param(looked(OFF, share=None), id="nothing-seen"),
        pytest.param(looked(AUTO, share=0.1), id="too-many-subjects"),
        pytest.param(turn(RESULT), id="engine-without-focus"),
    ],
)
def test_other_results_have_no_note(one: Turn) -> None:
    """The subject is not small, or its share is unknown."""
    assert note_of(one) == ""


def test_a_large_network_has_no_button() -> None:
    """Focus was not measured with networks of 1024 px."""
    models = machine_here().large_models
    assert models
    for model in models:
        assert note_of(looked(replace(OFF, model=model), share=0.1)) == ""


@pytest.mark.parametrize(
    ("one", "note"),
    [
        pytest.param(looked(AUTO, share=0.09, passes=2), "Looked twice: the", id="twice"),
        pytest.param(looked(AUTO, share=0.09, passes=3), "Looked three times: the", id="thrice"),
        pytest.param(looked(AUTO, share=0.004, passes=5), "Looked 5 times: the", id="more"),
        pytest.param(
            looked(BOX, share=0.4), "Looked at the box 10%,5%,50%,80% alone: 40 %", id="box"
        ),
    ],
)
def test_what_focus_did_is_told(one: Turn, note: str) -> None:
    """The note reports the passes and has no button."""
    assert note in note_of(one)
    assert "<button" not in note_of(one)


def test_the_button_runs_the_same_picture_with_focus_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has the settings of the earlier run, which the form then shows."""
    asked: list[tuple[str | None, str, Settings]] = []

    async def run(
        _self: RunEvents, _visitor: Visitor, picture: str | None, preset: str, form: Form
    ) -> AsyncGenerator[dict[str, Any], None]:
        asked.append((picture, preset, form_settings(preset, form)[0]))
        yield {"result": "done"}

    monkeypatch.setattr(RunEvents, "run", run)
    settings = replace(OFF, network_size=256, max_side=768)
    first = replace(looked(settings, share=0.09), preset="fastest")
    visitor = Visitor(language="en", visit=Visit().add(first))
    desk = cast("Any", None)  # run is replaced, so the desk is not used

    async def press(number: int) -> list[dict[str, Any]]:
        return [
            shown async for shown in RunEvents(desk).run_with_focus(visitor, {"focus": str(number)})
        ]

    shown = asyncio.run(press(1))
    assert asked == [(first.picture_path, "fastest", replace(settings, focus="auto"))]
    assert shown[0]["preset"] == shown[0]["filled"] == "fastest"
    assert shown[0]["knobs"]["focus"]["value"] == "auto"
    assert shown[1] == {"result": "done"}
    assert asyncio.run(press(2)) == []


@pytest.mark.parametrize(
    ("settings", "box", "share"),
    [
        pytest.param(OFF, "used where focus is box", "used where focus is auto", id="off"),
        pytest.param(AUTO, "used where focus is box", None, id="auto"),
        pytest.param(BOX, None, "used where focus is auto", id="box"),
        pytest.param(Settings(engine="rembg"), "does not support", "does not support", id="rembg"),
    ],
)
def test_knobs_that_focus_does_not_use_are_greyed(
    settings: Settings, box: str | None, share: str | None
) -> None:
    """The reason is shown when settings are filled in and when the form changes."""
    engine, focus = settings.engine, settings.focus
    for updates in (
        knob_updates(settings, "en"),
        grey_updates(engine, settings.model, focus, "en", None, resets=False),
    ):
        for name, reason in (("focus_box", box), ("focus_max_share", share)):
            assert updates[name]["interactive"] is (reason is None)
            assert reason is None or reason in updates[name]["info"]
    assert knob_updates(settings, "en")["focus"]["interactive"] is (engine != "rembg")


def test_a_greyed_knob_is_not_looked_at() -> None:
    """A typed box remains in the form and is used only with focus box."""
    form = {**fill_form(OFF), "focus_box": "10%,5%,50%,80%", "focus_max_share": 0.1}
    for focus, box, share in (
        ("off", None, 0.2),
        ("auto", None, 0.1),
        ("box", "10%,5%,50%,80%", 0.2),
    ):
        settings, _ = form_settings("fastest", {**form, "focus": focus})
        assert (settings.focus, settings.focus_box) == (focus, box)
        assert settings.focus_max_share == share


def test_off_is_a_word_where_the_axis_is_no_switch() -> None:
    """Focus off is a choice, while a switch's off is false."""
    axes = read_axes({"focus": ["off", "auto"], "spinning": ["off", "on"], "model": []})
    assert axes == {"focus": ("off", "auto"), "spinning": (False, True)}
