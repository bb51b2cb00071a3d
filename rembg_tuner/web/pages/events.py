"""Which of the page's parts each event reads and writes; what happens is the handlers' business."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable  # Gradio reads annotations at run time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.arrival import Arrival, Browser
from rembg_tuner.web.pages.choices import fill_form, preset_settings
from rembg_tuner.web.pages.handlers import EXAMPLES, REPEAT, Handlers
from rembg_tuner.web.pages.picture_handlers import PictureHandlers
from rembg_tuner.web.pages.widgets import DETAILS, RESULT_SIZES

if TYPE_CHECKING:
    from rembg_tuner.web.pages.handlers import Desk, Shown

UNUSABLE = "rt-off"  # a button's class
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
Updates = dict[Component, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Widgets:
    """The parts of the page that events read and write.

    Attributes:
        tab: hidden; what a tab tells of itself when the page is loaded.
        filled: hidden; the preset whose values the form was filled with last.
        example: hidden; an example that was pressed and is not yet the picture.
    """

    picture: Any
    examples: Any
    preset: Any
    preset_note: Any
    detail: Any
    result_size: Any
    run: Any
    cancel: Any
    repeat: Any
    knobs: dict[str, Any]
    viewer: Any
    result: Any
    runs: Any
    models: Any
    saved: Any
    language: Any
    tab: Any
    filled: Any
    example: Any
    picture_note: Any

    def updates(self, shown: Shown) -> Updates:
        """Tie what handlers show, by name, to the widgets."""
        updates: Updates = {}
        for name, value in shown.items():
            if name == "buttons":
                is_running = value == "running"
                updates[self.run] = updates[self.repeat] = _usable(not is_running)
                updates[self.cancel] = _usable(is_running)
            elif name == "knobs":
                updates |= {self.knobs[knob]: update for knob, update in value.items()}
            elif name != "warning":
                updates[getattr(self, name)] = value
        return updates or {self.result: gr.skip()}


def _usable(is_usable: bool) -> Any:
    """Grey a button or free it. A disabled one would lose the keyboard's focus, so page.js does it by a class."""
    return gr.update(elem_classes=[] if is_usable else [UNUSABLE])


def tie_events(page: gr.Blocks, parts: Widgets, desk: Desk, *, preset: str) -> None:
    """Tie every event of the first tab."""
    handlers, arrival = Handlers(desk), Arrival(desk, preset=preset)
    _tie_arrival(page, parts, arrival)
    _tie_form(parts, arrival)
    _tie_storage(parts)
    _tie_run(parts, handlers)
    _tie_turns(parts, handlers)
    _tie_picture(parts, PictureHandlers(desk))


def tie_models(opened: Any, parts: Widgets, desk: Desk) -> None:
    """Tie the tab of the models: look, get, stop."""
    handlers = Handlers(desk)

    async def look(request: gr.Request) -> AsyncIterator[Updates]:
        async for shown in handlers.follow_downloads(desk.visitors.of(request)):
            yield parts.updates(shown)

    async def get(request: gr.Request, event: gr.EventData) -> AsyncIterator[Updates]:
        visitor, chosen = desk.visitors.of(request), content_of(event)
        handlers.change_download(start=chosen.get("get"), stop=chosen.get("stop"))
        async for shown in handlers.follow_downloads(visitor):
            yield parts.updates(shown)

    outputs = [parts.models, parts.preset, *parts.knobs.values()]
    opened(look, None, outputs, concurrency_limit=None, **QUIET)
    # "once", the default, would drop a Stop while the Get before it is still being followed.
    parts.models.select(
        get, None, outputs, concurrency_limit=None, trigger_mode="multiple", **QUIET
    )


def _tie_arrival(page: gr.Blocks, parts: Widgets, arrival: Arrival) -> None:
    """Greet a visitor in their language, with their last settings."""

    def load(request: gr.Request, saved: object, language: str, tab: object) -> Updates:
        told = tab if isinstance(tab, dict) else {}
        visitor = arrival.desk.visitors.resume(request, told.get("token"))
        visitor.has_masks = told.get("masks") is True
        browser = Browser(saved=saved, language=language, had_runs=told.get("hadRuns") is True)
        return parts.updates(arrival.greet(visitor, browser, request.query_params.get("preset")))

    page.load(
        load,
        [parts.saved, parts.language, parts.tab],
        [
            *(parts.preset, parts.filled, parts.preset_note, parts.examples, parts.picture),
            *(parts.viewer, parts.result, parts.runs, *parts.knobs.values()),
        ],
        js=(
            "(saved) => [saved, document.documentElement.lang || navigator.language,"
            " window.rembgTuner.tab()]"
        ),
        queue=False,
        **QUIET,
    )


