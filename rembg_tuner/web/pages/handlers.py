"""What happens when a visitor presses something: values in, what the page shows out.

Each handler gives a mapping by the names of `page.Widgets`; the page ties names to widgets, so
these are tested without a browser.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.errors import PictureError, SettingsError, TunerError
from rembg_tuner.runtime.lanes import UNEXPECTED
from rembg_tuner.runtime.picture_processes import Inspector
from rembg_tuner.runtime.slots import runs_of, submit_run
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.web.locale.words import page_text
from rembg_tuner.web.pages.choices import LIMITS, fill_form, form_settings
from rembg_tuner.web.pages.cut_tab.rendering import (
    existing,
    picture_value,
    show_left,
    show_runs,
    show_status,
    show_turn,
    viewer_value,
)
from rembg_tuner.web.pages.downloads import Downloads
from rembg_tuner.web.pages.failures import disk_text, log_unexpected, show_hint, show_problem
from rembg_tuner.web.pages.long_tasks import LongTasks
from rembg_tuner.web.pages.models_tab import show_models
from rembg_tuner.web.pages.originals import Original
from rembg_tuner.web.pages.picture_runs import NO_PICTURE, Look, follow, make_run
from rembg_tuner.web.pages.visit import Turn, digest_of, waited_for, write_runs
from rembg_tuner.web.pages.visitors import ChosenPicture
from rembg_tuner.web.pages.widgets import knob_updates, model_update, preset_choices

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import PictureRun, RunnerSlot, Runs
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.web.pages.choices import Form
    from rembg_tuner.web.pages.page_folder import PageFolder
    from rembg_tuner.web.pages.visitors import Visitor, Visitors

REPEAT = LIMITS.repeat
_DOWNLOAD_EVERY_S = 0.5  # a redrawn button is hard to press
EXAMPLES = ("astronaut", "chelsea", "coffee")
EXAMPLES_FOLDER = Path(__file__).parent.parent.parent.parent / "examples"
_LOG = logging.getLogger(__name__)
Shown = dict[str, Any]  # a part of the page by name -> what it shows now


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the handlers work with."""

    slots_lane: Lane[RunnerSlot]
    folder: PageFolder
    visitors: Visitors
    downloads: Downloads
    long_tasks: LongTasks
    limit_bytes: int | None
    inspector: Inspector = field(default_factory=Inspector)

    @classmethod
    def set_up(
        cls,
        slots_lane: Lane[RunnerSlot],
        folder: PageFolder,
        visitors: Visitors,
        *,
        may_download: bool = False,
    ) -> Desk:
        """Create the lanes, and read the limit of the host.

        Args:
            slots_lane: in which pictures run.
            folder: the page's own.
            visitors: who is here.
            may_download: whether visitors may have models downloaded.
        """
        return cls(
            slots_lane=slots_lane,
            folder=folder,
            visitors=visitors,
            downloads=Downloads(are_allowed=may_download),
            long_tasks=LongTasks(slots_lane),
            limit_bytes=read_host().usable_memory_bytes,
        )


