"""Tie events of the page to handlers that take and return values by the names of widgets."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.web.locale.words import message_text

if TYPE_CHECKING:
    from rembg_tuner.web.pages.desk import Desk

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# A widget, or a group of widgets such as the knobs, by name.
Widgets = Mapping[str, Any]
Shown = dict[str, Any]  # by the name of a widget: its new value or update


def tie(
    desk: Desk,
    trigger: Any,
    handler: Callable[..., Any],
    inputs: Widgets | None = None,
    outputs: Widgets | None = None,
    **options: Any,
) -> Any:
    """Tie a handler to an event.

    Args:
        desk: has the visitors.
        trigger: the event of a widget, or a list of events.
        handler: takes the visitor, and the values of the inputs by name. If it has a parameter
            `sent`, it takes the data that the browser sent with the event instead. It returns or
            yields the values of the outputs by name. A `Message` named "warning" is shown as a
            toast.
        inputs: widgets by name; the values of a group are passed as a mapping.
        outputs: widgets by name.
        options: the options of Gradio's event.

    Returns:
        Gradio's event.
    """
    tied = _TiedHandler(desk, handler, inputs or {}, outputs or {})
    takes_data = "sent" in inspect.signature(handler).parameters
    if inspect.isasyncgenfunction(handler):
        function: Callable[..., Any] = tied.stream_data if takes_data else tied.stream
    else:
        function = tied.answer_data if takes_data else tied.answer
    fixed = (function, flat(tied.inputs) or None, flat(tied.outputs) or None)
    if isinstance(trigger, list):
        return gr.on(trigger, *fixed, **QUIET, **options)
    return trigger(*fixed, **QUIET, **options)


@dataclass(frozen=True, slots=True)
class _TiedHandler:
    """Adapts a handler to the functions that Gradio calls; see `tie`."""

    desk: Desk
    handler: Callable[..., Any]
    inputs: Widgets
    outputs: Widgets

    def answer(self, request: gr.Request, *values: Any) -> Any:
        """Answer an event with values."""
        return self._updates(*self._call(request, values_of(self.inputs, values)))

    def answer_data(self, request: gr.Request, event: gr.EventData) -> Any:
        """Answer an event with data."""
        return self._updates(*self._call(request, {"sent": content_of(event)}))

    async def stream(self, request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        """Answer an event with values several times."""
        async for updates in self._follow(*self._call(request, values_of(self.inputs, values))):
            yield updates

    async def stream_data(self, request: gr.Request, event: gr.EventData) -> AsyncIterator[Any]:
        """Answer an event with data several times."""
        async for updates in self._follow(*self._call(request, {"sent": content_of(event)})):
            yield updates

    def _call(self, request: gr.Request, values: Mapping[str, Any]) -> tuple[str, Any]:
        """Call the handler; return the visitor's language and the handler's result."""
        visitor = self.desk.visitors.of(request)
        return visitor.language, self.handler(visitor, **values)

    async def _follow(self, language: str, shown: Any) -> AsyncIterator[Any]:
        """Yield the updates of an asynchronous generator."""
        async with aclosing(shown):
            async for one in shown:
                yield self._updates(language, one)
        # Gradio sends the last update twice; the late repetition could undo a newer update.
        yield self._updates(language, {})

    def _updates(self, language: str, shown: Shown | None) -> Any:
        """Convert the values of the outputs to Gradio's updates; None without outputs."""
        return updates_of(self.outputs, shown or {}, language) if self.outputs else None


def flat(widgets: Widgets) -> list[Any]:
    """Return all widgets in one list, including those of groups, in the order of the mapping."""
    return [
        one
        for widget in widgets.values()
        for one in (widget.values() if isinstance(widget, Mapping) else (widget,))
    ]


def values_of(widgets: Widgets, values: Sequence[Any]) -> dict[str, Any]:
    """Return values, given in the order of `flat`, by the names of their widgets."""
    left = iter(values)
    return {
        name: {one: next(left) for one in widget} if isinstance(widget, Mapping) else next(left)
        for name, widget in widgets.items()
    }


def updates_of(widgets: Widgets, shown: Shown, language: str) -> dict[Any, Any]:
    """Convert values by name to Gradio's updates; other widgets are unchanged."""
    updates: dict[Any, Any] = {}
    for name, value in shown.items():
        if name == "warning":
            gr.Warning(message_text(value, language))
        elif isinstance(widgets[name], Mapping):
            updates |= {widgets[name][one]: update for one, update in value.items()}
        else:
            updates[widgets[name]] = value
    return updates or {flat(widgets)[0]: gr.skip()}


def content_of(event: gr.EventData) -> dict[str, Any]:
    """Return the data that the browser sent with an event; empty if it is not a mapping."""
    return event._data if isinstance(event._data, dict) else {}


def number_of(value: object) -> int:
    """Parse the number of a run as the browser sends it; 0, which is not used, if invalid."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