def _tie_form(parts: Widgets, arrival: Arrival) -> None:
    """Keep preset, quick choices and knobs in step."""
    knobs, visitors = parts.knobs, arrival.desk.visitors
    everything = list(knobs.values())

    def choose_preset(request: gr.Request, preset: str) -> Updates:
        return parts.updates(arrival.choose_preset(visitors.of(request), preset))

    def change_engine(request: gr.Request, engine: str, model: str, focus: str) -> Updates:
        return parts.updates(arrival.change_engine(visitors.of(request), engine, model, focus))

    def take_engine(request: gr.Request, engine: str, model: str, focus: str) -> Updates:
        visitor = visitors.of(request)
        return parts.updates(arrival.change_engine(visitor, engine, model, focus, resets=True))

    def note(request: gr.Request, preset: str, *values: object) -> str:
        form = dict(zip(KNOBS, values, strict=True))
        return arrival.note(visitors.of(request), preset, form)

    # The browser fills the form in by itself, so that Run never finds another preset's values in
    # it.
    values = {name: fill_form(preset_settings(name)) for name in read_presets()}
    filled = {name: [values[name][knob] for knob in KNOBS] for name in values}
    form = [parts.preset, *everything]
    fill = f"(preset, ...now) => window.rembgTuner.fill(({json.dumps(filled)})[preset], now)"
    fills = parts.preset.input(None, form, everything, js=fill, **QUIET)
    # Marked as filled only then: until that, Run takes the preset's own values.
    fills.then(None, parts.preset, parts.filled, js="(preset) => preset", **QUIET)
    told = parts.preset.input(
        choose_preset,
        parts.preset,
        [parts.preset, parts.preset_note, *everything],
        queue=False,
        **QUIET,
    )
    settle = "(preset, filled, ...now) => window.rembgTuner.settle(preset, filled, now)"
    told.then(
        None,
        [parts.preset, parts.filled, *everything],
        [parts.filled, *everything],
        js=settle,
        **QUIET,
    )
    greying = [knobs["engine"], knobs["model"], knobs["focus"]]
    gr.on(
        [widget.change for widget in greying],
        change_engine,
        greying,
        everything,
        queue=False,
        **QUIET,
    )
    # Values are put back only after the visitor's own choice: a preset's, which fills in the whole
    # form, would be overwritten by the answer to its first half.
    knobs["engine"].input(take_engine, greying, everything, queue=False, **QUIET)
    for quick, name, choices in (
        (parts.detail, "network_size", DETAILS),
        (parts.result_size, "max_side", RESULT_SIZES),
    ):
        quick.input(None, quick, knobs[name], js="(side) => side", **QUIET)
        to_quick = f"(side) => {json.dumps(choices)}.includes(side ?? 0) ? (side ?? 0) : null"
        knobs[name].change(None, knobs[name], quick, js=to_quick, **QUIET)
    gr.on(
        [widget.change for widget in everything],
        note,
        [parts.preset, *everything],
        parts.preset_note,
        trigger_mode="always_last",
        queue=False,
        **QUIET,
    )


def _tie_storage(parts: Widgets) -> None:
    """Keep the form in the visitor's browser; the server is not asked."""
    names = json.dumps(list(KNOBS))
    store = (
        f"(preset, ...values) => ({{preset, knobs: Object.fromEntries({names}.map((name, i) =>"
        " [name, values[i]]))})"
    )
    widgets = [parts.preset, *parts.knobs.values()]
    gr.on([widget.change for widget in widgets], None, widgets, parts.saved, js=store, **QUIET)


def _tie_run(parts: Widgets, handlers: Handlers) -> None:
    """Tie Run, Repeat and Cancel."""
    visitors = handlers.desk.visitors
    inputs = [parts.picture, parts.example, parts.filled, parts.preset, *parts.knobs.values()]
    # An example that was pressed a moment ago may not be the picture yet.
    with_example = "(picture, example, ...form) => [picture, window.rembgTuner.example, ...form]"
    outputs = [parts.run, parts.repeat, parts.cancel, parts.viewer, parts.result, parts.runs]

    def runner_of(repeat: int) -> Callable[..., AsyncIterator[Updates]]:
        async def run(
            request: gr.Request,
            picture: str | None,
            example: str,
            filled: str,
            preset: str,
            *values: object,
        ) -> AsyncIterator[Updates]:
            # Where the form still has another preset's values, the preset's own are run.
            form = dict(zip(KNOBS, values, strict=True)) if filled == preset else {}
            if example in EXAMPLES:
                picture = handlers.example(example)
            shown = handlers.run(visitors.of(request), picture, preset, form, repeat=repeat)
            try:
                async for update in shown:
                    yield parts.updates(update)
                yield parts.updates(
                    {}
                )  # Gradio sends the last one twice: late, it would undo what came after
            finally:
                await shown.aclose()

        return run

    async def look_again(request: gr.Request, event: gr.EventData) -> AsyncIterator[Updates]:
        number = number_of(content_of(event).get("focus"))
        shown = handlers.look_again(visitors.of(request), number)
        try:
            async for update in shown:
                yield parts.updates(update)
            yield parts.updates({})
        finally:
            await shown.aclose()

    def reset(request: gr.Request) -> Updates:
        return parts.updates(handlers.unforeseen(visitors.of(request)))

    def cancel(request: gr.Request) -> None:
        handlers.cancel(visitors.of(request))

    for button, repeat in ((parts.run, 1), (parts.repeat, REPEAT)):
        # The line bounds who waits and who runs; a visitor who waits costs no thread.
        event = button.click(
            runner_of(repeat), inputs, outputs, js=with_example, concurrency_limit=None, **QUIET
        )
        event.failure(reset, None, outputs, queue=False, **QUIET)
    form = [parts.preset, parts.filled, *parts.knobs.values()]
    again = parts.result.select(
        look_again, None, [*outputs, *form], concurrency_limit=None, **QUIET
    )
    again.failure(reset, None, outputs, queue=False, **QUIET)
    parts.cancel.click(cancel, None, None, queue=False, **QUIET)


