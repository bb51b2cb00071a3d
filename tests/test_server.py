"""The page as a server for programs: /cut, its limits, start and shutdown."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import gradio.queueing
import psutil
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from rembg_tuner.base.files import user_cache_folder
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.settings.results import Result
from rembg_tuner.web.server.page_server import wake_on_arrival

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
ASTRONAUT = ROOT / "examples" / "astronaut.png"
SECRET = "a-visitors-own-name"
FIELDS = set(Result.__dataclass_fields__)


class Server:
    """`python app.py` as a process."""

    def __init__(self, folder: Path, *words: str) -> None:
        """Start the process with its own temporary folder, and wait until it responds."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", str(self.port), *words],
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder)},
            cwd=folder,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.health()
                break
            except OSError:
                assert self.process.poll() is None, self.process.communicate()[1].decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def health(self) -> dict[str, Any]:
        """Return the response of /healthz."""
        with urllib.request.urlopen(f"{self.address}/healthz", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def children(self) -> list[psutil.Process]:
        """Return the child processes."""
        return psutil.Process(self.process.pid).children()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, and return the exit code and the output."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=15)
        return self.process.returncode, said.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start one server for the tests that do not end it."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    code, said = server.end()
    assert code == 0
    assert "Traceback" not in said, said
    assert "unexpected error" not in said, said
    assert SECRET not in said


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    """Create one client."""
    return Client(server.address, verbose=False)


def cut(
    client: Client, picture: Any, preset: str = "balanced", settings: object = None
) -> tuple[str | None, dict[str, Any]]:
    """Call /cut and return its output."""
    answer: tuple[str | None, dict[str, Any]] = client.predict(
        picture, preset, settings or {}, api_name="/cut"
    )
    return answer


def post(address: str, body: bytes, kind: str = "application/json") -> tuple[int, str]:
    """Send a POST request, and return the status and the body."""
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_program_gets_a_cutout_and_the_result(client: Client) -> None:
    """The file is a PNG of the picture's size, and the fields are those of `cut --json`.

    No path of the server is included.
    """
    file, result = cut(client, handle_file(str(ASTRONAUT)), "balanced", {"network_size": 192})
    assert file is not None
    assert Path(file).name == "astronaut.cutout.png"
    with Image.open(file) as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (512, 512))
    assert result.keys() == FIELDS
    assert result["effective"]["network_size"] == 192
    assert (result["input"], result["output"]) == ("astronaut.png", "astronaut.cutout.png")
    assert "rembg-tuner-page" not in json.dumps(result)


def test_a_visitors_picture_teaches_the_server_nothing(client: Client) -> None:
    """The start of a setting is recorded, and the figures of the visitor's run are not."""
    known = Measurements(user_cache_folder())
    before = known.all_peaks()
    cut(client, handle_file(str(ASTRONAUT)), "fastest", {"network_size": 224})
    cut(client, handle_file(str(ASTRONAUT)), "fastest", {"network_size": 224})
    assert known.all_peaks() == before
    assert known.counts()["starts"] > 0


def test_the_same_by_plain_http(server: Server) -> None:
    """Uploading, calling and reading the events work as the README shows with curl."""
    boundary = b"--b\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\n"
    status, answer = post(
        f"{server.address}/gradio_api/upload",
        boundary + ASTRONAUT.read_bytes() + b"\r\n--b--\r\n",
        "multipart/form-data; boundary=b",
    )
    assert status == 200
    picture = {"path": json.loads(answer)[0], "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [picture, "smallest", {}]}).encode()
    status, answer = post(f"{server.address}/gradio_api/call/cut", body)
    event = json.loads(answer)["event_id"]
    with urllib.request.urlopen(
        f"{server.address}/gradio_api/call/cut/{event}", timeout=20
    ) as events:
        lines = events.read().decode().splitlines()
    data = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))
    with urllib.request.urlopen(data[0]["url"], timeout=5) as file:
        content = file.read()
    with Image.open(io.BytesIO(content)) as cutout:
        assert cutout.size == (512, 512)
    assert data[1]["settings"]["intra_op_threads"] == 1


