"""The Compare tab: two to six settings on one picture, with their cut-outs and a table."""

from __future__ import annotations

from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.tuning.article import ARTICLE_ROWS, OUR_ROWS
from rembg_tuner.tuning.comparison import (
    MAX_COMPARED,
    MIN_COMPARED,
    ComparisonRequest,
    NamedSettings,
    compare_settings,
)
from rembg_tuner.tuning.reference import find_reference
from rembg_tuner.tuning.trials import differing_knobs
from rembg_tuner.web.locale.words import message_text, page_text, setting_name
from rembg_tuner.web.pages.assets import long_task_script
from rembg_tuner.web.pages.choices import form_settings, max_pixels_of, preset_settings
from rembg_tuner.web.pages.desk import example_of
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.task_tabs import (
    Values,
    by_name,
    error_above,
    follow,
    refuse_absent,
    tie_begin,
    tie_end,
    tie_redrawing,
    uploads_of,
)
from rembg_tuner.web.pages.templating import label_text, render
from rembg_tuner.web.pages.widgets import (
    page_words,
    preset_choices,
    reference_choices,
)

if TYPE_CHECKING:
    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
    from rembg_tuner.web.pages.visitors import Visitor

_COMPARED = ("balanced", "fastest", "smallest", "edge")


def add_compare_tab(opened: Any, desk: Desk, cut: CutWidgets) -> None:
    """Add the tab's widgets and events.

    Args:
        opened: the event of opening the tab.
        desk: has the visitors.
        cut: the widgets of the Cut out tab, for its picture and form.
    """
    CompareTab(desk, cut, _lay_out()).tie(opened)


def _lay_out() -> dict[str, Any]:
    """Lay out the widgets: the choices on the left, the result on the right."""
    words = page_words()
    made: dict[str, Any] = {}
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("compare.lead"), elem_classes=["rt-lead"])
            made["presets"] = gr.CheckboxGroup(
                choices=preset_choices(),
                value=list(_COMPARED),
                label=words("compare.presets"),
                elem_id="compared",
                elem_classes=["rt-chips"],
            )
            made["own"] = gr.Checkbox(
                value=False, label=words("compare.own"), elem_id="compare-own"
            )
            made["reference"] = gr.Dropdown(
                reference_choices("compare.reference.first"),
                value="",
                label=words("reference.label"),
                info=words("reference.info"),
                elem_id="compare-held",
            )
            made["mask"] = gr.File(
                file_types=["image"],
                type="filepath",
                label=words("compare.mask"),
                height=92,
                elem_id="compare-mask",
                elem_classes=["rt-drop"],
            )
            with gr.Row(elem_classes=["rt-buttons"]):
                made["run"] = gr.Button(
                    words("compare.run"), variant="primary", elem_id="compare-run"
                )
                made["stop"] = gr.Button(
                    words("sweep.stop"), interactive=False, elem_id="compare-stop"
                )
            made["article"] = gr.Button(
                words("compare.article"), elem_id="compare-article", size="sm"
            )
        with gr.Column(scale=7, min_width=320):
            made["shown"] = gr.HTML(
                words("compare.empty"), js_on_load=long_task_script(), elem_id="comparison"
            )
    return made


