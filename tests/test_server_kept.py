"""Caches of browsers and the server: Gradio's files and the page, no visitor's files."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import brotli
import pytest

from rembg_tuner.web.server import answers
from rembg_tuner.web.server.answers import (
    ASK_EACH_TIME,
    DAY,
    YEAR,
    cache_control_of,
    choose_encoding,
)
from rembg_tuner.web.server.guard import Guard, GuardLimits

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

SCRIPT = b"export const words = ['every', 'word', 'again'];\n" * 50
PAGE = (
    b"<!doctype html><html><head><title>x</title></head><body>"
    + b"<p>a line</p>" * 50
    + b"</body></html>"
)
ASSET = "/assets/core-Bdx9080F.js"
LIMITS = GuardLimits(folder=Path("/tmp/x"), upload_bytes=1000)


class App:
    """Responds like Gradio, in two pieces, and counts the requests."""

    def __init__(
        self, body: bytes = SCRIPT, status: int = 200, kind: bytes = b"text/javascript"
    ) -> None:
        """Store the response for every request."""
        self.body, self.status, self.kind = body, status, kind
        self.asked = 0

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send the response."""
        self.asked += 1
        headers = [
            (b"content-type", self.kind),
            (b"content-length", str(len(self.body)).encode()),
            (b"cache-control", b"public, max-age=9"),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[:100], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[100:]})


