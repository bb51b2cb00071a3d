"""The tabs that compare and sweep: their parts, and what ties them to their handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence  # Gradio reads annotations at run time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.article import ARTICLE_ROWS, OUR_ROWS
from rembg_tuner.errors import TunerError
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.presets import read_presets
from rembg_tuner.recommend import LOOKS_RIGHT
from rembg_tuner.settings import KNOBS
from rembg_tuner.ui.choices import capabilities, chosen_settings, preset_settings
from rembg_tuner.ui.events import QUIET, content_of, number_of
from rembg_tuner.ui.handlers import Handlers
from rembg_tuner.ui.study_handlers import StudyHandlers, budgets_of
from rembg_tuner.ui.views import result as result_view
from rembg_tuner.ui.widgets import asset, knob_updates, page_words

if TYPE_CHECKING:
    from rembg_tuner.recommend import Budgets
    from rembg_tuner.settings import Value
    from rembg_tuner.sweep.opening import Plan
    from rembg_tuner.ui.events import Widgets
    from rembg_tuner.ui.handlers import Desk

_EXAMPLE = "astronaut"
_COMPARED = ("balanced", "fastest", "smallest", "edge")
_SIZES = (160, 192, 224, 256, 288, 320, 384, 448)
_THREADS = (1, 2, 4, 8)
_ON_OFF = ("on", "off")


def add_compare_tab(desk: Desk, parts: Widgets) -> None:
    """Lay the tab out that compares, and tie it."""
    words, handlers = page_words(), StudyHandlers(desk)
    gr.HTML(words("compare.lead"), elem_classes=["rt-lead"])
    with gr.Row(elem_classes=["rt-row"]):
        presets = gr.CheckboxGroup(
            choices=list(read_presets()),
            value=list(_COMPARED),
            label=words("compare.presets"),
            elem_id="compared",
        )
    with gr.Row(elem_classes=["rt-row"]):
        own = gr.Checkbox(value=False, label=words("compare.own"), elem_id="compare-own")
        go = gr.Button(words("compare.run"), variant="primary", elem_id="compare-run")
        article = gr.Button(words("compare.article"), elem_id="compare-article")
    shown = gr.HTML(words("compare.empty"), js_on_load=asset("study.js"), elem_id="comparison")

    async def compare(
        request: gr.Request, picture: str | None, names: list[str], mine: bool, preset: str, *values: object
    ) -> AsyncIterator[str]:  # fmt: skip
        visitor = desk.visitors.of(request)
        form = dict(zip(KNOBS, values, strict=True))
        try:
            settings = chosen_settings(preset, form)[0] if mine else None
        except TunerError as error:
            yield result_view.show_problem(str(error), visitor.language)
            return
        async for html in handlers.compare(visitor, picture or example_of(desk), names, settings):
            yield html

    def choose_article() -> list[str]:
        here = {name for name, entry in read_catalogue().items() if entry.find()}
        names = [name for name in ARTICLE_ROWS if preset_settings(name).model in here]
        return [*names, *OUR_ROWS]

    article.click(choose_article, None, presets, queue=False, **QUIET).then(
        compare,
        [parts.picture, presets, own, parts.preset, *parts.knobs.values()],
        shown,
        concurrency_limit=None,
        **QUIET,
    )
    go.click(
        compare,
        [parts.picture, presets, own, parts.preset, *parts.knobs.values()],
        shown,
        concurrency_limit=None,
        **QUIET,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SweepParts:
    """The tab's parts: what is asked, under which budgets, and what is shown."""

    pictures: Any
    trials: Any
    reference: Any
    axes: dict[str, Any]
    note: Any
    go: Any
    stop: Any
    budgets: dict[str, Any]
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
    with gr.Row(elem_classes=["rt-sweep"]):
        with gr.Column(scale=4, min_width=300):
            gr.HTML(words("sweep.lead"), elem_classes=["rt-lead"])
            pictures = gr.File(
                file_count="multiple",
                file_types=["image"],
                type="filepath",
                label=words("sweep.pictures"),
                height=120,
                elem_id="sweep-pictures",
            )
            axes = _axes()
            with gr.Row():
                trials = gr.Number(
                    None, label=words("sweep.trials"), info=words("sweep.trials.info"), precision=0, minimum=0, elem_id="sweep-trials"
                )  # fmt: skip
                reference = gr.Dropdown(
                    [(words("sweep.reference.own"), ""), *((name, name) for name in read_presets())],
                    value="", label=words("sweep.reference.label"), info=words("sweep.reference.info"), elem_id="sweep-reference",
                )  # fmt: skip
            note = gr.HTML("", elem_id="sweep-note")
            with gr.Row(elem_classes=["rt-row"]):
                go = gr.Button(words("sweep.run"), variant="primary", elem_id="sweep-run")
                stop = gr.Button(words("sweep.stop"), elem_id="sweep-stop")
            budgets = _budget_fields()
        with gr.Column(scale=7, min_width=320):
            shown = gr.HTML(words("sweep.empty"), js_on_load=asset("study.js"), elem_id="sweep")
    return _SweepParts(
        pictures=pictures, trials=trials, reference=reference, axes=axes, note=note,
        go=go, stop=stop, budgets=budgets, shown=shown,
    )  # fmt: skip


