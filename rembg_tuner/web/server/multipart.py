"""What an upload holds besides its files.

Gradio keeps it in memory, so it is bounded while it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.multipart import MultipartParser, parse_options_header

from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_TEXT_BYTES = 64 * 1024  # of all text fields, names and headers together
MAX_FILES = 32  # of one request; each is an open file on the server


class UploadContentError(Exception):
    """An upload holds what cannot be taken; the message is a sentence for its sender."""

    def __init__(self, status: int, message: Message) -> None:
        """Answer with an HTTP status."""
        super().__init__(message)
        self.message = message
        self.status = status


class UploadCheck:
    """Follows a multipart body piece by piece.

    Keeps nothing of it but the current part's headers.
    """

    def __init__(self, content_type: bytes, *, takes_text: bool) -> None:
        """Follow a body.

        Args:
            content_type: its Content-Type; a body that is not multipart is left to Gradio.
            takes_text: whether text fields are taken; Gradio fails on one where it reports
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
        """Follow one piece.

        Raises:
            UploadContentError: too much text or too many files came, or the body is malformed.
        """
        if self._parser is None or not piece:
            return
        try:
            self._parser.write(piece)
        except UploadContentError:
            raise
        except ValueError as error:  # the parser's own errors are ValueErrors
            raise UploadContentError(
                400,
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
            raise UploadContentError(
                400,
                Message(
                    "a text field was sent where a file is expected; send pictures with a file name"
                ),
            )
        self._files += self._is_file
        if self._files > MAX_FILES:
            raise UploadContentError(
                413,
                Message(
                    "the upload holds more than {limit} files, the limit; send fewer at once",
                    limit=MAX_FILES,
                ),
            )

    def _count_data(self, _: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._count(end - start)

    def _count(self, more_bytes: int) -> None:
        """Count text.

        Raises:
            UploadContentError: it is too much.
        """
        self._text_bytes += more_bytes
        if self._text_bytes > MAX_TEXT_BYTES:
            raise UploadContentError(
                413,
                Message(
                    "the upload's text fields and headers are larger than {limit} KiB, the limit;"
                    " send pictures as files",
                    limit=MAX_TEXT_BYTES // 1024,
                ),
            )
