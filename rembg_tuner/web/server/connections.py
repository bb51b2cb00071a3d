"""Connections: their maximum number, and the heartbeat connection of each open tab.

Gradio's heartbeat runs the page's unload event for each closed connection, which blocks the event
loop for 10 to 50 ms. The heartbeat of this module calls a function instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import time
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response
from starlette.routing import Route
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.h11_impl import H11Protocol

from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

MAX_CONNECTIONS = 200
MIN_CONNECTIONS = 8
_OTHER_FILES = 48  # other files of the server: pipes of workers, databases, the log, libraries
_FILES_A_CONNECTION = 2  # the socket, and a file that is sent or received over it
_SAY_EVERY_S = 60.0
_NO_RESOURCE = "socket.accept() out of system resource"  # asyncio's message
_RETRY = (  # asyncio's next attempt, which fails if the server has stopped meanwhile
    "_start_serving"
)
HEARTBEAT_PATH = "/gradio_api/heartbeat/{session}"
INTERVAL_S = 15.0  # same as Gradio
_BEAT = b"data: ALIVE\n\n"
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
_LOG = logging.getLogger(__name__)


def max_connections() -> int:
    """Return the maximum number of connections: 200, or fewer if the limit of open files is low."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    fitting = (limit - _OTHER_FILES) // _FILES_A_CONNECTION
    return min(MAX_CONNECTIONS, max(MIN_CONNECTIONS, fitting))


def cap_connections(limit: int) -> None:
    """Limit the connections of each server that uvicorn starts in this process from now on.

    Gradio creates the configuration of uvicorn itself, and listens before it returns the server.
    """
    HTTP_PROTOCOLS["auto"] = capped_protocol(limit)  # type: ignore[assignment]  # or a class


def capped_protocol(limit: int) -> type[H11Protocol]:
    """Return uvicorn's protocol with a maximum number of open connections.

    For a further connection, the oldest one without a request in progress is closed. If all have
    one, the new connection is refused with 503.
    """
    open_ones: dict[H11Protocol, None] = {}

    class CappedProtocol(H11Protocol):
        """A connection that counts towards the limit."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            """Accept the connection, or refuse it."""
            super().connection_made(transport)
            if len(open_ones) >= limit:
                idle = next((one for one in open_ones if _is_idle(one)), None)
                if idle is None:
                    transport.write(_refusal(limit))
                    transport.close()
                    return
                del open_ones[idle]
                idle.transport.close()
            open_ones[self] = None

        def connection_lost(self, exc: Exception | None) -> None:
            """Remove the connection from the count."""
            open_ones.pop(self, None)
            super().connection_lost(exc)

    return CappedProtocol


def _is_idle(connection: H11Protocol) -> bool:
    """Return whether a connection has no request in progress."""
    cycle = getattr(connection, "cycle", None)  # initially None, despite its declaration
    return cycle is None or bool(cycle.response_complete)


def _refusal(limit: int) -> bytes:
    """Return the response to a connection above the limit, as bytes."""
    sentence = str(
        Message(
            "this server has {limit} connections open, the limit; try again in a few seconds",
            code="busy",
            limit=limit,
        )
    )
    body = json.dumps({"error": sentence, "detail": sentence}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 5\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


@contextlib.asynccontextmanager
async def quiet_accepting(_app: object) -> AsyncIterator[None]:
    """Log at most once a minute, in one line, that the limit of open files is reached.

    Use it as the lifespan of the app. asyncio itself logs a traceback for each of up to 2048
    attempts per second.
    """
    asyncio.get_running_loop().set_exception_handler(_AcceptErrors())
    yield


class _AcceptErrors:
    """An exception handler for the event loop."""

    def __init__(self) -> None:
        """Create the handler; the first error is logged."""
        self._said_at_s = -_SAY_EVERY_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception of the event loop."""
        message = str(context.get("message"))
        if _RETRY in message:
            return
        if message != _NO_RESOURCE:
            loop.default_exception_handler(context)
        elif time.monotonic() - self._said_at_s >= _SAY_EVERY_S:
            self._said_at_s = time.monotonic()
            _LOG.error(
                "a connection cannot be accepted: %s; raise the limit of open files (ulimit -n)",
                context.get("exception"),
            )


class Stopping(Protocol):
    """An event that is set when the server stops."""

    async def wait(self) -> object:
        """Wait until it is set."""


def heartbeat_route(on_closed: Callable[[str], None], stopping: Callable[[], Stopping]) -> Route:
    """Create the route of the heartbeat.

    Args:
        on_closed: called with the session hash in the event loop; it must return quickly.
        stopping: returns the event that is set when the server stops; open connections would
            block the shutdown.
    """

    async def answer(request: Request) -> Response:
        return _Heartbeat(str(request.path_params["session"]), on_closed, stopping())

    return Route(HEARTBEAT_PATH, answer, methods=["GET"])


class _Heartbeat(Response):
    """Sends a line every 15 s until the tab is closed or the server stops."""

    def __init__(self, session: str, on_closed: Callable[[str], None], stopping: Stopping) -> None:
        """Create the response for a session."""
        super().__init__()
        self._session = session
        self._on_closed = on_closed
        self._stopping = stopping

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines, then call `on_closed`."""
        ends = {asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._stopping.wait())}
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            while True:
                await send({"type": "http.response.body", "body": _BEAT, "more_body": True})
                done, _ = await asyncio.wait(
                    ends, timeout=INTERVAL_S, return_when="FIRST_COMPLETED"
                )
                if done:
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for end in ends:
                end.cancel()
            self._on_closed(self._session)


async def _left(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
