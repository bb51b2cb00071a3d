"""Downloads of models from a local server that cuts the stream, lies, stalls or refuses.

No test uses the network.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import http.server
import itertools
import shutil
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rembg_tuner.base.errors import CancelledError, DownloadError, ModelError, OutputError
from rembg_tuner.base.spawning import child_environment
from rembg_tuner.models.catalogue import CatalogueEntry, find_model, read_catalogue
from rembg_tuner.models.spec import verify
from rembg_tuner.runtime import download, http_download
from rembg_tuner.runtime.download import get_model
from rembg_tuner.runtime.http_download import MIRROR_VARIABLE, DownloadProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Behaviour:
    """The next actions of the server; each list has one entry per request."""

    cut_after: list[int] = field(default_factory=list)  # bytes after which the connection ends
    status: list[int] = field(default_factory=list)
    content: bytes = CONTENT
    claimed: int | None = None  # a false Content-Length
    stall_s: float = 0.0  # before the body
    is_late: bool = False  # the response is delayed as well
    trickle_s: float = 0.0  # between pieces of 64 bytes
    ranges: list[str | None] = field(default_factory=list)  # the requested ranges
    obeys_ranges: bool = True
    tells_length: bool = True
    is_chunked: bool = False  # the body marks its own end
    is_endless: bool = False  # the content repeats
    location: str | None = None  # where every request is redirected
    sent: int = 0  # bytes of bodies sent so far


class _Handler(http.server.BaseHTTPRequestHandler):
    """A handler that serves one file with faults."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Respond as the behaviour requires."""
        how: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        how.ranges.append(asked)
        status = how.status.pop(0) if how.status else 200
        if status != 200:
            self.send_error(status)
            return
        if how.is_late:
            time.sleep(how.stall_s)
        if how.location is not None:
            self.send_response(302)
            self.send_header("Location", how.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how.obeys_ranges else 0
        if start and start >= len(how.content):
            self.send_error(416)
            return
        body = how.content[start:]
        self.send_response(206 if start else 200)
        if how.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif how.tells_length:
            self.send_header("Content-Length", str(how.claimed or len(body)))
        self.end_headers()
        time.sleep(how.stall_s)
        with contextlib.suppress(OSError):
            self._send(body, how)

    def _send(self, body: bytes, how: Behaviour) -> None:
        """Send a body: all of it, its beginning, or repeatedly."""
        cut = min(how.cut_after.pop(0), len(body)) if how.cut_after else len(body)
        self.close_connection = cut < len(body) or bool(how.claimed) or not how.tells_length
        step = 64 if how.trickle_s else 65536
        for _ in itertools.count() if how.is_endless else range(1):
            for i in range(0, cut, step):
                piece = body[i : min(i + step, cut)]
                how.sent += len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if how.is_chunked else piece)
                time.sleep(how.trickle_s)
        if how.is_chunked and cut == len(body):
            self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def behaviour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Behaviour]:
    """Serve a file on this machine.

    The mirror variable has its address, and REMBG_HOME is a temporary folder.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client may cancel
    server.behaviour = how = Behaviour()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{server.server_port}/mirror/")
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "rembg"))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setattr(download, "WAIT_BETWEEN_S", 0.05)
    yield how
    server.shutdown()
    server.server_close()


@pytest.fixture
def entry() -> CatalogueEntry:
    """Return a catalogue entry whose file is the server's."""
    return replace(read_catalogue()["silueta"], bytes=len(CONTENT), md5=MD5)


def get(entry: CatalogueEntry, **options: Any) -> Path:
    """Download the model without printing progress."""
    return get_model(entry, on_progress=options.pop("on_progress", lambda _: None), **options)


def left_in(place: Path) -> set[str]:
    """List the files in a model's folder, except the lock."""
    return {path.name for path in place.parent.iterdir() if not path.name.endswith(".lock")}


