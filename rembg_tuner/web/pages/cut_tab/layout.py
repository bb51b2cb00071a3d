"""The layout of the Cut out tab: the form, the viewer, the result and the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.pages.assets import asset_script
from rembg_tuner.web.pages.choices import fill_form, preset_settings
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.widgets import (
    DETAILS,
    RESULT_SIZES,
    knob_widget,
    page_words,
    picture_input,
    preset_choices,
)

if TYPE_CHECKING:
    from gradio.components import Component

UNUSABLE = "rt-off"  # CSS class of a disabled button


@dataclass(frozen=True, slots=True, kw_only=True)
class CutWidgets:
    """The widgets of the tab that events read and write.

    Attributes:
        saved: the form of the last visit, stored in the browser.
        filled: hidden; the preset that last filled the form.
        example: hidden; an example that was pressed but is not yet the picture.
        language, tab: hidden; the browser sends them when the page is loaded.
    """

    picture: Any
    picture_note: Any
    examples: Any
    preset: Any
    preset_note: Any
    detail: Any
    result_size: Any
    run: Any
    repeat: Any
    cancel: Any
    knobs: dict[str, Any]
    viewer: Any
    result: Any
    runs: Any
    saved: Any
    filled: Any
    example: Any
    language: Any
    tab: Any

    def named(self, *names: str) -> dict[str, Any]:
        """Return widgets by name; `buttons` is the group of the run's buttons."""
        buttons = {"run": self.run, "repeat": self.repeat, "cancel": self.cancel}
        return {name: buttons if name == "buttons" else getattr(self, name) for name in names}


def lay_out_tab(preset: str, *, storage_key: str) -> CutWidgets:
    """Create the widgets of the tab.

    Args:
        preset: the preset that fills the form.
        storage_key: key and secret of the form in the browser; the secret is fixed, so that the
            form can be read after a restart of the server.
    """
    pick = asset_script("pick")
    made: dict[str, Any] = {}
    with gr.Row(elem_id="desk"):
        with gr.Column(scale=4, min_width=300, elem_id="todo"):
            made |= _picture(pick)
            made |= _form(preset)
        with gr.Column(scale=7, min_width=320, elem_id="came"):
            made["viewer"] = gr.HTML(
                None,
                html_template=render("viewer", "en"),
                js_on_load=asset_script("viewer"),
                elem_id="viewer",
            )
            made["result"] = gr.HTML("", js_on_load=pick, elem_id="result")
    return CutWidgets(
        **made,
        runs=gr.HTML("", js_on_load=pick, elem_id="runs"),
        saved=gr.BrowserState(None, storage_key=storage_key, secret=storage_key),
        filled=gr.Textbox(preset, visible=False),
        example=gr.Textbox(visible=False),
        language=gr.Textbox(visible=False),
        tab=gr.JSON(visible=False),
    )


def _picture(pick: str) -> dict[str, Any]:
    """Lay out the picture and the examples."""
    words = page_words()
    return {
        "picture": picture_input(
            label=words("picture"),
            placeholder=words("picture.placeholder"),
            alt_text=words("picture.alt"),
            sources=["upload", "clipboard"],
            buttons=[],
            height=206,
            elem_id="picture",
        ),
        "picture_note": gr.HTML("", elem_id="picture-note"),
        "examples": gr.HTML("", js_on_load=pick, elem_id="examples"),
    }


def _form(preset: str) -> dict[str, Any]:
    """Lay out the preset, the two quick choices, the buttons and all knobs."""
    words, settings = page_words(), preset_settings(preset)
    made: dict[str, Any] = {
        "preset": gr.Dropdown(
            choices=preset_choices(), value=preset, label=words("preset"), elem_id="preset"
        ),
        "preset_note": gr.HTML("", elem_id="preset-note"),
        "detail": _side_choice(
            ("detail", "detail.info", "detail.own"), DETAILS, settings.network_size
        ),
        "result_size": _side_choice(
            ("result_size", "result_size.info", "size.whole"), RESULT_SIZES, settings.max_side
        ),
    }
    with gr.Row(elem_id="buttons"):
        made["run"] = gr.Button(words("run"), variant="primary", elem_id="run")
        made["repeat"] = gr.Button(words("repeat"), elem_id="repeat")
        made["cancel"] = gr.Button(words("cancel"), elem_id="cancel", elem_classes=[UNUSABLE])
    with gr.Accordion(words("expert"), open=False, elem_id="expert"):
        made["knobs"] = _knobs(fill_form(settings))
    return made


def _side_choice(ids: tuple[str, str, str], sides: tuple[int, ...], value: int) -> Component:
    """Create a choice of sides, px.

    Args:
        ids: the ids of the texts for the label, the note and the side 0.
        sides: the choices.
        value: the chosen side.
    """
    words = page_words()
    label, info, zero = ids
    return gr.Radio(
        [(words(zero) if side == 0 else str(side), side) for side in sides],
        value=value,
        label=words(label),
        info=words(info),
        elem_id=label.replace("_", "-"),
    )


def _knobs(values: dict[str, Any]) -> dict[str, Component]:
    """Create the widget of every knob, below the heading of its group."""
    made: dict[str, Component] = {}
    group = ""
    for name, knob in KNOBS.items():
        if knob.group != group:
            group = knob.group
            gr.HTML(page_words()(f"group.{group}"), elem_classes=["rt-group"])
        made[name] = knob_widget(name, values[name])
    return made