@pytest.mark.parametrize(
    ("preset", "settings", "kind", "message"),
    [
        ("nothing", {}, "invalid_settings", "there is no preset 'nothing'"),
        ("balanced", {"wings": 1}, "invalid_settings", "'wings' is not a setting"),
        ("balanced", {"model": "/etc/passwd"}, "invalid_settings", "model must be one of"),
        ("balanced", {"network_size": 4096}, "invalid_settings", "network_size must be"),
        ("balanced", [1, 2], "invalid_settings", "settings must be knobs by name"),
        ("studio", {}, "missing_model", "model u2net is not on disk"),
    ],
)
def test_what_cannot_run_is_told(
    client: Client, preset: str, settings: object, kind: str, message: str
) -> None:
    """The response has no file, and a failure with its kind and message."""
    file, result = cut(client, handle_file(str(ASTRONAUT)), preset, settings)
    assert file is None
    assert result["kind"] == kind
    assert message in result["message"]


@pytest.mark.parametrize(
    ("header", "message"),
    [("zh-TW,zh;q=0.9", "没有预设 'nothing'"), ("fr", "there is no preset 'nothing'")],
)
def test_messages_come_in_the_readers_language(server: Server, header: str, message: str) -> None:
    """The message is translated; kind and code remain."""
    reader = Client(server.address, headers={"accept-language": header}, verbose=False)
    _, result = cut(reader, handle_file(str(ASTRONAUT)), "nothing")
    assert message in result["message"]
    assert result["kind"] == "invalid_settings"
    assert "code" in result


def upload(server: Server, name: str) -> dict[str, object]:
    """Upload the astronaut under a name, and return the event's value for it."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + ASTRONAUT.read_bytes() + b"\r\n--b--\r\n"
    status, answer = post(
        f"{server.address}/gradio_api/upload", body, "multipart/form-data; boundary=b"
    )
    assert status == 200
    return {"path": json.loads(answer)[0], "meta": {"_type": "gradio.FileData"}}


def call_cut(server: Server, *data: object) -> str:
    """Call /cut with invalid data, and return the response."""
    address = f"{server.address}/gradio_api/call/cut"
    status, answer = post(address, json.dumps({"data": data}).encode())
    if status != 200:
        return answer
    with urllib.request.urlopen(
        f"{address}/{json.loads(answer)['event_id']}", timeout=20
    ) as events:
        content: bytes = events.read()
    return content.decode()


ODD: tuple[Any, ...] = (
    True,
    -1,
    10**400,
    float("nan"),
    "",
    "²",
    "a\0b",
    "\ud800",
    "x" * 5000,
    [],
    [{}],
    {"path": None},
)


def test_odd_values_of_cut_get_a_sentence(server: Server) -> None:
    """Every invalid value of a knob or parameter gets a message.

    The log contains no traceback and no name of the visitor's file.
    """
    picture = upload(server, f"{SECRET}.png")
    settings = [
        {name: value} for name in ("model", "engine", "network_size", "spinning") for value in ODD
    ]
    asked: list[tuple[object, ...]] = [(picture, "balanced", value) for value in settings]
    asked += [(picture, value, {}) for value in ODD if value != ""]  # empty: the default
    asked += [(value, "balanced", {}) for value in ODD]
    asked += [(picture, "balanced", value) for value in ODD]
    asked += [
        (),
        (picture,),
        ({"path": f"{picture['path']}\0", "meta": picture["meta"]}, "balanced", {}),
    ]
    answers = [call_cut(server, *data) for data in asked if data[2:] != ({"spinning": True},)]
    bare = [
        answer for answer in answers if '"message": "' not in answer and '"error": "' not in answer
    ]
    assert bare == []
    assert [answer for answer in answers if "the server log says where" in answer] == []


def events_of(server: Server) -> dict[str, dict[str, Any]]:
    """Return the page's events by the name of their trigger, such as runs.select."""
    with urllib.request.urlopen(f"{server.address}/config", timeout=20) as answer:
        config = json.load(answer)
    names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    return {
        f"{names.get(block)}.{event}": (
            dependency | {"values": [values[i] for i in dependency["inputs"]]}
        )
        for dependency in config["dependencies"]
        for block, event in dependency["targets"]
    }


