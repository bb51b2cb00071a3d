"""The tab that hands over what runs a setting elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from rembg_tuner.base.errors import ModelError, SettingsError, TunerError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Measured, measured_of_trial
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import Result, setting_peak_bytes
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.measure import ROUNDS
from rembg_tuner.tuning.stats import summarise
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.choices import chosen_settings, machine_here
from rembg_tuner.web.pages.events import QUIET
from rembg_tuner.web.pages.failures import show_problem
from rembg_tuner.web.pages.handlers import example_of
from rembg_tuner.web.pages.shipping import shipped_trial
from rembg_tuner.web.pages.sweep_tab import read_budgets
from rembg_tuner.web.pages.task_tabs import error_above, tie_begin, tie_end, tie_redrawing
from rembg_tuner.web.pages.templating import TOLD, file_link, label_text
from rembg_tuner.web.pages.widgets import page_words

if TYPE_CHECKING:
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.web.pages.events import Widgets
    from rembg_tuner.web.pages.handlers import Desk
    from rembg_tuner.web.pages.shipping import Shipped, Source
    from rembg_tuner.web.pages.study_handlers import StudyHandlers
    from rembg_tuner.web.pages.visitors import Visitor

_NOTHING_MEASURED = Message(
    "compose.yaml takes its limits from what was measured, and nothing was yet: press Run on Cut"
    " out, or sweep, and come back"
)
_TAKEN_FAILED = Message(
    "The trial of the setting that you took failed, so it has no figures; take another on the"
    " Sweep tab"
)
_MEASURED_TARGETS = ("compose",)  # limits are taken from what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """What is shipped: a setting, what was measured of it (None: nothing), where it is from, and what to know.

    Attributes:
        source: as `Shipped.source`; form: the first tab.
    """

    settings: Settings
    measured: Measured | None
    source: Source | Literal["form"] = "form"
    note: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeployParts:
    """The tab's parts."""

    target: Any
    go: Any
    shown: Any
    soak: Any
    stop: Any
    soaked: Any


def add_deploy_tab(
    opened: Any, desk: Desk, parts: Widgets, studies: StudyHandlers, budgets: dict[str, Any]
) -> None:
    """Lay the tab out and tie it.

    Args:
        opened: the event of the tab's being opened.
        desk: with the visitors and the folder.
        parts: the first tab's, whose form is exported where nothing was swept.
        studies: know which trial the visitor looks at.
        budgets: the fields of the Sweep tab's budgets.
    """
    own, tab = _lay_out_deploy(), _DeployTab(desk, studies, len(budgets))
    inputs = [own.target, *budgets.values(), parts.preset, *parts.knobs.values()]
    # Queued, one at a time: a script's model may have to be converted first.
    own.go.click(tab.write, inputs, own.shown, **QUIET)
    gr.on([opened, own.target.input], tab.look, inputs, own.shown, **QUIET)
    tie_redrawing(opened, own.soaked, desk, "soak", studies.soaked)
    tie_begin([own.soak.click], own.stop, [own.soak])
    running = own.soak.click(
        tab.soak, [parts.picture, *inputs[1:]], own.soaked, concurrency_limit=None, **QUIET
    )
    tie_end([running], own.stop, [own.soak])
    own.stop.click(tab.end, None, None, queue=False, **QUIET)


def _lay_out_deploy() -> _DeployParts:
    """Lay out: left what is wanted, right what runs it."""
    words = page_words()
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("deploy.lead"), elem_classes=["rt-lead"])
            target = gr.Radio(
                [(words(f"deploy.{name}"), name) for name in TARGETS],
                value=TARGETS[0],
                label=words("deploy.target"),
                elem_id="deploy-target",
                elem_classes=["rt-chips"],
            )
            go = gr.Button(words("deploy.write"), variant="primary", elem_id="deploy-run")
            gr.HTML(words("soak.lead"), elem_classes=["rt-lead", "rt-apart"])
            with gr.Row(elem_classes=["rt-buttons"]):
                soak = gr.Button(words("soak.go"), elem_id="soak-run")
                stop = gr.Button(words("sweep.stop"), interactive=False, elem_id="soak-stop")
            soaked = gr.HTML("", elem_id="soaked")
        with gr.Column(scale=7, min_width=320):
            shown = gr.HTML(words("deploy.empty"), elem_id="deployed")
    return _DeployParts(target=target, go=go, shown=shown, soak=soak, stop=stop, soaked=soaked)