def _tie_turns(parts: Widgets, handlers: Handlers) -> None:
    """Tie the table of runs, the viewer's backdrops and the examples."""
    visitors = handlers.desk.visitors

    def pick(request: gr.Request, event: gr.EventData) -> Updates:
        visitor, chosen = visitors.of(request), content_of(event)
        if "pin" in chosen:
            return parts.updates(handlers.pin(visitor, number_of(chosen["pin"])))
        return parts.updates(handlers.pick(visitor, number_of(chosen.get("show"))))

    async def change_backdrop(request: gr.Request, event: gr.EventData) -> AsyncIterator[Updates]:
        visitor, chosen = visitors.of(request), content_of(event)
        number, backdrop = number_of(chosen.get("turn")), str(chosen.get("backdrop", ""))
        shown = handlers.change_backdrop(visitor, number, backdrop)
        try:
            async for update in shown:
                if "warning" in update:
                    gr.Warning(message_text(update["warning"], visitor.language))
                yield parts.updates(update)
            yield parts.updates({})
        finally:
            await shown.aclose()

    everything = [
        parts.preset,
        parts.filled,
        parts.preset_note,
        parts.picture,
        parts.picture_note,
        *parts.knobs.values(),
    ]
    parts.runs.select(
        pick, None, [parts.viewer, parts.result, parts.runs, *everything], queue=False, **QUIET
    )
    parts.viewer.select(
        change_backdrop, None, [parts.viewer, parts.result], concurrency_limit=None, **QUIET
    )


def _tie_picture(parts: Widgets, pictures: PictureHandlers) -> None:
    """Tie the picture: what is chosen is checked, and shown in the place of the result before it."""
    visitors = pictures.desk.visitors

    async def choose(request: gr.Request, picture: str | None) -> AsyncIterator[Updates]:
        async for shown in pictures.choose(visitors.of(request), picture):
            yield parts.updates(shown)
        yield parts.updates({})

    def take_away(request: gr.Request) -> Updates:
        return parts.updates(pictures.take_away(visitors.of(request)))

    def take_example(request: gr.Request, event: gr.EventData) -> Updates:
        name = str(content_of(event).get("example"))
        known = name in EXAMPLES
        return parts.updates(pictures.take_example(visitors.of(request), name) if known else {})

    outputs = [parts.picture, parts.picture_note, parts.viewer, parts.result]
    # At once, as far as the browser can show it; the answer has a preview where it cannot.
    parts.picture.upload(
        None,
        parts.picture,
        parts.viewer,
        js="(picture) => window.rembgTuner.uploaded(picture)",
        **QUIET,
    )
    # Both in one queue, or the answer to a removal would overtake that to the upload before it.
    in_turn = {"concurrency_limit": None, "concurrency_id": "picture", "trigger_mode": "multiple"}
    parts.picture.upload(choose, parts.picture, outputs, **in_turn, **QUIET)
    # Without the picture as input: Gradio may send the one that was taken away.
    parts.picture.clear(take_away, None, outputs, **in_turn, **QUIET)
    parts.picture.change(None, None, None, js="() => { window.rembgTuner.example = '' }", **QUIET)
    parts.examples.select(
        take_example, None, outputs, queue=False, trigger_mode="multiple", **QUIET
    )


def content_of(event: gr.EventData) -> dict[str, Any]:
    """Give what the browser sent along with an event."""
    return event._data if isinstance(event._data, dict) else {}


def number_of(value: object) -> int:
    """Read a run's number as the browser sends it; 0, which no run has, where it is none."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
