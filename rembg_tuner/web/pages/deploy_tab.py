"""The Deploy tab: the export of a setting to a file, and a stress test of the setting."""

from __future__ import annotations

from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from rembg_tuner.base.errors import ModelError, OutputError, SettingsError, TunerError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Measured, measured_of_trial
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import Failure, Result, setting_peak_bytes
from rembg_tuner.tuning.measure import ROUNDS
from rembg_tuner.tuning.stats import MIN_VERDICT_RUNS, summarise
from rembg_tuner.tuning.stress_test import WORDS, StressPlan, draw_stress_test
from rembg_tuner.web.locale.words import page_text
from rembg_tuner.web.pages.choices import form_settings, machine_here, max_pixels_of
from rembg_tuner.web.pages.desk import example_of
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.failures import show_problem
from rembg_tuner.web.pages.sweep_tab.events import recommendation_of
from rembg_tuner.web.pages.sweep_tab.layout import read_budgets
from rembg_tuner.web.pages.task_tabs import (
    Values,
    by_name,
    error_above,
    follow,
    tie_begin,
    tie_end,
    tie_redrawing,
    uploads_of,
)
from rembg_tuner.web.pages.templating import TOLD, label_text, render
from rembg_tuner.web.pages.widgets import page_words
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.recommend import Recommendation
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
    from rembg_tuner.web.pages.visitors import Visitor

MAX_STRESS_RUNS, MIN_STRESS_RUNS = 60, 10
STRESS_TEST_S = 30.0  # approximate time that a stress test uses a slot
_NOTHING_MEASURED = Message(
    "the limits in compose.yaml come from measurements, and there are none yet: press Run on Cut"
    " out, or run a sweep, then come back"
)
_CHOSEN_FAILED = Message(
    "The trial of the chosen setting failed, so it has no figures; choose another on the Sweep tab"
)
_MEASURED_TARGETS = ("compose",)  # their limits come from measurements
Source = Literal["form", "recommended", "taken", "taken_other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSetting:
    """The setting that is exported.

    Attributes:
        settings: the settings to export.
        measured: their figures; None: they were not measured.
        source: form: the Cut out tab; recommended: the recommendation of the sweep; taken: the
            visitor chose it with "Use this setting", and the sweep recommends no other;
            taken_other: the same, but the sweep recommends another.
        note: a note for the visitor; None: there is none.
    """

    settings: Settings
    measured: Measured | None
    source: Source = "form"
    note: Message | None = None


def add_deploy_tab(opened: Any, desk: Desk, cut: CutWidgets, budgets: dict[str, Any]) -> None:
    """Add the tab's widgets and events.

    Args:
        opened: the event of opening the tab.
        desk: has the visitors and the folder.
        cut: the widgets of the Cut out tab; its form is exported if there is no sweep.
        budgets: the fields of the Sweep tab's budgets.
    """
    DeployTab(desk, cut, budgets, _lay_out()).tie(opened)


def _lay_out() -> dict[str, Any]:
    """Lay out the widgets: the choices on the left, the file on the right."""
    words = page_words()
    made: dict[str, Any] = {}
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("deploy.lead"), elem_classes=["rt-lead"])
            made["target"] = gr.Radio(
                [(words(f"deploy.{name}"), name) for name in TARGETS],
                value=TARGETS[0],
                label=words("deploy.target"),
                elem_id="deploy-target",
                elem_classes=["rt-chips"],
            )
            made["write"] = gr.Button(
                words("deploy.write"), variant="primary", elem_id="deploy-run"
            )
            gr.HTML(words("stress.lead"), elem_classes=["rt-lead", "rt-apart"])
            with gr.Row(elem_classes=["rt-buttons"]):
                made["test"] = gr.Button(words("stress.go"), elem_id="soak-run")
                made["stop"] = gr.Button(
                    words("sweep.stop"), interactive=False, elem_id="soak-stop"
                )
            made["tested"] = gr.HTML("", elem_id="soaked")
        with gr.Column(scale=7, min_width=320):
            made["shown"] = gr.HTML(words("deploy.empty"), elem_id="deployed")
    return made


