"""The widgets of the Sweep tab, and the conversion of their values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.models.spec import DEFAULT_MODEL
from rembg_tuner.settings.settings import type_of
from rembg_tuner.tuning.budgets import DEFAULT_MIN_AGREEMENT, Budgets
from rembg_tuner.web.pages.assets import long_task_script
from rembg_tuner.web.pages.choices import machine_here, possible_precisions
from rembg_tuner.web.pages.widgets import (
    RESULT_SIZES,
    choice_label,
    models_here,
    page_words,
    reference_choices,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Value

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


def lay_out_sweep() -> dict[str, Any]:
    """Lay out the widgets: axes and budgets on the left, the result on the right.

    Returns:
        The widgets by name; `axes` and `budgets` are mappings of widgets by name.
    """
    words = page_words()
    made: dict[str, Any] = {}
    with gr.Row(elem_classes=["rt-two"]):
        with gr.Column(scale=4, min_width=300, elem_classes=["rt-todo"]):
            gr.HTML(words("sweep.lead"), elem_classes=["rt-lead"])
            made["pictures"] = _files("pictures")
            with gr.Group(elem_classes=["rt-axes"]):
                made["axes"] = _axes(_AXES)
            with gr.Accordion(words("sweep.more"), open=False, elem_id="sweep-more"):
                made["axes"] |= _axes(_MORE_AXES)
                made["masks"] = _files("masks")
            with gr.Group(elem_classes=["rt-pairs"]), gr.Row():
                made["trials"] = gr.Number(
                    None,
                    label=words("sweep.trials"),
                    info=words("sweep.trials.info"),
                    precision=0,
                    min_width=80,
                    scale=2,
                    elem_id="sweep-trials",
                )
                made["reference"] = gr.Dropdown(
                    reference_choices("sweep.reference.own"),
                    value="",
                    label=words("reference.label"),
                    info=words("reference.info"),
                    min_width=80,
                    scale=3,
                    elem_id="sweep-reference",
                )
            made["note"] = gr.HTML("", elem_id="sweep-note")
            with gr.Row(elem_classes=["rt-buttons"]):
                made["run"] = gr.Button(words("sweep.run"), variant="primary", elem_id="sweep-run")
                made["stop"] = gr.Button(
                    words("sweep.stop"), interactive=False, elem_id="sweep-stop"
                )
            gr.HTML(words("budget.lead"), elem_classes=["rt-lead", "rt-apart"])
            made["budgets"] = _budget_fields()
            made["budget_note"] = gr.HTML("", elem_id="budget-note")
        with gr.Column(scale=7, min_width=320):
            made["shown"] = gr.HTML(
                words("sweep.empty"), js_on_load=long_task_script(), elem_id="sweep"
            )
    return made


def _files(name: str) -> Any:
    """Create an upload field for several pictures."""
    return gr.File(
        file_count="multiple",
        file_types=["image"],
        type="filepath",
        label=page_words()(f"sweep.{name}"),
        height=92,
        elem_id=f"sweep-{name}",
        elem_classes=["rt-drop"],
    )


def _axes(names: Sequence[str]) -> dict[str, Any]:
    """Create the widgets of axes by name."""
    values = _axis_values()
    return {
        name: gr.CheckboxGroup(
            choices=[one if isinstance(one, tuple) else (str(one), one) for one in values[name][0]],
            value=values[name][1],
            label=page_words()(f"label.{name}"),
            elem_id=f"axis-{name}",
            elem_classes=["rt-axis"],
        )
        for name in names
    }


def _axis_values() -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the values of each axis, and the initially chosen ones."""
    words, machine = page_words(), machine_here()
    engines, usual = _engines(machine)
    usual_formats = [name for name in possible_precisions(usual, machine) if name != "fp16"]
    sizes = [(words("size.whole") if side == 0 else str(side), side) for side in RESULT_SIZES]
    values: dict[str, tuple[list[Any], list[Any]]] = {
        "model": (models_here(), [DEFAULT_MODEL]),
        "engine": (engines, usual),
        "precision": (possible_precisions(engines, machine), usual_formats),
        "network_size": (list(_SIZES), [224, 256, 320]),
        "intra_op_threads": (list(_THREADS), [1, 2]),
        "focus": ([(choice_label(word), word) for word in ("off", "auto")], []),
        "max_side": (sizes, []),
    }
    on_off = [(words(word), word) for word in ("on", "off")]
    return values | {
        name: (on_off, ["on"] if name in _AXES else [])
        for name in (*_AXES, *_MORE_AXES)
        if type_of(name) is bool
    }


def _engines(machine: Machine) -> tuple[list[str], list[str]]:
    """Return the engines that a machine can sweep, and the subset with default axes."""
    specs = [(name, spec) for name, spec in ENGINES.items() if name in machine.engines]
    engines = [name for name, spec in specs if not spec.is_stock]
    return engines, [name for name in engines if ENGINES[name].axes is not None]


def _budget_fields() -> dict[str, Any]:
    """Create the fields of the budgets."""
    words = page_words()
    fields: dict[str, Any] = {}
    with gr.Group(elem_id="budgets", elem_classes=["rt-pairs"]):
        with gr.Row():
            for name in ("memory", "time", "agreement"):
                is_share = name == "agreement"
                fields[name] = gr.Number(
                    DEFAULT_MIN_AGREEMENT if is_share else None,
                    label=words(f"budget.{name}"),
                    info=words("budget.iou" if is_share else "budget.none"),
                    step=0.01 if is_share else 1,
                    min_width=80,
                    elem_id=f"budget-{name}",
                )
        fields["commercial"] = gr.Checkbox(
            value=False, label=words("budget.commercial"), elem_id="budget-commercial"
        )
    return fields


def read_axes(chosen: Mapping[str, list[Any] | None]) -> dict[str, tuple[Value, ...]]:
    """Return the chosen axes with their values; `on` and `off` become booleans."""
    return {
        name: tuple(value == "on" for value in values) if type_of(name) is bool else tuple(values)
        for name, values in chosen.items()
        if values
    }


def read_budgets(
    memory: float | None, time: float | None, agreement: float | None, *, commercial: bool | None
) -> Budgets:
    """Convert the fields of the budgets to Budgets.

    Args:
        memory: MiB; None or 0: no limit.
        time: ms; None or 0: no limit.
        agreement: 0 to 1; None: the default.
        commercial: whether the licence of the model must allow commercial use.

    Raises:
        SettingsError: fields are out of range; the error lists all of them.
    """
    problems = [
        Message("{budget} must be 0 (no limit) or more, got {value:g}", budget=budget, value=value)
        for budget, value in ((Message("peak"), memory), (Message("time"), time))
        if not 0 <= (value or 0) < math.inf
    ]
    if agreement is None:
        agreement = DEFAULT_MIN_AGREEMENT
    if not 0 <= agreement <= 1:
        problems.append(Message("agreement must be from 0 to 1, got {value:g}", value=agreement))
    if problems:
        raise SettingsError(problems)
    models = {name for name, entry in read_catalogue().items() if entry.commercial == "yes"}
    return Budgets(
        max_memory_bytes=int(memory * MIB) if memory else None,
        max_time_s=time / 1000 if time else None,
        min_agreement=agreement,
        models=frozenset(models) if commercial else None,
    )
