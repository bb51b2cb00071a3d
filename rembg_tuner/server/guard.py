"""The middleware before Gradio: which routes are open, how large a request may be, where files may come from.

It sits inside Gradio's own CORS and compression layers, so that what it sees is plain.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.units import MIB, format_bytes

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = "/gradio_api"
# What the page, its events and programs need; every other route of Gradio's is closed: recordings go
# through ffmpeg, icons are resized to any size asked, proxy= and file=http fetch from outside, deep links
# write to disk, monitoring tells of other visitors.
_OPEN = {
    "GET": re.compile(
        r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/healthz|/(static|assets|svelte)/.+"
        rf"|{_API}/(info|openapi\.json|app_id|theme\.css|startup-events|login_check|user|queue/status|queue/data|upload_progress)"
        rf"|{_API}/(heartbeat|call)/[\w./-]+|{_API}/file=/.+",
        re.DOTALL,
    ),
    "POST": re.compile(rf"{_API}/(upload|cancel|reset|queue/join|(call|run|api)/[\w/-]+)"),
}
_UPLOAD = f"{_API}/upload"
_MOST_DRAINED_BYTES = 512 * MIB
_MULTIPART_BYTES = 65536  # around the file: boundaries and names
_LANGUAGE_SCRIPT = Path(__file__).parent / "language.js"
_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_KEPT_ASSETS = re.compile(r"/(static|assets|svelte)/.+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """How large requests may be, and where their files may lie.

    Attributes:
        folder: where uploads are put; a file is taken from there only.
        upload_bytes: of one picture.
        body_bytes: of every other request; a picture in a `data:` URL is refused by it.
    """

    folder: Path
    upload_bytes: int
    body_bytes: int = MIB // 4


class _TooLargeError(Exception):
    """More came than a request may hold."""


class _ForeignFileError(Exception):
    """A request names a file that is not an upload."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, limits: GuardLimits) -> None:
        """Stand before an app."""
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        path, method = _path_of(scope), scope["method"]
        open_paths = _OPEN.get("GET" if method == "HEAD" else method)
        if open_paths is None or open_paths.fullmatch(path) is None:
            await _refuse(send, 404, "this address is not served here")
            return
        try:
            checked = await self._checked(scope, path, receive) if method == "POST" else receive
            await self._app(scope, checked, _Sender(send, path, method))
        except _TooLargeError:
            await _drain(receive)
            most = self._limits.upload_bytes if path == _UPLOAD else self._limits.body_bytes
            advice = "choose a smaller picture" if path == _UPLOAD else "upload the picture to /gradio_api/upload and send its path"  # fmt: skip
            await _refuse(
                send, 413, f"the request is larger than {format_bytes(most)}, the limit; {advice}"
            )
        except _ForeignFileError:
            text = "a file is taken from this page's uploads only; upload it to /gradio_api/upload first, and send the path that this answers"
            await _refuse(send, 400, text)

    async def _checked(self, scope: Scope, path: str, receive: Receive) -> Receive:
        """Bound a body, and look at the files that it names unless it is an upload.

        Raises:
            _TooLargeError: its length is told to be too great, or it is.
            _ForeignFileError: it names a file that is no upload.
        """
        is_upload = path == _UPLOAD
        most = self._limits.upload_bytes + _MULTIPART_BYTES if is_upload else self._limits.body_bytes  # fmt: skip
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > most:
            raise _TooLargeError
        bounded = _bounded(receive, most)
        if is_upload:
            return bounded
        body = await _read_whole(bounded)
        if body is None:
            return receive  # who asked has gone; the app sees that itself
        _refuse_foreign_files(body, self._limits.folder)
        return _replayed(body, receive)


def _path_of(scope: Scope) -> str:
    """Give a request's path below the place where the app is served."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] or "/" if root and path.startswith(f"{root}/") else path


def _bounded(receive: Receive, most_bytes: int) -> Receive:
    """Count what comes, whatever was told of its length."""
    seen = 0

    async def receive_bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most_bytes:
            raise _TooLargeError
        return message

    return receive_bounded


async def _drain(receive: Receive) -> None:
    """Read on and keep nothing: who is still sending would not read the answer; there is an end to it."""
    seen = 0
    while seen < _MOST_DRAINED_BYTES:
        message = await receive()
        seen += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


async def _read_whole(receive: Receive) -> bytes | None:
    """Read a body to its end; None where the client leaves meanwhile."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body once more, unchanged, and then whatever comes."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _refuse_foreign_files(body: bytes, folder: Path) -> None:
    """Refuse JSON in which a file's path is an address, or a place outside the uploads' folder.

    Gradio would download the one, whole and into memory, before any function of ours sees it; it refuses
    the other too, but in words that a visitor never gets to see.

    Raises:
        _ForeignFileError: there is one, or the JSON is too deep to be looked through.
    """
    try:
        waiting = [json.loads(body)] if body else []
    except RecursionError as error:
        raise _ForeignFileError from error
    except ValueError:
        return  # no JSON: Gradio refuses it
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and not _is_below(path, folder):
                raise _ForeignFileError
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _is_below(path: str, folder: Path) -> bool:
    """Tell whether a path leads into a folder, whatever dots it has."""
    return Path(os.path.normpath(path)).is_relative_to(folder)


class _Sender:
    """Passes an answer on with a few headers more, and puts the language script into the page."""

    def __init__(self, send: Send, path: str, method: str) -> None:
        """Send for one request."""
        self._send = send
        self._is_page = path == "/" and method == "GET"
        self._is_kept = _KEPT_ASSETS.fullmatch(path) is not None
        self._start: Message | None = None
        self._pieces: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Take one part of the answer."""
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]  # fmt: skip
            if self._is_kept and message["status"] == 200:
                headers.append((b"cache-control", b"public, max-age=86400"))
            message = {**message, "headers": headers}
            if self._is_page and _is_html(message):
                self._start = message
                return
        elif self._start is not None:
            self._pieces.append(message.get("body", b""))
            if message.get("more_body", False):
                return
            await self._send_page()
            return
        await self._send(message)

    async def _send_page(self) -> None:
        """Send the page with the script directly after <head>: later, Gradio has chosen its language."""
        assert self._start is not None  # the caller looked
        script = b"<script>" + _language_script() + b"</script>"
        body = _HEAD.sub(lambda found: found[0] + script, b"".join(self._pieces), count=1)
        headers = [(k, v) for k, v in self._start["headers"] if k.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


@cache
def _language_script() -> bytes:
    """Read the script once."""
    return _LANGUAGE_SCRIPT.read_bytes()


def _is_html(start: Message) -> bool:
    """Tell whether an answer is a page."""
    kind = dict(start["headers"]).get(b"content-type", b"")
    return bool(start["status"] == 200 and kind.startswith(b"text/html"))


async def _refuse(send: Send, status: int, sentence: str) -> None:
    """Answer with a sentence, as Gradio's clients read it."""
    body = json.dumps({"error": sentence, "detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