class _DeployTab:
    """The tab's events."""

    def __init__(self, desk: Desk, studies: StudyHandlers, budgets: int) -> None:
        """Work at a desk; so many of the values that come are budgets."""
        self.desk = desk
        self.studies = studies
        self.budgets = budgets

    def write(self, request: gr.Request, to: str, *values: Any) -> str:
        """Write what runs the setting, and show it."""
        visitor = self.desk.visitors.of(request)
        try:
            chosen = self._chosen(visitor, values)
            if to in _MEASURED_TARGETS and chosen.measured is None:
                raise SettingsError([_NOTHING_MEASURED])
            return _show(self.desk, chosen, to, visitor.language)
        except TunerError as error:
            return show_problem(error.message, visitor.language)

    def look(self, request: gr.Request, to: str, *values: Any) -> str:
        """Show what runs the setting, where there is one that can be run.

        Nobody pressed anything yet.
        """
        visitor = self.desk.visitors.of(request)
        try:
            chosen = self._chosen(visitor, values)
            if to in _MEASURED_TARGETS and chosen.measured is None:
                return page_text("deploy.empty", visitor.language)
            return _show(self.desk, chosen, to, visitor.language)
        except TunerError as error:
            told = escape(message_text(error.message, visitor.language))
            return f'<div class="rt-void"><span>{told}</span></div>'

    async def soak(
        self, request: gr.Request, picture: str | None, *values: Any
    ) -> AsyncIterator[str]:
        """Run the setting many times, and show what stays."""
        visitor = self.desk.visitors.of(request)
        try:
            settings = self._chosen(visitor, values).settings
        except TunerError as error:
            yield error_above(error, self.studies.soaked(visitor), visitor.language)
            return
        async for html in self.studies.soak(visitor, picture or example_of(self.desk), settings):
            yield html

    def end(self, request: gr.Request) -> None:
        """Stop the visitor's soak."""
        self.desk.visitors.of(request).stop_soak()

    def _chosen(self, visitor: Visitor, values: tuple[Any, ...]) -> _Chosen:
        """Choose what is shipped: the sweep's setting, taken or recommended.

        Without a sweep the first tab's form.

        Raises:
            TunerError: nothing fits, the trial failed, a budget cannot be, or the form cannot.
        """
        limits = read_budgets(values[: self.budgets])
        found = self.studies.found(visitor, limits)
        if found is None or visitor.sweeping is None:
            preset, *form = values[self.budgets :]
            settings = chosen_settings(preset, dict(zip(KNOBS, form, strict=True)))[0]
            return _Chosen(settings=settings, measured=_measured_of_visit(visitor, settings))
        shipped = shipped_trial(visitor.sweeping, found)
        if shipped is None:
            raise SettingsError(
                [
                    Message(
                        "{why}; change a budget on the Sweep tab, or take a setting there with “Use"
                        " this setting”",
                        why=found.why,
                    )
                ]
            )
        return _chosen_of_trial(shipped, limits)


def _chosen_of_trial(shipped: Shipped, limits: Budgets) -> _Chosen:
    """Ship a trial of the sweep, with what it misses.

    Raises:
        SettingsError: it failed.
    """
    trial = shipped.trial
    if not trial.is_measured:
        raise SettingsError([_TAKEN_FAILED])
    misses = limits.misses(trial)
    note = (
        Message(
            "This setting does not keep the budgets: {misses}.", misses=join_parts(misses, "; ")
        )
        if misses
        else None
    )
    host = read_host()
    here = {"cpu": host.cpu, "cores": str(host.usable_cpus)}
    measured = measured_of_trial(trial, here)
    return _Chosen(settings=trial.settings, measured=measured, source=shipped.source, note=note)


def _measured_of_visit(visitor: Visitor, settings: Settings) -> Measured | None:
    """Give what this visit's runs of the same setting took; None: there was none."""
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
    precision = str(runs[-1].effective.get("precision") or "")
    host = read_host()
    return Measured(
        peak_bytes=peak,
        time_s=summarise([run.total_s for run in runs]).median,
        n=len(runs),
        date=datetime.now(UTC).date().isoformat(),
        cpu=host.cpu,
        cores=host.usable_cpus,
        precision=precision,
    )


def _measured_key(settings: Settings, machine: Machine) -> tuple[object, ...]:
    """Return what settings must have in common for their figures to be of one setting."""
    try:
        held: object = resolve(settings, machine).worker_key
    except ModelError:  # its model is gone: it is the same as itself only
        held = settings
    return (held, settings.focus, settings.focus_max_share)


def _show(desk: Desk, chosen: _Chosen, to: str, language: str) -> str:
    """Write the export into the page's folder and show it; this server's places stay untold."""
    settings, measured = chosen.settings, chosen.measured
    made = export(settings, to, measured=measured)
    text = made.text
    for place in (*made.files, *(path for _, path in made.beside)):
        text = text.replace(place, Path(place).name)
    said = [message_text(note, language) for note in (*made.beside_notes(), *made.notes)]
    if measured is not None and measured.n < ROUNDS:
        said.insert(0, page_text("deploy.few", language, n=measured.n))
    if chosen.note:
        said.insert(0, message_text(chosen.note, language))
    file = desk.folder.new_job() / made.file_name
    with replacing(file) as whole:
        whole.write(text.encode())
    figures = (
        f"{format_bytes(measured.peak_bytes)}, {format_seconds(measured.time_s)}, n = {measured.n}"
        if measured
        else page_text("deploy.unmeasured", language)
    )
    lead = page_text(
        f"deploy.for.{chosen.source}",
        language,
        setting=label_text(settings, TOLD, language),
        figures=figures,
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in said)
    download = page_text("deploy.download", language, name=made.file_name)
    return (
        f'<section class="rt-study"><p>{escape(lead)}</p><ul class="rt-muted">{notes}</ul><p'
        f' class="rt-files"><a href="{escape(file_link(file))}"'
        f' download="{escape(made.file_name)}">{escape(download)}</a></p><pre class="rt-code"'
        ' tabindex="0" role="region"'
        f' aria-label="{escape(made.file_name)}"><code>{escape(text)}</code></pre></section>'
    )
