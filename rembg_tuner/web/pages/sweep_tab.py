"""The tab that sweeps: its parts, and what ties them to their handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence  # Gradio reads annotations at run time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import DEFAULT_MODEL
from rembg_tuner.settings.settings import type_of
from rembg_tuner.tuning.budgets import DEFAULT_MIN_AGREEMENT, Budgets
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.assets import long_task_script
from rembg_tuner.web.pages.choices import machine_here, possible_precisions
from rembg_tuner.web.pages.events import (
    QUIET,
    content_of,
    number_of,
)
from rembg_tuner.web.pages.failures import show_problem
from rembg_tuner.web.pages.handlers import example_of
from rembg_tuner.web.pages.study_handlers import StudyHandlers, budgets_of
from rembg_tuner.web.pages.task_tabs import error_above, tie_begin, tie_end, tie_redrawing
from rembg_tuner.web.pages.widgets import (
    RESULT_SIZES,
    choice_label,
    knob_updates,
    models_here,
    page_words,
    reference_choices,
)

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Value
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.web.pages.events import Widgets
    from rembg_tuner.web.pages.handlers import Desk
    from rembg_tuner.web.pages.visitors import Visitor

_AXES = (
    "model",
    "engine",
    "precision",
    "network_size",
    "intra_op_threads",
    "cpu_mem_arena",
    "mem_pattern",
)
_MORE_AXES = ("focus", "max_side", "spinning", "arena_shrink", "light_mode")
_SIZES = (160, 192, 224, 256, 288, 320, 384, 448)
_THREADS = (1, 2, 4, 8)
_ON_OFF = ("on", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class _SweepParts:
    """The tab's parts: what is asked, under which budgets, and what is shown."""

    pictures: Any
    masks: Any
    trials: Any
    reference: Any
    axes: dict[str, Any]
    note: Any
    go: Any
    stop: Any
    budgets: dict[str, Any]
    budget_note: Any
    shown: Any


def add_sweep_tab(opened: Any, desk: Desk, parts: Widgets) -> tuple[StudyHandlers, dict[str, Any]]:
    """Lay the tab out that sweeps, and tie it.

    Args:
        opened: the event of the tab's being opened.
        desk: with the visitors.
        parts: the first tab's.

    Returns:
        Its handlers, and the fields of its budgets, which the tab beside it reads too.
    """
    tab = _SweepTab(desk, parts, _lay_out_sweep())
    tab.tie(opened)
    return tab.handlers, tab.own.budgets


def _lay_out_sweep() -> _SweepParts:
    """Lay out: left what to sweep and the budgets, right what came of it."""
    words = page_words()
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("sweep.lead"), elem_classes=["rt-lead"])
            pictures = _files("sweep.pictures", "sweep-pictures")
            with gr.Group(elem_classes=["rt-axes"]):
                axes = _axes(_AXES)
            with gr.Accordion(words("sweep.more"), open=False, elem_id="sweep-more"):
                axes |= _axes(_MORE_AXES)
                masks = _files("sweep.masks", "sweep-masks")
            with gr.Group(elem_classes=["rt-pairs"]), gr.Row():
                trials = gr.Number(
                    None,
                    label=words("sweep.trials"),
                    info=words("sweep.trials.info"),
                    precision=0,
                    min_width=80,
                    scale=2,
                    elem_id="sweep-trials",
                )
                reference = gr.Dropdown(
                    reference_choices("sweep.reference.own"),
                    value="",
                    label=words("held.label"),
                    info=words("held.info"),
                    min_width=80,
                    scale=3,
                    elem_id="sweep-reference",
                )
            note = gr.HTML("", elem_id="sweep-note")
            with gr.Row(elem_classes=["rt-buttons"]):
                go = gr.Button(words("sweep.run"), variant="primary", elem_id="sweep-run")
                stop = gr.Button(words("sweep.stop"), interactive=False, elem_id="sweep-stop")
            gr.HTML(words("budget.lead"), elem_classes=["rt-lead", "rt-apart"])
            budgets = _budget_fields()
            budget_note = gr.HTML("", elem_id="budget-note")
        with gr.Column(scale=7, min_width=320):
            shown = gr.HTML(words("sweep.empty"), js_on_load=long_task_script(), elem_id="sweep")
    return _SweepParts(
        pictures=pictures,
        masks=masks,
        trials=trials,
        reference=reference,
        axes=axes,
        note=note,
        go=go,
        stop=stop,
        budgets=budgets,
        budget_note=budget_note,
        shown=shown,
    )