def test_odd_values_of_events_get_a_sentence(server: Server) -> None:
    """Values that a browser never sends get a message.

    They are invalid numbers, unknown choices and very long colours.
    """
    events = events_of(server)
    assert not any(name.endswith(".unload") for name in events)  # each would cost the loop 10 ms
    chosen = [{key: value} for key in ("show", "pin", "turn") for value in ODD]
    chosen += [{"turn": 1, "backdrop": "#" + "f" * 400}, {"turn": 1, "backdrop": "#/../../x"}]
    asked: list[tuple[str, int | None, Any]] = [("runs.select", None, value) for value in chosen]
    asked += [("examples.select", None, {"example": value}) for value in ODD]
    asked += [
        (name, 0, value) for name in ("preset.input", "budget-memory.change") for value in ODD
    ]
    wrong = []
    for name, at, value in asked:
        event = events[name]
        data = list(event["values"])
        if at is not None:
            data[at] = value
        body = {
            "data": data,
            "event_data": value if at is None else None,
            "fn_index": event["id"],
            "session_hash": "odd",
        }
        status, answer = post(f"{server.address}/gradio_api/run/predict", json.dumps(body).encode())
        is_told = status == 200 or json.loads(answer)["error"]
        if not is_told or "server log" in answer:
            wrong.append((name, value, answer))
    assert wrong == []


def test_an_event_of_the_browser_alone_is_refused(server: Server) -> None:
    """An event without a function on the server is rejected, because Gradio would fail on it."""
    browsers = [one["id"] for one in events_of(server).values() if not one["backend_fn"]]
    assert browsers
    for number in browsers:
        body = {"data": [], "fn_index": number, "session_hash": "odd"}
        status, answer = post(f"{server.address}/gradio_api/queue/join", json.dumps(body).encode())
        assert status == 400
        assert f"there is no event with fn_index {number}" in answer


@pytest.mark.alone
def test_closed_heartbeats_cost_the_server_little(server: Server) -> None:
    """Each costs less than 1 ms of the event loop.

    The CPU time of the process is an upper bound of it.
    """
    beats = []
    for i in range(100):
        beat = socket.create_connection(("127.0.0.1", server.port))
        beat.sendall(b"GET /gradio_api/heartbeat/beat%d HTTP/1.1\r\nhost: x\r\n\r\n" % i)
        beats.append(beat)
    for beat in beats:
        assert beat.recv(4096)
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    for beat in beats:
        beat.close()
    server.health()
    time.sleep(0.3)
    server.health()
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.1


def test_a_file_of_the_servers_is_not_taken(server: Server) -> None:
    """Only uploaded files are accepted, not files of the system or of this program."""
    for path in ("/etc/passwd", str(ASTRONAUT), str(ROOT / "presets.yaml")):
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [picture, "balanced", {}]}).encode()
        status, answer = post(f"{server.address}/gradio_api/call/cut", body)
        assert status == 400
        assert "uploads only" in answer


def test_nothing_is_fetched_for_a_visitor(server: Server) -> None:
    """A picture's URL is rejected without a request to it."""
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{listener.server_port}/a.png"
        picture = {"path": address, "meta": {"_type": "gradio.FileData"}}
        for route in ("call/cut", "queue/join", "run/cut"):
            body = json.dumps({"data": [picture, "balanced", {}], "fn_index": 0}).encode()
            status, answer = post(f"{server.address}/gradio_api/{route}", body)
            assert status == 400
            assert "uploads only" in answer
        listener.shutdown()
    assert asked == []


def test_too_much_is_refused(server: Server) -> None:
    """A 70 MiB upload and a 300 KiB request get status 413 and a message; the server continues."""
    status, answer = post(
        f"{server.address}/gradio_api/upload", bytes(70 * 2**20), "multipart/form-data; boundary=b"
    )
    assert status == 413
    assert "64 MiB" in answer
    data_url = "data:image/png;base64," + "A" * 300_000
    status, _ = post(
        f"{server.address}/gradio_api/call/cut", json.dumps({"data": [data_url]}).encode()
    )
    assert status == 413
    assert server.health()["status"] == "ok"


def test_the_slot_is_not_passed_by(server: Server) -> None:
    """The route `/run/`, which does not use the queue, is closed for /cut."""
    status, _ = post(f"{server.address}/gradio_api/run/cut", b'{"data": [null, "balanced", {}]}')
    assert status == 404


@pytest.mark.alone
def test_a_program_that_leaves_frees_the_slot(server: Server, client: Client) -> None:
    """The run ends within about a second after the client cancels."""
    slow = {"engine": "onnxruntime", "network_size": 1024, "intra_op_threads": 1}
    job = client.submit(handle_file(str(ASTRONAUT)), "balanced", slow, api_name="/cut")
    deadline = time.monotonic() + 20
    while not server.health()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.cancel()
    left_at = time.monotonic()
    while server.health()["running"]:
        assert time.monotonic() < left_at + 2
        time.sleep(0.02)
    assert time.monotonic() - left_at < 1.2


