"""The events of runs: Run, Repeat, Cancel, the table of runs, the backdrop of a cut-out."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.errors import PictureError, SettingsError, TunerError
from rembg_tuner.runtime.lanes import UNEXPECTED
from rembg_tuner.runtime.slots import runs_of, submit_run
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.web.pages.choices import LIMITS, fill_form, form_settings
from rembg_tuner.web.pages.cut_tab.layout import UNUSABLE
from rembg_tuner.web.pages.cut_tab.rendering import (
    existing,
    picture_value,
    show_left,
    show_runs,
    show_status,
    show_turn,
    viewer_value,
)
from rembg_tuner.web.pages.desk import EXAMPLES, example_of
from rembg_tuner.web.pages.events import number_of, tie
from rembg_tuner.web.pages.failures import disk_text, log_unexpected, show_hint, show_problem
from rembg_tuner.web.pages.picture_runs import NO_PICTURE, Look, follow, make_run
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.visit import Turn, digest_of, waited_for, write_runs
from rembg_tuner.web.pages.visitors import ChosenPicture, Original
from rembg_tuner.web.pages.widgets import knob_updates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.runtime.slots import PictureRun, Runs
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.web.pages.choices import Form
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.events import Shown
    from rembg_tuner.web.pages.visitors import Visitor

_LOG = logging.getLogger(__name__)


def tie_runs(widgets: CutWidgets, desk: Desk) -> None:
    """Tie the buttons of a run, the table of runs and the viewer's backdrops."""
    events, named = RunEvents(desk), widgets.named
    inputs = named("picture", "example", "filled", "preset", "knobs")
    outputs = named("buttons", "viewer", "result", "runs")
    form = named("preset", "filled", "knobs")
    # An example that was pressed a moment ago may not be the picture yet.
    with_example = "(picture, example, ...form) => [picture, window.rembgTuner.example, ...form]"
    # The lane limits waiting and running tasks; a waiting visitor uses no thread.
    unlimited: dict[str, Any] = {"concurrency_limit": None}
    for button, repeat in ((widgets.run, 1), (widgets.repeat, LIMITS.repeat)):
        run = _with_repeat(events, repeat)
        event = tie(desk, button.click, run, inputs, outputs, js=with_example, **unlimited)
        tie(desk, event.failure, events.show_unexpected, None, outputs, queue=False)
    again = events.run_with_focus
    event = tie(desk, widgets.result.select, again, None, {**outputs, **form}, **unlimited)
    tie(desk, event.failure, events.show_unexpected, None, outputs, queue=False)
    tie(desk, widgets.cancel.click, events.cancel, queue=False)
    restored = {**named("viewer", "result", "runs", "picture", "picture_note"), **form}
    tie(desk, widgets.runs.select, events.choose_run, None, restored, queue=False)
    shown = named("viewer", "result")
    tie(desk, widgets.viewer.select, events.change_backdrop, None, shown, **unlimited)


def _with_repeat(events: RunEvents, repeat: int) -> Any:
    """Return the handler of Run or Repeat."""

    async def run(
        visitor: Visitor,
        *,
        picture: str | None,
        example: str,
        filled: str,
        preset: str,
        knobs: dict[str, object],
    ) -> AsyncGenerator[Shown, None]:
        # The form may still have the values of another preset; then use the preset's own.
        form = knobs if filled == preset else {}
        if example in EXAMPLES:
            picture = example_of(events.desk, example)
        async with aclosing(events.run(visitor, picture, preset, form, repeat=repeat)) as shown:
            async for one in shown:
                yield one

    return run


def _buttons(*, is_running: bool) -> Shown:
    """Return the updates of the buttons.

    A disabled button would lose the keyboard focus, so keys.js marks it with a CSS class.
    """

    def usable(is_usable: bool) -> Any:
        return gr.update(elem_classes=[] if is_usable else [UNUSABLE])

    start = usable(not is_running)
    return {"buttons": {"run": start, "repeat": start, "cancel": usable(is_running)}}


