"""The events of the Sweep tab."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError, TunerError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.settings import Settings, best_installed_engine
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.plot import draw_plot, lay_out_plot
from rembg_tuner.tuning.recommend import Recommendation, recommend
from rembg_tuner.tuning.report import write_sweep_report
from rembg_tuner.tuning.sweep import open_sweep
from rembg_tuner.web.pages.choices import max_pixels_of
from rembg_tuner.web.pages.desk import example_of
from rembg_tuner.web.pages.events import QUIET, content_of, number_of
from rembg_tuner.web.pages.failures import disk_text, show_problem
from rembg_tuner.web.pages.sweep_tab.layout import lay_out_sweep, read_axes, read_budgets
from rembg_tuner.web.pages.sweep_tab.rendering import show_count, show_sweep
from rembg_tuner.web.pages.task_tabs import (
    FOLLOW_INTERVAL_S,
    Values,
    by_name,
    error_above,
    refuse_absent,
    tie_begin,
    tie_end,
    tie_redrawing,
    uploads_of,
)
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.widgets import knob_updates, models_here, reference_choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.sweep import SweepProgress
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
    from rembg_tuner.web.pages.visitors import Visitor

MAX_TRIALS = 120  # of one sweep
MAX_EXPECTED_S = 15 * 60.0  # of one sweep; all visitors share the slots


def add_sweep_tab(opened: Any, desk: Desk, cut: CutWidgets) -> dict[str, Any]:
    """Add the tab's widgets and events.

    Args:
        opened: the event of opening the tab.
        desk: has the visitors.
        cut: the widgets of the Cut out tab, for its picture and knobs.

    Returns:
        The fields of the budgets, which the Deploy tab also reads.
    """
    widgets = lay_out_sweep()
    SweepTab(desk, cut, widgets).tie(opened)
    budgets: dict[str, Any] = widgets["budgets"]
    return budgets


class SweepTab:
    """The tab's events."""

    def __init__(self, desk: Desk, cut: CutWidgets, widgets: dict[str, Any]) -> None:
        """Create the events for a desk, the widgets of the Cut out tab, and those of this tab."""
        self.desk = desk
        self.cut = cut
        self.widgets = widgets
        self.inputs = {name: widgets[name] for name in ("pictures", "trials", "reference")}

    def tie(self, opened: Any) -> None:
        """Tie the events to the widgets."""
        own, shown, budgets = self.widgets, self.widgets["shown"], self.widgets["budgets"].values()
        axes = own["axes"].values()
        inputs = {self.cut.picture, *self.inputs.values(), *axes}
        at_once: dict[str, Any] = {"queue": False, **QUIET}
        latest: dict[str, Any] = {"trigger_mode": "always_last", **at_once}
        changes = [widget.change for widget in (*axes, own["trials"], own["pictures"])]
        gr.on(changes, self.announce, inputs, own["note"], **latest)
        offered = [own["axes"]["model"], own["reference"]]
        opened(self.update_choices, {own["axes"]["model"]}, offered, **at_once)
        opened(self.announce, inputs, own["note"], **at_once)
        tie_redrawing(opened, shown, self.desk, "sweep", draw_sweep)
        tie_begin([own["run"].click], own["stop"], [own["run"]])
        running = own["run"].click(
            self.sweep,
            {own["masks"], *inputs, *budgets},
            shown,
            concurrency_limit=None,
            **QUIET,
        )
        tie_end([running], own["stop"], [own["run"]])
        own["stop"].click(self.stop, None, None, **at_once)
        changes = [field.change for field in budgets]
        gr.on(changes, self.rebudget, set(budgets), [own["budget_note"], shown], **latest)
        knobs = self.cut.knobs.values()
        shown.select(self.pick, None, [shown, *knobs], trigger_mode="multiple", **at_once)

    def update_choices(self, values: Values) -> Values:
        """Update the choices of models, since more may be installed; keep the chosen ones."""
        models, chosen = models_here(), self.widgets["axes"]["model"]
        kept = [name for name in values[chosen] if name in models]
        return {
            chosen: gr.update(choices=models, value=kept),
            self.widgets["reference"]: gr.update(choices=reference_choices("sweep.reference.own")),
        }

    def announce(self, values: Values, request: gr.Request) -> str:
        """Show the number of trials of the sweep, and its expected duration."""
        visitor = self.desk.visitors.of(request)
        try:
            return show_count(self._plan(values), visitor.language)
        except TunerError as error:
            return show_problem(error.message, visitor.language)

    async def sweep(self, values: Values, request: gr.Request) -> AsyncIterator[str]:
        """Run the sweep and show its progress."""
        visitor = self.desk.visitors.of(request)
        try:
            plan = self._with_masks(self._plan(values), values[self.widgets["masks"]] or [])
            budgets = read_budgets(**by_name(values, self.widgets["budgets"]))
            task = self._start(plan)
        except TunerError as error:
            yield error_above(error, draw_sweep(visitor), visitor.language)
            return
        task.plan, task.budgets, visitor.sweeping = plan, budgets, task
        drawn: tuple[object, object] = (task, None)  # nothing is drawn yet
        while task.is_running:
            latest = (task.progress, task.measuring)
            # Drawing 100 points takes 0.25 s, so unchanged ones are not drawn again.
            if any(old is not new for old, new in zip(drawn, latest, strict=True)):
                drawn = latest
                yield await asyncio.to_thread(draw_sweep, visitor)
            await asyncio.sleep(FOLLOW_INTERVAL_S)
        await asyncio.to_thread(write_files, task)
        yield await asyncio.to_thread(draw_sweep, visitor)

    def stop(self, request: gr.Request) -> None:
        """Stop the visitor's sweep."""
        self.desk.visitors.of(request).stop_sweep()

    def rebudget(self, values: Values, request: gr.Request) -> Values:
        """Update the recommendation for other budgets, without a measurement."""
        visitor = self.desk.visitors.of(request)
        note, shown = self.widgets["budget_note"], self.widgets["shown"]
        try:
            budgets = read_budgets(**by_name(values, self.widgets["budgets"]))
        except SettingsError as error:
            problem = render("problem", visitor.language, message=error.message)
            return {note: problem, shown: gr.skip()}
        return {note: "", shown: change_budgets(visitor, budgets) or gr.skip()}

    def pick(self, request: gr.Request, event: gr.EventData) -> Values:
        """Show a trial, or use its setting on the Cut out tab."""
        visitor, chosen = self.desk.visitors.of(request), content_of(event)
        updates: dict[str, Any] = {}
        if "use" in chosen:
            trial = take_trial(visitor, number_of(chosen["use"]))
            if trial is None:
                return {self.widgets["shown"]: gr.skip()}
            updates = knob_updates(trial.settings, visitor.language)
        else:
            show_trial(visitor, number_of(chosen.get("trial")))
        return {
            self.widgets["shown"]: draw_sweep(visitor) or gr.skip(),
            **{self.cut.knobs[name]: update for name, update in updates.items()},
        }

    def _start(self, plan: Plan) -> LongTask:
        """Start a sweep.

        Raises:
            BusyError: another long task is running.
        """

        def work(task: LongTask, runner: QueuedTrialRunner, comparer: Comparer) -> None:
            # Thumbnails of visitors' pictures stay in the page's folder, which is deleted on exit.
            thumbnails = self.desk.folder.path / "trial-thumbnails"
            task.sweep = open_sweep(plan, task.folder, runner, comparer, thumbnails=thumbnails)
            task.progress = task.sweep.progress(0.0)

            def note(progress: SweepProgress) -> None:
                task.progress = progress

            task.sweep.run(on_trial=note, is_cancelled=lambda: task.is_stopped)
            task.sweep.confirm(task.budgets, on_trial=note, is_cancelled=lambda: task.is_stopped)
            task.progress = task.sweep.progress(task.elapsed_s())

        return self.desk.long_tasks.start(self.desk.folder.new_job(), work)

    def _plan(self, values: Values) -> Plan:
        """Return the plan that the widgets describe.

        Raises:
            SettingsError: a value is invalid, or the sweep is too long for the page.
        """
        own = by_name(values, self.inputs)
        count, reference = own["trials"], own["reference"] or ""
        if count is not None and count < 0:
            raise SettingsError(
                [Message("trials must be 0 (all) or more, got {count:g}", count=count)]
            )
        refuse_absent([reference] if reference in read_presets() else [])
        pictures = own["pictures"] or [values[self.cut.picture] or example_of(self.desk)]
        plan = Plan(
            pictures=tuple(uploads_of(self.desk, pictures)),
            axes=read_axes(by_name(values, self.widgets["axes"])),
            base=Settings(engine=best_installed_engine()),
            reference=reference,
            trials=int(count) if count else None,
            max_pixels=max_pixels_of,
        )
        _check_length(plan)
        return plan

    def _with_masks(self, plan: Plan, masks: Sequence[str]) -> Plan:
        """Return a plan with uploaded masks as its reference, if there are any.

        Raises:
            SettingsError: a mask is not an upload of this page, or two have the same name.
            PictureError: a mask is not a picture.
        """
        if not masks:
            return plan
        files = uploads_of(self.desk, masks)
        if len(files) == len(plan.pictures) == 1:
            return replace(plan, reference=str(files[0]))
        names = [file.name for file in files]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(
                [
                    Message(
                        "two masks are called {name!r}; a mask must have the name of its picture",
                        name=twice,
                    )
                ]
            )
        folder = self.desk.folder.new_job()
        for file in files:
            shutil.copyfile(file, folder / file.name)
        return replace(plan, reference=str(folder))