@pytest.mark.slow
def test_twenty_programs_get_their_own(server: Server) -> None:
    """Each client gets its own picture's cut-out, or a busy failure."""
    names = ("astronaut", "chelsea", "coffee")

    def visit(i: int) -> tuple[str, str | None, str]:
        file, result = cut(
            Client(server.address, verbose=False),
            handle_file(str(ROOT / "examples" / f"{names[i % 3]}.png")),
        )
        return (
            names[i % 3],
            None if file is None else Path(file).read_bytes().hex(),
            str(result.get("kind")),
        )

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(visit, range(20)))
    files = {
        name: {content for asked, content, _ in answers if asked == name and content}
        for name in names
    }
    assert all(len(contents) == 1 for contents in files.values())
    assert len(set.union(*files.values())) == 3
    assert {kind for _, content, kind in answers if content is None} <= {"busy"}


@pytest.mark.alone
def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    """Exit code 0, no worker and no folder left, and one line of output with the page's address."""
    server = Server(tmp_path)
    cut(Client(server.address, verbose=False), handle_file(str(ASTRONAUT)))
    children = server.children()
    assert children
    began = time.monotonic()
    code, said = server.end()
    assert time.monotonic() - began < 5
    assert code == 0
    assert said.count("\n") == 1, said
    assert not any(child.is_running() for child in children)
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith("rembg-tuner-page")
    ] == []


@pytest.mark.slow
def test_a_killed_server_leaves_nothing_for_long(tmp_path: Path) -> None:
    """The worker ends by itself, and the next start removes the folder."""
    server = Server(tmp_path)
    cut(Client(server.address, verbose=False), handle_file(str(ASTRONAUT)))
    children = server.children()
    server.end(signal.SIGKILL)
    psutil.wait_procs(children, timeout=5)
    assert not any(child.is_running() for child in children)
    orphans = [path for path in tmp_path.iterdir() if path.name.startswith("rembg-tuner-page")]
    assert len(orphans) == 1
    again = Server(tmp_path)
    try:
        assert not orphans[0].exists()
    finally:
        again.end()


def test_without_a_page_programs_are_served(tmp_path: Path) -> None:
    """`--no-ui` serves /cut and /healthz; SIGHUP ends it like SIGTERM."""
    server = Server(tmp_path, "--no-ui")
    try:
        file, _ = cut(Client(server.address, verbose=False), handle_file(str(ASTRONAUT)))
        assert file is not None
        children = server.children()
        assert children
    finally:
        assert server.end(signal.SIGHUP)[0] == 0
    assert not any(child.is_running() for child in children)
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith("rembg-tuner-page")
    ] == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--slots", "0"], 2, "--slots must be at least 1, got 0"),
        (["--preset", "none"], 2, "there is no preset 'none'"),
    ],
)
def test_misuse_is_told(words: list[str], code: int, message: str) -> None:
    """The exit code is 2, and the message has the allowed values."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert message in done.stderr


def test_a_taken_port_is_told(server: Server) -> None:
    """The exit code is 1, and one sentence explains what to do."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--port", str(server.port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"rembg-tuner: port {server.port} of 127.0.0.1 is taken or may not be used; choose another"
        " --port"
    ]


def test_an_event_wakes_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event ends the queue's sleep between two checks, and no other sleep of Gradio."""
    monkeypatch.setattr(gradio.queueing, "asyncio", asyncio)  # restored after the test

    async def push(event: str) -> str:
        return event

    queue = SimpleNamespace(push=push, sleep_when_free=60.0)
    wake_on_arrival(cast("Any", SimpleNamespace(_queue=queue)))

    async def sleep_and_push() -> str:
        sleep = vars(gradio.queueing)["asyncio"].sleep
        looks = asyncio.create_task(sleep(60.0))
        other = asyncio.create_task(sleep(59.0))
        await asyncio.sleep(0)
        pushed: str = await queue.push("an event")
        await looks
        assert not other.done()
        other.cancel()
        queue.sleep_when_free = 0.001
        await sleep(0.001)  # no event: the sleep ends by itself
        return pushed

    assert asyncio.run(asyncio.wait_for(sleep_and_push(), 30)) == "an event"
