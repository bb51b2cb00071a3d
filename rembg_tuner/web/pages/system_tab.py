"""The System tab's number formats.

What `precision auto` is here, and the button that times them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from typing import TYPE_CHECKING

import gradio as gr

from rembg_tuner.base.errors import OutputError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.tuning.format_timing import format_states, step_text, time_formats
from rembg_tuner.web.pages.choices import machine_here
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.study_handlers import FOLLOW_EVERY_S
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.widgets import page_words

if TYPE_CHECKING:
    from typing import Any

    from rembg_tuner.runtime.comparer import Comparer
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.web.pages.handlers import Desk
    from rembg_tuner.web.pages.studies import LineBench, Study


def add_formats(triggers: list[Any], desk: Desk) -> None:
    """Lay the formats out and tie them.

    Args:
        triggers: events at which they are looked at.
        desk: with the line, the studies and the visitors.
    """
    words, formats = page_words(), _Formats(desk)
    shown = gr.HTML("", elem_id="formats")
    button = gr.Button(words("machine.time"), elem_id="time-formats", size="sm")
    gr.on(triggers, formats.look, None, shown, **QUIET)
    button.click(formats.time, None, shown, concurrency_limit=None, **QUIET)


class _Formats:
    """The events."""

    def __init__(self, desk: Desk) -> None:
        """Work at a desk."""
        self.desk = desk
        self._timing: Study | None = None  # the latest

    def look(self, request: gr.Request) -> str:
        """Show what `precision auto` is for each model and engine."""
        return self._show(request)

    async def time(self, request: gr.Request) -> AsyncIterator[str]:
        """Time the formats, one worker a turn of the line, so that visitors' pictures go between.

        It goes on where the visitor leaves: what it finds is everyone's. A visitor who asks
        meanwhile follows the same timing.
        """
        try:
            study = self._running()
        except TunerError as error:
            yield self._show(request, problem=error.message)
            return
        while study.is_running:
            step = None if study.measuring is None else step_text(study.measuring)
            yield self._show(request, step=step, is_timing=True)
            await asyncio.sleep(FOLLOW_EVERY_S)
        yield self._show(request, problem=study.problem)

    def _running(self) -> Study:
        """Return the timing that runs, or begin one.

        Raises:
            BusyError: a study of another kind runs.
        """
        if self._timing is None or not self._timing.is_running:

            def work(study: Study, bench: LineBench, _: Comparer) -> None:
                _time_all(self._machine(), bench, study)

            what = Message("the number formats are being timed here; try again when that is done")
            self._timing = self.desk.studies.start(self.desk.folder.new_job(), work, what=what)
        return self._timing

    def _machine(self) -> Machine:
        """Return the machine as one of the page's slots has it."""
        return machine_here().shared_by(self.desk.line.slots)

    def _show(
        self,
        request: gr.Request,
        *,
        problem: Message | None = None,
        step: Message | None = None,
        is_timing: bool = False,
    ) -> str:
        """Draw the formats as they are now."""
        language = self.desk.visitors.of(request).language
        states = format_states(self._machine())
        return render(
            "formats", language, states=states, problem=problem, step=step, is_timing=is_timing
        )


def _time_all(machine: Machine, bench: LineBench, study: Study) -> None:
    """Time every model that has a choice.

    One that could not be timed does not keep the others from it.

    Raises:
        OutputError: the last that could not be.
    """
    failed: OutputError | None = None
    for state in format_states(machine):
        try:
            time_formats(state, machine, bench, study.folder)
        except OutputError as error:
            failed = error
    if failed is not None:
        raise failed
