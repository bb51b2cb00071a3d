"""The guard before Gradio: open routes, limits on bodies, and allowed file paths."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from rembg_tuner.web.server.guard import Guard, GuardLimits
from rembg_tuner.web.server.request_checks import (
    MAX_FILES,
    MAX_NUMBER,
    MAX_TEXT_BYTES,
    temporary_upload,
)

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

LIMITS = GuardLimits(folder=Path("/tmp/x"), upload_bytes=100_000, body_bytes=2_000, events=(0, 1))
PAGE = b"<!doctype html><html lang='en'><head><title>x</title></head><body></body></html>"


class App:
    """An app that reads any request and responds with a page."""

    def __init__(self) -> None:
        """Start without a body."""
        self.body: bytes | None = None

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then respond."""
        self.body = b""
        while True:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(PAGE)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})


def ask(
    method: str,
    path: str,
    *pieces: bytes,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    root: str = "",
    query: bytes = b"",
) -> tuple[App, list[Message]]:
    """Send a request through a guard, and return the app and its responses."""
    app, answers = App(), []
    waiting = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)}
        for i, piece in enumerate(pieces or (b"",))
    ]

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root,
        "query_string": query,
        "headers": [(k.encode(), v.encode()) for k, v in pairs],
    }
    asyncio.run(Guard(app, limits=LIMITS)(scope, receive, send))
    return app, answers


def status_of(answers: list[Message]) -> int:
    """Return the status of a response."""
    return int(answers[0]["status"])


def said(answers: list[Message]) -> str:
    """Return the message of a refusal."""
    return str(json.loads(answers[1]["body"])["error"])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/theme.css",
        "/healthz",
        "/assets/index-a1.js",
        "/static/img/x.svg",
        "/gradio_api/info",
        "/gradio_api/queue/data",
        "/gradio_api/file=/tmp/a/b.png",
        "/gradio_api/heartbeat/abc",
        "/gradio_api/call/cut/0a1b",
        "/gradio_api/upload_progress",
        "/gradio_api/startup-events",
    ],
)
def test_what_the_page_needs_is_open(path: str) -> None:
    """The routes that the page needs are open to GET and HEAD."""
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
    """The request does not reach the app."""
    app, answers = ask(method, path)
    assert status_of(answers) == 404
    assert app.body is None
    assert "is not served here" in json.loads(answers[1]["body"])["error"]


def test_below_a_path_of_a_proxy_the_same_holds() -> None:
    """The prefix of a proxy is not part of the route."""
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
        pytest.param("/gradio_api/queue/join", [0], "-5", 200, id="a-length-that-is-none"),
        pytest.param("/gradio_api/queue/join", [0], "9" * 5000, 413, id="a-length-of-many-digits"),
    ],
)
def test_bodies_are_bounded(path: str, sizes: list[int], told: str | None, status: int) -> None:
    """Both the declared length and the received bytes are limited, with a message."""
    headers = {"content-length": told} if told else {}
    _, answers = ask("POST", path, *(b"x" * size for size in sizes), headers=headers)
    assert status_of(answers) == status
    if status == 413:
        said = json.loads(answers[1]["body"])["error"]
        assert "the limit" in said
        assert "MiB" in said


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_NUMBER, MAX_NUMBER) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.integers(0, 50))
def test_any_json_passes_byte_for_byte(content: Any, cut_at: int) -> None:
    """The app reads the body that was sent, in any pieces, unless a file in it has a URL."""
    body = json.dumps({"data": [content]}).encode()
    app, answers = ask("POST", "/gradio_api/queue/join", body[:cut_at], body[cut_at:])
    if '"path"' not in body.decode() and len(body) <= LIMITS.body_bytes:
        assert app.body == body
        assert status_of(answers) == 200


@pytest.mark.parametrize(
    "path",
    [
        "http://example.org/a.png",
        "HTTPS://x/y",
        "  http://x",
        "ftp://x/y",
        "data:image/png;base64,AAAA",
        "file:///etc/passwd",
        "/etc/passwd",
        "/tmp/x/../y.png",
        "/tmp/xy/a.png",
        "a.png",
        "/tmp/x\x00/../../etc/passwd",
    ],
)
@pytest.mark.parametrize("depth", [0, 3])
def test_a_file_from_elsewhere_is_refused(path: str, depth: int) -> None:
    """The path is checked at any depth and in any spelling."""
    value: Any = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for _ in range(depth):
        value = [{"inner": value}]
    body = json.dumps({"data": [value]}).encode()
    for written in (body, body.replace(b"http", b"\\u0068ttp")):
        app, answers = ask("POST", "/gradio_api/call/cut", written)
        assert status_of(answers) == 400
        assert app.body is None


