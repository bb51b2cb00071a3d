"""HTTP responses: headers, the language script, and a cache of responses without visitors' data.

Gradio reads and compresses each of its scripts and styles for every request, and sends the page
(310 kB) uncompressed. This module compresses each response once (brotli, or else gzip). A browser
that has the content already gets 304 without a body.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import brotli
from starlette.datastructures import Headers

from rembg_tuner.base.units import MIB
from rembg_tuner.web.pages.assets import language_script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Scope, Send

YEAR = b"public, max-age=31536000, immutable"  # for a URL with a hash of the content
DAY = b"public, max-age=86400"
ASK_EACH_TIME = b"no-cache"  # cached, but used only after revalidation by the server
MAX_ANSWER_BYTES = 2 * MIB  # of one response; larger ones are passed on unchanged
_MAX_KEPT_BYTES = 32 * MIB  # of all responses, uncompressed; Gradio's frontend has 21 MB
# Gradio's files are 6 % smaller than with its quality 4; from 9 on, it takes 10 times as long.
_BROTLI_QUALITY = 5
_MIN_BYTES = 400  # below this size, compression does not save a packet
_TEXT = re.compile(rb"text/|application/(javascript|json)|image/svg")
_REFUSED = re.compile(r"\s*q=0(\.0*)?\s*")
_HASHED = re.compile(r"/assets/(svelte/)?[\w.-]+-[\w-]{8}\d*\.\w+")
_STATIC = re.compile(r"/(static|assets|svelte)/.+|/favicon\.ico")
_THEME = "/theme.css"
_THEME_VERSION = re.compile(rb"v=[0-9a-f]{64}")
_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
_VISITORS_FILE = re.compile(r"/gradio_api/file=")


def cache_control_of(path: str, query: bytes) -> bytes | None:
    """Return the Cache-Control of one of Gradio's files; None: the URL is not one of them."""
    if path == _THEME:
        return YEAR if _THEME_VERSION.fullmatch(query) else ASK_EACH_TIME
    if _HASHED.fullmatch(path):
        return YEAR
    return DAY if _STATIC.fullmatch(path) else None


def choose_encoding(accepted: str) -> str:
    """Return `br` or `gzip`, or an empty string if the client accepts neither.

    >>> choose_encoding("gzip, deflate, br"), choose_encoding("br;q=0, gzip"), choose_encoding("")
    ('br', 'gzip', '')
    """
    parts = [part.partition(";") for part in accepted.lower().split(",")]
    taken = {name.strip() for name, _, rest in parts if not _REFUSED.fullmatch(rest)}
    return next((name for name in ("br", "gzip") if name in taken), "")


