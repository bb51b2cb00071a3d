"""Functions of the tabs that start long tasks: uploads, buttons, and following a task.

The tabs are Compare, Sweep and, for the stress test, Deploy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.web.pages.choices import absence_of, max_pixels_of
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.failures import show_problem, show_wait
from rembg_tuner.web.pages.long_tasks import BusyError
from rembg_tuner.web.pages.picture_runs import NO_PICTURE
from rembg_tuner.web.pages.templating import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gradio.components import Component

    from rembg_tuner.base.errors import TunerError
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask
    from rembg_tuner.web.pages.visitors import Visitor

Values = dict[Any, Any]  # of widgets; Gradio reads annotations at run time
MAX_PICTURES = 6
FOLLOW_INTERVAL_S = 0.4


def by_name(values: Values, widgets: Mapping[str, Component]) -> dict[str, Any]:
    """Return the values of widgets by the names of the widgets."""
    return {name: values[widget] for name, widget in widgets.items()}


def uploads_of(desk: Desk, pictures: Sequence[str]) -> list[Path]:
    """Return the paths of uploaded pictures.

    Raises:
        SettingsError: there is no picture, there are too many, or one is not an upload of this
            page.
        PictureError: one is not a picture.
    """
    paths = [Path(picture) for picture in pictures if Path(picture).is_file()]
    if not paths:
        raise SettingsError([NO_PICTURE])
    if len(paths) > MAX_PICTURES:
        raise SettingsError(
            [
                Message(
                    "at most {max} pictures can be swept on this page, got {count}; the command"
                    " line has no limit",
                    max=MAX_PICTURES,
                    count=len(paths),
                )
            ]
        )
    for path in paths:
        desk.folder.check_upload(path)
        max_pixels_of(path)  # raises if it is not a picture
    return paths


def refuse_absent(presets: Sequence[str]) -> None:
    """Check that presets can run on this machine.

    Raises:
        SettingsError: presets cannot run; the error has the reason of each.
        PresetError: there is no such preset.
    """
    absences = [absence for name in presets if (absence := absence_of(name)) is not None]
    if absences:
        raise SettingsError([absence.text for absence in absences])


def error_above(error: TunerError, earlier: str, language: str) -> str:
    """Render why a task did not start, above the result of the earlier task."""
    show = show_wait if isinstance(error, BusyError) else show_problem
    notice = show(error.message, language)
    return render("error_above", language, notice=notice, earlier=earlier)


async def follow(task: LongTask, draw: Callable[[], str]) -> AsyncIterator[str]:
    """Yield drawings of a task until it has ended."""
    while task.is_running:
        yield draw()
        await asyncio.sleep(FOLLOW_INTERVAL_S)
    yield draw()


def tie_redrawing(
    opened: Any, shown: Component, desk: Desk, name: str, draw: Callable[[Visitor], str]
) -> None:
    """Show the task of an earlier page load when its tab is opened.

    Args:
        opened: the event of opening the tab.
        shown: the component that shows the task.
        desk: has the visitors.
        name: the name of the task, as in `Visitor.undrawn`.
        draw: renders the task; returns an empty string if there is none.
    """

    def redraw(request: gr.Request) -> Any:
        visitor = desk.visitors.of(request)
        if name not in visitor.undrawn or visitor.is_busy:
            return gr.skip()
        visitor.undrawn.discard(name)
        return draw(visitor) or gr.skip()

    opened(redraw, None, shown, queue=False, **QUIET)


def tie_begin(begins: Sequence[Any], stop: Component, starts: Sequence[Component]) -> None:
    """Enable Stop and disable the start buttons when one of them is pressed.

    Call this before tying the work: Gradio runs events in the order in which they are tied.
    """

    def switch() -> dict[Component, Any]:
        return _switched(stop, starts, is_running=True)

    gr.on(list(begins), switch, None, [stop, *starts], queue=False, **QUIET)


def tie_end(running: Sequence[Any], stop: Component, starts: Sequence[Component]) -> None:
    """Reset the buttons after the work: `then` follows success, `failure` an exception."""

    def switch() -> dict[Component, Any]:
        return _switched(stop, starts, is_running=False)

    for event in running:
        for ended in (event.then, event.failure):
            ended(switch, None, [stop, *starts], queue=False, **QUIET)


def _switched(
    stop: Component, starts: Sequence[Component], *, is_running: bool
) -> dict[Component, Any]:
    """Return updates that enable either Stop or the start buttons."""
    start = gr.update(interactive=not is_running)
    return {stop: gr.update(interactive=is_running), **dict.fromkeys(starts, start)}