def test_an_uploads_own_address_passes() -> None:
    """The browser sends the URL of an upload beside its path."""
    value = {"path": "/tmp/x/a.png", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x/a.png"}
    body = json.dumps({"data": [value]}).encode()
    assert ask("POST", "/gradio_api/queue/join", body)[0].body == body


def test_json_without_end_is_refused() -> None:
    """JSON that is nested too deeply to be checked is rejected."""
    body = b"[" * 1_900
    app, answers = ask("POST", "/gradio_api/queue/join", body)
    assert (status_of(answers), app.body) == (400, None)
    nested = b'{"data": ' + b"[" * 100 + b"]" * 100 + b"}"
    _, answers = ask("POST", "/gradio_api/queue/join", nested)
    assert said(answers) == "the request is nested deeper than 64 levels"


def test_the_language_is_chosen_before_gradio_looks() -> None:
    """The script directly follows <head>, and the content length includes it."""
    _, answers = ask("GET", "/")
    body = b"".join(message.get("body", b"") for message in answers[1:])
    assert b"<head><script>(() => {" in body
    assert dict(answers[0]["headers"])[b"content-length"] == str(len(body)).encode()
    assert len(ask("GET", "/config")[1][1]["body"]) == len(PAGE)


def test_answers_carry_their_headers() -> None:
    """Content sniffing is off; unchanging files are cached, visitors' data are not."""
    headers = dict(ask("GET", "/assets/a.js")[1][0]["headers"])
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"max-age" in headers[b"cache-control"]
    assert dict(ask("GET", "/config")[1][0]["headers"])[b"cache-control"] == b"no-store"


def test_a_stream_passes_piece_by_piece() -> None:
    """Each event is forwarded before the next is created."""
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
    """Websockets are closed, because they are unused; lifespan events reach the app."""
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


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b'{"data": [NaN]}', "infinity or NaN", id="nan"),
        pytest.param(b'{"data": [1e999]}', "infinity or NaN", id="infinity"),
        pytest.param(b'{"data": [1%s]}' % (b"0" * 400), "beyond 2^53", id="huge"),
        pytest.param(b'{"data": ["a\\u0000b"]}', "NUL character", id="nul"),
        pytest.param(b'{"data": [{"\\ud800": 1}]}', "surrogate", id="surrogate"),
        pytest.param(b'{"data": null}', "data must be a list", id="no-data"),
        pytest.param(b'{"data": {}}', "data must be a list", id="data-by-name"),
        pytest.param(b'{"fn_index": true}', "fn_index must be a whole number", id="fn-index"),
        pytest.param(b'{"fn_index": 7}', "there is no event with fn_index 7", id="no-such-event"),
        pytest.param(
            b'{"session_hash": ""}', "session_hash must be text of 1 to 128", id="no-session"
        ),
        pytest.param(b'{"session_hash": []}', "session_hash must be text", id="session-list"),
        pytest.param(b'{"batched": 1}', "batched must be true or false", id="batched"),
        pytest.param(b"[]", "must be a JSON object", id="list"),
        pytest.param(b"\xff", "not valid JSON", id="no-json"),
    ],
)
def test_what_no_handler_takes_is_refused_with_a_sentence(body: bytes, sentence: str) -> None:
    """Such values are rejected first, because Gradio would log a traceback with them."""
    app, answers = ask("POST", "/gradio_api/queue/join", body)
    assert (status_of(answers), app.body) == (400, None)
    assert sentence in said(answers)


