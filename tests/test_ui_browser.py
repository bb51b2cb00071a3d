"""The page in a real browser: the actions of a visitor and what the page shows.

The tests need Chromium (Debian's package `chromium`, or $CHROMIUM) and are skipped without it.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import http.server
import io
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from PIL import Image, ImageChops, ImageStat

from rembg_tuner.imaging.png_writer import PngLayout, PngWriter
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parent.parent
ASTRONAUT = ROOT / "examples" / "astronaut.png"
COFFEE = ROOT / "examples" / "coffee.png"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RUN_TIMEOUT_MS = 30_000
REMOVE = "#picture button[aria-label='Remove Image'], #picture button[aria-label='Clear']"
# A large size makes a run long enough to observe; with Repeat, also to cancel it or to leave.
SLOW_SIZE = "768"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt install chromium)"),
    pytest.mark.timeout(180),
]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def health(address: str) -> dict[str, object]:
    """Return the response of a server's /healthz."""
    with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:
        content: dict[str, object] = json.load(answer)
        return content


class SlowMirror(http.server.BaseHTTPRequestHandler):
    """Serves silueta.onnx slowly, with the right size and wrong content; else status 404."""

    def log_message(self, *_: object) -> None:
        """Do nothing."""

    def do_GET(self) -> None:
        """Send the file or an error."""
        if not self.path.endswith("/silueta.onnx"):
            self.send_error(404)
            return
        size = read_catalogue()["silueta"].bytes or 0
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        with contextlib.suppress(OSError):
            for i in range(0, size, size // 50):
                self.wfile.write(bytes(min(size // 50, size - i)))
                time.sleep(0.1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page as `python app.py` does, and return its address.

    Models come from a local mirror.
    """
    mirror = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowMirror)
    mirror.daemon_threads = True
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--downloads"],
        env={
            **{name: value for name, value in os.environ.items() if name != "U2NET_HOME"},
            "REMBG_HOME": str(tmp_path_factory.mktemp("rembg")),
            "REMBG_TUNER_MIRROR": f"http://127.0.0.1:{mirror.server_port}",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            health(url)
            break
        except OSError:
            assert server.poll() is None, server.communicate()[1].decode()
            time.sleep(0.1)
    yield url
    server.terminate()
    _, said = server.communicate(timeout=10)
    assert "Traceback" not in said.decode(), said.decode()
    assert "unexpected error" not in said.decode(), said.decode()
    assert server.returncode == 0
    mirror.shutdown()
    mirror.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def small_subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a picture with a small subject."""
    path = tmp_path_factory.mktemp("small") / "small.png"
    picture = Image.new("RGB", (960, 540), (200, 205, 210))
    with Image.open(ASTRONAUT.with_name("coffee.png")) as coffee:
        picture.paste(coffee.convert("RGB").resize((210, 140)), (380, 200))
    picture.save(path)
    return path


class Visitor:
    """A tab, the errors of its scripts, and its requests to other servers."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        """Open a tab."""
        self.page: Page = context.new_page()
        self.context = context
        self.faults: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda asked: self._look(asked.url, address))

    def _look(self, url: str, address: str) -> None:
        """Record a request to another server."""
        if not url.startswith((address, "data:", "blob:")):
            self.foreign.append(url)

    def come(self, url: str) -> Page:
        """Open the page and wait until it has loaded."""
        self.page.goto(url)
        self.page.wait_for_selector("[data-example]")
        self.page.wait_for_selector("#preset-note p")
        return self.page

    def take(self, picture: Path) -> None:
        """Upload a picture."""
        self.page.set_input_files("#picture input[type=file]", str(picture))
        self.page.wait_for_selector("#picture button[aria-label], #picture img")
        self.page.wait_for_function(
            "() => document.querySelector('#picture img')?.src.includes('gradio_api/file')"
        )

    def take_example(self, name: str) -> None:
        """Choose an example."""
        self.page.click(f"[data-example={name}]")
        self.page.wait_for_selector("#picture img")

    def run(self, number: int = 1) -> None:
        """Press Run and wait for the result."""
        self.page.click("#run")
        self.done(number)

    def done(self, number: int) -> None:
        """Wait for the figures and the viewer of a run."""
        self.page.wait_for_selector(
            f".rt-result[data-state=done][data-turn='{number}']", timeout=RUN_TIMEOUT_MS
        )
        self.page.wait_for_selector(f".rt-viewer[data-turn='{number}']", timeout=RUN_TIMEOUT_MS)

    def open_expert(self) -> None:
        """Open the expert's knobs."""
        self.page.click("#expert button")
        self.page.wait_for_selector("#knob-timeout_s input")

    def knob(self, name: str, value: str) -> None:
        """Type a number into a knob."""
        field = self.page.locator(f"#knob-{name} input")
        field.fill(value)
        field.press("Tab")

    def slow_down(self) -> None:
        """Choose settings that take long."""
        self.open_expert()
        self.page.click("#knob-engine input[value=onnxruntime]")
        self.knob("network_size", SLOW_SIZE)
        self.knob("intra_op_threads", "1")
        self.page.wait_for_function(
            "() => document.querySelector('#preset-note').textContent.includes('768')"
        )

    def text(self, selector: str) -> str:
        """Return the text of a part of the page."""
        return self.page.locator(selector).first.inner_text()


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    """Return a visitor at 1440 x 900 with an English browser.

    The fixture checks that no script fails and that no other server is contacted.
    """
    with browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US") as context:
        visitor = Visitor(context, address)
        yield visitor
        assert visitor.faults == []
        assert visitor.foreign == []


def test_upload_run_look_and_download(visitor: Visitor, address: str) -> None:
    """A run shows the cut-out beside the original with figures, and the download is complete."""
    page = visitor.come(address)
    assert page.is_visible("text=Your cut-out appears here.")
    visitor.take(ASTRONAUT)
    visitor.run()
    assert re.fullmatch(r"\d+ ms|\d\.\d\d s", visitor.text(".rt-figures dd").replace("\n", " "))
    assert page.locator(".rt-part").count() == 5
    for mode, clip in (("original", "100%"), ("cutout", "0%"), ("compare", "50%")):
        page.click(f".rt-modes [data-mode={mode}]")
        at = page.evaluate(
            "() => getComputedStyle(document.querySelector('.rt-viewer')).getPropertyValue('--at')"
        )
        assert at == clip
    with page.expect_download() as waiting:
        page.click(".rt-download")
    content = Path(waiting.value.path()).read_bytes()
    assert waiting.value.suggested_filename == "astronaut.cutout.png"
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(content[16:20], "big") == 512
    assert content[25] == 6  # RGBA


def test_the_cutout_is_a_mask_over_the_picture(visitor: Visitor, address: str) -> None:
    """The viewer shows the cut-out as a mask over the picture, so it cannot be dragged or saved.

    A second run of the picture requests no picture again.
    """
    page = visitor.come(address)
    visitor.take(ASTRONAUT)
    page.wait_for_function("() => document.querySelector('.rt-before').src.endsWith('before.jpg')")
    visitor.run()
    cutout = page.locator(".rt-cutout")
    style = (
        "(shown) => [shown.tagName, getComputedStyle(shown).maskImage.slice(0, 26),"
        " getComputedStyle(shown).backgroundImage.slice(-13)]"
    )
    assert cutout.evaluate(style) == ["DIV", 'url("data:image/png;base64', '/before.jpg")']
    assert cutout.get_attribute("role") == "img"
    assert "Cut-out: " in str(cutout.get_attribute("aria-label"))
    assert page.locator(".rt-after img").is_hidden()
    page.click(".rt-modes [data-mode=cutout]")
    top = (
        "(shown) => { const box = shown.getBoundingClientRect(); return"
        " document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).className; }"
    )
    assert cutout.evaluate(top) == "rt-wipe"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visitor.run(2)
    assert [url for url in asked if url.endswith((".jpg", ".png", ".webp"))] == []
    page.reload()
    visitor.done(2)
    assert cutout.evaluate(style)[1:] == ['url("data:image/png;base64', '/before.jpg")']


def test_a_browser_without_masks_gets_the_cutout_itself(browser: Browser, address: str) -> None:
    """The cut-out is a WebP; the browser reports its missing support when it loads the page."""
    with browser.new_context(locale="en-US") as context:
        context.add_init_script("CSS.supports = () => false")
        visitor = Visitor(context, address)
        page = visitor.come(address)
        visitor.take_example("coffee")
        visitor.run()
        shown = page.locator(".rt-after img")
        assert shown.evaluate("(image) => [image.src.split('/').pop(), image.naturalWidth]") == [
            "after.webp",
            600,
        ]
        assert "Cut-out: " in str(shown.get_attribute("alt"))
        assert page.locator(".rt-cutout").is_hidden()
        assert visitor.faults == []


def test_the_first_screen_holds_all_that_matters(visitor: Visitor, address: str) -> None:
    """Picture, Run, result and numbers are visible at 1440 x 900 without scrolling."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run()
    for selector in ("#picture", "#run", ".rt-stage", ".rt-figures", ".rt-stages", ".rt-plot"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 900, selector


def test_the_wipe_moves_by_keyboard(visitor: Visitor, address: str) -> None:
    """The slider is a range input with a name; arrows move it, Home and End go to its ends."""
    page = visitor.come(address)
    visitor.take_example("chelsea")
    visitor.run()
    wipe = page.get_by_label("How much of the original is shown")
    wipe.focus()
    wipe.press("ArrowRight")
    assert wipe.input_value() == "51"
    wipe.press("Home")
    assert page.get_attribute(".rt-viewer", "data-mode") == "cutout"
    wipe.press("End")
    assert page.get_attribute(".rt-viewer", "data-mode") == "original"
    assert page.get_attribute(".rt-before", "alt") != ""


@pytest.mark.slow
@pytest.mark.alone
def test_the_curve_is_live_and_its_peak_is_the_results(visitor: Visitor, address: str) -> None:
    """The figures change several times per second during a run.

    After the run, the curve's peak equals that in the JSON file.
    """
    page = visitor.come(address)
    visitor.take(ASTRONAUT)
    visitor.slow_down()
    page.evaluate("""() => {
        window.seen = [];
        setInterval(() => {
            const panel = document.querySelector('.rt-result');
            const text = panel?.querySelector('dd')?.textContent;
            const last = window.seen.at(-1);
            if (panel?.dataset.state === 'running' && text !== last?.[1]) window.seen.push([performance.now(), text]);
        }, 20);
    }""")
    visitor.run()
    seen = page.evaluate("() => window.seen")
    gaps = [later[0] - sooner[0] for sooner, later in itertools.pairwise(seen)]
    assert len(seen) >= 4
    assert sorted(gaps)[len(gaps) // 2] <= 400
    peak = int(page.get_attribute(".rt-chart", "data-peak-bytes") or 0)
    with page.expect_download() as waiting:
        page.click("text=JSON")
    runs = json.loads(Path(waiting.value.path()).read_text())["runs"]
    assert [run["peak_rss_bytes"] for run in runs] == [peak]
    assert runs[0]["effective"]["network_size"] == 768


def test_an_engine_greys_what_it_cannot_honour(visitor: Visitor, address: str) -> None:
    """With OpenVINO the arena is disabled with the reason.

    With ONNX Runtime it is enabled, and the run uses it.
    """
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.open_expert()
    arena = page.locator("#knob-cpu_mem_arena input")
    assert arena.is_disabled()
    assert "engine openvino does not support" in visitor.text("#knob-cpu_mem_arena")
    page.click("#knob-engine input[value=onnxruntime]")
    playwright.expect(arena).to_be_enabled()
    arena.uncheck()
    playwright.expect(page.locator("#preset-note")).to_contain_text("CPU memory arena off")
    visitor.run()
    page.click(".rt-asked summary")
    row = page.locator(".rt-asked tr", has_text="CPU memory arena").first.inner_text()
    assert row.split("\t")[1:] == ["off", "off"]
    assert (
        page.locator(".rt-asked tr", has_text="engine").first.inner_text().count("onnxruntime") == 2
    )


def test_a_small_subject_is_run_again_on_its_box(
    visitor: Visitor, address: str, small_subject: Path
) -> None:
    """The button of the note works by keyboard and starts a run with focus auto.

    The run reports the focus, and the form shows it.
    """
    page = visitor.come(f"{address}/?preset=fastest")
    visitor.open_expert()
    assert page.is_disabled("#knob-focus_box :is(textarea, input)")
    visitor.take(small_subject)
    visitor.run()
    assert re.search(r"The subject's box fills \d+ % of the picture", visitor.text(".rt-looks"))
    page.focus(".rt-looks button")
    page.keyboard.press("Enter")
    visitor.done(2)
    assert re.match(r"Looked .+: the subject's box fills", visitor.text(".rt-looks"))
    assert page.locator(".rt-part.rt-focus").count() == 1
    assert page.evaluate("() => document.activeElement.id") == "run"
    assert page.is_checked("#knob-focus input[value=auto]")
    playwright.expect(page.locator("#preset-note")).to_contain_text("focus auto")
    page.click("#knob-focus input[value=box]")
    box = page.locator("#knob-focus_box :is(textarea, input)")
    playwright.expect(box).to_be_enabled()
    box.fill("30%,30%,50%")
    playwright.expect(page.locator("#preset-note")).to_contain_text(
        "focus_box must be x,y,width,height"
    )
    box.fill("30%,30%,50%,50%")
    playwright.expect(page.locator("#preset-note")).to_contain_text("focus box 30%,30%,50%,50%")


def test_what_is_not_here_says_how_to_get_it(visitor: Visitor, address: str) -> None:
    """A missing model and a missing provider are marked in the list and under the preset."""
    page = visitor.come(address)
    visitor.open_expert()
    page.click("#knob-engine input[value=onnxruntime]")
    playwright.expect(page.locator("#knob-provider input")).to_be_enabled()
    page.click("#knob-provider input")
    page.click("text=cuda · not installed")
    playwright.expect(page.locator("#preset-note")).to_contain_text("onnxruntime-gpu[cuda,cudnn]")
    page.click("#knob-model input")
    page.get_by_role("option", name="u2net · 168 MiB · not installed").click()
    playwright.expect(page.locator("#preset-note")).to_contain_text("on the Models tab")
    visitor.take_example("coffee")
    page.click("#run")
    page.wait_for_selector(".rt-result[data-kind=missing_model]")
    assert "This model is not here" in visitor.text(".rt-alert")
    assert "/u2net.onnx" not in page.inner_text(".gradio-container")


def test_runs_are_pinned_compared_and_brought_back(visitor: Visitor, address: str) -> None:
    """Other runs are compared with the pinned run.

    A click on a run restores its picture and settings.
    """
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run(1)
    page.click("[data-pin='1']")
    playwright.expect(page.locator("[data-pin='1']")).to_have_attribute("aria-pressed", "true")
    page.click("#detail input[value='192']")
    playwright.expect(page.locator("#preset-note")).to_contain_text("network size 192 px")
    visitor.run(2)
    page.wait_for_timeout(300)  # Gradio ignores a click until the run's event has ended
    page.hover("#run")
    page.mouse.down(click_count=2)  # the second half of a double click starts no third run
    page.mouse.up(click_count=2)
    page.wait_for_timeout(300)
    playwright.expect(page.locator(".rt-result")).to_have_attribute("data-state", "done")
    assert "×" in visitor.text(".rt-figures div:nth-child(3) dd")
    assert "of the memory of run 1" in visitor.text(".rt-figures div:nth-child(3)")
    rows = page.locator(".rt-runs tbody tr")
    playwright.expect(rows.nth(0)).to_have_attribute("data-row", "2")
    playwright.expect(rows.nth(1)).to_have_attribute("data-row", "1")
    playwright.expect(rows.nth(0)).to_contain_text("network size 192 px")
    page.click("[data-show='1']")
    page.wait_for_selector(".rt-result[data-turn='1']")
    playwright.expect(page.locator("#detail input[value='0']")).to_be_checked()
    with page.expect_download() as waiting:
        page.click("text=CSV")
    lines = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    assert [line["network_size"] for line in lines] == ["0", "192"]


def test_repeat_tells_a_spread(visitor: Visitor, address: str) -> None:
    """Five repeated runs show a median, a range and their number."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    page.click("#repeat")
    visitor.done(1)
    assert "median" in visitor.text(".rt-figures dt")
    assert re.search(r"n = [45]", visitor.text(".rt-figures"))


def test_a_run_is_cancelled_and_the_next_one_works(visitor: Visitor, address: str) -> None:
    """Escape cancels a run, the result shows it, and the buttons work."""
    page = visitor.come(address)
    visitor.take(ASTRONAUT)
    visitor.slow_down()
    page.click("#repeat")
    page.wait_for_selector(".rt-result[data-state=running]")
    playwright.expect(page.locator("#cancel")).to_be_enabled()
    page.keyboard.press("Escape")
    page.wait_for_selector(".rt-result[data-kind=cancelled]")
    assert "Cancelled" in visitor.text(".rt-alert")
    page.click("#detail input[value='192']")
    playwright.expect(page.locator("#run")).to_be_enabled()
    page.keyboard.press("Control+Enter")
    visitor.done(2)


@pytest.mark.alone
def test_a_visitor_who_leaves_frees_the_slot(browser: Browser, address: str) -> None:
    """No run is left about a second after the tab is closed."""
    with browser.new_context(locale="en-US") as context:
        visitor = Visitor(context, address)
        visitor.come(address)
        visitor.take(ASTRONAUT)
        visitor.slow_down()
        visitor.page.click("#repeat")
        visitor.page.wait_for_selector(".rt-result[data-state=running]")
        assert health(address)["running"] == 1
        visitor.page.close()
        left_at = time.monotonic()
        while health(address)["running"] and time.monotonic() < left_at + 5:
            time.sleep(0.02)
        assert time.monotonic() - left_at <= 1.5


@pytest.mark.slow
def test_a_waiting_visitor_sees_their_place(browser: Browser, address: str) -> None:
    """A visitor who presses Run during another run sees the queue position, and the run follows."""
    with browser.new_context(locale="en-US") as context:
        first, second = Visitor(context, address), Visitor(context, address)
        first.come(address)
        first.take(ASTRONAUT)
        first.slow_down()
        second.come(f"{address}/?preset=balanced")  # not the stored settings of the first
        second.page.click("[data-example=coffee]")
        second.page.wait_for_selector("#picture img")
        first.page.click("#repeat")
        first.page.wait_for_selector(".rt-result[data-state=running]")
        second.page.click("#run")
        second.page.wait_for_selector(".rt-result[data-state=waiting]")
        assert "number 1 of 1" in second.text(".rt-status")
        first.page.keyboard.press("Escape")
        second.done(1)
        assert second.faults == first.faults == []


@pytest.mark.slow
def test_a_new_picture_takes_the_place_of_the_result(
    visitor: Visitor, address: str, tmp_path: Path
) -> None:
    """A new picture replaces the result at once, with a preview if the browser cannot show it.

    An invalid file is rejected beside the upload, and the next run works.
    """
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run()
    Image.open(ASTRONAUT).resize((300, 200)).save(tmp_path / "small.tif")
    (tmp_path / "notes.txt").write_text("no picture at all", encoding="utf-8")
    with (tmp_path / "great.png").open("wb") as great:
        great.truncate(64 * 2**20 + 1)
    shown = (
        "(side) => document.querySelector('#picture img')?.naturalWidth === side &&"
        " document.querySelector('.rt-before').naturalWidth === side"
    )
    page.click(REMOVE)
    playwright.expect(page.locator("#picture img")).to_have_count(0)
    page.wait_for_timeout(300)  # time for a response of the server to the removal
    assert "Run 1 · coffee.png" in visitor.text(".rt-status")
    assert page.locator(".rt-download").is_visible()
    page.set_input_files("#picture input[type=file]", str(tmp_path / "small.tif"))
    page.wait_for_function(shown, arg=300)
    assert page.get_attribute(".rt-viewer", "data-mode") == "picture"
    download = page.locator(".rt-download")
    assert download.is_hidden()  # at once: a fading link would download the previous cut-out
    assert download.evaluate("(link) => getComputedStyle(link).transitionDuration") == "0s"
    playwright.expect(page.locator(".rt-status")).to_have_text("Ready: small.tif, 300 × 200 px")
    page.click(REMOVE)  # not run yet, so it is removed completely
    playwright.expect(page.locator(".rt-status")).to_have_text("No picture chosen")
    playwright.expect(page.locator(".rt-viewer")).to_have_attribute("data-mode", "empty")
    page.set_input_files("#picture input[type=file]", str(tmp_path / "small.tif"))
    page.wait_for_function(shown, arg=300)
    visitor.run(2)
    old = (
        "() => { window.rembgTuner.uploaded({ path: 'a.png' }); return"
        " getComputedStyle(document.querySelector('.rt-figures b')).visibility; }"
    )
    assert page.evaluate(old) == "hidden"  # until the response to the upload
    playwright.expect(page.locator(".rt-status")).to_be_visible()
    page.click(REMOVE)
    page.set_input_files("#picture input[type=file]", str(tmp_path / "great.png"))
    playwright.expect(page.locator("#todo .rt-refused")).to_have_text(
        "great.png is larger than 64 MiB, the limit; choose a smaller picture"
    )
    page.set_input_files("#picture input[type=file]", str(tmp_path / "notes.txt"))
    playwright.expect(page.locator("#picture-note")).to_contain_text("notes.txt is not a picture")
    playwright.expect(page.locator("#picture img")).to_have_count(0)
    assert page.locator(".toast-body").count() == 0
    page.click("#run")
    page.wait_for_selector(".rt-result[data-state=hint]")
    visitor.take_example("coffee")
    visitor.run(3)
    playwright.expect(page.locator("#picture-note")).to_have_text("")


@pytest.mark.slow
def test_a_picture_that_is_chosen_again_is_new(visitor: Visitor, address: str) -> None:
    """The previous result is removed, also after a reload, and a removal leaves no picture."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run()
    page.click("[data-example=coffee]")
    playwright.expect(page.locator(".rt-status")).to_have_text("Ready: coffee.png")
    page.reload()
    playwright.expect(page.locator(".rt-status")).to_have_text("Ready: coffee.png")
    playwright.expect(page.locator(".rt-viewer")).to_have_attribute("data-mode", "picture")
    page.click(REMOVE)
    playwright.expect(page.locator(".rt-status")).to_have_text("No picture chosen")
    playwright.expect(page.locator(".rt-viewer")).to_have_attribute("data-mode", "empty")


@pytest.mark.slow
def test_a_picture_taken_away_during_its_run_leaves_the_viewer(
    visitor: Visitor, address: str
) -> None:
    """The viewer is empty after a run that ended without a cut-out, and the reason remains."""
    page = visitor.come(address)
    visitor.take(ASTRONAUT)
    visitor.slow_down()
    page.click("#repeat")
    page.wait_for_selector(".rt-result[data-state=running]")
    page.click(REMOVE)
    playwright.expect(page.locator("#picture img")).to_have_count(0)
    page.keyboard.press("Escape")
    page.wait_for_selector(".rt-result[data-kind=cancelled], .rt-result [role=status] b")
    playwright.expect(page.locator(".rt-viewer")).to_have_attribute("data-mode", "empty")


@pytest.mark.slow
def test_run_takes_what_is_chosen_at_the_click(visitor: Visitor, address: str) -> None:
    """Run uses the preset and the example chosen just before, even if the responses are late."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    choose_and_run = """([name, wait]) => {
        const option = [...document.querySelectorAll('[role=option]')].find((one) => one.textContent.trim().endsWith(name));
        option.dispatchEvent(new MouseEvent('mousedown', {bubbles: true, cancelable: true}));
        const run = () => document.querySelector('#run').click();
        if (wait < 0) run(); else setTimeout(run, wait);
    }"""
    for number, wait in enumerate((-1, 0, 100), start=1):
        name = ("balanced", "smallest")[number % 2]
        page.click("#preset input")
        page.get_by_role("option", name="article-light").click()
        playwright.expect(page.locator("#preset-note")).to_contain_text("the article's second row")
        page.click("#preset input")
        page.get_by_role("option", name=name).hover()
        page.evaluate(choose_and_run, [name, wait])
        visitor.done(number)
        playwright.expect(page.locator("[data-row]")).to_have_count(number)
        playwright.expect(page.locator("[data-row] td:nth-child(3)").first).to_have_text(name)
    page.click("[data-example=chelsea]")
    page.evaluate("() => document.querySelector('#run').click()")
    visitor.done(4)
    playwright.expect(page.locator("[data-row]")).to_have_count(4)
    playwright.expect(page.locator("[data-row] td.rt-name").first).to_have_text("chelsea.png")


@pytest.mark.slow
def test_a_reload_keeps_the_visit(visitor: Visitor, browser: Browser, address: str) -> None:
    """A reload keeps runs, pin, picture and result, and a row restores its picture and settings.

    Another visitor sees nothing of the visit.
    """
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run(1)
    page.click("[data-pin='1']")
    playwright.expect(page.locator("[data-pin='1']")).to_have_attribute("aria-pressed", "true")
    page.click("#detail input[value='192']")
    visitor.take_example("astronaut")
    page.wait_for_function("() => document.querySelector('#picture img').src.includes('astronaut')")
    visitor.run(2)
    page.reload()
    visitor.done(2)
    playwright.expect(page.locator("[data-pin='1']")).to_have_attribute("aria-pressed", "true")
    assert "astronaut" in str(page.get_attribute("#picture img", "src"))
    token = page.evaluate("() => sessionStorage.getItem('rembg-tuner.visit')")
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert token not in page.url
    assert "A reload keeps this visit. It ends when" in visitor.text(".rt-runs")
    page.locator("[data-row='1'] td.rt-name").click(force=True)  # the row's button covers it
    page.wait_for_function("() => document.querySelector('#picture img').src.includes('coffee')")
    visitor.done(1)
    playwright.expect(page.locator("#detail input[value='0']")).to_be_checked()
    with browser.new_context(locale="en-US") as context:
        other = Visitor(context, address).come(address)
        assert other.locator("[data-row]").count() == 0
        # a duplicated tab has a copy of the storage, but the original tab was not closed
        stored = {"rembg-tuner.visit": token, "rembg-tuner.runs": "1"}
        copy = "(stored) => { for (const key in stored) sessionStorage.setItem(key, stored[key]); }"
        double = context.new_page()
        double.add_init_script(f"if (window.top === window) ({copy})({json.dumps(stored)})")
        double.goto(address)
        double.wait_for_selector("#runs .rt-empty")
        assert double.locator("[data-row]").count() == 0
        assert double.evaluate("() => sessionStorage.getItem('rembg-tuner.visit')") != token
        # as after an hour: the tab had runs, and the server no longer knows its token
        other.evaluate("() => sessionStorage.setItem('rembg-tuner.runs', '1')")
        other.reload()
        playwright.expect(other.locator(".rt-ended")).to_contain_text("earlier visit has ended")


@pytest.mark.slow
def test_nothing_of_the_original_shows_around_the_cutout(browser: Browser, address: str) -> None:
    """A magenta original under an empty cut-out shows no tint, at odd widths and scale factors."""
    swap = """() => {
        const fill = (colour) => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 1023, height: 767});
            const brush = canvas.getContext('2d');
            if (colour) { brush.fillStyle = colour; brush.fillRect(0, 0, 1023, 767); }
            return canvas.toDataURL();
        };
        const before = document.querySelector('.rt-before'), after = document.querySelector('.rt-cutout');
        before.src = fill('#ff00ff');
        after.style.backgroundImage = `url(${fill('#ff00ff')})`;
        after.style.maskImage = `url(${fill('')})`;
        document.querySelector('.rt-frame').style.setProperty('--ratio', 1023 / 767);
        return before.decode().then(() => true);
    }"""
    for scale in (1.0, 1.25):
        with browser.new_context(locale="en-US", device_scale_factor=scale) as context:
            visitor = Visitor(context, address)
            page = visitor.come(address)
            visitor.take_example("coffee")
            visitor.run()
            page.click(".rt-backdrops [data-backdrop='#ffffff']")
            page.evaluate(swap)
            for width in (1440, 1203, 390):
                page.set_viewport_size({"width": width, "height": 900})
                for mode, share in (("cutout", 0.0), ("compare", 0.52)):
                    page.click(f".rt-modes [data-mode={mode}]")
                    shot = Image.open(io.BytesIO(page.locator(".rt-stage").screenshot()))
                    right = shot.convert("RGB").crop((int(shot.width * share), 0, *shot.size))
                    red, green, blue = right.split()
                    tint = ImageChops.darker(
                        ImageChops.subtract(red, green), ImageChops.subtract(blue, green)
                    )
                    assert not any(tint.histogram()[4:]), (scale, width, mode)


@pytest.mark.slow
def test_the_mask_is_as_true_as_the_webp(browser: Browser, address: str, tmp_path: Path) -> None:
    """Along the edge, mask and WebP on three backdrops are compared with the lossless cut-out."""
    with Image.open(COFFEE) as cup:
        large = cup.convert("RGB").resize((1920, 1280), Image.Resampling.BICUBIC)
    # a camera's grain: with much more, JPEG loses to WebP everywhere
    grain = Image.merge("RGB", [Image.effect_noise(large.size, 5) for _ in range(3)])
    ImageChops.add(large, grain, offset=-128).save(tmp_path / "cup.jpg", quality=92)
    enlarge = """() => {
        const frame = document.querySelector('.rt-frame'), image = document.querySelector('.rt-before');
        Object.assign(frame.style, {position: 'fixed', inset: '0 auto auto 0', zIndex: 99, width: `${image.naturalWidth}px`, height: `${image.naturalHeight}px`});
        return [image.naturalWidth, image.naturalHeight];
    }"""
    errors: dict[bool, list[float]] = {}
    for has_masks in (True, False):
        with browser.new_context(
            locale="en-US", viewport={"width": 1700, "height": 1100}
        ) as context:
            if not has_masks:
                context.add_init_script("CSS.supports = () => false")
            visitor = Visitor(context, address)
            page = visitor.come(address)
            visitor.take(tmp_path / "cup.jpg")
            visitor.run()
            with page.expect_download() as waiting:
                page.click(".rt-download")
            with Image.open(waiting.value.path()) as whole:
                # premultiplied during scaling, so that the background's colours do not mix in
                lossless = (
                    whole.convert("RGBa")
                    .resize((1600, 1067), Image.Resampling.LANCZOS)
                    .convert("RGBA")
                )
            page.click(".rt-modes [data-mode=cutout]")
            assert page.evaluate(enlarge) == [1600, 1067]
            for colour in ("#ffffff", "#000000", "#00c040"):
                page.evaluate(
                    "() => { const root = document.querySelector('.rt-viewer');"
                    f" root.dataset.backdrop = '{colour}'; root.style.setProperty('--backdrop',"
                    f" '{colour}'); }}"
                )
                shot = Image.open(
                    io.BytesIO(
                        page.screenshot(clip={"x": 0, "y": 0, "width": 1600, "height": 1067})
                    )
                )
                on_colour = Image.new("RGBA", lossless.size, colour)
                on_colour.alpha_composite(lossless)
                off = ImageChops.difference(shot.convert("RGB"), on_colour.convert("RGB"))
                edge = lossless.getchannel("A").point([0, *[255] * 254, 0])
                errors.setdefault(has_masks, []).append(sum(ImageStat.Stat(off, edge).mean) / 3)
    assert max(errors[True]) < 2, errors
    assert sum(errors[True]) <= 1.05 * sum(errors[False]), errors


@pytest.mark.slow
def test_keys_keep_the_focus_and_leave_the_run(visitor: Visitor, address: str) -> None:
    """Ctrl+Enter runs with the number that is being typed, and the focus remains.

    Esc closes an open list first, then cancels the run.
    """
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.open_expert()
    page.click("#knob-engine input[value=onnxruntime]")
    field = page.locator("#knob-network_size input")
    field.fill("224")
    page.keyboard.press("Control+Enter")
    visitor.done(1)
    focus = "() => document.activeElement.closest('[id]').id"
    assert page.evaluate(focus) == "knob-network_size"
    playwright.expect(page.locator("[data-row]").first).to_contain_text("network size 224 px")
    visitor.knob("network_size", SLOW_SIZE)
    visitor.knob("intra_op_threads", "1")
    page.focus("#repeat")
    page.keyboard.press("Enter")
    page.wait_for_selector(".rt-result[data-state=running]")
    assert page.evaluate(focus) == "repeat"
    assert page.get_attribute("#repeat", "aria-disabled") == "true"
    page.click("#preset input")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=option]", state="hidden")
    page.wait_for_timeout(400)  # a cancel would be seen by then
    assert page.get_attribute(".rt-result", "data-state") == "running"
    page.keyboard.press("Escape")
    page.wait_for_selector(".rt-result[data-kind=cancelled], .rt-result [role=status] b")
    assert page.locator(".rt-result [role=alert]").count() == 0
    page.reload()
    page.wait_for_selector("[data-row='2']")  # it has no cut-out: its picture is shown
    playwright.expect(page.locator(".rt-viewer")).to_have_attribute("data-mode", "picture")


def test_no_picture_and_bad_numbers_are_told(visitor: Visitor, address: str) -> None:
    """A run without a picture and a knob out of range each show a message."""
    page = visitor.come(address)
    page.click("#run")
    page.wait_for_selector(".rt-alert")
    assert "choose a picture first" in visitor.text(".rt-alert")
    assert page.locator("#result [role=alert]").count() == 0  # a hint, not an alert
    visitor.open_expert()
    visitor.knob("timeout_s", "500")
    playwright.expect(page.locator("#preset-note")).to_contain_text(
        "timeout_s must be at most 60 s"
    )


def test_a_picture_is_pasted(visitor: Visitor, address: str) -> None:
    """A picture can be pasted anywhere on the page, and it replaces the current one."""
    page = visitor.come(address)
    content = (ROOT / "rembg_tuner/web/pages/assets/chelsea.webp").read_bytes()
    for name in ("first.webp", "second.webp"):
        page.evaluate(
            """([name, bytes]) => {
            const clip = new DataTransfer();
            clip.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/webp'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: clip, bubbles: true}));
        }""",
            [name, list(content)],
        )
        page.wait_for_function(
            "(name) => document.querySelector('#picture img')?.src.includes(name)", arg=name
        )
    visitor.run()


def test_settings_come_back_on_reload(visitor: Visitor, address: str) -> None:
    """The visitor's last settings are kept in the browser."""
    page = visitor.come(address)
    page.click("#detail input[value='192']")
    playwright.expect(page.locator("#preset-note")).to_contain_text("network size 192 px")
    page.wait_for_timeout(300)
    visitor.come(address)
    playwright.expect(page.locator("#detail input[value='192']")).to_be_checked()
    playwright.expect(page.locator("#preset-note")).to_contain_text("network size 192 px")


def test_a_backdrop_is_in_the_download(visitor: Visitor, address: str) -> None:
    """The viewer shows white at once, and the download is a picture without transparency."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    visitor.run()
    page.click(".rt-backdrops [data-backdrop='#ffffff']")
    link = page.locator(".rt-download")
    playwright.expect(link).to_have_attribute("download", "coffee.cutout-ffffff.png")
    with page.expect_download() as waiting:
        link.click()
    assert Path(waiting.value.path()).read_bytes()[25] == 2  # RGB


@pytest.mark.parametrize("how", ["address", "browser"])
def test_the_page_speaks_chinese(browser: Browser, address: str, how: str) -> None:
    """?lang=zh or the browser's language selects Chinese for widgets, results and errors."""
    locale = "zh-CN" if how == "browser" else "en-US"
    with browser.new_context(locale=locale) as context:
        visitor = Visitor(context, address)
        page = visitor.come(address if how == "browser" else f"{address}/?lang=zh")
        assert page.inner_text("#run") == "运行"
        assert page.get_attribute("html", "lang") == "zh-CN"
        page.click("#run")
        page.wait_for_selector(".rt-alert")
        assert "图片" in visitor.text(".rt-alert")
        visitor.take_example("coffee")
        visitor.run()
        assert "峰值内存" in visitor.text(".rt-figures")
        assert visitor.faults == []


def test_a_phone_and_the_dark(browser: Browser, address: str) -> None:
    """At 390 px the page does not scroll sideways; the dark theme has light text on dark."""
    with browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark", locale="en-US", has_touch=True
    ) as context:
        visitor = Visitor(context, address)
        page = visitor.come(address)
        visitor.take_example("coffee")
        page.evaluate("() => window.scrollTo(0, 0)")
        visitor.run()
        page.wait_for_function(
            "() => scrollY > 0 &&"
            " document.querySelector('.rt-status').getBoundingClientRect().bottom < innerHeight"
        )
        assert page.evaluate("() => document.documentElement.scrollWidth") == 390
        tabs = page.locator("[role=tablist] [role=tab]")
        assert tabs.count() == 6
        assert all(tabs.nth(i).is_visible() for i in range(6))
        ground, ink = page.evaluate(
            "() => [getComputedStyle(document.querySelector('.gradio-container')).backgroundColor,"
            " getComputedStyle(document.querySelector('.rt-figures b')).color]"
        )
        dark = [int(word) for word in re.findall(r"\d+", ground)[:3]]
        light = [int(word) for word in re.findall(r"\d+", ink)[:3]]
        assert max(dark) < 60
        assert min(light) > 180


def test_the_machine_is_told(visitor: Visitor, address: str) -> None:
    """The System tab shows the same report as doctor."""
    page = visitor.come(address)
    page.get_by_role("tab", name="System").click()
    page.wait_for_selector(".rt-machine", timeout=RUN_TIMEOUT_MS)
    said = visitor.text(".rt-machine")
    for word in ("onnxruntime", "openvino", "ncnn", "VmHWM", "cuda"):
        assert word in said


@pytest.mark.slow
@pytest.mark.alone
def test_number_formats_are_timed_with_a_button(visitor: Visitor, address: str) -> None:
    """The tab shows the meaning of `auto`, the progress of the timing, and its result.

    The result has the times, or reports that other work ran.
    """
    page = visitor.come(address)
    page.get_by_role("tab", name="System").click()
    page.wait_for_selector("#formats li", timeout=RUN_TIMEOUT_MS)
    assert "precision auto is int8" in visitor.text("#formats")
    page.click("#time-formats")
    page.wait_for_selector("#formats [role=status]", timeout=RUN_TIMEOUT_MS)
    page.wait_for_selector("#formats:not(:has([role=status]))", timeout=3 * RUN_TIMEOUT_MS)
    said = visitor.text("#formats")
    was_busy = "other work ran at the same time" in said
    assert was_busy or "as timed on this machine: int8 " in said


@pytest.mark.slow
@pytest.mark.alone
def test_a_model_is_got_with_a_button_and_a_bar(visitor: Visitor, address: str) -> None:
    """The tab lists models, shows a download's progress, stops and resumes, and reports errors."""
    page = visitor.come(address)
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector(".rt-models li.rt-here")
    said = visitor.text(".rt-models")
    for word in (
        "u2netp",
        "Apache-2.0",
        "not for commercial use",
        "birefnet-general",
        "int8 for openvino",
    ):
        assert word in said
    page.click("[data-get=silueta]")
    page.wait_for_selector("progress[value]")
    first = page.locator("progress[value]").get_attribute("value")
    page.wait_for_function(
        f"() => document.querySelector('progress')?.getAttribute('value') > {first}"
    )
    page.click("[data-stop=silueta]")
    page.wait_for_selector("[data-get=silueta]")
    assert page.locator(".rt-models .rt-failed").count() == 0
    page.click("[data-get=silueta]")  # continues; the complete file is not the released one
    page.wait_for_selector(".rt-models .rt-failed", timeout=RUN_TIMEOUT_MS)
    assert "different file than the released silueta.onnx" in visitor.text(".rt-models .rt-failed")
    page.click("[data-get=u2net_human_seg]")
    page.wait_for_function("() => document.querySelectorAll('.rt-models .rt-failed').length === 2")
    assert "404" in "".join(page.locator(".rt-models .rt-failed").all_inner_texts())


def test_a_number_format_says_how_far_it_is_from_fp32(visitor: Visitor, address: str) -> None:
    """Each format shows its difference, missing formats are disabled, and one of them runs."""
    page = visitor.come(address)
    visitor.open_expert()
    says = "(text) => document.querySelector('#knob-precision').textContent.includes(text)"
    page.click("#knob-engine input[value=onnxruntime]")
    page.wait_for_function(says, arg="int8 · Δ")
    # ncnn's bf16 concerns the storage of weights, so every CPU supports it.
    page.click("#knob-engine input[value=ncnn]")
    page.wait_for_function(says, arg="bf16 · Δ 0.0")
    page.wait_for_function(says, arg="int8 · not in this engine")
    visitor.knob("network_size", "64")  # converts in half the time
    page.click("#knob-precision input[value=bf16]")
    visitor.take_example("astronaut")
    visitor.run()
    page.click(".rt-asked summary")
    assert "bf16" in visitor.text(".rt-asked table")


def arrows_follow_places(page: Page) -> None:
    """Go up from a point of the plot, back, and to the right."""
    place = (
        "() => { const hit = document.activeElement.querySelector('.rt-hit'); return"
        " [hit.cx.baseVal.value, hit.cy.baseVal.value] }"
    )
    x, y = page.evaluate(place)
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place)[1] <= y
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(place)[0] >= x


