"""The System tab: the report of `doctor`, and the choices of `precision auto`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from typing import TYPE_CHECKING

import gradio as gr

from rembg_tuner.base.errors import OutputError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.diagnosis import diagnose
from rembg_tuner.tuning.format_timing import format_states, step_text, time_formats
from rembg_tuner.web.pages.choices import machine_here
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.shared_answer import SharedAnswer
from rembg_tuner.web.pages.task_tabs import FOLLOW_INTERVAL_S
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.widgets import page_words

if TYPE_CHECKING:
    from typing import Any

    from rembg_tuner.runtime.diagnosis import Diagnosis
    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner

_MAX_AGE_S = 60.0  # of the shown report


def add_system_tab(opened: Any, desk: Desk) -> None:
    """Lay out the tab and tie its events.

    Args:
        opened: the event of opening the tab.
        desk: has the lanes, the long tasks and the visitors.
    """
    words, events = page_words(), _Events(desk)
    machine = gr.HTML(words("machine.asking"), elem_id="machine")
    refresh = gr.Button(words("machine.refresh"), elem_id="refresh", size="sm")
    formats = gr.HTML("", elem_id="formats")
    time = gr.Button(words("machine.time"), elem_id="time-formats", size="sm")
    for trigger in (opened, refresh.click):
        trigger(events.show_machine, None, machine, **QUIET)
        trigger(events.show_formats, None, formats, **QUIET)
    time.click(events.time_formats, None, formats, concurrency_limit=None, **QUIET)


class _Events:
    """The events of the tab."""

    def __init__(self, desk: Desk) -> None:
        """Create the events."""
        self.desk = desk
        self._machine = SharedAnswer(diagnose, max_age_s=_MAX_AGE_S)
        self._timing: LongTask | None = None  # the latest one

    async def show_machine(self, request: gr.Request) -> str:
        """Show the machine; it is diagnosed at most once a minute for all visitors."""
        found = await asyncio.wrap_future(self._machine.ask())
        language, lane = self.desk.visitors.of(request).language, self.desk.slots_lane
        return show_machine(found, running=lane.running, waiting=lane.waiting, language=language)

    def show_formats(
        self,
        request: gr.Request,
        *,
        problem: Message | None = None,
        step: Message | None = None,
        is_timing: bool = False,
    ) -> str:
        """Show the number format that `precision auto` uses for each model and engine.

        Args:
            request: the request of the visitor.
            problem: why the timing failed or did not start; None: there is no problem.
            step: the current step of the timing; None: none yet.
            is_timing: whether the timing is running.
        """
        language, states = self.desk.visitors.of(request).language, format_states(self._here())
        return render(
            "formats", language, states=states, problem=problem, step=step, is_timing=is_timing
        )

    async def time_formats(self, request: gr.Request) -> AsyncIterator[str]:
        """Measure the number formats; pictures of visitors run between its workers.

        The timing continues if the visitor leaves, since all visitors use the result. A visitor who
        presses the button during the timing follows the same one.
        """
        try:
            long_task = self._running()
        except TunerError as error:
            yield self.show_formats(request, problem=error.message)
            return
        while long_task.is_running:
            step = None if long_task.measuring is None else step_text(long_task.measuring)
            yield self.show_formats(request, step=step, is_timing=True)
            await asyncio.sleep(FOLLOW_INTERVAL_S)
        yield self.show_formats(request, problem=long_task.problem)

    def _running(self) -> LongTask:
        """Return the running timing, or start one.

        Raises:
            BusyError: another long task is running.
        """
        if self._timing is None or not self._timing.is_running:

            def work(long_task: LongTask, runner: QueuedTrialRunner, _: Comparer) -> None:
                _time_all(self._here(), runner, long_task)

            what = Message("the number formats are being timed here; try again when that is done")
            self._timing = self.desk.long_tasks.start(self.desk.folder.new_job(), work, what=what)
        return self._timing

    def _here(self) -> Machine:
        """Return this machine with the resources of one slot."""
        return machine_here().shared_by(len(self.desk.slots_lane.slots))


def show_machine(found: Diagnosis, *, running: int, waiting: int, language: str) -> str:
    """Render the machine, its engines and its execution providers."""
    return render("machine", language, found=found, running=running, waiting=waiting)


def _time_all(machine: Machine, runner: QueuedTrialRunner, long_task: LongTask) -> None:
    """Measure every model with several formats; a failure does not stop the others.

    Raises:
        OutputError: the last failure.
    """
    failed: OutputError | None = None
    for state in format_states(machine):
        try:
            time_formats(state, machine, runner, long_task.folder)
        except OutputError as error:
            failed = error
    if failed is not None:
        raise failed
