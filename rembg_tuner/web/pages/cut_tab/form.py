"""The form: its first values, the note below the preset, and the disabled knobs."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import PresetError, SettingsError
from rembg_tuner.base.units import MIB, format_bytes, format_seconds
from rembg_tuner.runtime.timings import find_figures
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.settings.records import measured_elsewhere_text, small_subject_of
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.locale.catalogues import language_of
from rembg_tuner.web.locale.words import message_text, page_text, translate
from rembg_tuner.web.pages.assets import thumbnail
from rembg_tuner.web.pages.choices import (
    absence_of,
    execution_providers,
    fill_form,
    form_settings,
    greyed_knobs,
    machine_here,
    missing_of,
    preset_settings,
)
from rembg_tuner.web.pages.cut_tab.picture import show_chosen
from rembg_tuner.web.pages.cut_tab.rendering import existing, show_empty, show_runs
from rembg_tuner.web.pages.cut_tab.runs import RunEvents
from rembg_tuner.web.pages.desk import EXAMPLES, EXAMPLES_FOLDER
from rembg_tuner.web.pages.events import QUIET, flat, tie, updates_of, values_of
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.visit import differences
from rembg_tuner.web.pages.widgets import (
    DETAILS,
    RESULT_SIZES,
    grey_updates,
    knob_updates,
    preset_choices,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.timings import PresetFigures
    from rembg_tuner.settings.presets import Preset
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.web.pages.choices import Form
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.events import Shown
    from rembg_tuner.web.pages.visitors import Visitor

_MAX_PRESET_LETTERS = 80  # of a preset's name in a URL
_LOG = logging.getLogger(__name__)


def tie_form(page: gr.Blocks, widgets: CutWidgets, desk: Desk, *, preset: str) -> None:
    """Tie the load event of the page and the events of the form.

    Args:
        page: its load event fills the form in.
        widgets: the widgets of the tab.
        desk: has the visitors.
        preset: the preset of new visitors.
    """
    events, named, knobs = FormEvents(desk, preset=preset), widgets.named, widgets.knobs
    _tie_load(page, widgets, events)
    # The browser fills the form in at once, so Run does not use the values of another preset.
    forms = {name: fill_form(preset_settings(name)) for name in read_presets()}
    filled = json.dumps({name: [form[knob] for knob in KNOBS] for name, form in forms.items()})
    everything = list(knobs.values())
    fill = f"(preset, ...now) => window.rembgTuner.fill(({filled})[preset], now)"
    fills = widgets.preset.input(None, [widgets.preset, *everything], everything, js=fill, **QUIET)
    # Marked as filled only afterwards: before that, Run uses the preset's own values.
    fills.then(None, widgets.preset, widgets.filled, js="(preset) => preset", **QUIET)
    answered = tie(
        desk,
        widgets.preset.input,
        events.choose_preset,
        named("preset"),
        named("preset", "preset_note", "knobs"),
        queue=False,
    )
    settle = "(preset, filled, ...now) => window.rembgTuner.settle(preset, filled, now)"
    marks = [widgets.filled, *everything]
    answered.then(None, [widgets.preset, *marks], marks, js=settle, **QUIET)
    greying = {name: knobs[name] for name in ("engine", "model", "focus")}
    outputs, changes = named("knobs"), [one.change for one in greying.values()]
    tie(desk, changes, events.change_engine, greying, outputs, queue=False)
    # Values are reset only after a choice of the visitor. While a preset fills the form in, a
    # reset after the first values would overwrite the others.
    tie(desk, knobs["engine"].input, events.choose_engine, greying, outputs, queue=False)
    _tie_quick_choices(widgets)
    tie(
        desk,
        [widget.change for widget in everything],
        events.note,
        named("preset", "knobs"),
        named("preset_note"),
        trigger_mode="always_last",
        queue=False,
    )


def _tie_load(page: gr.Blocks, widgets: CutWidgets, events: FormEvents) -> None:
    """Fill the page in when it is loaded, and store the form in the visitor's browser."""
    inputs = widgets.named("saved", "language", "tab")
    outputs = widgets.named("preset", "filled", "preset_note", "examples", "picture")
    outputs |= widgets.named("viewer", "result", "runs", "knobs")

    def load(request: gr.Request, *values: object) -> dict[Any, Any]:
        sent = values_of(inputs, values)
        tab = sent["tab"] if isinstance(sent["tab"], dict) else {}
        visitor = events.desk.visitors.resume(request, tab.get("token"))
        visitor.has_masks = tab.get("masks") is True
        has_runs = tab.get("hadRuns") is True
        browser = Browser(saved=sent["saved"], language=sent["language"], had_runs=has_runs)
        shown = events.greet(visitor, browser, request.query_params.get("preset"))
        return updates_of(outputs, shown, visitor.language)

    send = (
        "(saved) => [saved, document.documentElement.lang || navigator.language,"
        " window.rembgTuner.tab()]"
    )
    page.load(load, flat(inputs), flat(outputs), js=send, queue=False, **QUIET)
    names = json.dumps(list(KNOBS))
    store = (
        f"(preset, ...values) => ({{preset, knobs: Object.fromEntries({names}.map((name, i) =>"
        " [name, values[i]]))})"
    )
    form = [widgets.preset, *widgets.knobs.values()]
    gr.on([one.change for one in form], None, form, widgets.saved, js=store, **QUIET)