def _files(word: str, name: str) -> Any:
    """Make a place for several pictures."""
    return gr.File(
        file_count="multiple",
        file_types=["image"],
        type="filepath",
        label=page_words()(word),
        height=92,
        elem_id=name,
        elem_classes=["rt-drop"],
    )


class _SweepTab:
    """The tab's events: what each reads, and what it shows."""

    def __init__(self, desk: Desk, parts: Widgets, own: _SweepParts) -> None:
        """Tie at a desk; `parts` are the first tab's, whose picture, model and knobs are used."""
        self.desk = desk
        self.parts = parts
        self.own = own
        self.handlers = StudyHandlers(desk)
        self.asked = [parts.picture, own.pictures, own.trials, own.reference, *own.axes.values()]

    def tie(self, opened: Any) -> None:
        """Tie every event."""
        own, budgets = self.own, list(self.own.budgets.values())
        changes = [widget.change for widget in (*own.axes.values(), own.trials, own.pictures)]
        gr.on(
            changes,
            self.announce,
            self.asked,
            own.note,
            trigger_mode="always_last",
            queue=False,
            **QUIET,
        )
        opened(
            self.refresh,
            own.axes["model"],
            [own.axes["model"], own.reference],
            queue=False,
            **QUIET,
        )
        opened(self.announce, self.asked, own.note, queue=False, **QUIET)
        tie_redrawing(
            opened,
            own.shown,
            self.desk,
            "sweep",
            lambda visitor: self.handlers.show(visitor, self._budgets_of(visitor)),
        )
        tie_begin([own.go.click], own.stop, [own.go])
        running = own.go.click(
            self.sweep,
            [own.masks, *self.asked, *budgets],
            own.shown,
            concurrency_limit=None,
            **QUIET,
        )
        tie_end([running], own.stop, [own.go])
        own.stop.click(self.end, None, None, queue=False, **QUIET)
        gr.on(
            [field.change for field in budgets],
            self.rebudget,
            budgets,
            [own.budget_note, own.shown],
            trigger_mode="always_last",
            queue=False,
            **QUIET,
        )
        own.shown.select(
            self.pick,
            None,
            [own.shown, *self.parts.knobs.values()],
            queue=False,
            trigger_mode="multiple",
            **QUIET,
        )

    def _plan(self, values: Sequence[Any]) -> Plan:
        """Read what is asked."""
        picture, files, count, trusted, *axes = values
        if count is not None and count < 0:
            raise SettingsError(
                [Message("trials must be 0, for all of them, or more, got {count:g}", count=count)]
            )
        return self.handlers.plan(
            files or [picture or example_of(self.desk)],
            read_axes(dict(zip(self.own.axes, axes, strict=True))),
            reference=trusted or "",
            trials=int(count) if count else None,
        )

    @staticmethod
    def _budgets_of(visitor: Visitor) -> Budgets:
        """Give the budgets under which the visitor's sweep is shown."""
        return Budgets() if visitor.sweeping is None else visitor.sweeping.budgets

    def announce(self, request: gr.Request, *values: Any) -> str:
        """Say how many trials there would be."""
        visitor = self.desk.visitors.of(request)
        try:
            return f"<p>{self.handlers.announce(self._plan(values), visitor.language)}</p>"
        except TunerError as error:
            return show_problem(error.message, visitor.language)

    def refresh(self, chosen: list[str]) -> tuple[Any, Any]:
        """Offer what models are here by now; those chosen stay chosen."""
        here = models_here()
        return (
            gr.update(choices=here, value=[name for name in chosen if name in here]),
            gr.update(choices=reference_choices("sweep.reference.own")),
        )

    async def sweep(
        self, request: gr.Request, masks: list[str] | None, *values: Any
    ) -> AsyncIterator[str]:
        """Sweep, and show how it goes."""
        visitor, count = self.desk.visitors.of(request), len(self.asked)
        try:
            plan = self.handlers.with_masks(self._plan(values[:count]), masks or [])
            budgets = read_budgets(values[count:])
        except TunerError as error:
            earlier = self.handlers.show(visitor, self._budgets_of(visitor))
            yield error_above(error, earlier, visitor.language)
            return
        async for html in self.handlers.sweep(visitor, plan, budgets):
            yield html

    def end(self, request: gr.Request) -> None:
        """Stop the visitor's sweep."""
        self.desk.visitors.of(request).stop_study()

    def rebudget(self, request: gr.Request, *values: Any) -> tuple[str, Any]:
        """Recommend under other budgets; one that cannot be is told beside its field."""
        visitor = self.desk.visitors.of(request)
        try:
            budgets = read_budgets(values)
        except SettingsError as error:
            told = escape(message_text(error.message, visitor.language))
            return f'<p class="rt-failed" role="alert">{told}</p>', gr.skip()
        return "", self.handlers.rebudget(visitor, budgets) or gr.skip()

    def pick(self, request: gr.Request, event: gr.EventData) -> dict[Any, Any]:
        """Look at a trial, or take its setting to the first tab."""
        visitor, chosen = self.desk.visitors.of(request), content_of(event)
        if "use" not in chosen:
            number = number_of(chosen.get("trial"))
            shown = self.handlers.look_at(visitor, number, self._budgets_of(visitor))
            return {self.own.shown: shown or gr.skip()}
        trial = self.handlers.trial(visitor, number_of(chosen["use"]))
        if trial is None:
            return {self.own.shown: gr.skip()}
        updates = knob_updates(trial.settings, visitor.language)
        taken = self.handlers.take(visitor, trial.number, self._budgets_of(visitor))
        return {
            self.own.shown: taken or gr.skip(),
            **{self.parts.knobs[name]: update for name, update in updates.items()},
        }


