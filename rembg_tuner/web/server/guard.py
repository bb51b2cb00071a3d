"""The middleware in front of Gradio: allowed routes and limits of requests.

It is inside Gradio's CORS and compression layers, so requests and responses are uncompressed.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect

from rembg_tuner.base.messages import Message, render
from rembg_tuner.base.units import MIB
from rembg_tuner.web.pages.failures import DISK_FULL, UNEXPECTED, is_disk_full, log_unexpected
from rembg_tuner.web.server.answers import KeptAnswers, Sender
from rembg_tuner.web.server.request_checks import (
    MAX_TEXT_BYTES,
    RequestContentError,
    UploadCheck,
    check_contents,
    check_free_space,
    track_uploads,
)

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

_API = "/gradio_api"
# The routes that the page, its events and programs need. All other routes of Gradio are closed:
# recordings run ffmpeg, icons are resized to any requested size, proxy= and file=http fetch
# external URLs, deep links write to disk, monitoring shows data of other visitors.
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
_NAMED_CALL = re.compile(rf"{_API}/call/v2/")
_WRITES = re.compile(rf"{_API}/(upload$|call/)")
_MAX_DRAINED_BYTES = 512 * MIB
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """The limits of requests, and the folder of their files.

    Attributes:
        folder: the upload folder; files are accepted from this folder only.
        upload_bytes: maximum size of one picture.
        body_bytes: maximum size of other requests; it refuses pictures in `data:` URLs.
        events: numbers of the page's events; None: they are not checked.
    """

    folder: Path
    upload_bytes: int
    body_bytes: int = MIB // 4
    events: Container[int] | None = None


class Guard:
    """ASGI middleware that checks requests before an app."""

    def __init__(self, app: ASGIApp, *, limits: GuardLimits) -> None:
        """Wrap an app."""
        self._app = app
        self._limits = limits
        self._kept = KeptAnswers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the app, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        path, method = _path_of(scope), scope["method"]
        open_paths = _OPEN.get("GET" if method == "HEAD" else method)
        if open_paths is None or open_paths.fullmatch(path) is None or "\0" in path:
            await _refuse(send, 404, Message("this address is not served here"))
            return
        sender, body = Sender(send, scope, path, self._kept), _Body(receive)
        if await sender.send_kept():
            return
        try:
            checked = await self._checked(scope, path, body) if method == "POST" else body.receive
            with track_uploads():
                await self._app(scope, checked, sender)
        except RequestContentError as error:
            await body.drain()
            await _refuse(send, error.status, error.message)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # uvicorn would print the values
            await self._answer_failure(error, path, sender, body)

    async def _answer_failure(
        self, error: Exception, path: str, sender: Sender, body: _Body
    ) -> None:
        """Respond to a failed request; log the location, but not the values, of the error."""
        is_full = is_disk_full(error)
        # Gradio raises these for an unknown endpoint or parameter.
        is_unknown = _NAMED_CALL.match(path) is not None and isinstance(error, KeyError | TypeError)
        if not (is_full or is_unknown):
            log_unexpected(_LOG, "a request", error)
        if sender.has_started:
            return  # uvicorn closes the connection
        await body.drain()
        if is_full:
            await _refuse(sender.send, 507, DISK_FULL)
        elif is_unknown:
            await _refuse(
                sender.send,
                400,
                Message("there is no such endpoint or parameter; /gradio_api/info lists them"),
            )
        else:
            await _refuse(sender.send, 500, UNEXPECTED)

    async def _checked(self, scope: Scope, path: str, body: _Body) -> Receive:
        """Limit the size of a body, and check its content.

        Raises:
            RequestContentError: the body is too large, or its JSON has invalid values.
            OSError: the disk is full.
        """
        headers = Headers(scope=scope)  # the first of several with one name, as in Gradio
        is_upload = path == _UPLOAD
        limit_bytes = self._limits.upload_bytes if is_upload else self._limits.body_bytes
        body.max_bytes = limit_bytes + MAX_TEXT_BYTES * is_upload
        body.refusal = _too_large(limit_bytes, is_upload=is_upload)
        length = headers.get("content-length", "").encode("latin-1")  # str.isdigit accepts "²"
        length_bytes = int(length) if length.isdigit() and len(length) < 20 else 0
        if length_bytes > body.max_bytes or len(length) >= 20:
            raise body.refusal
        if _WRITES.match(path):
            check_free_space(self._limits.folder, length_bytes)
        if is_upload:
            has_progress = bool(QueryParams(scope.get("query_string", b"")).get("upload_id"))
            content_type = headers.get("content-type", "").encode("latin-1")
            check = UploadCheck(content_type, takes_text=not has_progress)
            return _followed(body.receive, check)
        content = await _read_whole(body.receive)
        if content is None:
            return body.receive  # the client has disconnected, which the app detects itself
        check_contents(content, self._limits.folder, self._limits.events)
        return _replayed(content, body.receive)


def _path_of(scope: Scope) -> str:
    """Return the path of a request relative to the root path of the app."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] or "/" if root and path.startswith(f"{root}/") else path


def _too_large(limit_bytes: int, *, is_upload: bool) -> RequestContentError:
    """Create the error of a request that is too large."""
    advice = (
        Message("choose a smaller picture")
        if is_upload
        else Message("upload the picture to /gradio_api/upload and send its path")
    )
    text = Message(
        "the request is larger than {limit:bytes}, the limit; {advice}",
        limit=limit_bytes,
        advice=advice,
    )
    return RequestContentError(text, 413)


class _Body:
    """The body of a request; received bytes are counted, since the declared length may be wrong.

    Attributes:
        max_bytes: maximum size; None: no limit.
        refusal: the error that is raised above it.
    """

    def __init__(self, receive: Receive) -> None:
        """Create the body from the ASGI receive function."""
        self._receive = receive
        self._seen_bytes = 0
        self._is_whole = False
        self.max_bytes: int | None = None
        self.refusal: RequestContentError | None = None

    async def receive(self) -> Event:
        """Receive one part of the body.

        Raises:
            RequestContentError: the body is larger than the maximum.
        """
        message = await self._receive()
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        self._seen_bytes += len(message.get("body", b""))
        if self.refusal and self.max_bytes is not None and self._seen_bytes > self.max_bytes:
            raise self.refusal
        return message

    async def drain(self) -> None:
        """Read and discard the rest, up to a limit: clients read the response after sending."""
        self.max_bytes = None
        while not self._is_whole and self._seen_bytes < _MAX_DRAINED_BYTES:
            await self.receive()


def _followed(receive: Receive, check: UploadCheck) -> Receive:
    """Return a receive function that checks the parts of an upload."""

    async def receive_checked() -> Event:
        message = await receive()
        check.add(message.get("body", b""))
        return message

    return receive_checked


async def _read_whole(receive: Receive) -> bytes | None:
    """Read a complete body; None: the client has disconnected."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that returns a body again, then further messages."""
    is_given = False

    async def receive_again() -> Event:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(send: Send, status: int, message: Message) -> None:
    """Send an error response in the format of Gradio's clients, in English."""
    sentence = render(message, is_public=True)
    body = json.dumps({"error": sentence, "detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
