"""What the JSON of a request may hold: plain finite values, and files of this page's uploads only.

Gradio hands a request's values on as they come, and prints a traceback with them where a handler or
one of its own components cannot take them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import Container

MAX_DEPTH = 64
MAX_NUMBER = 2**53  # beyond it a browser's numbers are not exact
# A session's or event's name; Gradio keeps each as long as it runs.
_NAME = re.compile(r"[\w-]{1,128}", re.ASCII)
_NAME_FORM = Message("text of 1 to 128 letters, digits, hyphens and underscores")
# The fields of an event's request; null stands for a field that is left out.
_FIELDS: dict[str, tuple[type, Message]] = {
    "fn_index": (int, Message("a whole number")),
    "trigger_id": (int, Message("a whole number")),
    "batched": (bool, Message("true or false")),
    "simple_format": (bool, Message("true or false")),
    "session_hash": (str, _NAME_FORM),
    "event_id": (str, _NAME_FORM),
}


class RequestContentError(Exception):
    """A request holds what cannot be served; the message is a sentence for its sender."""

    def __init__(self, message: Message) -> None:
        """Keep what is wrong."""
        super().__init__(message)
        self.message = message


def check_contents(body: bytes, folder: Path, events: Container[int] | None = None) -> None:
    """Check the JSON of a request.

    Args:
        body: all of it; an empty one is left to Gradio.
        folder: of the uploads. Gradio would download a file given by address, whole and into
            memory, before any function of ours sees it.
        events: numbers of the page's events; None: any is left to Gradio.

    Raises:
        RequestContentError: with what is wrong.
    """
    if not body:
        return
    content = _read(body)
    if not isinstance(content, dict):
        raise RequestContentError(
            Message('the request must be a JSON object, such as {{"data": []}}')
        )
    _check_fields(content)
    number = content.get("fn_index")
    if number is not None and events is not None and number not in events:
        raise RequestContentError(
            Message("there is no event with fn_index {number}; reload the page", number=number)
        )
    waiting: list[tuple[Any, int]] = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise RequestContentError(_too_deep())
        _check_value(value, folder)
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in (*value, *value.values())]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]


def _check_fields(content: dict[str, Any]) -> None:
    """Check the fields that every event's request has.

    Raises:
        RequestContentError: one is not what it should be.
    """
    if not isinstance(content.get("data", []), list):
        raise RequestContentError(Message("data must be a list, such as []"))
    for name, (kind, form) in _FIELDS.items():
        value = content.get(name)
        is_kind = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        is_it = is_kind and (not isinstance(value, str) or _NAME.fullmatch(value) is not None)
        if value is not None and not is_it:
            raise RequestContentError(Message("{field} must be {form}", field=name, form=form))


def _too_deep() -> Message:
    """Return that a request is nested too deep."""
    return Message("the request is nested deeper than {depth} levels", depth=MAX_DEPTH)


def _read(body: bytes) -> Any:
    """Parse JSON.

    Raises:
        RequestContentError: it is not JSON, or holds a number that is not finite.
    """
    try:
        return json.loads(body)
    except RecursionError as error:
        raise RequestContentError(_too_deep()) from error
    except ValueError as error:
        raise RequestContentError(Message("the request is not valid JSON")) from error


def _check_value(value: object, folder: Path) -> None:
    """Check one value, without those inside it.

    Raises:
        RequestContentError: with what is wrong.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise RequestContentError(
                Message("the request holds a NUL character; text here has none")
            )
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise RequestContentError(
                Message("the request holds half of a surrogate pair, which is not Unicode text")
            )
    elif isinstance(value, int | float):
        if not -MAX_NUMBER <= value <= MAX_NUMBER:  # false for NaN
            raise RequestContentError(
                Message(
                    "the request holds a number beyond 2^53, infinity or NaN; numbers here are"
                    " finite and smaller"
                )
            )
    elif isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and not is_below(path, folder):
            raise RequestContentError(
                Message(
                    "a file is taken from this page's uploads only; upload it to /gradio_api/upload"
                    " first, and send the path that this answers"
                )
            )


def is_below(path: str, folder: Path) -> bool:
    """Return whether a path leads into a folder, whatever dots it has."""
    return Path(os.path.normpath(path)).is_relative_to(folder)