def test_a_model_is_got_checked_and_found(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """The complete file is in rembg's place, and progress is reported up to its end."""
    told: list[DownloadProgress] = []
    path = get(entry, on_progress=told.append)
    assert path == entry.place() == entry.find()
    assert path.read_bytes() == CONTENT
    assert left_in(path) == {path.name}
    assert (told[-1].done_bytes, told[-1].total_bytes) == (len(CONTENT), len(CONTENT))
    assert [p.done_bytes for p in told] == sorted(p.done_bytes for p in told)
    assert get(entry) == path  # the second call downloads nothing
    assert behaviour.ranges == [None]


def test_a_stream_that_is_cut_is_gone_on_with(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """Received bytes are kept, and only the rest is requested."""
    behaviour.cut_after = [300_000, 200_000]
    assert get(entry).read_bytes() == CONTENT
    assert behaviour.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_call_goes_on_where_the_last_one_ended(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """Four interrupted tries raise an error with the bytes so far.

    The next call downloads the rest.
    """
    behaviour.cut_after = [1000] * download.TRIES
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert (
        "could not be downloaded in 4 tries: the connection ended at 4,000 of 1,048,576 bytes"
        in str(caught.value)
    )
    assert f"put {entry.url} at {entry.place()} by hand" in str(caught.value)
    assert left_in(entry.place()) == {f".{entry.file}.part"}
    assert get(entry).read_bytes() == CONTENT
    assert behaviour.ranges[-1] == "bytes=4000-"


def test_a_server_without_ranges_begins_again(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """The whole file replaces the beginning that was received before."""
    behaviour.cut_after, behaviour.obeys_ranges = [300_000], False
    assert get(entry).read_bytes() == CONTENT


def test_wrong_bytes_are_not_kept(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """A different file of the same size raises an error with both checksums, and is deleted."""
    behaviour.content = CONTENT[::-1]
    with pytest.raises(
        DownloadError,
        match=rf"different file than the released silueta.onnx: its md5 is \w+, expected {MD5}",
    ):
        get(entry)
    assert left_in(entry.place()) == set()
    assert entry.find() is None


def test_a_wrong_beginning_is_got_again_once(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """Old bytes may belong to another file, so after a mismatch the whole file is downloaded."""
    part = entry.place().with_name(f".{entry.file}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 5000)
    assert get(entry).read_bytes() == CONTENT
    assert behaviour.ranges == ["bytes=5000-", None]


@pytest.mark.parametrize("length", [len(CONTENT) + 7, len(CONTENT) - 7], ids=["longer", "shorter"])
def test_a_server_that_lies_about_the_length_is_not_believed(
    length: int, behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """A size other than the released one ends the download before the body is read."""
    behaviour.claimed = length
    with pytest.raises(
        DownloadError, match=f"offers {length:,} bytes, and the released silueta.onnx has 1,048,576"
    ):
        get(entry)
    assert left_in(entry.place()) == set()


def test_a_lie_about_an_unknown_length_does_no_harm(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """Missing bytes count as an interrupted stream; if no more follow, the checksum decides."""
    behaviour.claimed = len(CONTENT) + 7
    unknown = replace(entry, bytes=None, about_bytes=10**6)
    assert get(unknown).read_bytes() == CONTENT
    assert behaviour.ranges == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.alone
def test_a_server_that_says_nothing_is_given_up(
    behaviour: Behaviour, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waits for the timeout in each of four tries."""
    monkeypatch.setattr(http_download, "ANSWER_TIMEOUT_S", 0.2)
    behaviour.stall_s = 1.0
    started = time.perf_counter()
    with pytest.raises(DownloadError, match=r"in 4 tries: no data for 0.2 s"):
        get(entry)
    assert time.perf_counter() - started < 4


def test_a_trickle_is_given_up(
    behaviour: Behaviour, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends too few bytes per second is abandoned."""
    monkeypatch.setattr(http_download, "SLOW_AFTER_S", 0.3)
    monkeypatch.setattr(http_download, "MIN_BYTES_PER_S", 10_000)
    behaviour.trickle_s = 0.05
    with pytest.raises(DownloadError, match=r"less than 10000 bytes per second for 0.3 s"):
        get(entry)


def test_a_404_is_one_sentence(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """The request is not repeated, and the error describes the manual way."""
    behaviour.status = [404]
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert "cannot be downloaded: the server answered 404" in str(caught.value)
    assert (
        f"put {entry.url} at {entry.place()} by hand, or unset {MIRROR_VARIABLE} to ask rembg's"
        in str(caught.value)
    )
    assert len(behaviour.ranges) == 1


def test_a_busy_server_is_asked_again(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """The statuses 503 and 429 are temporary, so the request is repeated."""
    behaviour.status = [503, 429]
    assert get(entry).read_bytes() == CONTENT


def test_without_a_network_the_file_and_its_place_are_told(
    entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line names the file to download and where to put it."""
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.setenv(MIRROR_VARIABLE, "http://127.0.0.1:9/x")
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert str(caught.value).startswith("http://127.0.0.1:9/x/silueta.onnx cannot be reached: ")
    assert f"put {entry.url} at {tmp_path}/models/silueta/silueta.onnx by hand" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "mirror",
    [
        "file:///etc",
        "mirror.example/models",
        "http://[bad/",
        "http://host:port/x",
        "http://host:99999/x",
        "http:///models",
        "http://a mirror/x",
        "http://mirror.example/my models",
        "http://mirror..example/",
        "https://user:word@mirror.example/",
        "https://mirror.example/\u6a21\u578b",
    ],
)
def test_a_mirror_must_be_an_address(
    mirror: str, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Addresses that are not http or https, or that urllib cannot use, are refused at once."""
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    with pytest.raises(ModelError) as caught:
        get(entry)
    assert (
        str(caught.value)
        == f"{MIRROR_VARIABLE} must be an address such as https://mirror.example/models or "
        f"http://10.0.0.2:8000, got {mirror!r}"
    )


@pytest.mark.parametrize(
    "mirror",
    ["http://10.0.0.2:8000", "https://mirror.example/models/", "http://[::1]:80/x", "HTTP://host:"],
)
def test_a_mirror_gives_the_file_of_rembgs_address(
    mirror: str, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's name is appended to the mirror's address."""
    monkeypatch.setenv(MIRROR_VARIABLE, mirror)
    assert download.model_url(entry) == f"{mirror.rstrip('/')}/silueta.onnx"
    monkeypatch.setenv(MIRROR_VARIABLE, "")
    assert download.model_url(entry) == entry.url


def test_a_body_without_an_end_is_stopped(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """The download stops slightly above the released size, and its file is deleted."""
    behaviour.tells_length, behaviour.is_endless = False, True
    with pytest.raises(
        DownloadError,
        match=r"different file than the released silueta\.onnx: it has more than 1,048,576 bytes",
    ):
        get(entry)
    assert left_in(entry.place()) == set()
    behaviour.sent = 0
    about = replace(entry, bytes=None, about_bytes=10**6)
    with pytest.raises(DownloadError, match="it has more than 1,100,000 bytes"):
        get(about)
    assert behaviour.sent < 32 * len(CONTENT)  # bytes in socket buffers are sent as well


def test_a_file_that_is_longer_than_about_its_size_is_got(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """An approximate size does not end a download that is slightly longer."""
    behaviour.tells_length = False
    about = replace(entry, bytes=None, about_bytes=10**6)
    assert get(about).read_bytes() == CONTENT


def test_a_cut_stream_of_untold_length_is_gone_on_with(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """Without a Content-Length the released size is used, also for the progress."""
    behaviour.tells_length, behaviour.cut_after = False, [300_000, 200_000]
    told: list[DownloadProgress] = []
    assert get(entry, on_progress=told.append).read_bytes() == CONTENT
    assert behaviour.ranges == [None, "bytes=300000-", "bytes=500000-"]
    assert told[-1].total_bytes == len(CONTENT)


def test_a_short_body_that_tells_its_end_is_another_file(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """A complete chunked page, such as a network's login page, is not an interrupted stream."""
    behaviour.is_chunked, behaviour.content = True, b"<html>log in</html>"
    with pytest.raises(
        DownloadError, match=r"returned a different file than the released silueta\.onnx"
    ):
        get(entry)
    assert behaviour.ranges == [None]
    behaviour.content, behaviour.cut_after = CONTENT, [300_000]
    assert get(entry).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (ssl.SSLError(1, "[SSL] record layer failure"), "[SSL] record layer failure"),
        (http.client.IncompleteRead(b""), "IncompleteRead(0 bytes read)"),
    ],
    ids=["no-route", "ssl", "cut-chunk"],
)
def test_a_network_that_fails_in_mid_stream_is_no_full_disk(
    error: Exception,
    reason: str,
    behaviour: Behaviour,
    entry: CatalogueEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request is repeated, and the last error describes the manual way."""
    failures = [error]
    real = http.client.HTTPResponse.read1

    def read_or_fail(self: http.client.HTTPResponse, n: int = -1) -> bytes:
        if failures:
            raise failures[0] if len(failures) > 1 else failures.pop()
        return real(self, n)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read_or_fail)
    assert get(entry).read_bytes() == CONTENT
    assert len(behaviour.ranges) == 2
    entry.place().unlink()
    failures += [error, error]  # never used up
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert f"in 4 tries: the connection ended: {reason}; " in str(caught.value)
    assert f"put {entry.url} at {entry.place()} by hand" in str(caught.value)


@pytest.mark.parametrize("location", ["/mirror/silueta.onnx", "file:///etc/passwd"])
def test_a_redirect_that_leads_nowhere_is_one_line(
    location: str, behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """A redirect loop, or one to a local file, raises an error of one line."""
    behaviour.location = location
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert (
        "cannot be downloaded: the server answered 302, a redirect that cannot be followed; put "
        in str(caught.value)
    )
    assert "\n" not in str(caught.value)


def test_a_redirect_to_no_address_is_one_line(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """An invalid redirect address is treated like an invalid address of the user."""
    behaviour.location = "http://host:port/x"
    with pytest.raises(DownloadError, match="it redirects to an invalid address") as caught:
        get(entry)
    assert "\n" not in str(caught.value)
    assert len(behaviour.ranges) == 1


def test_a_server_that_does_not_speak_http_is_one_line(
    entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The response is quoted in part, without line ends or control characters."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"SSH-2.0-OpenSSH_9.6\t" + b"x" * 1000 + b"\r\n\x07more\r\n")

    monkeypatch.setattr(download, "WAIT_BETWEEN_S", 0.0)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv(MIRROR_VARIABLE, f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(DownloadError) as caught:
            get(entry)
        server.shutdown()
    said = str(caught.value)
    assert "in 4 tries: the answer is not HTTP: SSH-2.0-OpenSSH_9.6 xxx" in said
    assert said.isprintable()
    assert len(said) < 600


def test_a_cancelled_download_goes_on_later(behaviour: Behaviour, entry: CatalogueEntry) -> None:
    """Received bytes are kept for the next call."""
    told: list[DownloadProgress] = []
    with pytest.raises(CancelledError, match="the next try continues from there"):
        get(entry, on_progress=told.append, is_cancelled=lambda: len(told) >= 2)
    assert entry.find() is None
    assert get(entry).read_bytes() == CONTENT
    assert str(behaviour.ranges[-1]).startswith("bytes=")


@pytest.mark.parametrize("when", ["before the answer", "before the body"])
@pytest.mark.alone
def test_a_cancel_is_seen_while_the_server_keeps_silent(
    when: str, behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """A cancel does not wait for the server's response."""
    behaviour.stall_s, behaviour.is_late = 5.0, when == "before the answer"
    started = time.perf_counter()
    with pytest.raises(CancelledError):
        get(entry, is_cancelled=lambda: time.perf_counter() - started > 0.5)
    assert time.perf_counter() - started < 1.5


def test_a_server_that_gives_nothing_leaves_nothing_to_keep(
    behaviour: Behaviour, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error mentions no kept bytes, and suggests a mirror only if none is set."""
    behaviour.status = [503] * 8
    with pytest.raises(DownloadError) as caught:
        get(entry)
    assert (
        "in 4 tries: the server answered 503 Service Unavailable; try again later, or put"
        in str(caught.value)
    )
    assert str(caught.value).endswith(
        f"by hand, or unset {MIRROR_VARIABLE} to ask rembg's own address"
    )
    own = replace(entry, url=download.model_url(entry))
    monkeypatch.delenv(MIRROR_VARIABLE)
    with pytest.raises(DownloadError, match=f"by hand, or name a mirror in {MIRROR_VARIABLE}$"):
        get(own)


def test_a_full_disk_is_told_before_it_is_filled(
    behaviour: Behaviour, entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and the error has advice."""
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(OutputError, match=r"make room, or set REMBG_HOME"):
        get(entry)
    assert behaviour.ranges == [None]
    assert left_in(entry.place()) == set()


def test_two_processes_get_a_model_once(behaviour: Behaviour, tmp_path: Path) -> None:
    """The second process waits for the first and finds the file."""
    behaviour.trickle_s = 0.00005
    code = (
        "import dataclasses;from rembg_tuner.models import catalogue as c;from rembg_tuner.runtime import download as d;"
        f"e=dataclasses.replace(c.read_catalogue()['silueta'],bytes={len(CONTENT)},md5='{MD5}');"
        "w=[];print(d.get_model(e,on_progress=lambda p:w.append(p.is_waiting)), any(w))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=child_environment(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(line.split()[-1] for line in said) == ["False", "True"]
    assert behaviour.ranges == [None]
    assert tmp_path in Path(said[0].split()[0]).parents


def test_a_model_that_rembg_makes_is_not_got(entry: CatalogueEntry) -> None:
    """The error for birefnet-general-fp16, which has no address, says that rembg makes it."""
    with pytest.raises(ModelError, match="rembg makes it of birefnet-general"):
        get(read_catalogue()["birefnet-general-fp16"])


def test_a_model_that_was_got_is_what_a_run_loads(
    behaviour: Behaviour, entry: CatalogueEntry
) -> None:
    """The file is found by name, and checked with the catalogue's checksum as at every load."""
    get(entry)
    spec = find_model("silueta")
    assert Path(spec.path) == entry.place()
    with pytest.raises(ModelError, match="is not the released silueta"):
        verify(spec)  # its content is the test's, not silueta's