def _tie_quick_choices(widgets: CutWidgets) -> None:
    """Synchronise the two quick choices with their knobs, in the browser."""
    for quick, name, choices in (
        (widgets.detail, "network_size", DETAILS),
        (widgets.result_size, "max_side", RESULT_SIZES),
    ):
        knob = widgets.knobs[name]
        quick.input(None, quick, knob, js="(side) => side", **QUIET)
        to_quick = f"(side) => {json.dumps(choices)}.includes(side ?? 0) ? (side ?? 0) : null"
        knob.change(None, knob, quick, js=to_quick, **QUIET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """The state that a browser sends after it has loaded the page.

    Attributes:
        saved: the form of the last visit, as stored in the browser; it can be any value.
        language: the language of the page.
        had_runs: whether this tab had runs before the page was reloaded.
    """

    saved: object
    language: str
    had_runs: bool = False


class FormEvents:
    """The events of the form."""

    def __init__(self, desk: Desk, *, preset: str) -> None:
        """Create the events; `preset` is the preset of new visitors."""
        self.desk = desk
        self._preset = preset

    def greet(self, visitor: Visitor, browser: Browser, asked_preset: str | None) -> Shown:
        """Fill the page in for a visitor.

        Args:
            visitor: the visitor; with the runs of the visit if the page was reloaded.
            browser: the state of the visitor's browser.
            asked_preset: the preset in the URL; it overrides the stored form.
        """
        visitor.language = language_of(browser.language)
        visitor.refusal = _refusal_of(asked_preset)
        preset, settings = self._start(browser.saved, None if visitor.refusal else asked_preset)
        visitor.preset = preset
        return {
            "preset": gr.update(value=preset, choices=preset_choices()),
            "filled": preset,
            "preset_note": show_note(visitor, preset, settings.to_dict()),
            "examples": show_examples(visitor.language),
            "knobs": knob_updates(settings, visitor.language),
            **self._resume(visitor, had_runs=browser.had_runs),
        }

    def _resume(self, visitor: Visitor, *, had_runs: bool) -> Shown:
        """Show the visit as far as it exists: its runs, its result and its picture."""
        shown = RunEvents(self.desk).show_visit(visitor, with_viewer=True)
        if had_runs and not visitor.visit.turns:
            shown["runs"] = show_runs(visitor.visit, None, visitor.language, has_ended=True)
        chosen = visitor.chosen
        if chosen is not None and existing(chosen.path):
            shown = {**show_chosen(chosen, visitor.language), **shown, "picture": chosen.path}
        return {"result": show_empty(visitor.language), **shown}

    def _start(self, saved: object, asked: str | None) -> tuple[str, Settings]:
        """Return the first preset and settings of a visitor.

        The preset of the URL comes first, then the stored form, then the preset of this server.
        """
        if asked in read_presets():
            return str(asked), preset_settings(str(asked))
        if isinstance(saved, dict) and isinstance(saved.get("knobs"), dict):
            preset = str(saved.get("preset"))
            try:
                return preset, form_settings(preset, saved["knobs"])[0]
            except (SettingsError, PresetError) as error:
                # The form is from another version or another machine: use the default preset.
                _LOG.info("a browser's kept settings are no longer possible: %s", error)
        return self._preset, preset_settings(self._preset)

    def choose_preset(self, visitor: Visitor, preset: str) -> Shown:
        """Show the note of a preset, and disable the knobs that its engine does not honour.

        A preset that cannot run on this machine is refused. The values of the knobs are left
        unchanged: the browser has filled them in, and the visitor may have changed them since.
        """
        absence = absence_of(preset)
        if absence is not None:
            visitor.refusal = absence.text
            back = visitor.preset or self._preset
            return {"preset": back, "preset_note": _note(visitor)}
        visitor.preset, visitor.refusal = preset, None
        settings = preset_settings(preset)
        knobs = knob_updates(settings, visitor.language)
        for update in knobs.values():
            del update["value"]
        return {"preset_note": _preset_note(visitor, preset, settings), "knobs": knobs}

    def change_engine(
        self, visitor: Visitor, *, engine: str, model: str, focus: str, resets: bool = False
    ) -> Shown:
        """Disable the knobs and choices that cannot be used on this machine.

        Args:
            visitor: the visitor of the page.
            engine: the engine in the form.
            model: the model in the form.
            focus: the focus in the form.
            resets: whether disabled knobs are reset to their defaults.
        """
        here: frozenset[str] | None = None
        if "provider" not in greyed_knobs({"engine": engine}):
            here = frozenset(state.name for state in execution_providers() if state.is_present)
        return {"knobs": grey_updates(engine, model, focus, visitor.language, here, resets=resets)}

    def choose_engine(self, visitor: Visitor, **chosen: str) -> Shown:
        """Disable what cannot be used, and reset the knobs that the engine does not have."""
        return self.change_engine(visitor, **chosen, resets=True)

    def note(self, visitor: Visitor, *, preset: str, knobs: Form) -> Shown:
        """Show the note of the form: the preset's purpose and figures, changes and problems."""
        return {"preset_note": show_note(visitor, preset, knobs)}


def show_note(visitor: Visitor, preset: str, form: Form) -> str:
    """Render the note of the form."""
    try:
        settings, _ = form_settings(preset, form)
    except (SettingsError, PresetError) as error:
        return _note(visitor, refusal=None, problem=error.message)
    return _preset_note(visitor, preset, settings)


def _note(visitor: Visitor, **values: object) -> str:
    """Render the note below the preset; values that are not given are left out."""
    defaults: dict[str, object] = {
        "problem": None,
        "purpose": "",
        "changed": {},
        "measured": "",
        "warnings": (),
    }
    values = {**defaults, "refusal": visitor.refusal, **values}
    return render("preset_note", visitor.language, **values)


def _preset_note(visitor: Visitor, preset: str, settings: Settings) -> str:
    """Render the purpose of a preset, and its figures or the changes in the form."""
    found, language = find_preset(preset), visitor.language
    changed = differences(settings, preset_settings(preset))
    figures = None if changed else find_figures(settings, machine_here())
    return _note(
        visitor,
        purpose=found.purpose,
        changed=changed,
        measured=_measured_here(figures, language) if figures else _measured(found, language),
        warnings=(*(one.reason for one in missing_of(settings)), *_dropped(found)),
    )


def _refusal_of(asked: str | None) -> Message | None:
    """Return why the preset in the URL cannot be chosen; None: it can, or there is none."""
    if not asked:
        return None
    try:
        absence = absence_of(asked[:_MAX_PRESET_LETTERS])
    except PresetError as error:
        return error.message
    return None if absence is None else absence.text


def _measured(preset: Preset, language: str) -> str:
    """Return the recorded figures of a preset as text, with their CPU; or why there are none."""
    measured = preset.measured
    if measured is None:
        reason = translate(preset.why_not_measured or "", language)
        return page_text("preset.not_measured", language, reason=reason)
    figures = {
        "time": format_seconds(float(str(measured["latency_p50_s"]))),
        "peak": format_bytes(round(float(str(measured["peak_rss_mib"])) * MIB)),
    }
    return f"{_measured_where(preset, measured, figures, language)}{_small_subject(measured, language)}"


def _measured_here(figures: PresetFigures, language: str) -> str:
    """Return the figures of a preset on this machine as text."""
    key = "preset.measured.here" if figures.is_of_bench else "preset.measured.own"
    time, peak = format_seconds(figures.time_s), format_bytes(figures.peak_bytes)
    told = page_text(key, language, time=time, peak=peak, date=figures.date)
    if figures.small_time_s is None:
        return told
    return told + page_text(
        "preset.measured.small_here", language, time=format_seconds(figures.small_time_s)
    )


def _measured_where(
    preset: Preset, measured: Mapping[str, object], figures: dict[str, str], language: str
) -> str:
    """Return the figures of the usual picture as text, with the CPU they were measured on."""
    elsewhere = measured_elsewhere_text(preset, read_host())
    if elsewhere is not None:
        where = message_text(elsewhere, language)
        return page_text("preset.measured.elsewhere", language, where=where, **figures)
    return page_text(
        "preset.measured",
        language,
        **figures,
        cpu=f"{measured['cpu']}, {measured['cores']} {page_text('cores', language)}",
    )


def _dropped(preset: Preset) -> tuple[Message, ...]:
    """Return warnings for the settings of a preset that this machine does not support."""
    return requested_settings(preset, {}, machine_here())[1]


def show_examples(language: str) -> str:
    """Render the examples as buttons; empty if their pictures are not installed."""
    if not EXAMPLES_FOLDER.is_dir():
        return ""
    return render("examples", language, thumbnails={name: thumbnail(name) for name in EXAMPLES})


def _small_subject(measured: Mapping[str, object], language: str) -> str:
    """Return the time of a picture with a small subject; empty if the network always runs once."""
    small = small_subject_of(measured)
    if small is None:
        return ""
    time, n = format_seconds(small.time_s), str(small.passes)
    return page_text("preset.measured.small", language, time=time, n=n)
