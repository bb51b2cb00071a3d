"""The guard before Gradio: what is open, how much may come, where files may come from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.server.guard import Guard, GuardLimits

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

LIMITS = GuardLimits(folder=Path("/tmp/x"), upload_bytes=100_000, body_bytes=2_000)
PAGE = b"<!doctype html><html lang='en'><head><title>x</title></head><body></body></html>"


class App:
    """An app that reads whatever comes and answers with a page."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self.body: bytes | None = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Read, then answer."""
        self.body = b""
        while True:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(PAGE)).encode())]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})


def ask(method: str, path: str, *pieces: bytes, headers: dict[str, str] | None = None, root: str = "") -> tuple[App, list[Message]]:  # fmt: skip
    """Send a request through a guard."""
    app, answers = App(), []
    waiting = [{"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces or (b"",))]  # fmt: skip

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {"type": "http", "method": method, "path": path, "root_path": root, "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()]}  # fmt: skip
    asyncio.run(Guard(app, limits=LIMITS)(scope, receive, send))
    return app, answers


def status_of(answers: list[Message]) -> int:
    """Give an answer's status."""
    return int(answers[0]["status"])


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/healthz", "/assets/index-a1.js", "/static/img/x.svg", "/gradio_api/info", "/gradio_api/queue/data", "/gradio_api/file=/tmp/a/b.png", "/gradio_api/heartbeat/abc", "/gradio_api/call/cut/0a1b", "/gradio_api/upload_progress", "/gradio_api/startup-events"],
)  # fmt: skip
def test_what_the_page_needs_is_open(path: str) -> None:
    """For GET and HEAD."""
    assert status_of(ask("GET", path)[1]) == 200
    assert status_of(ask("HEAD", path)[1]) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/pwa_icon"),
        ("GET", "/pwa_icon/6000"),
        ("GET", "/gradio_api/file=http://127.0.0.1/"),
        ("GET", "/gradio_api/file=HTTPS://example.org/x.png"),
        ("GET", "/gradio_api/file=data:text/html,hi"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/gradio_api/proxy=http://example.org"),
        ("GET", "/proxy=http://example.org"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/deep_link"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/run-history/records"),
        ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"),
        ("POST", "/gradio_api/stream/a"),
        ("GET", "/gradio_api/custom_component/1/client/component/index.js"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/login"),
        ("GET", "//gradio_api/info"),
        ("GET", "/gradio_api/info/"),
        ("GET", "/gradio_api//info"),
        ("POST", "/"),
        ("DELETE", "/config"),
        ("PUT", "/gradio_api/upload"),
        ("GET", "/docs"),
    ],
)
def test_every_other_route_is_closed(method: str, path: str) -> None:
    """The app does not hear of it."""
    app, answers = ask(method, path)
    assert status_of(answers) == 404
    assert app.body is None
    assert "is not served here" in json.loads(answers[1]["body"])["error"]


def test_below_a_path_of_a_proxy_the_same_holds() -> None:
    """The place where the app is served is not part of the route."""
    assert status_of(ask("GET", "/tools/rembg/config", root="/tools/rembg")[1]) == 200
    assert status_of(ask("GET", "/tools/rembg/monitoring", root="/tools/rembg")[1]) == 404


@pytest.mark.parametrize(
    ("path", "sizes", "told", "status"),
    [
        pytest.param("/gradio_api/upload", [100_000], None, 200, id="upload-that-fits"),
        pytest.param("/gradio_api/upload", [60_000] * 4, None, 413, id="upload-in-pieces"),
        pytest.param("/gradio_api/upload", [10], "99999999", 413, id="upload-by-its-length"),
        pytest.param("/gradio_api/queue/join", [2_001], None, 413, id="json"),
        pytest.param("/gradio_api/queue/join", [1_500, 1_500], None, 413, id="json-in-pieces"),
        pytest.param("/gradio_api/queue/join", [10], "2001", 413, id="json-by-its-length"),
        pytest.param("/gradio_api/queue/join", [10], "-5", 200, id="a-length-that-is-none"),
    ],
)
def test_bodies_are_bounded(path: str, sizes: list[int], told: str | None, status: int) -> None:
    """By what is told of their length and by what comes, with a sentence."""
    headers = {"content-length": told} if told else {}
    _, answers = ask("POST", path, *(b"x" * size for size in sizes), headers=headers)
    assert status_of(answers) == status
    if status == 413:
        said = json.loads(answers[1]["body"])["error"]
        assert "the limit" in said
        assert "MiB" in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.integers(0, 50))
def test_any_json_passes_byte_for_byte(content: Any, cut_at: int) -> None:
    """Unless a file in it is an address, the app reads what was sent, however it came in pieces."""
    body = json.dumps({"data": content}).encode()[:1900]
    app, answers = ask("POST", "/gradio_api/queue/join", body[:cut_at], body[cut_at:])
    if '"path"' not in body.decode():
        assert app.body == body
        assert status_of(answers) == 200


@pytest.mark.parametrize(
    "path",
    ["http://example.org/a.png", "HTTPS://x/y", "  http://x", "ftp://x/y", "data:image/png;base64,AAAA", "file:///etc/passwd", "/etc/passwd", "/tmp/x/../y.png", "/tmp/xy/a.png", "a.png", "/tmp/x\x00/../../etc/passwd"],
)  # fmt: skip
@pytest.mark.parametrize("depth", [0, 3])
def test_a_file_from_elsewhere_is_refused(path: str, depth: int) -> None:
    """At any depth, and however its letters are written."""
    value: Any = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for _ in range(depth):
        value = [{"inner": value}]
    body = json.dumps({"data": [value]}).encode()
    for written in (body, body.replace(b"http", b"\\u0068ttp")):
        app, answers = ask("POST", "/gradio_api/call/cut", written)
        assert status_of(answers) == 400
        assert app.body is None


def test_an_uploads_own_address_passes() -> None:
    """The browser sends where it shows an upload from beside its path."""
    value = {"path": "/tmp/x/a.png", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x/a.png"}
    body = json.dumps({"data": [value]}).encode()
    assert ask("POST", "/gradio_api/queue/join", body)[0].body == body


def test_json_without_end_is_refused() -> None:
    """Too deep to be looked through is no request of the page's."""
    body = b"[" * 1_900
    app, answers = ask("POST", "/gradio_api/queue/join", body)
    assert (status_of(answers), app.body) in ((400, None), (200, body))


def test_the_language_is_chosen_before_gradio_looks() -> None:
    """The script stands right after <head>, and the length is right."""
    _, answers = ask("GET", "/")
    body = b"".join(message.get("body", b"") for message in answers[1:])
    assert b"<head><script>(() => {" in body
    assert dict(answers[0]["headers"])[b"content-length"] == str(len(body)).encode()
    assert len(ask("GET", "/config")[1][1]["body"]) == len(PAGE)


def test_answers_carry_their_headers() -> None:
    """Nothing is sniffed; what never changes is kept by browsers."""
    headers = dict(ask("GET", "/assets/a.js")[1][0]["headers"])
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"max-age" in headers[b"cache-control"]
    assert b"cache-control" not in dict(ask("GET", "/config")[1][0]["headers"])


def test_a_stream_passes_piece_by_piece() -> None:
    """Each event is sent on before the next is made."""
    sent: list[bytes] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for i in range(3):
            await send({"type": "http.response.body", "body": b"%d" % i, "more_body": True})
            assert sent[-1] == b"%d" % i
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "headers": []}
    asyncio.run(Guard(stream, limits=LIMITS)(scope, receive, send))
    assert sent[1:] == [b"0", b"1", b"2"]


def test_a_websocket_is_closed_and_a_lifespan_passes() -> None:
    """Nothing here speaks by websocket; starting and ending are the app's."""
    answers: list[Message] = []
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(scope["type"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        answers.append(message)

    guard = Guard(app, limits=LIMITS)
    asyncio.run(guard({"type": "websocket", "path": "/"}, receive, send))
    asyncio.run(guard({"type": "lifespan"}, receive, send))
    assert heard == ["lifespan"]
    assert answers == [{"type": "websocket.close", "code": 1008}]
