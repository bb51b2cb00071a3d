"""What the server adds to Gradio's answers.

Headers, the language script, and what is kept of them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.server.kept import MAX_ANSWER_BYTES, KeptAnswer, KeptAnswers, cache_control_of

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

_LANGUAGE_SCRIPT = Path(__file__).parent / "language.js"
_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
_VISITORS_FILE = re.compile(r"/gradio_api/file=")


class Sender:
    """Passes an answer on with a few headers more, puts the language script into the page, and keeps whole files."""

    def __init__(self, send: Send, scope: Scope, path: str, kept: KeptAnswers) -> None:
        """Send for one request."""
        self.send = send
        self.has_started = False
        self._asked = Headers(scope=scope)
        self._path, self._query = path, bytes(scope.get("query_string", b""))
        self._kept = kept
        self._is_get = scope["method"] == "GET"
        self._is_private = _VISITORS_FILE.match(path) is not None
        self._is_page = path == "/" and self._is_get
        self._cache_control = cache_control_of(path, self._query)
        self._start: Message | None = None  # of an answer that is collected
        self._pieces: list[bytes] = []

    async def send_kept(self) -> bool:
        """Answer with what was kept; return whether there was something."""
        if not self._is_get or "range" in self._asked:
            return False
        answer = self._kept.find_file(self._path, self._cache_control)
        if answer is not None:
            await answer.send(self.send, self._asked, _HEADERS)
        return answer is not None

    async def __call__(self, message: Message) -> None:
        """Take one part of the answer."""
        if message["type"] == "http.response.start":
            self.has_started = True
            if self._is_whole(message):
                self._start = message
                return
            message = {**message, "headers": self._headers(message)}
        elif self._start is not None:
            self._pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_whole(
                    _header(self._start, b"content-type"), b"".join(self._pieces)
                )
            return
        await self.send(message)

    def _is_whole(self, start: Message) -> bool:
        """Return whether an answer is collected.

        The page, and files of Gradio's that are not too large.
        """
        if start["status"] != 200 or not self._is_get:
            return False
        if self._is_page:
            return _header(start, b"content-type").startswith(b"text/html")
        length = _header(start, b"content-length")
        return (
            self._cache_control is not None and length.isdigit() and int(length) <= MAX_ANSWER_BYTES
        )

    def _headers(self, start: Message) -> list[tuple[bytes, bytes]]:
        """Return an answer's headers, with how long it may be kept: what is a visitor's, never."""
        control: bytes | None = b"private, no-store"
        if not self._is_private:
            control = self._cache_control if start["status"] == 200 else None
            if control is None and not _header(start, b"cache-control"):
                control = b"no-store"
        headers = [
            pair
            for pair in start["headers"]
            if control is None or pair[0].lower() != b"cache-control"
        ]
        return [*headers, *_HEADERS, *([(b"cache-control", control)] if control else [])]

    async def _send_whole(self, content_type: bytes, body: bytes) -> None:
        """Send the page with the script directly after <head>.

        Later, Gradio has chosen its language. Or a file.
        """
        if self._is_page:
            script = b"<script>" + _language_script() + b"</script>"
            body = _HEAD.sub(lambda found: found[0] + script, body, count=1)
            answer = self._kept.page(body, content_type)
        else:
            assert self._cache_control is not None  # looked at before it was collected
            answer = KeptAnswer(body, content_type, self._cache_control)
            self._kept.keep_file(self._path, answer)
        await answer.send(self.send, self._asked, _HEADERS)


@cache
def _language_script() -> bytes:
    """Read the script once."""
    return (
        _LANGUAGE_SCRIPT.read_text(encoding="utf-8")
        .replace("__LANGUAGES__", json.dumps(list(LANGUAGES)))
        .encode()
    )


def _header(start: Message, name: bytes) -> bytes:
    """Return a header of an answer; empty: it has none."""
    return next((bytes(value) for key, value in start["headers"] if key.lower() == name), b"")