class RunEvents:
    """The events of runs."""

    def __init__(self, desk: Desk) -> None:
        """Create the events."""
        self.desk = desk

    async def run(
        self, visitor: Visitor, picture: str | None, preset: str, form: Form, *, repeat: int = 1
    ) -> AsyncGenerator[Shown, None]:
        """Run a picture and show its status until the run ends or the visitor leaves."""
        language, asked_at_s = visitor.language, time.perf_counter()
        if not picture:
            yield {"result": show_hint(NO_PICTURE, language)}
            return
        try:
            settings = form_settings(preset, form)
            await visitor.prepared()
            original = visitor.originals.find(picture, settings[0])
            look = Look(original=original, has_masks=visitor.has_masks)
            work = make_run(self.desk, picture, settings, repeat=repeat, look=look)
        except TunerError as error:
            kind = error.kind if isinstance(error, PictureError) else None
            yield {"result": show_problem(error.message, language, kind=kind)}
            return
        except OSError as error:
            log_unexpected(_LOG, "starting a run", error)
            yield {"result": show_problem(disk_text(error), language)}
            return
        is_busy = self.desk.slots_lane.is_busy
        task = visitor.task = submit_run(self.desk.slots_lane, work)
        try:
            async with aclosing(follow(task, is_busy=is_busy)) as ticks:
                async for _ in ticks:
                    yield {
                        "result": self._status(task, work, language),
                        **_buttons(is_running=True),
                    }
        finally:
            if visitor.task is task:
                visitor.task = None
        turn = _turn_of(task, work, preset=preset)
        turn = replace(turn, waited=waited_for(task, time.perf_counter() - asked_at_s))
        if turn.original is not None:
            turn.original.keep()
            visitor.originals.add(turn.picture_path, turn.original, turn.settings)
        async for shown in self._end(visitor, turn):
            yield shown

    async def _end(self, visitor: Visitor, turn: Turn) -> AsyncGenerator[Shown, None]:
        """Add a finished turn to the visit and show it: the cut-out first, then the rest."""

        def has_left() -> bool:  # another picture was chosen during the run
            return visitor.chosen is not None and visitor.chosen.path != turn.picture_path

        visitor.visit = visitor.visit.add(turn)
        turn = visitor.visit.turns[-1]
        if turn.has_cutout and not has_left():
            yield {"viewer": viewer_value(turn, visitor.language)}
        digest = await asyncio.to_thread(digest_of, turn.picture_path)
        visitor.visit = visitor.visit.change(replace(turn, picture_digest=digest))
        # A picture without a cut-out stays in the viewer unless it was removed.
        is_bare = not turn.has_cutout and visitor.chosen is None
        # In a thread: the complete lists are written, which takes 1 s after 50 turns.
        shown = await asyncio.to_thread(self.show_visit, visitor, with_viewer=is_bare)
        if has_left():  # this run is in the table only
            visitor.visit = visitor.visit.leave()
            shown = {"runs": shown["runs"], "result": show_left(turn, visitor.language)}
        yield {**shown, **_buttons(is_running=False)}

    def _status(self, task: Task[Runs], work: PictureRun, language: str) -> str:
        """Render the status of a run."""
        return show_status(
            task.look(),
            limit_bytes=work.settings.memory_limit_bytes or self.desk.limit_bytes,
            repeat=work.repeat,
            language=language,
        )

    async def run_with_focus(
        self, visitor: Visitor, sent: dict[str, Any]
    ) -> AsyncGenerator[Shown, None]:
        """Run the picture of a turn again with focus auto, and fill the form accordingly."""
        turn = visitor.visit.find(number_of(sent.get("focus")))
        if turn is None or visitor.task is not None:
            return
        settings = replace(turn.settings, focus="auto", focus_box=None)
        yield _fill_form(visitor, turn.preset, settings)
        runs = self.run(visitor, turn.picture_path, turn.preset, fill_form(settings))
        async with aclosing(runs):
            async for shown in runs:
                yield shown

    def cancel(self, visitor: Visitor) -> None:
        """Cancel this visitor's run, whether it waits or runs."""
        if visitor.task is not None:
            visitor.task.cancel()

    def show_unexpected(self, visitor: Visitor) -> Shown:
        """Show that a run ended with an unexpected error, and enable the buttons."""
        problem = show_problem(UNEXPECTED, visitor.language)
        return {"result": problem, **_buttons(is_running=False)}

    def choose_run(self, visitor: Visitor, sent: dict[str, Any]) -> Shown:
        """Pin or unpin a run as the baseline, or restore its picture, settings and figures."""
        if "pin" in sent:
            visitor.visit = visitor.visit.pin(number_of(sent["pin"]))
            return self.show_visit(visitor, with_viewer=False)
        visitor.visit = visitor.visit.show(number_of(sent.get("show")))
        turn = visitor.visit.current
        if turn is None:
            return {}
        picture = existing(turn.picture_path)
        visitor.choice += 1
        visitor.chosen = None
        if picture is not None:
            shown_file = turn.original.shown if turn.original else picture
            visitor.chosen = ChosenPicture(path=picture, shown=shown_file)
        gone = None if picture else turn.picture
        return {
            **self.show_visit(visitor, with_viewer=True),
            **_fill_form(visitor, turn.preset, turn.settings),
            "picture": picture,
            "picture_note": render("picture_note", visitor.language, refusal=None, gone=gone),
        }

    def show_visit(self, visitor: Visitor, *, with_viewer: bool) -> Shown:
        """Show the current turn and the table."""
        turn, language = visitor.visit.current, visitor.language
        shown: Shown = {"runs": show_runs(visitor.visit, self._write_lists(visitor), language)}
        if turn is None:
            return shown
        shown["result"] = show_turn(
            turn,
            baseline=visitor.visit.baseline,
            limit_bytes=self.desk.limit_bytes,
            language=language,
        )
        if with_viewer:
            shown["viewer"] = viewer_value(turn, language)
            if shown["viewer"] is None and visitor.chosen is not None:  # the run failed
                shown["viewer"] = picture_value(visitor.chosen)
        return shown

    def _write_lists(self, visitor: Visitor) -> tuple[Path, Path] | None:
        """Write the lists for download; None if there is no run, or writing fails."""
        if not visitor.visit.turns:
            return None
        try:
            return write_runs(visitor.visit, self.desk.visitors.folder_of(visitor))
        except OSError as error:
            log_unexpected(_LOG, "writing a visitor's runs", error)
            return None

    async def change_backdrop(
        self, visitor: Visitor, sent: dict[str, Any]
    ) -> AsyncGenerator[Shown, None]:
        """Write the shown cut-out again, on a colour or transparent."""
        number, backdrop = number_of(sent.get("turn")), str(sent.get("backdrop", ""))
        turn = visitor.visit.find(number)
        if turn is None or turn.download is None:
            return
        try:
            background = parse_colour(backdrop) if backdrop else None
            suffix = "" if background is None else f"-{bytes(background).hex()}"
            stem = Path(turn.picture).stem[:80]
            target = Path(turn.download).with_name(f"{stem}.cutout{suffix}.png")
            if not target.is_file():
                work = make_run(self.desk, turn.picture_path, (turn.settings, ()))
                target.parent.mkdir(exist_ok=True)
                job = replace(work.job, output=str(target), background=background)
                task = submit_run(self.desk.slots_lane, replace(work, job=job))
                async with aclosing(follow(task, is_busy=False)) as ticks:
                    async for _ in ticks:
                        yield {}
                last = runs_of(task)[-1]
                if isinstance(last, Failure):
                    raise SettingsError([last.message])
        except TunerError as error:
            yield {"viewer": viewer_value(turn, visitor.language), "warning": error.message}
            return
        turn = replace(turn, download=str(target), backdrop=backdrop)
        visitor.visit = visitor.visit.change(turn)
        if visitor.visit.shown == number:
            yield {"viewer": viewer_value(turn, visitor.language)}


def _fill_form(visitor: Visitor, preset: str, settings: Settings) -> Shown:
    """Fill the form with a turn's preset and settings."""
    visitor.preset, visitor.refusal = preset, None
    return {"preset": preset, "filled": preset, "knobs": knob_updates(settings, visitor.language)}


def _turn_of(task: Task[Runs], work: PictureRun, *, preset: str) -> Turn:
    """Create the turn of a finished run."""
    job, runs = work.job, runs_of(task)
    has_result = any(isinstance(run, Result) for run in runs)
    colours = existing(job.before_preview)
    return Turn(
        number=0,
        picture=Path(job.input).name,
        picture_path=job.input,
        preset=preset,
        settings=work.settings,
        runs=runs,
        timeline=task.progress.timeline(),
        original=Original.of(colours) if colours else None,
        after=existing(job.mask or job.preview) if has_result else None,
        is_masked=job.mask is not None,
        download=existing(job.output) if has_result else None,
    )
