"""The tab that compares: its parts, and what ties them to their handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import TunerError
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.article import ARTICLE_ROWS, OUR_ROWS
from rembg_tuner.web.pages.assets import long_task_script
from rembg_tuner.web.pages.choices import chosen_settings, preset_settings
from rembg_tuner.web.pages.events import QUIET, begin_buttons, end_buttons, tie_redrawing
from rembg_tuner.web.pages.handlers import example_of
from rembg_tuner.web.pages.study_handlers import Held, StudyHandlers, over_earlier, refuse_absent
from rembg_tuner.web.pages.widgets import held_choices, page_words, preset_choices

if TYPE_CHECKING:
    from rembg_tuner.web.pages.events import Widgets
    from rembg_tuner.web.pages.handlers import Desk

_COMPARED = ("balanced", "fastest", "smallest", "edge")


def add_compare_tab(opened: Any, desk: Desk, parts: Widgets) -> None:
    """Lay the tab out, left what to compare, right what came of it; and tie it.

    Args:
        opened: the event of the tab's being opened.
        desk: with the visitors.
        parts: the first tab's, whose picture and form are used.
    """
    words, handlers = page_words(), StudyHandlers(desk)
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("compare.lead"), elem_classes=["rt-lead"])
            presets = gr.CheckboxGroup(
                choices=preset_choices(),
                value=list(_COMPARED),
                label=words("compare.presets"),
                elem_id="compared",
                elem_classes=["rt-chips"],
            )
            own = gr.Checkbox(value=False, label=words("compare.own"), elem_id="compare-own")
            held = gr.Dropdown(
                held_choices("compare.held.first"),
                value="",
                label=words("held.label"),
                info=words("held.info"),
                elem_id="compare-held",
            )
            mask = gr.File(
                file_types=["image"],
                type="filepath",
                label=words("compare.mask"),
                height=92,
                elem_id="compare-mask",
                elem_classes=["rt-drop"],
            )
            with gr.Row(elem_classes=["rt-buttons"]):
                go = gr.Button(words("compare.run"), variant="primary", elem_id="compare-run")
                stop = gr.Button(words("sweep.stop"), interactive=False, elem_id="compare-stop")
            article = gr.Button(words("compare.article"), elem_id="compare-article", size="sm")
        with gr.Column(scale=7, min_width=320):
            shown = gr.HTML(
                words("compare.empty"), js_on_load=long_task_script(), elem_id="comparison"
            )

    async def compare(
        request: gr.Request, picture: str | None, names: list[str], *rest: Any
    ) -> AsyncIterator[str]:
        try:
            refuse_absent(names)
        except TunerError as error:
            visitor = desk.visitors.of(request)
            yield over_earlier(error, handlers.comparison(visitor), visitor.language)
            return
        async for html in compare_all(request, picture, names, *rest):
            yield html

    async def compare_all(
        request: gr.Request, picture: str | None, names: list[str], *rest: Any
    ) -> AsyncIterator[str]:
        visitor = desk.visitors.of(request)
        mine, held_by, file, preset, *values = rest
        form = dict(zip(KNOBS, values, strict=True))
        try:
            settings = chosen_settings(preset, form)[0] if mine else None
        except TunerError as error:
            yield over_earlier(error, handlers.comparison(visitor), visitor.language)
            return
        trusted = Held(name=held_by or "", mask=file)
        async for html in handlers.compare(
            visitor, picture or example_of(desk), names, settings, trusted
        ):
            yield html

    def end(request: gr.Request) -> None:
        desk.visitors.of(request).stop_comparing()

    asked = [parts.picture, presets, own, held, mask, parts.preset, *parts.knobs.values()]
    running: dict[str, Any] = {"concurrency_limit": None, **QUIET}
    begin_buttons([go.click, article.click], stop, [go, article])
    begun = go.click(compare, asked, shown, **running)
    begun_article = article.click(
        _choose_article, None, [presets, held], queue=False, **QUIET
    ).then(compare_all, asked, shown, **running)
    end_buttons([begun, begun_article], stop, [go, article])
    stop.click(end, None, None, queue=False, **QUIET)
    tie_redrawing(opened, shown, desk, "compare", handlers.comparison)
    opened(_offer, None, [presets, held], queue=False, **QUIET)


def _offer() -> tuple[Any, Any]:
    """Return updates that say which presets and models are here by now."""
    return gr.update(choices=preset_choices()), gr.update(
        choices=held_choices("compare.held.first")
    )


def _choose_article() -> tuple[list[str], str]:
    """Choose the article's presets and ours.

    U2net's matte is what they are held against, if it is here.

    A row whose model is not here says so, and how to get it.
    """
    first = ARTICLE_ROWS[0]
    entry = read_catalogue().get(preset_settings(first).model)
    is_here = entry is not None and entry.find() is not None
    return [*ARTICLE_ROWS, *OUR_ROWS], "" if is_here else ARTICLE_ROWS[1]