def upload_of(*parts: tuple[str, bytes]) -> bytes:
    """Return a multipart body with a part for each pair of header parameters and content."""
    pieces = (
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return b"".join(pieces) + b"--b--\r\n"


FILE = 'name="files"; filename="a.png"'
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("parts", "status", "sentence"),
    [
        pytest.param([(FILE, b"x" * 90_000)], 200, "", id="file"),
        pytest.param([('name="a"', b"x" * 60_000), (FILE, b"x")], 200, "", id="some-text"),
        pytest.param([('name="a"', b"x" * MAX_TEXT_BYTES)], 413, "larger than 64 KiB", id="text"),
        pytest.param(
            [('name="a"', b"x" * 9_000)] * 8, 413, "larger than 64 KiB", id="texts-together"
        ),
        pytest.param([(f'name="{"n" * MAX_TEXT_BYTES}"', b"")], 400, "too long", id="header"),
        pytest.param([(FILE, b"x")] * (MAX_FILES + 1), 413, "more than 32 files", id="files"),
        pytest.param([('name="files"', b"x")], 400, "a text field was sent", id="text-as-file"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [100_000, 999])
def test_the_text_of_an_upload_is_bounded(
    parts: list[tuple[str, bytes]], status: int, sentence: str, piece_bytes: int
) -> None:
    """Gradio keeps text fields in memory, so they are limited; files pass unchanged."""
    body = upload_of(*parts)
    pieces = [body[i : i + piece_bytes] for i in range(0, len(body), piece_bytes)]
    app, answers = ask("POST", "/gradio_api/upload", *pieces, headers=MULTIPART)
    assert status_of(answers) == status
    if status == 200:
        assert app.body == body
    else:
        assert sentence in said(answers)


def test_a_second_content_type_hides_no_text() -> None:
    """Gradio reads the first of two headers of a name, so the check must read the same one."""
    body = upload_of(('name="a"', b"x" * MAX_TEXT_BYTES))
    headers = [*MULTIPART.items(), ("content-type", "text/plain")]
    _, answers = ask("POST", "/gradio_api/upload", body, headers=headers)
    assert status_of(answers) == 413
    assert "larger than 64 KiB" in said(answers)


@pytest.mark.parametrize(
    ("query", "status"),
    [(b"upload_id=a", 400), (b"upload%5fid=a", 400), (b"upload_id=", 200), (b"a=upload_id=", 200)],
)
def test_text_is_refused_where_progress_is_reported(query: bytes, status: int) -> None:
    """Gradio fails on a text field with upload_id, in any spelling of the parameter's name."""
    body = upload_of(('name="a"', b"x"), (FILE, b"x"))
    _, answers = ask("POST", "/gradio_api/upload", body, headers=MULTIPART, query=query)
    assert status_of(answers) == status


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The status is 507 with a message, and the partial upload is removed."""
    made: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        made.append(temporary_upload(dir=tmp_path, delete=False))
        made[0].write((await receive())["body"])
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/cup.png")

    answers = run_app(app, "/gradio_api/upload", upload_of((FILE, b"x")), folder=tmp_path)
    assert status_of(answers) == 507
    assert said(answers) == "the server's disk is full; try again later"
    assert list(tmp_path.iterdir()) == []
    assert made[0].file.closed  # an open file would still use disk space
    assert status_of(run_app(App(), "/gradio_api/upload", b"", folder=tmp_path)) == 200


@pytest.mark.parametrize("field", ["f_bavail", "f_favail"])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/gradio_api/upload", 507), ("/gradio_api/call/cut", 507), ("/gradio_api/cancel", 200)],
)
def test_nothing_is_begun_on_a_full_disk(
    field: str, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads and runs are rejected without free bytes or inodes; a cancel is accepted."""
    disk = SimpleNamespace(f_bavail=10**6, f_frsize=4096, f_files=100, f_favail=10)
    setattr(disk, field, 0)
    monkeypatch.setattr("rembg_tuner.web.server.request_checks.os.statvfs", lambda _: disk)
    assert status_of(ask("POST", path, b"{}")[1]) == status


def test_an_unexpected_error_logs_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a message, and the log has the location without the values."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("secret-name.png")

    answers = run_app(app, "/gradio_api/call/cut", b"{}")
    assert status_of(answers) == 500
    assert said(answers) == "unexpected error; the server log says where"
    assert "ValueError at " in caplog.text
    assert "test_server_guard.py" in caplog.text
    assert "secret-name" not in caplog.text


def test_the_same_error_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Repeated errors are logged once, because clients could fill the log with them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret-name.png")

    for _ in range(5):
        assert status_of(run_app(app, "/gradio_api/call/cut", b"{}")) == 500
    assert len(caplog.records) == 1


def test_a_visitor_who_hangs_up_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects during an upload causes no log entry."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    assert run_app(app, "/gradio_api/upload", b"") == []
    assert caplog.text == ""


def test_visitors_files_are_kept_by_no_cache() -> None:
    """Visitors' files have a header that forbids browsers and proxies to store them."""
    headers = ask("GET", "/gradio_api/file=/tmp/x/a.png")[1][0]["headers"]
    assert [value for name, value in headers if name == b"cache-control"] == [b"private, no-store"]


def run_app(app: Any, path: str, body: bytes, *, folder: Path = Path("/tmp/x")) -> list[Message]:
    """Send a POST request through a guard before an app, and return the responses."""
    answers: list[Message] = []
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answers.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    limits = GuardLimits(folder=folder, upload_bytes=100_000)
    asyncio.run(Guard(app, limits=limits)(scope, receive, send))
    return answers