class CompareTab:
    """The tab's events."""

    def __init__(self, desk: Desk, cut: CutWidgets, widgets: dict[str, Any]) -> None:
        """Create the events for a desk, the widgets of the Cut out tab, and those of this tab."""
        self.desk = desk
        self.cut = cut
        self.widgets = widgets
        self.inputs = {name: widgets[name] for name in ("presets", "own", "reference", "mask")}

    def tie(self, opened: Any) -> None:
        """Tie the events to the widgets."""
        own, cut = self.widgets, self.cut
        inputs = {cut.picture, cut.preset, *cut.knobs.values(), *self.inputs.values()}
        choices, shown = [own["presets"], own["reference"]], own["shown"]
        starts = [own["run"], own["article"]]
        running: dict[str, Any] = {"concurrency_limit": None, **QUIET}
        tie_begin([start.click for start in starts], own["stop"], starts)
        run = own["run"].click(self.compare, inputs, shown, **running)
        article = own["article"].click(self.choose_article, None, choices, queue=False, **QUIET)
        article = article.then(self.compare_article, inputs, shown, **running)
        tie_end([run, article], own["stop"], starts)
        own["stop"].click(self.stop, None, None, queue=False, **QUIET)
        tie_redrawing(opened, shown, self.desk, "compare", self.draw)
        opened(self.update_choices, None, choices, queue=False, **QUIET)

    def update_choices(self) -> Values:
        """Update the choices of presets and models, since more may be installed."""
        return {
            self.widgets["presets"]: gr.update(choices=preset_choices()),
            self.widgets["reference"]: gr.update(
                choices=reference_choices("compare.reference.first")
            ),
        }

    def choose_article(self) -> Values:
        """Choose the presets of the article and of this project, with u2net's matte as reference.

        A preset whose model is not installed gets a row with the reason.
        """
        first = ARTICLE_ROWS[0]
        entry = read_catalogue().get(preset_settings(first).model)
        is_installed = entry is not None and entry.find() is not None
        return {
            self.widgets["presets"]: [*ARTICLE_ROWS, *OUR_ROWS],
            self.widgets["reference"]: "" if is_installed else ARTICLE_ROWS[1],
        }

    async def compare(self, values: Values, request: gr.Request) -> AsyncIterator[str]:
        """Compare the chosen presets; refuse those that cannot run on this machine."""
        try:
            refuse_absent(values[self.widgets["presets"]])
        except TunerError as error:
            visitor = self.desk.visitors.of(request)
            yield error_above(error, self.draw(visitor), visitor.language)
            return
        async for html in self.compare_article(values, request):
            yield html

    async def compare_article(self, values: Values, request: gr.Request) -> AsyncIterator[str]:
        """Compare the chosen presets, and the settings of the form if selected."""
        visitor = self.desk.visitors.of(request)
        try:
            task = self._start(values)
        except TunerError as error:
            yield error_above(error, self.draw(visitor), visitor.language)
            return
        visitor.comparing = task
        async for html in follow(task, lambda: self.draw(visitor)):
            yield html

    def draw(self, visitor: Visitor) -> str:
        """Draw the visitor's comparison; empty if there is none."""
        task = visitor.comparing
        return "" if task is None else show_comparison(task, visitor.language)

    def stop(self, request: gr.Request) -> None:
        """Stop the visitor's comparison."""
        self.desk.visitors.of(request).stop_comparison()

    def _start(self, values: Values) -> LongTask:
        """Start the comparison that the widgets describe.

        Raises:
            TunerError: the request is invalid, or another long task is running.
        """
        question = self._question(values)

        def work(task: LongTask, runner: QueuedTrialRunner, comparer: Comparer) -> None:
            task.compared = compare_settings(question, task.folder, runner, comparer)

        task = self.desk.long_tasks.start(self.desk.folder.new_job(), work)
        task.question = question
        return task

    def _question(self, values: Values) -> ComparisonRequest:
        """Return the comparison that the widgets describe.

        Raises:
            SettingsError: the number of settings, a setting, the picture or the reference is
                invalid.
        """
        own, cut = by_name(values, self.inputs), self.cut
        entries = [
            NamedSettings(name=name, settings=preset_settings(name)) for name in own["presets"]
        ]
        if own["own"]:
            settings, _ = form_settings(values[cut.preset], by_name(values, cut.knobs))
            entries.append(NamedSettings(name="mine", settings=settings))
        if not MIN_COMPARED <= len(entries) <= MAX_COMPARED:
            raise SettingsError(
                [
                    Message(
                        "two to six settings can be compared, got {count}; choose others",
                        count=len(entries),
                    )
                ]
            )
        [picture] = uploads_of(self.desk, [values[cut.picture] or example_of(self.desk)])
        question = ComparisonRequest(
            picture=picture,
            entries=tuple(entries),
            reference=entries[0].name,
            has_previews=True,
            max_pixels=max_pixels_of(picture),
        )
        if own["mask"]:
            [mask] = uploads_of(self.desk, [own["mask"]])
            return replace(question, reference=mask.name, mask=str(mask))
        return _with_reference(question, own["reference"] or "")


def _with_reference(question: ComparisonRequest, name: str) -> ComparisonRequest:
    """Return a comparison with the matte of a preset or a model as its reference.

    Args:
        question: the comparison; its reference is its first setting.
        name: the name of the preset or model; empty: the first setting.

    Raises:
        SettingsError: the preset or model cannot run on this machine.
    """
    refuse_absent([name] if name in read_presets() else [])
    if not name:
        return question
    if any(entry.name == name for entry in question.entries):
        return replace(question, reference=name)
    choice = find_reference(name)
    return replace(question, reference=choice.name, reference_settings=choice.settings)


def show_comparison(task: LongTask, language: str) -> str:
    """Render a comparison that is running, or its result."""
    question, compared = task.question, task.compared
    measured = [one.trial for one in compared if one.trial.is_measured]
    names = differing_knobs([one.entry.settings for one in compared])
    return render(
        "compare",
        language,
        state=_state(task, has_result=bool(measured or (compared and not task.is_stopped))),
        problem=task.problem,
        status=_status(task, language),
        compared=compared,
        measured=measured,
        seen=[one for one in compared if one.preview],
        reference=None if question is None or question.mask else question.reference,
        note=_agreement_text(task, language),
        name_of=partial(setting_name, language=language),
        label_of=lambda settings: label_text(settings, names, language),
    )


def _state(task: LongTask, *, has_result: bool) -> str:
    """Return the state of a comparison, which selects a part of the template."""
    if task.problem:
        return "failed"
    if task.is_running:
        return "running"
    return "done" if has_result else "stopped"


def _status(task: LongTask, language: str) -> str:
    """Return the elapsed time of a comparison and the setting that it measures, as text."""
    question = task.question
    count = len(question.entries) if question else 0
    text = page_text(
        "compare.running", language, count=count, elapsed=format_guess(task.elapsed_s())
    )
    if question is None or task.measuring is None:
        return text
    names = [one.name for one in question.entries if one.settings == task.measuring]
    name = setting_name(names[0] if names else str(question.reference), language)
    return f"{text} {page_text('task.now', language, setting=name)}"


def _agreement_text(task: LongTask, language: str) -> str:
    """Return a text with the reference of the agreement, or the reason why there is none."""
    question = task.question
    if question is None:
        return ""
    reference = question.reference
    name = (
        message_text(reference, language)
        if isinstance(reference, Message)
        else setting_name(reference, language)
    )
    measured = [one.trial for one in task.compared if one.trial.is_measured]
    if any(not picture.has_foreground for trial in measured for picture in trial.pictures):
        return page_text("compare.nothing", language, name=name)
    if all(trial.agreement is None for trial in measured):
        return page_text("compare.lost", language)
    kind = "" if question.mask else page_text("compare.no_truth", language)
    return page_text("compare.agreement", language, name=name, kind=kind, n=question.rounds)
