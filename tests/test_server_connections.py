"""Open connections and heartbeats: their number, their cost, and the log without free files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.server import ServerState

from rembg_tuner.web.server.connections import (
    MAX_CONNECTIONS,
    MIN_CONNECTIONS,
    cap_connections,
    capped_protocol,
    heartbeat_route,
    max_connections,
    quiet_accepting,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def served(app: ASGIApp, limit: int) -> AsyncIterator[Callable[[], Any]]:
    """Serve an app with a maximum of connections, and yield a function that opens one."""
    config, state = uvicorn.Config(app, lifespan="off"), ServerState()
    protocol = capped_protocol(limit)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    opened: list[Connection] = []

    async def connect() -> Connection:
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    try:
        yield connect
    finally:
        server.close()
        for _, writer in opened:
            writer.close()


async def answer_or_wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond at once, or at /wait only after the client has disconnected."""
    while scope["path"] == "/wait" and (await receive())["type"] != "http.disconnect":
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(connection: Connection, path: bytes) -> bytes:
    """Send a request and return the first line of the response."""
    reader, writer = connection
    writer.write(GET % path)
    return await reader.readline()


def test_the_longest_idle_connection_makes_room() -> None:
    """The connection that is idle for longest is closed when a new one needs its place.

    Idle connections count, and new requests are served.
    """

    async def scenario() -> list[bytes]:
        async with served(answer_or_wait, 3) as connect:
            silent = await connect()
            kept = await connect()
            first = await ask(kept, b"")
            await connect()
            second = await ask(await connect(), b"")
            assert await silent[0].read() == b""  # closed
            return [first, second]

    assert asyncio.run(scenario()) == [b"HTTP/1.1 200 OK\r\n"] * 2


def test_a_connection_too_many_is_told() -> None:
    """When every connection has a request, a new connection gets status 503.

    The next one is served after a request has ended.
    """

    async def scenario() -> None:
        async with served(answer_or_wait, 2) as connect:
            waiting = [await connect(), await connect()]
            for _, writer in waiting:
                writer.write(GET % b"wait")
            await asyncio.sleep(0.05)
            refused = await connect()
            answer = await refused[0].read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"this server has 2 connections open, the limit" in answer
            waiting[0][1].close()
            await asyncio.sleep(0.05)
            assert await ask(await connect(), b"") == b"HTTP/1.1 200 OK\r\n"

    asyncio.run(scenario())


def test_every_server_keeps_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit applies from the first connection: Gradio listens before it returns its server."""
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
    cap_connections(3)
    config = uvicorn.Config(answer_or_wait)
    config.load()
    assert config.http_protocol_class.__name__ == "CappedProtocol"


@pytest.mark.parametrize(
    ("files", "connections"),
    [
        (resource.RLIM_INFINITY, MAX_CONNECTIONS),
        (1024, MAX_CONNECTIONS),
        (256, 104),
        (64, MIN_CONNECTIONS),
        (8, MIN_CONNECTIONS),
    ],
)
def test_few_files_mean_few_connections(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maximum is 200, since a connection may need a file besides its socket."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert max_connections() == connections


def test_files_that_run_out_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged once per minute, without a traceback for each attempt.

    Other errors of the loop are logged as usual.
    """

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        error = OSError(errno.EMFILE, "Too many open files")
        async with quiet_accepting(None):
            for _ in range(1000):
                loop.call_exception_handler(
                    {"message": "socket.accept() out of system resource", "exception": error}
                )
            loop.call_exception_handler(
                {"message": "Exception in callback BaseSelectorEventLoop._start_serving(...)"}
            )
            loop.call_exception_handler({"message": "something else"})

    asyncio.run(scenario())
    assert [record.getMessage().split("\n")[0] for record in caplog.records] == [
        (
            "a connection cannot be accepted: [Errno 24] Too many open files; raise the limit of"
            " open files (ulimit -n)"
        ),
        "something else",
    ]


@pytest.mark.slow
def test_a_closed_heartbeat_calls_one_function() -> None:
    """The function is called once per tab, when the tab closes or the server ends."""
    left: list[str] = []
    stopping = asyncio.Event()

    async def scenario() -> None:
        app = Starlette(routes=[heartbeat_route(left.append, lambda: stopping)])
        async with served(app, 10) as connect:
            first, second = await connect(), await connect()
            for name, connection in ((b"one", first), (b"two", second)):
                assert (
                    await ask(connection, b"gradio_api/heartbeat/" + name) == b"HTTP/1.1 200 OK\r\n"
                )
                await connection[0].readuntil(b"data: ALIVE\n\n")
            first[1].close()
            await asyncio.sleep(0.05)
            assert left == ["one"]
            stopping.set()
            assert (await second[0].read()).endswith(b"0\r\n\r\n")

    asyncio.run(scenario())
    assert left == ["one", "two"]