class DeployTab:
    """The tab's events."""

    def __init__(
        self, desk: Desk, cut: CutWidgets, budgets: dict[str, Any], widgets: dict[str, Any]
    ) -> None:
        """Create the events for a desk, the widgets of other tabs, and those of this tab."""
        self.desk = desk
        self.cut = cut
        self.budgets = budgets
        self.widgets = widgets

    def tie(self, opened: Any) -> None:
        """Tie the events to the widgets."""
        own, cut = self.widgets, self.cut
        setting = {cut.preset, *cut.knobs.values(), *self.budgets.values()}
        # Queued, one at a time: the model of a script may have to be converted first.
        own["write"].click(self.write, {own["target"], *setting}, own["shown"], **QUIET)
        looks = [opened, own["target"].input]
        gr.on(looks, self.preview, {own["target"], *setting}, own["shown"], **QUIET)
        tie_redrawing(opened, own["tested"], self.desk, "stress_test", draw_test)
        tie_begin([own["test"].click], own["stop"], [own["test"]])
        running = own["test"].click(
            self.test, {cut.picture, *setting}, own["tested"], concurrency_limit=None, **QUIET
        )
        tie_end([running], own["stop"], [own["test"]])
        own["stop"].click(self.stop, None, None, queue=False, **QUIET)

    def write(self, values: Values, request: gr.Request) -> str:
        """Write the file and show it."""
        visitor, target = self.desk.visitors.of(request), values[self.widgets["target"]]
        try:
            chosen = self.chosen_setting(visitor, values)
            if target in _MEASURED_TARGETS and chosen.measured is None:
                raise SettingsError([_NOTHING_MEASURED])
            return show_export(self.desk, chosen, target, visitor.language)
        except TunerError as error:
            return show_problem(error.message, visitor.language)

    def preview(self, values: Values, request: gr.Request) -> str:
        """Show the file as a preview before the button is pressed, if it can be written."""
        visitor, target = self.desk.visitors.of(request), values[self.widgets["target"]]
        try:
            chosen = self.chosen_setting(visitor, values)
            if target in _MEASURED_TARGETS and chosen.measured is None:
                return page_text("deploy.empty", visitor.language)
            return show_export(self.desk, chosen, target, visitor.language)
        except TunerError as error:
            return render("deploy_empty", visitor.language, message=error.message)

    async def test(self, values: Values, request: gr.Request) -> AsyncIterator[str]:
        """Run the stress test and show its result."""
        visitor = self.desk.visitors.of(request)
        try:
            settings = self.chosen_setting(visitor, values).settings
            picture = values[self.cut.picture] or example_of(self.desk)
            [path] = uploads_of(self.desk, [picture])
            task = self._start_test(path, settings)
        except TunerError as error:
            yield error_above(error, draw_test(visitor), visitor.language)
            return
        task.subject, visitor.stress_testing = (settings, path.name), task
        async for html in follow(task, lambda: draw_test(visitor)):
            yield html

    def stop(self, request: gr.Request) -> None:
        """Stop the visitor's stress test."""
        self.desk.visitors.of(request).stop_stress_test()

    def _start_test(self, picture: Path, settings: Settings) -> LongTask:
        """Start a stress test.

        Raises:
            BusyError: another long task is running.
        """

        def work(task: LongTask, runner: QueuedTrialRunner, _: Comparer) -> None:
            output = str(task.folder / "soak.png")
            job = Job(input=str(picture), output=output, max_pixels=max_pixels_of(picture))
            first = _results_of(runner.measure([job], settings))[0][0]
            # A slow setting gets fewer runs, to limit the wait of other visitors.
            count = min(MAX_STRESS_RUNS, max(MIN_STRESS_RUNS, int(STRESS_TEST_S / first.total_s)))
            plan = StressPlan(runs=count, idle_s=0, max_pixels=job.max_pixels)
            task.stress_test = runner.stress(picture, settings, plan)

        return self.desk.long_tasks.start(self.desk.folder.new_job(), work)

    def chosen_setting(self, visitor: Visitor, values: Values) -> ChosenSetting:
        """Return the setting taken from or recommended by the sweep; else the Cut out tab's form.

        Raises:
            TunerError: no trial fits the budgets, the trial failed, or a field is invalid.
        """
        budgets, task = read_budgets(**by_name(values, self.budgets)), visitor.sweeping
        trials = task.progress.trials if task is not None and task.progress is not None else ()
        if task is None or not any(trial.is_measured for trial in trials):
            form = by_name(values, self.cut.knobs)
            settings, _ = form_settings(values[self.cut.preset], form)
            return ChosenSetting(settings=settings, measured=_measured_of_visit(visitor, settings))
        found = recommendation_of(task, budgets)
        chosen = chosen_trial(task, found)
        if chosen is None:
            raise SettingsError(
                [
                    Message(
                        "{why}; change a budget on the Sweep tab, or choose a setting there with"
                        " “Use this setting”",
                        why=found.why,
                    )
                ]
            )
        return _setting_of_trial(*chosen, budgets)