class Handlers:
    """The page's events."""

    def __init__(self, desk: Desk) -> None:
        """Work at a desk."""
        self.desk = desk

    async def run(
        self, visitor: Visitor, picture: str | None, preset: str, form: Form, *, repeat: int = 1
    ) -> AsyncGenerator[Shown, None]:
        """Run a picture through, telling how it goes, until it is done or the visitor leaves."""
        language, asked_at = visitor.language, time.perf_counter()
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
        ticks = follow(task, is_busy=is_busy)
        try:
            async for _ in ticks:
                yield {"result": self._status(task, work, language), "buttons": "running"}
        finally:
            await ticks.aclose()
            if visitor.task is task:
                visitor.task = None
        turn = self._turn(task, work, preset=preset)
        turn = replace(turn, waited=waited_for(task, time.perf_counter() - asked_at))
        if turn.original is not None:
            turn.original.keep()
            visitor.originals.add(turn.picture_path, turn.original, turn.settings)
        async for shown in self._end(visitor, turn):
            yield shown

    async def _end(self, visitor: Visitor, turn: Turn) -> AsyncGenerator[Shown, None]:
        """Add a turn that is done to the visit and show it.

        The cut-out first, then figures and table.
        """

        def has_left() -> bool:  # another picture was chosen meanwhile and is shown
            return visitor.chosen is not None and visitor.chosen.path != turn.picture_path

        visitor.visit = visitor.visit.add(turn)
        turn = visitor.visit.turns[-1]
        has_cutout = turn.has_cutout and not has_left()
        if has_cutout:
            yield {"viewer": viewer_value(turn, visitor.language)}
        digest = await asyncio.to_thread(digest_of, turn.picture_path)
        visitor.visit = visitor.visit.change(replace(turn, picture_digest=digest))
        # A picture that gave no cut-out stays in sight unless it was taken away.
        is_bare = not turn.has_cutout and visitor.chosen is None
        # In a thread: the lists are written whole, which takes a second after fifty turns.
        shown = await asyncio.to_thread(self.show, visitor, with_viewer=is_bare)
        if has_left():
            # This run is one of the table.
            visitor.visit = visitor.visit.leave()
            left = show_left(turn, visitor.language)
            shown = {"runs": shown["runs"], "result": left}
        yield {**shown, "buttons": "idle"}

    def _status(self, task: Task[Runs], work: PictureRun, language: str) -> str:
        """Render the status of a run."""
        return show_status(
            task.look(),
            limit_bytes=work.settings.memory_limit_bytes or self.desk.limit_bytes,
            repeat=work.repeat,
            language=language,
        )

    def _turn(self, task: Task[Runs], work: PictureRun, *, preset: str) -> Turn:
        """Make the turn of a run that is done."""
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

    async def look_again(self, visitor: Visitor, number: int) -> AsyncGenerator[Shown, None]:
        """Run a turn's picture once more, with its settings and focus auto, which the form then shows too."""
        turn = visitor.visit.find(number)
        if turn is None or visitor.task is not None:
            return
        settings = replace(turn.settings, focus="auto", focus_box=None)
        visitor.preset, visitor.refusal = turn.preset, None
        knobs = knob_updates(settings, visitor.language)
        yield {"preset": turn.preset, "filled": turn.preset, "knobs": knobs}
        runs = self.run(visitor, turn.picture_path, turn.preset, fill_form(settings))
        try:
            async for shown in runs:
                yield shown
        finally:
            await runs.aclose()

    def cancel(self, visitor: Visitor) -> None:
        """Stop this visitor's run, or take it out of the line."""
        if visitor.task is not None:
            visitor.task.cancel()

    def change_download(self, *, start: object, stop: object) -> None:
        """Start to get a model, or stop it.

        Raises:
            SettingsError: visitors may not.
            ModelError: there is no such model.
        """
        if isinstance(stop, str):
            self.desk.downloads.stop(stop)
        if isinstance(start, str):
            self.desk.downloads.start(start)

    async def follow_downloads(self, visitor: Visitor) -> AsyncGenerator[Shown, None]:
        """Show the models, and go on as long as any is being got."""
        downloads, language = self.desk.downloads, visitor.language
        while downloads.is_running:
            yield {"models": show_models(downloads, language)}
            await asyncio.sleep(_DOWNLOAD_EVERY_S)
        yield {
            "models": show_models(downloads, language),
            "knobs": {"model": model_update()},
            "preset": gr.update(choices=preset_choices()),
        }

    def unforeseen(self, visitor: Visitor) -> Shown:
        """Tell that a run ended as no run should, and free the buttons."""
        problem = show_problem(UNEXPECTED, visitor.language)
        return {"result": problem, "buttons": "idle"}

    def example(self, name: str) -> str:
        """Lay an example into the page's folder, from which alone a picture is taken.

        Once for all visitors.
        """
        target = self.desk.folder.path / "examples" / f"{name}.png"
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if target.is_file():
            target.touch()  # or it would be swept away in the middle of a visit
        else:
            scratch = self.desk.folder.new_job() / target.name
            shutil.copyfile(EXAMPLES_FOLDER / f"{name}.png", scratch)
            scratch.replace(target)
            scratch.parent.rmdir()
        return str(target)

    def pick(self, visitor: Visitor, number: int) -> Shown:
        """Bring a run back: its picture, its settings, its figures."""
        visitor.visit = visitor.visit.show(number)
        turn = visitor.visit.current
        if turn is None:
            return {}
        is_kept = existing(turn.picture_path) is not None
        visitor.choice += 1
        visitor.chosen = (
            ChosenPicture(
                path=turn.picture_path,
                shown=turn.original.shown if turn.original else turn.picture_path,
            )
            if is_kept
            else None
        )
        shown = self.show(visitor, with_viewer=True)
        visitor.preset, visitor.refusal = turn.preset, None
        knobs = knob_updates(turn.settings, visitor.language)
        shown |= {"preset": turn.preset, "filled": turn.preset, "knobs": knobs}
        shown["picture"] = turn.picture_path if is_kept else None
        gone = page_text("picture.gone", visitor.language, picture=turn.picture)
        shown["picture_note"] = "" if is_kept else f'<p role="status">{escape(gone)}</p>'
        return shown

    def pin(self, visitor: Visitor, number: int) -> Shown:
        """Make a run the baseline, or no longer."""
        visitor.visit = visitor.visit.pin(number)
        return self.show(visitor, with_viewer=False)

    def show(self, visitor: Visitor, *, with_viewer: bool) -> Shown:
        """Show the current turn and the table."""
        turn, language = visitor.visit.current, visitor.language
        shown: Shown = {"runs": show_runs(visitor.visit, self._written(visitor), language)}
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
            if shown["viewer"] is None and visitor.chosen is not None:  # a run that failed
                shown["viewer"] = picture_value(visitor.chosen)
        return shown

    def _written(self, visitor: Visitor) -> tuple[Path, Path] | None:
        """Write the lists for download; None where nothing has run, or the disk is full."""
        if not visitor.visit.turns:
            return None
        try:
            return write_runs(visitor.visit, self.desk.visitors.folder_of(visitor))
        except OSError as error:
            log_unexpected(_LOG, "writing a visitor's runs", error)
            return None

    async def change_backdrop(
        self, visitor: Visitor, number: int, backdrop: str
    ) -> AsyncGenerator[Shown, None]:
        """Have the worker write the shown cut-out once more, on a colour."""
        turn = visitor.visit.find(number)
        if turn is None or turn.download is None:
            return
        try:
            background = parse_colour(backdrop) if backdrop else None
        except SettingsError as error:
            yield {"viewer": viewer_value(turn, visitor.language), "warning": error.message}
            return
        folder = Path(turn.download).parent
        stem = Path(turn.picture).stem[:80]
        suffix = "" if background is None else f"-{bytes(background).hex()}"
        target = folder / f"{stem}.cutout{suffix}.png"
        if not target.is_file():
            try:
                work = make_run(self.desk, turn.picture_path, (turn.settings, ()))
            except TunerError as error:
                yield {"viewer": viewer_value(turn, visitor.language), "warning": error.message}
                return
            folder.mkdir(exist_ok=True)
            job = replace(work.job, output=str(target), background=background)
            task = submit_run(self.desk.slots_lane, replace(work, job=job))
            ticks = follow(task, is_busy=False)
            try:
                async for _ in ticks:
                    yield {}
            finally:
                await ticks.aclose()
            failure = runs_of(task)[-1]
            if isinstance(failure, Failure):
                yield {
                    "viewer": viewer_value(turn, visitor.language),
                    "warning": failure.message,
                }
                return
        turn = replace(turn, download=str(target), backdrop=backdrop)
        visitor.visit = visitor.visit.change(turn)
        if visitor.visit.shown == number:
            yield {"viewer": viewer_value(turn, visitor.language)}


def example_of(desk: Desk) -> str:
    """Lay the first example into the page's folder, for who chose no picture."""
    return Handlers(desk).example(EXAMPLES[0])