def settings_in_use(page: Page) -> Settings:
    """Return the settings of the trial that the sweep's button exports, read from its JSON file."""
    with page.expect_download() as waiting:
        page.click(".rt-files a[download='trials.json']")
    trials = json.loads(Path(waiting.value.path()).read_text())["trials"]
    number = int(page.get_attribute("[data-use]", "data-use") or -1)
    [settings] = [trial["settings"] for trial in trials if trial["number"] == number]
    return Settings(**settings)


def preset_in(compose: str) -> Settings:
    """Return the settings of the preset in a compose file's image."""
    build = yaml.safe_load(compose)["services"]["rembg-tuner"]["build"]
    [line] = [line for line in build["dockerfile_inline"].splitlines() if "printf" in line]
    words = shlex.split(line)
    [preset] = json.loads(words[words.index("printf") + 2]).values()
    return Settings(**preset["settings"])


@pytest.mark.slow
def test_from_upload_to_an_exported_compose_file(visitor: Visitor, address: str) -> None:
    """A picture, a sweep, its plot, keyboard use, a budget, and the exported compose file."""
    page = visitor.come(address)
    visitor.take(ASTRONAUT)
    page.get_by_role("tab", name="Deploy").click()
    page.wait_for_timeout(300)  # the requests that opening the tab sends
    assert page.locator("#deployed .rt-void").count() == 1
    page.get_by_role("tab", name="Sweep").click()
    for axis, value in (
        ("engine", "onnxruntime"),
        ("precision", "bf16"),
        ("network_size", "224"),
        ("intra_op_threads", "1"),
    ):
        box = page.locator(f"#axis-{axis}").get_by_label(value, exact=True)
        if value != "bf16" or "bf16" in read_machine().precisions:
            box.uncheck()
    page.wait_for_function(
        "() => document.querySelector('#sweep-note')?.innerText.includes('trials of')"
    )
    page.click("#sweep-run")
    page.wait_for_selector(".rt-study[data-state=done]", timeout=120_000)
    points = page.locator(".rt-point")
    assert points.count() >= 2
    assert "Recommended:" in visitor.text(".rt-why")
    chosen = page.get_attribute(".rt-card", "data-card")
    other = page.locator(f".rt-point:not([data-trial='{chosen}'])").first
    number = other.get_attribute("data-trial")
    other.focus()
    arrows_follow_places(page)
    other.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f".rt-card[data-card='{number}']")
    page.fill("#budget-memory input", "1")
    page.wait_for_selector(".rt-why[data-fits=false]")
    page.fill("#budget-memory input", "0")
    page.wait_for_selector(".rt-why[data-fits=true]")
    with page.expect_download() as waiting:
        page.click(".rt-files button[data-png]")
    assert Path(waiting.value.path()).read_bytes()[:4] == b"\x89PNG"
    page.fill("#budget-memory input", "-5")
    playwright.expect(page.locator("#budget-note")).to_contain_text("peak must be 0")
    page.fill("#budget-memory input", "0")
    playwright.expect(page.locator("#budget-note p")).to_have_count(0)
    settings = settings_in_use(page)
    page.click("[data-use]")
    playwright.expect(page.locator(".rt-taken")).to_contain_text("The setting is on Cut out now")
    assert page.evaluate("() => document.activeElement.matches('[data-use]')")
    page.get_by_role("tab", name="Deploy").click()
    page.click("#deploy-run")
    with page.expect_download() as waiting:
        page.click("#deployed a[download]")
    assert waiting.value.suggested_filename == "compose.yaml"
    text = Path(waiting.value.path()).read_text()
    assert "reservations" in text
    assert preset_in(text).changed() == settings.changed()