@dataclass(slots=True)
class KeptAnswer:
    """A complete response in the cache.

    Attributes:
        body: the uncompressed body.
        content_type: the Content-Type header.
        cache_control: the Cache-Control header.
    """

    body: bytes
    content_type: bytes
    cache_control: bytes
    _etag: bytes = field(init=False)
    _packed: dict[str, bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Compute the ETag; it is weak, since it is the same for all encodings."""
        self._etag = b'W/"' + hashlib.sha256(self.body).hexdigest()[:32].encode() + b'"'

    async def send(self, send: Send, asked: Headers, more: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the response, or 304 if the client has the content.

        Args:
            send: the ASGI send function.
            asked: the headers of the request.
            more: additional headers.
        """
        headers = [(b"etag", self._etag), (b"cache-control", self.cache_control), *more]
        is_packable = len(self.body) >= _MIN_BYTES and _TEXT.match(self.content_type)
        if is_packable:
            headers.append((b"vary", b"Accept-Encoding"))
        if self._is_known(asked.get("if-none-match", "")):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        encoding = choose_encoding(asked.get("accept-encoding", "")) if is_packable else ""
        if encoding:
            headers.append((b"content-encoding", encoding.encode()))
        body = self._pack(encoding)
        headers += [
            (b"content-type", self.content_type),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _is_known(self, names: str) -> bool:
        """Return whether If-None-Match lists this content."""
        own = self._etag.removeprefix(b"W/").decode()
        return any(name.strip().removeprefix("W/") in (own, "*") for name in names.split(","))

    def _pack(self, encoding: str) -> bytes:
        """Return the compressed body; it is compressed once per encoding."""
        if not encoding:
            return self.body
        if encoding not in self._packed:
            packed = (
                gzip.compress(self.body, 6, mtime=0)
                if encoding == "gzip"
                else brotli.compress(self.body, mode=brotli.MODE_TEXT, quality=_BROTLI_QUALITY)
            )
            self._packed[encoding] = bytes(packed)
        return self._packed[encoding]


class KeptAnswers:
    """The cache of Gradio's files by URL, and of the page."""

    def __init__(self) -> None:
        """Create an empty cache."""
        self._files: dict[tuple[str, bytes], KeptAnswer] = {}
        self._bytes = 0
        self._page: KeptAnswer | None = None

    def find_file(self, path: str, cache_control: bytes | None) -> KeptAnswer | None:
        """Return the cached file of a URL; None: there is none."""
        return None if cache_control is None else self._files.get((path, cache_control))

    def keep_file(self, path: str, answer: KeptAnswer) -> None:
        """Cache a file if there is space left.

        Later requests for it are answered without the application.
        """
        if self._bytes + len(answer.body) <= _MAX_KEPT_BYTES:
            self._files[path, answer.cache_control] = answer
            self._bytes += len(answer.body)

    def page(self, body: bytes, content_type: bytes) -> KeptAnswer:
        """Return the response for the page.

        It is the cached one if the page has not changed, so that it is compressed once.
        """
        if self._page is None or self._page.body != body:
            self._page = KeptAnswer(body, content_type, ASK_EACH_TIME)
        return self._page


class Sender:
    """Passes a response on with more headers, adds the language script, and caches files."""

    def __init__(self, send: Send, scope: Scope, path: str, kept: KeptAnswers) -> None:
        """Create the sender of one request."""
        self.send = send
        self.has_started = False
        self._asked = Headers(scope=scope)
        self._path, self._query = path, bytes(scope.get("query_string", b""))
        self._kept = kept
        self._is_get = scope["method"] == "GET"
        self._is_private = _VISITORS_FILE.match(path) is not None
        self._is_page = path == "/" and self._is_get
        self._cache_control = cache_control_of(path, self._query)
        self._start: Message | None = None  # of a response that is collected
        self._pieces: list[bytes] = []

    async def send_kept(self) -> bool:
        """Send the cached response if there is one; return whether it was sent."""
        if not self._is_get or "range" in self._asked:
            return False
        answer = self._kept.find_file(self._path, self._cache_control)
        if answer is not None:
            await answer.send(self.send, self._asked, _HEADERS)
        return answer is not None

    async def __call__(self, message: Message) -> None:
        """Send or collect one part of the response."""
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
        """Return whether a response is collected: the page, or one of Gradio's smaller files."""
        if start["status"] != 200 or not self._is_get:
            return False
        if self._is_page:
            return _header(start, b"content-type").startswith(b"text/html")
        length = _header(start, b"content-length")
        return (
            self._cache_control is not None and length.isdigit() and int(length) <= MAX_ANSWER_BYTES
        )

    def _headers(self, start: Message) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response; responses with visitors' data are never cached."""
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
        """Cache and send a collected response.

        The language script is added to the page directly after <head>, since it must run before
        Gradio chooses its language.
        """
        if self._is_page:
            script = f"<script>{language_script()}</script>".encode()
            body = _HEAD.sub(lambda found: found[0] + script, body, count=1)
            answer = self._kept.page(body, content_type)
        else:
            assert self._cache_control is not None  # checked by _is_whole
            answer = KeptAnswer(body, content_type, self._cache_control)
            self._kept.keep_file(self._path, answer)
        await answer.send(self.send, self._asked, _HEADERS)


def _header(start: Message, name: bytes) -> bytes:
    """Return a header of a response; empty if it is missing."""
    return next((bytes(value) for key, value in start["headers"] if key.lower() == name), b"")