class _SweepTab:
    """The tab's events: what each reads, and what it shows."""

    def __init__(self, desk: Desk, parts: Widgets, own: _SweepParts) -> None:
        """Tie at a desk; `parts` are the first tab's, whose picture, model and knobs are used."""
        self.desk = desk
        self.parts = parts
        self.own = own
        self.handlers = StudyHandlers(desk)
        model = parts.knobs["model"]
        self.asked = [parts.picture, own.pictures, model, own.trials, own.reference, *own.axes.values()]  # fmt: skip

    def tie(self, opened: Any) -> None:
        """Tie every event."""
        own, budgets = self.own, list(self.own.budgets.values())
        changes = [widget.change for widget in (*own.axes.values(), own.trials, own.pictures)]
        gr.on(changes, self.announce, self.asked, own.note, trigger_mode="always_last", queue=False, **QUIET)  # fmt: skip
        opened(self.announce, self.asked, own.note, queue=False, **QUIET)
        own.go.click(self.sweep, [*self.asked, *budgets], own.shown, concurrency_limit=None, **QUIET)  # fmt: skip
        own.stop.click(self.end, None, None, queue=False, **QUIET)
        gr.on([field.change for field in budgets], self.rebudget, budgets, own.shown, trigger_mode="always_last", queue=False, **QUIET)  # fmt: skip
        own.shown.select(self.pick, budgets, [own.shown, *self.parts.knobs.values()], queue=False, trigger_mode="multiple", **QUIET)  # fmt: skip

    def _plan(self, values: Sequence[Any]) -> Plan:
        """Read what is asked."""
        picture, files, model, count, trusted, *axes = values
        return self.handlers.plan(
            files or [picture or example_of(self.desk)],
            read_axes(dict(zip(self.own.axes, axes, strict=True))),
            model=model,
            reference=trusted or "",
            trials=int(count) if count else None,
        )

    def announce(self, request: gr.Request, *values: Any) -> str:
        """Say how many trials there would be."""
        visitor = self.desk.visitors.of(request)
        try:
            return f"<p>{self.handlers.announce(self._plan(values), visitor.language)}</p>"
        except TunerError as error:
            return result_view.show_problem(str(error), visitor.language)

    async def sweep(self, request: gr.Request, *values: Any) -> AsyncIterator[str]:
        """Sweep, and show how it goes."""
        visitor, count = self.desk.visitors.of(request), len(self.asked)
        try:
            plan = self._plan(values[:count])
        except TunerError as error:
            yield result_view.show_problem(str(error), visitor.language)
            return
        async for html in self.handlers.sweep(visitor, plan, read_budgets(values[count:])):
            yield html

    def end(self, request: gr.Request) -> None:
        """Stop the visitor's sweep."""
        study = self.desk.visitors.of(request).study
        if study is not None:
            study.stop()

    def rebudget(self, request: gr.Request, *values: Any) -> Any:
        """Recommend under other budgets."""
        shown = self.handlers.rebudget(self.desk.visitors.of(request), read_budgets(values))
        return shown or gr.skip()

    def pick(self, request: gr.Request, event: gr.EventData, *values: Any) -> dict[Any, Any]:
        """Look at a trial, or take its setting to the first tab."""
        visitor, chosen = self.desk.visitors.of(request), content_of(event)
        if "use" not in chosen:
            number = number_of(chosen.get("trial"))
            return {self.own.shown: self.handlers.look_at(visitor, number, read_budgets(values))}
        trial = self.handlers.trial(visitor, number_of(chosen["use"]))
        if trial is None:
            return {self.own.shown: gr.skip()}
        updates = knob_updates(trial.settings, visitor.language)
        return {self.parts.knobs[name]: update for name, update in updates.items()}