@pytest.mark.slow
def test_settings_are_compared_side_by_side(visitor: Visitor, address: str) -> None:
    """The slider, the shared zoom, the differences and the table work."""
    page = visitor.come(address)
    visitor.take_example("coffee")
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compared label", has_text="edge").locator("input").uncheck()
    page.click("#compare-run")
    page.wait_for_selector(".rt-pair-stage", timeout=120_000)
    assert page.locator(".rt-loupe").count() == 3
    assert page.locator("#comparison .rt-trials tbody tr").count() == 3
    assert "1.000" in page.locator("#comparison .rt-trials tbody tr").first.inner_text()
    page.locator("[data-zoom]").fill("4")
    page.locator(".rt-loupe").nth(1).hover(position={"x": 20, "y": 20})
    origins = page.evaluate(
        "() => [...document.querySelectorAll('.rt-loupe > img:first-child')].map((e) =>"
        " getComputedStyle(e).transformOrigin.replace(/[.][0-9]+/g, '') +"
        " getComputedStyle(e).transform)"
    )
    assert len(set(origins)) == 1
    assert "matrix(4" in origins[0]
    page.locator(".rt-loupe").nth(2).focus()
    page.keyboard.press("ArrowRight")  # the keyboard moves the view of all of them
    moved = page.evaluate(
        "() => getComputedStyle(document.querySelector('.rt-compare')).getPropertyValue('--x')"
    )
    assert float(moved.rstrip("%")) > 5
    page.check("[data-differences]")
    playwright.expect(page.locator(".rt-difference").nth(1)).to_be_visible()
    page.locator("select[data-side=left]").select_option(label="smallest")
    assert page.get_attribute(".rt-pair-left", "alt") == "smallest"
    page.click("[data-ground=black]")
    assert page.get_attribute(".rt-compare", "data-backdrop") == "black"


