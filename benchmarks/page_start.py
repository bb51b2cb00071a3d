"""Measure the page's start and load: `python benchmarks/page_start.py [BEFORE] [-n 7] [-o DIR]`.

Run it on an idle machine.

BEFORE is another checkout with its own `.venv`, such as the previous release. It is measured
alternately with this checkout, each time with a new server and a new browser profile:

- served: from the start of `python app.py` to the received HTML of the page;
- usable: from the same start to the examples drawn in Chromium, when the page accepts a picture and
  a click; the browser is already running;
- first run: from the first click on Run, with an uploaded 1080p JPEG, to the shown cut-out;
- first cut-out: from the start to the first cut-out, including the upload;
- loads: requests, transferred bytes, times, and CPU time of the web process for the first load, for
  a second load with a filled browser cache, and for a load by another visitor with an empty cache.

`cpu_s` is the CPU time of the server and all its children until the first cut-out, `served_cpu_s`
that of the web process until its first response. The JSON has all values, the table the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pyvips
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.contest import starting_environment

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CLICK = """() => new Promise(done => {
  const viewer = document.querySelector('.rt-viewer'), began = performance.now();
  const seen = new MutationObserver(() => {
    if (viewer.dataset.turn === '1') { seen.disconnect(); requestAnimationFrame(() => done(performance.now() - began)); }
  });
  seen.observe(viewer, {attributes: true});
  document.querySelector('#run').click();
})"""
TIMES = """() => { const t = performance.getEntriesByType('navigation')[0];
  return {html_s: t.responseEnd / 1000, interactive_s: t.domInteractive / 1000, loaded_s: t.loadEventEnd / 1000}; }"""
USABLE = "[data-example]"
Found = dict[str, Any]


def main() -> None:
    """Measure the checkouts alternately, print the medians, and write all values."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", nargs="?", type=Path, help="another checkout with its .venv")
    parser.add_argument("-n", type=int, default=7, help="servers of each; default: 7")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    trees = (
        {"now": ROOT}
        if arguments.before is None
        else {"before": arguments.before.resolve(), "now": ROOT}
    )
    found: dict[str, list[Found]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        picture = make_picture(Path(folder))
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for i in range(arguments.n):
            for name, root in trees.items():
                found[name].append(measure(root, browser, picture))
                print(f"{i + 1} {name}: {summary(found[name][-1:])}", file=sys.stderr)
        browser.close()
    host = read_host()
    told = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "n": arguments.n,
        "medians": {name: summary(every) for name, every in found.items()},
        "loads": {name: every[-1]["loads"] for name, every in found.items()},
        "all": {
            name: [{k: v for k, v in one.items() if k != "loads"} for one in every]
            for name, every in found.items()
        },
    }
    if "before" in found:
        before, now = told["medians"]["before"], told["medians"]["now"]
        told["of_before"] = {
            name: round(now[name] / before[name], 3) for name in now if before[name]
        }
    print(json.dumps({k: v for k, v in told.items() if k not in ("all", "loads")}, indent=2))
    (arguments.output / f"page-start-{told['date']}.json").write_text(
        json.dumps(told, indent=1) + "\n"
    )


def make_picture(folder: Path) -> Path:
    """Create a 1080p JPEG with the grain of a camera."""
    cup = pyvips.Image.new_from_file(str(ROOT / "examples" / "coffee.png"))[:3]
    scale = max(1920 / cup.width, 1080 / cup.height)
    large = cup.resize(scale).crop(0, 0, 1920, 1080)
    grain = pyvips.Image.gaussnoise(1920, 1080, sigma=5, mean=0, seed=1)
    path = folder / "1080p.jpg"
    (large + grain).cast("uchar").copy(interpretation="srgb").write_to_file(str(path), Q=92)
    return path