def chosen_trial(task: LongTask, found: Recommendation) -> tuple[Trial, Source] | None:
    """Return the trial that the visitor took, or else the recommended one.

    Args:
        task: the visitor's sweep.
        found: its recommendation.

    Returns:
        The trial and its source; None: no trial was taken, and none fits the budgets.
    """
    trials, recommended = task.progress.trials if task.progress else (), found.chosen
    taken = next((trial for trial in trials if trial.number == task.taken), None)
    if taken is None:
        return None if recommended is None else (recommended, "recommended")
    is_other = recommended is not None and recommended.number != taken.number
    return taken, "taken_other" if is_other else "taken"


def _setting_of_trial(trial: Trial, source: Source, budgets: Budgets) -> ChosenSetting:
    """Return the setting of a trial, with a note about the budgets that it misses.

    Raises:
        SettingsError: the trial failed.
    """
    if not trial.is_measured:
        raise SettingsError([_CHOSEN_FAILED])
    note = None
    if misses := budgets.misses(trial):
        note = Message(
            "This setting does not keep the budgets: {misses}.", misses=join_parts(misses, "; ")
        )
    host = read_host()
    measured = measured_of_trial(trial, {"cpu": host.cpu, "cores": str(host.usable_cpus)})
    return ChosenSetting(settings=trial.settings, measured=measured, source=source, note=note)


def _measured_of_visit(visitor: Visitor, settings: Settings) -> Measured | None:
    """Return the figures of the visit's runs with these settings; None: there are none."""
    machine = machine_here()
    key = _measured_key(settings, machine)
    runs = [
        run
        for turn in visitor.visit.turns
        for run in turn.runs
        if isinstance(run, Result) and _measured_key(run.settings, machine) == key
    ]
    peak = setting_peak_bytes(runs)
    if not runs or peak is None:
        return None
    host = read_host()
    return Measured(
        peak_bytes=peak,
        time_s=summarise([run.total_s for run in runs]).median,
        n=len(runs),
        date=datetime.now(UTC).date().isoformat(),
        cpu=host.cpu,
        cores=host.usable_cpus,
        precision=str(runs[-1].effective.get("precision") or ""),
    )


def _measured_key(settings: Settings, machine: Machine) -> tuple[object, ...]:
    """Return a key that is equal for settings whose measurements can be combined."""
    try:
        key: object = resolve(settings, machine).worker_key
    except ModelError:  # the model file was removed: match only identical settings
        key = settings
    return (key, settings.focus, settings.focus_max_share)


def show_export(desk: Desk, chosen: ChosenSetting, target: str, language: str) -> str:
    """Write an export to the page's folder and render it without paths of the server."""
    settings, measured = chosen.settings, chosen.measured
    made = export(settings, target, measured=measured)
    text = made.text
    for path in (*made.files, *(path for _, path in made.beside)):
        text = text.replace(path, Path(path).name)
    file = desk.folder.new_job() / made.file_name
    with replacing(file) as whole:
        whole.write(text.encode())
    return render(
        "deploy",
        language,
        source=chosen.source,
        setting=label_text(settings, TOLD, language),
        measured=measured,
        is_few=measured is not None and measured.n < ROUNDS,
        note=chosen.note,
        notes=[*made.beside_notes(), *made.notes],
        file=file,
        content=text,
    )


def draw_test(visitor: Visitor) -> str:
    """Render the stress test of the visitor; empty if there is none."""
    task = visitor.stress_testing
    return "" if task is None else show_stress_test(task, visitor.language)


def show_stress_test(task: LongTask, language: str) -> str:
    """Render a running stress test, or its result."""
    found, subject = task.stress_test, ""
    if task.subject is not None:
        setting, picture = label_text(task.subject[0], TOLD, language), task.subject[1]
        subject = page_text("stress.subject", language, setting=setting, picture=picture)
    words = {word: page_text(f"stress.{word}", language) for word in WORDS}
    return render(
        "stress_test",
        language,
        problem=task.problem,
        is_running=task.is_running,
        subject=subject,
        found=found,
        chart=None if found is None else draw_stress_test(found, words),
        max_runs=MAX_STRESS_RUNS,
        min_verdict_runs=MIN_VERDICT_RUNS,
    )


def _results_of(runs: Sequence[Result | Failure]) -> tuple[list[Result], Message | None]:
    """Return the successful runs, and the reason of the first failure or None.

    Raises:
        OutputError: all runs failed.
    """
    results = [run for run in runs if isinstance(run, Result)]
    failed = next((run.message for run in runs if isinstance(run, Failure)), None)
    if not results:
        raise OutputError(failed or Message("nothing was run"))
    return results, failed