def test_each_group_of_radios_is_one_tab_stop(visitor: Visitor, address: str) -> None:
    """In Gradio's radios and the page's own, arrow keys choose, and Tab leaves the group."""
    page = visitor.come(address)
    visitor.open_expert()
    names = page.evaluate(
        "() => [...document.querySelectorAll('fieldset')].filter((f) =>"
        " f.querySelector('[type=radio]')).map((f) => new"
        " Set([...f.querySelectorAll('[type=radio]')].map((r) => r.name)).size)"
    )
    assert set(names) == {1}
    page.focus("#detail input[value='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#detail input[value='256']")).to_be_checked()
    playwright.expect(page.locator("#preset-note")).to_contain_text("network size 256 px")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('fieldset').id") == "result-size"
    visitor.take_example("coffee")
    visitor.run()
    page.focus(".rt-modes [data-mode=compare]")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute(".rt-viewer", "data-mode") == "original"
    assert page.locator(".rt-viewer [role=radio][tabindex='0']").count() == 2
    assert page.locator(".rt-modes [aria-checked=true]").get_attribute("data-mode") == "original"


def test_a_preset_without_its_model_is_greyed_and_refused(visitor: Visitor, address: str) -> None:
    """A link, the list and the choices of Compare report that the model is not installed."""
    page = visitor.come(f"{address}/?preset=studio")
    reason = page.locator("#preset-note [role=alert]")
    playwright.expect(reason).to_contain_text("preset studio cannot run here: model u2net")
    page.click("#preset input")
    option = page.get_by_role("option", name="gpu-server · model u2net is not installed")
    playwright.expect(option).to_have_attribute("aria-disabled", "true")
    option.click(force=True)  # Playwright waits for disabled elements
    playwright.expect(reason).to_contain_text("preset gpu-server cannot run here: model u2net")
    playwright.expect(page.locator("#preset input")).to_have_value("balanced")
    page.get_by_role("tab", name="Compare").click()
    choice = page.locator("#compared label", has_text="studio")
    playwright.expect(choice).to_contain_text("model u2net is not installed")
    choice.click(force=True)
    playwright.expect(choice.locator("input")).not_to_be_checked()


def test_a_cut_out_is_read_by_the_browser(browser: Browser) -> None:
    """Chromium decodes a PNG of many strips to the pixels that were written."""
    pixels = np.random.default_rng(4).integers(0, 256, (700, 400, 4)).astype(np.uint8)
    pixels[..., 3] = 255  # a canvas multiplies colours with alpha, and loses some
    pixels[300:500] = 0
    file = io.BytesIO()
    layout = PngLayout(width=400, height=700, bands=4)
    with PngWriter(file, layout, finish=lambda rows, _: rows, row_bytes=1600, threads=2) as png:
        png.write(pixels.tobytes())
        png.close()
    page = browser.new_page()
    digest = page.evaluate(
        """async (url) => {
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
            canvas.drawImage(image, 0, 0);
            const pixels = canvas.getImageData(0, 0, image.width, image.height).data;
            // not crypto.subtle: about:blank is no secure context
            let sum = 0;
            for (let i = 0; i < pixels.length; i++) sum = (sum * 31 + pixels[i]) % 4294967291;
            return [image.width, image.height, sum];
        }""",
        f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}",
    )
    page.close()
    expected = 0
    for value in pixels.ravel().tolist():
        expected = (expected * 31 + value) % 4294967291
    assert digest == [400, 700, expected]
