"""Check the content of requests: plain JSON values, files of the upload folder, limited text.

Gradio does not check the values of a request. If a handler or a component fails, it prints a
traceback with the values. It also keeps the text fields of an upload in memory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_multipart.multipart import MultipartParser, parse_options_header

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from python_multipart.multipart import MultipartCallbacks

MAX_DEPTH = 64
MAX_NUMBER = 2**53  # larger integers are not exact in browsers
# Name of a session or event; Gradio stores each until it exits.
_NAME = re.compile(r"[\w-]{1,128}", re.ASCII)
_NAME_FORM = Message("text of 1 to 128 letters, digits, hyphens and underscores")
# The fields of an event's request; null means that the field is missing.
_FIELDS: dict[str, tuple[type, Message]] = {
    "fn_index": (int, Message("a whole number")),
    "trigger_id": (int, Message("a whole number")),
    "batched": (bool, Message("true or false")),
    "simple_format": (bool, Message("true or false")),
    "session_hash": (str, _NAME_FORM),
    "event_id": (str, _NAME_FORM),
}
MAX_TEXT_BYTES = 64 * 1024  # total of all text fields, names and headers
MAX_FILES = 32  # per request; each is an open file on the server
_MIN_FREE_BYTES = MIB  # for other data that a request writes
_written: ContextVar[list[Any] | None] = ContextVar("written", default=None)


class RequestContentError(Exception):
    """A request cannot be served; the message is for its sender.

    Attributes:
        message: the reason.
        status: the HTTP status of the response.
    """

    def __init__(self, message: Message, status: int = 400) -> None:
        """Create the error."""
        super().__init__(message)
        self.message = message
        self.status = status


def check_contents(body: bytes, folder: Path, events: Container[int] | None = None) -> None:
    """Check the JSON of a request.

    Args:
        body: the complete body; an empty one is not checked.
        folder: the upload folder. Gradio would download a file given by URL completely into memory
            before the handler is called.
        events: numbers of the page's events; None: they are not checked.

    Raises:
        RequestContentError: the content is invalid.
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
    """Check the fields that all requests of events have.

    Raises:
        RequestContentError: a field has an invalid type or value.
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
    """Return the message that a request is nested too deeply."""
    return Message("the request is nested deeper than {depth} levels", depth=MAX_DEPTH)


def _read(body: bytes) -> Any:
    """Parse JSON.

    Raises:
        RequestContentError: the body is not valid JSON, or is nested too deeply.
    """
    try:
        return json.loads(body)
    except RecursionError as error:
        raise RequestContentError(_too_deep()) from error
    except ValueError as error:
        raise RequestContentError(Message("the request is not valid JSON")) from error


def _check_value(value: object, folder: Path) -> None:
    """Check one value, without the values inside it.

    Raises:
        RequestContentError: the value is invalid.
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
    """Return whether a path is inside a folder after normalisation."""
    return Path(os.path.normpath(path)).is_relative_to(folder)


class UploadCheck:
    """Checks a multipart body in pieces; only the headers of the current part are stored."""

    def __init__(self, content_type: bytes, *, takes_text: bool) -> None:
        """Create the check of a body.

        Args:
            content_type: the Content-Type header; a body that is not multipart is not checked.
            takes_text: whether text fields are accepted; Gradio fails for them if it reports the
                progress.
        """
        self._takes_text = takes_text
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._count_data,
        }
        self._parser = MultipartParser(boundary, callbacks) if boundary else None
        self._name, self._value = b"", b""
        self._disposition = b""
        self._is_file = False
        self._files = 0
        self._text_bytes = 0

    def add(self, piece: bytes) -> None:
        """Check the next piece.

        Raises:
            RequestContentError: there is too much text, there are too many files, or the body is
                malformed.
        """
        if self._parser is None or not piece:
            return
        try:
            self._parser.write(piece)
        except RequestContentError:
            raise
        except ValueError as error:  # the parser's own errors are ValueErrors
            raise RequestContentError(
                Message(
                    "the upload is not valid multipart/form-data, or a header in it is too long"
                ),
            ) from error

    def _begin_part(self) -> None:
        self._name, self._value, self._disposition = b"", b"", b""
        self._is_file = False

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _end_headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._is_file = b"filename" in options
        if not self._is_file and (options.get(b"name") == b"files" or not self._takes_text):
            raise RequestContentError(
                Message(
                    "a text field was sent where a file is expected; send pictures with a file name"
                ),
            )
        self._files += self._is_file
        if self._files > MAX_FILES:
            raise RequestContentError(
                Message(
                    "the upload holds more than {limit} files, the limit; send fewer at once",
                    limit=MAX_FILES,
                ),
                413,
            )

    def _count_data(self, _: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._count(end - start)

    def _count(self, more_bytes: int) -> None:
        """Count bytes of text.

        Raises:
            RequestContentError: the total is above the maximum.
        """
        self._text_bytes += more_bytes
        if self._text_bytes > MAX_TEXT_BYTES:
            raise RequestContentError(
                Message(
                    "the upload's text fields and headers are larger than {limit} KiB, the limit;"
                    " send pictures as files",
                    limit=MAX_TEXT_BYTES // 1024,
                ),
                413,
            )


def check_free_space(folder: Path, wanted_bytes: int) -> None:
    """Check that the disk of a folder has free space and inodes.

    Raises:
        OSError: ENOSPC: there are not enough free bytes, or no free inodes.
    """
    disk = os.statvfs(folder if folder.is_dir() else folder.parent)  # Gradio recreates it
    is_out_of_inodes = disk.f_files > 0 and disk.f_favail == 0  # some file systems report none
    if is_out_of_inodes or disk.f_bavail * disk.f_frsize < wanted_bytes + _MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def track_uploads() -> Iterator[None]:
    """Remove the files of `temporary_upload` that a request has not moved, when it ends."""
    written: list[Any] = []
    token = _written.set(written)
    try:
        yield
    finally:
        _written.reset(token)
        for file in written:
            # On a full disk, flushing the buffer of the file fails again.
            with contextlib.suppress(OSError):
                file.close()  # otherwise the disk space would not be freed
            Path(file.name).unlink(missing_ok=True)


def temporary_upload(**options: Any) -> Any:  # as tempfile.NamedTemporaryFile
    """Create the file of an upload; it replaces `NamedTemporaryFile` in Gradio."""
    file = tempfile.NamedTemporaryFile(**options)  # noqa: SIM115  # its user closes it
    if (written := _written.get()) is not None:
        written.append(file)
    return file