def _axes() -> dict[str, Any]:
    """Make the axes' choices."""
    words, able = page_words(), capabilities()
    engines = [name for name in ("onnxruntime", "openvino", "ncnn") if name in able.engines]
    choices: dict[str, list[Any]] = {
        "engine": engines,
        "precision": ["fp32", *(p for p in ("bf16", "fp16", "int8") if p in able.precisions)],
        "network_size": [(f"{side}", side) for side in _SIZES],
        "intra_op_threads": [(f"{count}", count) for count in _THREADS],
        "cpu_mem_arena": [(words(word), word) for word in _ON_OFF],
        "mem_pattern": [(words(word), word) for word in _ON_OFF],
    }
    start: dict[str, list[Any]] = {
        "engine": [name for name in engines if name != "ncnn"],
        "precision": ["fp32", *(p for p in ("bf16", "int8") if p in able.precisions)],
        "network_size": [224, 256, 320],
        "intra_op_threads": [1, 2],
        "cpu_mem_arena": ["on"],
        "mem_pattern": ["on"],
    }
    return {
        name: gr.CheckboxGroup(
            choices=options,
            value=start[name],
            label=words(f"label.{name}"),
            elem_id=f"axis-{name}",
            elem_classes=["rt-axis"],
        )
        for name, options in choices.items()
    }


def _budget_fields() -> dict[str, Any]:
    """Make the budgets' fields."""
    words = page_words()
    with gr.Group(elem_id="budgets"):
        gr.HTML(words("budget.title"), elem_classes=["rt-group"])
        with gr.Row():
            memory = gr.Number(None, label=words("budget.memory"), elem_id="budget-memory")
            time_ms = gr.Number(None, label=words("budget.time"), elem_id="budget-time")
            agreement = gr.Number(LOOKS_RIGHT, label=words("budget.agreement"), step=0.01, minimum=0, maximum=1, elem_id="budget-agreement")  # fmt: skip
        commercial = gr.Checkbox(value=False, label=words("budget.commercial"), elem_id="budget-commercial")  # fmt: skip
    return {"memory": memory, "time": time_ms, "agreement": agreement, "commercial": commercial}


def read_axes(chosen: dict[str, list[Any] | None]) -> dict[str, tuple[Value, ...]]:
    """Give axes as settings take them: on and off become what they mean."""
    meaning = {"on": True, "off": False}
    return {
        name: tuple(meaning.get(value, value) if isinstance(value, str) else value for value in values)
        for name, values in chosen.items()
        if values
    }  # fmt: skip


def read_budgets(values: tuple[Any, ...] | list[Any]) -> Budgets:
    """Give budgets of their fields."""
    memory, time_ms, agreement, commercial = values
    return budgets_of(memory, time_ms, agreement, commercial=bool(commercial))


def example_of(desk: Desk) -> str:
    """Lay the first example into the page's folder, for who chose no picture."""
    return Handlers(desk).example(_EXAMPLE)