def ask(
    guard: Guard, path: str, query: bytes = b"", method: str = "GET", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request through a guard, and return status, headers and body."""
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answers.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": pairs,
    }
    asyncio.run(guard(scope, receive, send))
    names = [name for name, _ in answers[0]["headers"]]
    assert len(names) == len(set(names))  # no header twice
    return (
        answers[0]["status"],
        dict(answers[0]["headers"]),
        b"".join(answer["body"] for answer in answers[1:]),
    )


@pytest.mark.parametrize(
    ("path", "query", "control"),
    [
        pytest.param(ASSET, b"", YEAR, id="a hashed script"),
        pytest.param("/assets/Index-Akn07EZk2.js", b"", YEAR, id="a hash and a number"),
        pytest.param("/assets/logo-D4NPp-_W.css", b"", YEAR, id="a hash with signs"),
        pytest.param("/assets/index.js", b"", DAY, id="no hash"),
        pytest.param("/static/js/iframeResizer.contentWindow.min.js", b"", DAY, id="static"),
        pytest.param("/favicon.ico", b"", DAY, id="icon"),
        pytest.param("/theme.css", b"v=" + b"0f" * 32, YEAR, id="a theme by its hash"),
        pytest.param("/theme.css", b"", ASK_EACH_TIME, id="a theme"),
        pytest.param("/config", b"", None, id="configuration"),
        pytest.param("/gradio_api/info", b"", None, id="the API"),
        pytest.param("/gradio_api/file=/tmp/assets/core-Bdx9080F.js", b"", None, id="a file"),
        pytest.param("/gradio_api/queue/data", b"", None, id="events"),
    ],
)
def test_how_long_browsers_keep_an_address(path: str, query: bytes, control: bytes | None) -> None:
    """Files named by their content are cached for a year, other files of Gradio for a day."""
    assert cache_control_of(path, query) == control


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP;q=1.0, identity", "gzip"),
        ("br;q=0, gzip;q=0.000", ""),
        ("br; q=0.5", "br"),
        ("deflate", ""),
    ],
)
def test_a_client_gets_what_it_can_unpack(accepted: str, chosen: str) -> None:
    """Brotli is preferred to gzip and to the plain body; q=0 excludes an encoding."""
    assert choose_encoding(accepted) == chosen


def test_a_script_is_asked_for_and_packed_once() -> None:
    """The second request for a script does not reach the application.

    Each client gets an encoding that it accepts.
    """
    app = App()
    guard = Guard(app, limits=LIMITS)
    status, headers, body = ask(guard, ASSET, accept_encoding="gzip, br")
    assert (status, headers[b"content-encoding"], headers[b"cache-control"]) == (200, b"br", YEAR)
    assert (headers[b"vary"], headers[b"content-type"]) == (b"Accept-Encoding", b"text/javascript")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert int(headers[b"content-length"]) == len(body) < len(SCRIPT) / 5
    assert brotli.decompress(body) == SCRIPT
    assert gzip.decompress(ask(guard, ASSET, accept_encoding="gzip")[2]) == SCRIPT
    _, headers, body = ask(guard, ASSET)
    assert (b"content-encoding" not in headers, body) == (True, SCRIPT)
    assert app.asked == 1


@pytest.mark.parametrize("path", [ASSET, "/", "/theme.css", "/static/a.js"])
def test_what_a_browser_has_is_not_sent_again(path: str) -> None:
    """The ETag identifies the content in any encoding, and a changed page has another one."""
    app = App(PAGE, kind=b"text/html; charset=utf-8")
    guard = Guard(app, limits=LIMITS)
    _, headers, whole = ask(guard, path, accept_encoding="br")
    assert whole
    for known in (headers[b"etag"].decode(), f'"other", {headers[b"etag"].decode()}'):
        status, again, body = ask(guard, path, if_none_match=known)
        assert (status, body, again[b"etag"]) == (304, b"", headers[b"etag"])
        assert again[b"cache-control"] == headers[b"cache-control"]
    assert ask(guard, path, if_none_match='W/"other"')[0] == 200
    if path == "/":
        assert headers[b"cache-control"] == ASK_EACH_TIME
        assert b"navigator" in brotli.decompress(whole)  # the language script
        app.body = PAGE.replace(b"a line", b"another line")
        status, changed, _ = ask(guard, path, if_none_match=headers[b"etag"].decode())
        assert (status, changed[b"etag"] != headers[b"etag"]) == (200, True)


@pytest.mark.parametrize("name", ["a.png", "assets/core-Bdx9080F.js", "theme.css", "favicon.ico"])
def test_a_visitors_file_is_never_kept(name: str) -> None:
    """Neither a browser nor the server stores it, whatever its name and Gradio's headers."""
    app = App()
    guard = Guard(app, limits=LIMITS)
    for _ in range(2):
        status, headers, body = ask(guard, f"/gradio_api/file=/tmp/x/{name}", accept_encoding="br")
        assert (status, headers[b"cache-control"], body) == (200, b"private, no-store", SCRIPT)
        assert b"etag" not in headers
    assert app.asked == 2


def test_answers_that_are_not_whole_files_are_not_kept() -> None:
    """A missing file, a part of a file, a HEAD response and a file too large are not stored.

    Each request for them reaches the application.
    """
    app = App(status=404)
    guard = Guard(app, limits=LIMITS)
    assert ask(guard, ASSET)[1][b"cache-control"] == b"public, max-age=9"  # as Gradio sends it
    app.status = 206
    assert ask(guard, ASSET, range="bytes=0-9")[0] == 206
    app.status, app.body = 200, b""
    assert ask(guard, ASSET, method="HEAD")[0] == 200
    app.body = bytes(answers.MAX_ANSWER_BYTES + 1)
    _, headers, body = ask(guard, ASSET, accept_encoding="br")
    assert (headers[b"cache-control"], body) == (YEAR, app.body)
    app.body = SCRIPT
    assert ask(guard, ASSET)[2] == SCRIPT
    assert app.asked == 5


def test_memory_for_files_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files above the limit of memory are forwarded without storing them."""
    monkeypatch.setattr(answers, "_MAX_KEPT_BYTES", len(SCRIPT) + 1)
    app = App()
    guard = Guard(app, limits=LIMITS)
    for _ in range(2):
        for path in (ASSET, "/assets/more-Bdx9080F.js"):
            assert ask(guard, path)[2] == SCRIPT
    assert app.asked == 3
