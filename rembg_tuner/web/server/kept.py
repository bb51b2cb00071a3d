"""Answers that hold nothing of a visitor's.

Compressed once, kept in memory here, and kept by browsers.

Gradio reads and compresses each of its scripts and styles for every request, and sends the page
itself, 310 kB, as it is. Here each is compressed once (brotli, else gzip); a browser that has it
already gets 304 and no body.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import brotli

from rembg_tuner.base.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.datastructures import Headers
    from starlette.types import Send

YEAR = b"public, max-age=31536000, immutable"  # for a name that holds a hash of the content
DAY = b"public, max-age=86400"
ASK_EACH_TIME = b"no-cache"  # kept, and used only once the server has said that it is the newest
MAX_ANSWER_BYTES = 2 * MIB  # of one answer; a larger one is passed on as it comes
_MAX_KEPT_BYTES = 32 * MIB  # of all, before compression; Gradio's frontend has 21 MB
_BROTLI_QUALITY = (
    5  # of Gradio's files 6 % smaller than with its 4; from 9 on it takes ten times as long
)
_LEAST_BYTES = 400  # below, compression saves no packet
_TEXT = re.compile(rb"text/|application/(javascript|json)|image/svg")
_REFUSED = re.compile(r"\s*q=0(\.0*)?\s*")
_HASHED = re.compile(r"/assets/(svelte/)?[\w.-]+-[\w-]{8}\d*\.\w+")
_STATIC = re.compile(r"/(static|assets|svelte)/.+|/favicon\.ico")
_THEME = "/theme.css"
_THEME_VERSION = re.compile(rb"v=[0-9a-f]{64}")


def cache_control_of(path: str, query: bytes) -> bytes | None:
    """Return how long a browser may keep what is at an address.

    None: it is not one of Gradio's own files.
    """
    if path == _THEME:
        return YEAR if _THEME_VERSION.fullmatch(query) else ASK_EACH_TIME
    if _HASHED.fullmatch(path):
        return YEAR
    return DAY if _STATIC.fullmatch(path) else None


def choose_encoding(accepted: str) -> str:
    """Return `br`, `gzip` or, where a client takes neither, nothing.

    >>> choose_encoding("gzip, deflate, br"), choose_encoding("br;q=0, gzip"), choose_encoding("")
    ('br', 'gzip', '')
    """
    parts = [part.partition(";") for part in accepted.lower().split(",")]
    taken = {name.strip() for name, _, rest in parts if not _REFUSED.fullmatch(rest)}
    return next((name for name in ("br", "gzip") if name in taken), "")


@dataclass(slots=True)
class KeptAnswer:
    """One whole answer.

    Attributes:
        body: as the application gave it.
        content_type: of it.
        cache_control: how long a browser may keep it.
    """

    body: bytes
    content_type: bytes
    cache_control: bytes
    _etag: bytes = field(init=False)
    _packed: dict[str, bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Name the content: one name for all encodings, so it is a weak one."""
        self._etag = b'W/"' + hashlib.sha256(self.body).hexdigest()[:32].encode() + b'"'

    async def send(self, send: Send, asked: Headers, more: Iterable[tuple[bytes, bytes]]) -> None:
        """Answer a request.

        Args:
            send: to whom.
            asked: the request's headers.
            more: headers that every answer has.
        """
        headers = [(b"etag", self._etag), (b"cache-control", self.cache_control), *more]
        is_packable = len(self.body) >= _LEAST_BYTES and _TEXT.match(self.content_type)
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
        """Return whether a client has this content; it sends the names of those that it has."""
        own = self._etag.removeprefix(b"W/").decode()
        return any(name.strip().removeprefix("W/") in (own, "*") for name in names.split(","))

    def _pack(self, encoding: str) -> bytes:
        """Compress the body, once for each encoding."""
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
    """Gradio's own files by address, and the page."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._files: dict[tuple[str, bytes], KeptAnswer] = {}
        self._bytes = 0
        self._page: KeptAnswer | None = None

    def find_file(self, path: str, cache_control: bytes | None) -> KeptAnswer | None:
        """Return what was kept for an address; None: nothing."""
        return None if cache_control is None else self._files.get((path, cache_control))

    def keep_file(self, path: str, answer: KeptAnswer) -> None:
        """Keep a file while there is room.

        The next request for it does not reach the application.
        """
        if self._bytes + len(answer.body) <= _MAX_KEPT_BYTES:
            self._files[path, answer.cache_control] = answer
            self._bytes += len(answer.body)

    def page(self, body: bytes, content_type: bytes) -> KeptAnswer:
        """Return the answer of a page.

        Of the one before where the page has not changed, so that it is packed once.
        """
        if self._page is None or self._page.body != body:
            self._page = KeptAnswer(body, content_type, ASK_EACH_TIME)
        return self._page
