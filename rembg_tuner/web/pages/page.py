"""The page: its header and its tabs, and the handling of errors in its events.

For an error in an event or in one of its components, Gradio prints a traceback with the values that
were sent, including file names, and shows the visitor only "Error". `PageBlocks` shows the visitor
a sentence instead, and keeps the visitor's values out of the server log.
"""

from __future__ import annotations

import logging
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.compare_tab import add_compare_tab
from rembg_tuner.web.pages.cut_tab.form import tie_form
from rembg_tuner.web.pages.cut_tab.layout import lay_out_tab
from rembg_tuner.web.pages.cut_tab.picture import tie_picture
from rembg_tuner.web.pages.cut_tab.runs import tie_runs
from rembg_tuner.web.pages.deploy_tab import add_deploy_tab
from rembg_tuner.web.pages.failures import DISK_FULL, UNEXPECTED, is_disk_full, log_unexpected
from rembg_tuner.web.pages.models_tab import add_models_tab
from rembg_tuner.web.pages.sweep_tab.events import add_sweep_tab
from rembg_tuner.web.pages.system_tab import add_system_tab
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.visitors import language_of_request
from rembg_tuner.web.pages.widgets import language_links, page_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradio.block_function import BlockFunction

    from rembg_tuner.web.pages.desk import Desk

_LOG = logging.getLogger(__name__)
TITLE = "rembg tuner"
_STORAGE_KEY = "rembg-tuner"  # also the secret: it is fixed, so that stored forms survive a restart


def build_page(desk: Desk, *, preset: str, add_api: Callable[[Desk], None]) -> gr.Blocks:
    """Build the page.

    Args:
        desk: has the lanes, the folder and the visitors.
        preset: the preset of new visitors.
        add_api: adds the endpoint for programs.
    """
    words = page_words()
    page = PageBlocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with page:
        with gr.Row(elem_id="header"):
            gr.HTML(render("wordmark", "en"), elem_id="wordmark")
            gr.HTML(words("tagline"), elem_id="tagline")
            gr.HTML(language_links(), elem_id="languages")
        with gr.Tabs():
            with gr.Tab(words("tab.cut"), id="cut"):
                widgets = lay_out_tab(preset, storage_key=_STORAGE_KEY)
            compare, sweep, deploy, models, system = (
                gr.Tab(words(f"tab.{name}"), id=name)
                for name in ("compare", "sweep", "deploy", "models", "system")
            )
        with compare:
            add_compare_tab(compare.select, desk, widgets)
        with sweep:
            budgets = add_sweep_tab(sweep.select, desk, widgets)
        with deploy:
            add_deploy_tab(deploy.select, desk, widgets, budgets)
        with models:
            add_models_tab(models.select, desk, widgets)
        with system:
            add_system_tab(system.select, desk)
        tie_form(page, widgets, desk, preset=preset)
        tie_runs(widgets, desk)
        tie_picture(widgets, desk)
        add_api(desk)
    return page


def build_programs_page(desk: Desk, *, add_api: Callable[[Desk], None]) -> gr.Blocks:
    """Build the page of `--no-ui`: the endpoint for programs, and a sentence about it."""
    page = PageBlocks(title=TITLE, analytics_enabled=False)
    with page:
        gr.Markdown("rembg tuner serves programs here: see **/cut** under *Use via API* below.")
        add_api(desk)
    return page


class RefusedValueError(TunerError):
    """An event has a value that its field does not accept."""


class PageBlocks(gr.Blocks):
    """Gradio's Blocks, with a sentence for each failed event."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], *rest: Any, **options: Any
    ) -> list[Any]:
        """Convert the values of an event.

        Raises:
            RefusedValueError: a value is missing, or a field does not accept its value.
        """
        wanted = len(block_fn.inputs)
        if len(inputs) < wanted:
            raise RefusedValueError(
                Message(
                    "this event takes {wanted} values, got {count}",
                    wanted=wanted,
                    count=len(inputs),
                )
            )
        try:
            values: list[Any] = await super().preprocess_data(block_fn, inputs, *rest, **options)
        except Exception as error:
            raise RefusedValueError(_refusal(block_fn.inputs, inputs)) from error
        for field, value in zip(block_fn.inputs, values, strict=False):
            if not _is_of_kind(field, value):
                raise RefusedValueError(_refusal_of(field))
        return values

    async def process_api(self, block_fn: Any, *rest: Any, **options: Any) -> dict[str, Any]:
        """Run an event.

        Raises:
            gr.Error: the event failed; the message is in the visitor's language.
        """
        try:
            return await super().process_api(block_fn, *rest, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # noqa: BLE001  # Gradio would print the values
            message = _message_of(error)
            if message is None:
                log_unexpected(_LOG, "an event", error)
            language = _language_of(options.get("request"))
            told = escape(message_text(message or UNEXPECTED, language))
            raise gr.Error(told, print_exception=False) from None


def _message_of(error: Exception) -> Message | None:
    """Return the message of an error for the visitor; None: the error is unexpected."""
    if isinstance(error, TunerError):
        return error.message
    return DISK_FULL if is_disk_full(error) else None


def _is_of_kind(field: object, value: object) -> bool:
    """Return whether a value has the type of its field.

    Gradio's components accept some values of other types.
    """
    if value is None:
        return True
    if isinstance(field, gr.Number):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(field, gr.Checkbox):
        return isinstance(value, bool)
    if isinstance(field, gr.Dropdown | gr.Radio):
        return isinstance(value, str | int | float)
    return True


def _refusal(fields: Sequence[Any], values: list[Any]) -> Message:
    """Return the message that a field does not accept its value; it names the field if known."""
    for field, value in zip(fields, values, strict=False):
        try:
            model = getattr(field, "data_model", None)
            field.preprocess(
                value if model is None or value is None else model.model_validate(value)
            )
        except Exception:  # noqa: BLE001  # components raise any exception
            return _refusal_of(field)
    return Message("a field does not take its value; reload the page and choose one that it offers")


def _refusal_of(field: Any) -> Message:  # any Gradio component
    """Return the message that a field does not accept its value."""
    label = getattr(field, "label", None)
    name = field.elem_id or (label if isinstance(label, str) else field.__class__.__name__)
    return Message(
        "{field} does not take this value; reload the page and choose one that it offers",
        field=name,
    )


def _language_of(request: object) -> str:
    """Return the language of a request; English if it is not known."""
    return language_of_request(request) if isinstance(request, gr.Request) else "en"
