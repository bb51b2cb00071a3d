"""Every event of the page ends in an answer or a sentence.

No visitor's value reaches the server's log.

Gradio prints a traceback for whatever an event or one of its own components raises, with the values
that were sent, file names included, and shows the visitor a bare "Error".
"""

from __future__ import annotations

import logging
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.failures import DISK_FULL, UNEXPECTED, is_disk_full, log_unexpected
from rembg_tuner.web.pages.visitors import language_of_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradio.block_function import BlockFunction

_LOG = logging.getLogger(__name__)


class RefusedValueError(TunerError):
    """An event holds a value that its field does not take."""


class PageBlocks(gr.Blocks):
    """Gradio's Blocks, whose events fail with a sentence."""

    async def preprocess_data(
        self, block_fn: BlockFunction, inputs: list[Any], *rest: Any, **options: Any
    ) -> list[Any]:
        """Read an event's values.

        Raises:
            RefusedValueError: a field does not take its value.
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
            gr.Error: it failed; with a sentence in the visitor's language.
        """
        try:
            return await super().process_api(block_fn, *rest, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # noqa: BLE001  # the page's edge: Gradio would print the values
            message = _message_of(error)
            if message is None:
                log_unexpected(_LOG, "an event", error)
            language = _language_of(options.get("request"))
            told = escape(message_text(message or UNEXPECTED, language))
            raise gr.Error(told, print_exception=False) from None


def _message_of(error: Exception) -> Message | None:
    """Return what to tell a visitor of an error; None where nothing is known of it."""
    if isinstance(error, TunerError):
        return error.message
    return DISK_FULL if is_disk_full(error) else None


def _is_of_kind(field: object, value: object) -> bool:
    """Return whether a value is of its field's kind.

    Gradio's own components let some others pass.
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
    """Say which field does not take its value, as far as that can be told."""
    for field, value in zip(fields, values, strict=False):
        try:
            model = getattr(field, "data_model", None)
            field.preprocess(
                value if model is None or value is None else model.model_validate(value)
            )
        except Exception:  # noqa: BLE001  # components raise what they like
            return _refusal_of(field)
    return Message("a field does not take its value; reload the page and choose one that it offers")


def _refusal_of(field: Any) -> Message:  # any component of Gradio's
    """Say that a field does not take a value."""
    label = getattr(field, "label", None)
    name = field.elem_id or (label if isinstance(label, str) else field.__class__.__name__)
    return Message(
        "{field} does not take this value; reload the page and choose one that it offers",
        field=name,
    )


def _language_of(request: object) -> str:
    """Return the visitor's language, as far as their request says it."""
    return language_of_request(request) if isinstance(request, gr.Request) else "en"
