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
        desk: with the visitors.
        trigger: the event of a widget, or a list of them.
        handler: takes the visitor, and the values of the inputs by name; with a parameter `sent`
            it takes what the browser sent along instead. Returns what the outputs show by name, or
            yields it. A `Message` named "warning" becomes a toast.
        inputs: widgets by name; the values of a group come as a mapping.
        outputs: widgets by name.
        options: of Gradio's event.

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
    """A handler as the functions that Gradio calls; see `tie`."""

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
        """Call the handler; return the visitor's language, and what the handler returns."""
        visitor = self.desk.visitors.of(request)
        return visitor.language, self.handler(visitor, **values)

    async def _follow(self, language: str, shown: Any) -> AsyncIterator[Any]:
        """Yield the updates of a handler that yields."""
        async with aclosing(shown):
            async for one in shown:
                yield self._updates(language, one)
        # Gradio sends the last update twice: late, it would undo a newer one.
        yield self._updates(language, {})

    def _updates(self, language: str, shown: Shown | None) -> Any:
        """Return what Gradio expects."""
        return updates_of(self.outputs, shown or {}, language) if self.outputs else None


def flat(widgets: Widgets) -> list[Any]:
    """Return all widgets, those of groups too, in the order of their names."""
    return [
        one
        for widget in widgets.values()
        for one in (widget.values() if isinstance(widget, Mapping) else (widget,))
    ]


def values_of(widgets: Widgets, values: Sequence[Any]) -> dict[str, Any]:
    """Return values in the order of `flat` by the names of their widgets."""
    left = iter(values)
    return {
        name: {one: next(left) for one in widget} if isinstance(widget, Mapping) else next(left)
        for name, widget in widgets.items()
    }


def updates_of(widgets: Widgets, shown: Shown, language: str) -> dict[Any, Any]:
    """Return what Gradio expects for values by name; other widgets stay as they are."""
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
    """Return what the browser sent along with an event."""
    return event._data if isinstance(event._data, dict) else {}


def number_of(value: object) -> int:
    """Return the number of a run, as the browser sends it; 0, which no run has, for other text."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