def measure(root: Path, browser: Browser, picture: Path) -> Found:
    """Start a server, load its page three times, and run one picture."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(root / ".venv" / "bin" / "python"), str(root / "app.py"), "--port", str(port)],
        stderr=subprocess.DEVNULL,
        cwd=root,
        env=starting_environment(),
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_served(address, process)
        found: Found = {"served_s": time.perf_counter() - began}
        web = psutil.Process(process.pid)
        found["served_cpu_s"] = sum(web.cpu_times()[:2])
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
        page, first = load(context, address, web)
        found["usable_s"] = time.perf_counter() - began
        found["web_rss_mib"] = web.memory_info().rss / 2**20
        page.set_input_files("#picture input[type=file]", str(picture))
        page.wait_for_function(
            "() => document.querySelector('#picture img')?.src.includes('gradio')"
        )
        page.wait_for_selector("#run:not([disabled])")
        found["first_run_s"] = page.evaluate(CLICK) / 1000
        found["first_cutout_s"] = time.perf_counter() - began
        found["cpu_s"] = sum(
            sum(one.cpu_times()[:2]) for one in [web, *web.children(recursive=True)]
        )
        page.close()
        _, second = load(context, address, web)
        context.close()
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
        _, other = load(context, address, web)
        context.close()
        found["loads"] = {"first": first, "second": second, "other": other}
    finally:
        process.terminate()
        process.wait(20)
    return found


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_served(address: str, process: subprocess.Popen[bytes]) -> None:
    """Request the page every 10 ms until its HTML is received.

    Raises:
        SystemExit: the server has ended.
    """
    while True:
        try:
            urllib.request.urlopen(address, timeout=10).read()
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}") from None
            time.sleep(0.01)


def load(context: BrowserContext, address: str, web: psutil.Process) -> tuple[Page, Found]:
    """Open the page in a new tab until it is usable; return the page and the load's figures."""
    before_s = sum(web.cpu_times()[:2])
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    asked: dict[str, Found] = {}

    def note(event: Found) -> None:
        response = event["response"]
        is_kept = response.get("fromDiskCache") or response.get("fromPrefetchCache")
        asked[event["requestId"]] = {
            "path": urlsplit(response["url"]).path,
            "cached": bool(is_kept) or event["requestId"] in kept,
            "bytes": 0,
        }

    kept: set[str] = set()
    session.on("Network.requestServedFromCache", lambda event: kept.add(event["requestId"]))
    session.on("Network.responseReceived", note)
    session.on(
        "Network.loadingFinished",
        lambda event: asked.get(event["requestId"], {}).update(bytes=event["encodedDataLength"]),
    )
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(USABLE)
    usable_s = time.perf_counter() - began
    page.wait_for_load_state("load")
    page.wait_for_timeout(300)  # includes late requests
    sent = [
        one for one in asked.values() if not one["cached"] and not one["path"].startswith("data:")
    ]
    return page, {
        "usable_s": usable_s,
        "web_cpu_s": sum(web.cpu_times()[:2]) - before_s,
        "requests": len(sent),
        "bytes": sum(one["bytes"] for one in sent),
        "kinds": kinds(sent),
        **page.evaluate(TIMES),
    }


def kinds(sent: list[Found]) -> dict[str, dict[str, int]]:
    """Sum requests and bytes by kind."""
    sums: dict[str, dict[str, int]] = {}
    for one in sent:
        kind = kind_of(one["path"])
        into = sums.setdefault(kind, {"requests": 0, "bytes": 0})
        into["requests"] += 1
        into["bytes"] += int(one["bytes"])
    return dict(sorted(sums.items()))


def kind_of(path: str) -> str:
    """Return the kind of a URL path: its origin and content."""
    if path == "/":
        return "the page (Gradio's HTML around this program's words, styles, scripts and settings)"
    if path.startswith("/gradio_api/"):
        return "this program's greeting: presets, examples, settings"
    names = {"js": "Gradio's scripts", "css": "Gradio's styles", "ico": "Gradio's icon"}
    return names.get(path.rsplit(".", 1)[-1], f"Gradio's {path}")


def summary(every: list[Found]) -> dict[str, float]:
    """Return the medians of all values."""
    found = {name: [one[name] for one in every] for name in every[0] if name != "loads"}
    for which in ("first", "second", "other"):
        for name in ("usable_s", "web_cpu_s", "requests", "bytes", "interactive_s"):
            found[f"{which}_load_{name}"] = [one["loads"][which][name] for one in every]
    return {name: round(statistics.median(values), 3) for name, values in found.items()}


if __name__ == "__main__":
    main()