def _check_length(plan: Plan) -> None:
    """Check that a sweep is short enough for the page.

    Raises:
        SettingsError: it has too many trials, or takes too long.
    """
    if plan.count() > MAX_TRIALS:
        raise SettingsError(
            [
                Message(
                    "at most {max} trials on this page, got {count}; choose fewer values, or a"
                    " guided search",
                    max=MAX_TRIALS,
                    count=plan.count(),
                )
            ]
        )
    if plan.guess_s() > MAX_EXPECTED_S:
        raise SettingsError(
            [
                Message(
                    "a sweep of about {time} is too long for this page, which other visitors use"
                    " too; choose fewer values or pictures, or use the command line",
                    time=format_guess(plan.guess_s()),
                )
            ]
        )


def draw_sweep(visitor: Visitor) -> str:
    """Render the sweep of the visitor; empty if there is none."""
    task = visitor.sweeping
    return (
        ""
        if task is None
        else show_sweep(task, recommendation_of(task, task.budgets), visitor.language)
    )


def recommendation_of(task: LongTask, budgets: Budgets) -> Recommendation:
    """Return the recommendation from the trials of a sweep so far."""
    return recommend(task.progress.trials if task.progress else (), budgets)


def change_budgets(visitor: Visitor, budgets: Budgets) -> str:
    """Render the visitor's sweep with other budgets; rewrite the files of a finished one."""
    task = visitor.sweeping
    if task is not None:
        task.budgets = budgets
        if not task.is_running:
            task.shown = None
            write_files(task)
    return draw_sweep(visitor)


