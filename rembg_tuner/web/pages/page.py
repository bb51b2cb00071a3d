"""The page: its parts and how they are laid out; what they do is tied in `events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.pages import events, system_tab, widgets
from rembg_tuner.web.pages.assets import asset_script
from rembg_tuner.web.pages.choices import fill_form, preset_settings
from rembg_tuner.web.pages.compare_tab import add_compare_tab
from rembg_tuner.web.pages.deploy_tab import add_deploy_tab
from rembg_tuner.web.pages.events import Widgets
from rembg_tuner.web.pages.refusals import PageBlocks
from rembg_tuner.web.pages.sweep_tab.events import add_sweep_tab
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.widgets import (
    DETAILS,
    RESULT_SIZES,
    knob_widget,
    language_links,
    page_words,
    preset_choices,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradio.components import Component

    from rembg_tuner.web.pages.handlers import Desk

TITLE = "rembg tuner"
_STORAGE_KEY = "rembg-tuner"  # with the secret fixed, what is stored outlives a restart


def build_page(desk: Desk, *, preset: str, add_api: Callable[[Desk], None]) -> gr.Blocks:
    """Build the page.

    Args:
        desk: the line, the folder and the visitors.
        preset: what a new visitor starts from.
        add_api: adds the endpoint for programs.
    """
    words = page_words()
    page = PageBlocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with page:
        with gr.Row(elem_id="header"):
            gr.HTML(render("wordmark", "en"), elem_id="wordmark")
            gr.HTML(words("tagline"), elem_id="tagline")
            gr.HTML(language_links(), elem_id="languages")
        with gr.Tabs():
            with gr.Tab(words("tab.cut"), id="cut"):
                made = _cut_tab(preset)
            compare = gr.Tab(words("tab.compare"), id="compare")
            sweep = gr.Tab(words("tab.sweep"), id="sweep")
            deploy = gr.Tab(words("tab.deploy"), id="deploy")
            with gr.Tab(words("tab.models"), id="models") as models_tab:
                models = gr.HTML("", js_on_load=asset_script("pick"), elem_id="models")
            with gr.Tab(words("tab.system"), id="system") as system:
                system_tab.add_system_tab(system.select, desk)
        saved = gr.BrowserState(None, storage_key=_STORAGE_KEY, secret=_STORAGE_KEY)
        hidden: dict[str, Any] = {
            "language": gr.Textbox(visible=False),
            "tab": gr.JSON(visible=False),
            "filled": gr.Textbox(preset, visible=False),
            "example": gr.Textbox(visible=False),
        }
        parts = Widgets(**made, **hidden, models=models, saved=saved)
        with compare:
            add_compare_tab(compare.select, desk, parts)
        with sweep:
            budgets = add_sweep_tab(sweep.select, desk, parts)
        with deploy:
            add_deploy_tab(deploy.select, desk, parts, budgets)
        events.tie_events(page, parts, desk, preset=preset)
        events.tie_models(models_tab.select, parts, desk)
        add_api(desk)
    return page


def build_programs_page(desk: Desk, *, add_api: Callable[[Desk], None]) -> gr.Blocks:
    """Build what `--no-ui` serves: the endpoint for programs, and a line that says so."""
    page = PageBlocks(title=TITLE, analytics_enabled=False)
    with page:
        gr.Markdown("rembg tuner serves programs here: see **/cut** under *Use via API* below.")
        add_api(desk)
    return page


def _cut_tab(preset: str) -> dict[str, Any]:
    """Lay the first tab out: left what to do, right what came of it, below the visit's runs."""
    made: dict[str, Any] = {}
    with gr.Row(elem_id="desk"):
        with gr.Column(scale=4, min_width=300, elem_id="todo"):
            made |= _todo(preset)
        with gr.Column(scale=7, min_width=320, elem_id="came"):
            made["viewer"] = gr.HTML(
                None,
                html_template=render("viewer", "en"),
                js_on_load=asset_script("viewer"),
                elem_id="viewer",
            )
            made["result"] = gr.HTML("", js_on_load=asset_script("pick"), elem_id="result")
    made["runs"] = gr.HTML("", js_on_load=asset_script("pick"), elem_id="runs")
    return made


def _todo(preset: str) -> dict[str, Any]:
    """Lay out what to do: picture, preset, two choices, Run, and every knob for who wants them."""
    words = page_words()
    made: dict[str, Any] = {}
    made["picture"] = widgets.picture_input(
        label=words("picture"),
        placeholder=words("picture.placeholder"),
        alt_text=words("picture.alt"),
        sources=["upload", "clipboard"],
        buttons=[],
        height=206,
        elem_id="picture",
    )
    made["picture_note"] = gr.HTML("", elem_id="picture-note")
    made["examples"] = gr.HTML("", js_on_load=asset_script("pick"), elem_id="examples")
    made["preset"] = gr.Dropdown(
        choices=preset_choices(), value=preset, label=words("preset"), elem_id="preset"
    )
    made["preset_note"] = gr.HTML("", elem_id="preset-note")
    made |= _quick_choices(preset)
    with gr.Row(elem_id="buttons"):
        made["run"] = gr.Button(words("run"), variant="primary", elem_id="run")
        made["repeat"] = gr.Button(words("repeat"), elem_id="repeat")
        made["cancel"] = gr.Button(
            words("cancel"), elem_id="cancel", elem_classes=[events.UNUSABLE]
        )
    with gr.Accordion(words("expert"), open=False, elem_id="expert"):
        made["knobs"] = _knobs(preset)
    return made


def _quick_choices(preset: str) -> dict[str, Component]:
    """Make the two choices that matter most: what the network looks at, and what is written."""
    settings = preset_settings(preset)
    return {
        "detail": _side_choice(
            "detail", "detail.info", DETAILS, zero="detail.own", value=settings.network_size
        ),
        "result_size": _side_choice(
            "result_size",
            "result_size.info",
            RESULT_SIZES,
            zero="size.whole",
            value=settings.max_side,
        ),
    }


def _side_choice(
    name: str, info: str, sides: tuple[int, ...], *, zero: str, value: int
) -> Component:
    """Make a choice of sides, px; name, info and what 0 is called are keys of words."""
    words = page_words()
    return gr.Radio(
        [(words(zero) if side == 0 else str(side), side) for side in sides],
        value=value,
        label=words(name),
        info=words(info),
        elem_id=name.replace("_", "-"),
    )


def _knobs(preset: str) -> dict[str, Component]:
    """Make every knob's widget below its group's heading."""
    values = fill_form(preset_settings(preset))
    made: dict[str, Component] = {}
    group = ""
    for name, knob in KNOBS.items():
        if knob.group != group:
            group = knob.group
            gr.HTML(page_words()(f"group.{group}"), elem_classes=["rt-group"])
        made[name] = knob_widget(name, values[name])
    return made