def _axes(names: Sequence[str]) -> dict[str, Any]:
    """Make the choices of some axes."""
    words, machine = page_words(), machine_here()
    engines = [
        name for name, spec in ENGINES.items() if name in machine.engines and not spec.is_stock
    ]
    usual = [name for name in engines if ENGINES[name].axes is not None]
    formats = possible_precisions(engines, machine)
    ends: dict[str, tuple[list[Any], list[Any]]] = {
        "model": (models_here(), [DEFAULT_MODEL]),
        "engine": (engines, usual),
        "precision": (formats, [p for p in possible_precisions(usual, machine) if p != "fp16"]),
        "network_size": (list(_SIZES), [224, 256, 320]),
        "intra_op_threads": (list(_THREADS), [1, 2]),
        "focus": ([(choice_label(word), word) for word in ("off", "auto")], []),
        "max_side": (
            [(words("size.whole") if side == 0 else str(side), side) for side in RESULT_SIZES],
            [],
        ),
    }
    made = {}
    for name in names:
        values, start = ends.get(name, ([], []))
        if type_of(name) is bool:
            values, start = (
                [(words(word), word) for word in _ON_OFF],
                ["on"] if name in _AXES else [],
            )
        choices = [one if isinstance(one, tuple) else (str(one), one) for one in values]
        made[name] = gr.CheckboxGroup(
            choices=choices,
            value=start,
            label=words(f"label.{name}"),
            elem_id=f"axis-{name}",
            elem_classes=["rt-axis"],
        )
    return made


def _budget_fields() -> dict[str, Any]:
    """Make the budgets' fields."""
    words = page_words()
    with gr.Group(elem_id="budgets", elem_classes=["rt-pairs"]):
        with gr.Row():
            memory, time_ms = (
                gr.Number(
                    None,
                    label=words(f"budget.{name}"),
                    info=words("budget.none"),
                    min_width=80,
                    elem_id=f"budget-{name}",
                )
                for name in ("memory", "time")
            )
            agreement = gr.Number(
                DEFAULT_MIN_AGREEMENT,
                label=words("budget.agreement"),
                info=words("budget.iou"),
                step=0.01,
                min_width=80,
                elem_id="budget-agreement",
            )
        commercial = gr.Checkbox(
            value=False, label=words("budget.commercial"), elem_id="budget-commercial"
        )
    return {"memory": memory, "time": time_ms, "agreement": agreement, "commercial": commercial}


def read_axes(chosen: dict[str, list[Any] | None]) -> dict[str, tuple[Value, ...]]:
    """Return axes as settings take them: on and off of a switch become what they mean."""
    return {
        name: tuple(value == "on" for value in values) if type_of(name) is bool else tuple(values)
        for name, values in chosen.items()
        if values
    }


def read_budgets(values: tuple[Any, ...] | list[Any]) -> Budgets:
    """Give budgets of their fields.

    Raises:
        SettingsError: one cannot be.
    """
    memory, time_ms, agreement, commercial = values
    return budgets_of(memory, time_ms, agreement, commercial=bool(commercial))