def show_trial(visitor: Visitor, number: int) -> None:
    """Select the trial of the visitor's sweep whose card is shown."""
    if visitor.sweeping is not None:
        visitor.sweeping.shown = number


def take_trial(visitor: Visitor, number: int) -> Trial | None:
    """Record that a trial's setting is used on the Cut out tab; None: there is no such trial."""
    task = visitor.sweeping
    trials = task.progress.trials if task is not None and task.progress is not None else ()
    trial = next((trial for trial in trials if trial.number == number), None)
    if task is not None and trial is not None:
        task.taken = task.shown = number
    return trial


def write_files(task: LongTask) -> None:
    """Write the report and the plot to the task's folder; a failure is shown on the page."""
    if task.progress is None or not task.progress.trials or task.plan is None:
        return
    found = recommendation_of(task, task.budgets)
    chosen = None if found.chosen is None else found.chosen.number
    info = lay_out_plot(task.progress.trials, task.budgets, chosen=chosen)
    try:
        write_sweep_report(task.folder, task.sweep, task.plan, found, task.budgets, is_public=True)
        with replacing(task.folder / "plot.svg") as file:
            file.write(draw_plot(info, is_standalone=True).encode())
    except (TunerError, OSError) as error:
        task.file_problem = error.message if isinstance(error, TunerError) else disk_text(error)
