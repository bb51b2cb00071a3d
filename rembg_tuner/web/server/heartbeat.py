"""The connection that each open tab keeps; when it closes, the visitor has left.

Gradio's own handler runs the page's unload event for each closed connection, which takes 10 to 50
ms of the event loop. This one calls a function instead.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

HEARTBEAT_PATH = "/gradio_api/heartbeat/{session}"
INTERVAL_S = 15.0  # as Gradio's
_BEAT = b"data: ALIVE\n\n"
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


class Stopping(Protocol):
    """An event that is set when the server ends."""

    async def wait(self) -> object:
        """Wait until it is set."""


def heartbeat_route(on_closed: Callable[[str], None], stopping: Callable[[], Stopping]) -> Route:
    """Make the route of the heartbeat.

    Args:
        on_closed: called with the session's name, on the event loop, so it must be quick.
        stopping: returns the event that is set when the server ends; open connections would keep
            it.
    """

    async def answer(request: Request) -> Response:
        return _Heartbeat(str(request.path_params["session"]), on_closed, stopping())

    return Route(HEARTBEAT_PATH, answer, methods=["GET"])


class _Heartbeat(Response):
    """Sends a line every 15 s until the tab closes or the server ends."""

    def __init__(self, session: str, on_closed: Callable[[str], None], stopping: Stopping) -> None:
        """Answer for a session."""
        super().__init__()
        self._session = session
        self._on_closed = on_closed
        self._stopping = stopping

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
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
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
