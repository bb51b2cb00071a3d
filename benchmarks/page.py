"""Measure the page: `python benchmarks/page.py [-o DIR]`.

It takes some minutes, and needs an idle machine and Chromium.

It starts the page as `make run` does, prints the results, and writes them as JSON. It does not
compare them with the goals.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import shutil
import signal
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

import psutil
import pyvips
from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.contest import starting_environment

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MIB = 2**20
CLICK = """(n) => new Promise(done => {
  const viewer = document.querySelector('.rt-viewer'), began = performance.now();
  const seen = new MutationObserver(() => {
    if (viewer.dataset.turn === String(n)) { seen.disconnect(); requestAnimationFrame(() => done(performance.now() - began)); }
  });
  seen.observe(viewer, {attributes: true});
  document.querySelector('#run').click();
})"""


class Server:
    """A process that serves the page."""

    def __init__(self, *words: str) -> None:
        """Start the server, and measure the time until the page is served."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", str(port), *words],
            stderr=subprocess.DEVNULL,
            env=starting_environment(),
        )
        while True:
            try:
                urllib.request.urlopen(self.address, timeout=2).read()
                break
            except OSError:
                time.sleep(0.02)
        self.served_s = time.perf_counter() - began
        self.web = psutil.Process(self.process.pid)

    def rss_mib(self) -> float:
        """Return the RSS of the web process, MiB."""
        return float(self.web.memory_info().rss / MIB)

    def worker(self) -> psutil.Process | None:
        """Return the worker process; None: there is none."""
        found = [
            child
            for child in self.web.children()
            if "rembg_tuner.worker.worker" in " ".join(child.cmdline())
        ]
        return found[0] if found else None

    def close(self) -> int:
        """Stop the server; return its exit code."""
        self.process.terminate()
        return self.process.wait(10)


def make_pictures(folder: Path) -> dict[str, Path]:
    """Create a 1080p and a 12 MP JPEG with grain, a 144 MP bomb, and ten bad files, by name."""
    cup = pyvips.Image.new_from_file(str(EXAMPLES / "coffee.png"))[:3]
    for name, width, height in (("1080p", 1920, 1080), ("12mp", 4000, 3000)):
        scale = max(width / cup.width, height / cup.height)
        large = cup.resize(scale).crop(0, 0, width, height)
        grain = pyvips.Image.gaussnoise(width, height, sigma=5, mean=0)
        large = (large + grain).cast("uchar").copy(interpretation="srgb")
        large.write_to_file(str(folder / f"{name}.jpg"), Q=92)
    black = pyvips.Image.black(12000, 12000, bands=3).copy(interpretation="srgb")
    black.write_to_file(str(folder / "bomb.png"), compression=9)
    whole = (EXAMPLES / "astronaut.png").read_bytes()
    bad = {
        "empty.png": b"",
        "text.jpg": b"this is no picture\n" * 100,
        "short.png": whole[:200_000],
        "damaged.png": whole[:50_000] + bytes(2000) + whole[52_000:],
        "header.png": whole[:33],
        "page.html.png": b"<html><script>alert(1)</script></html>",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "short.jpg": (folder / "1080p.jpg").read_bytes()[:60_000],
        "zip.webp": b"PK\x03\x04" + bytes(300),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    return {path.name: path for path in folder.iterdir()}


def cut(client: Client, picture: Path, **settings: object) -> tuple[str | None, dict[str, Any]]:
    """Call /cut; return the path of the cut-out or None, and the result."""
    answer: tuple[str | None, dict[str, Any]] = client.predict(
        handle_file(str(picture)), "balanced", settings, api_name="/cut"
    )
    return answer


def pixels_hash(path: str | Path) -> str:
    """Return a hash of the pixels of a cut-out."""
    image = pyvips.Image.new_from_file(str(path))
    return hashlib.sha256(image.write_to_memory()).hexdigest()


def open_page(play: Any, address: str) -> Page:
    """Open the page in a new browser."""
    browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    page: Page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-US")
    page.goto(address)
    page.wait_for_selector("[data-example]")
    return page


def take(page: Page, picture: Path) -> None:
    """Upload a picture and wait until it is shown."""
    page.set_input_files("#picture input[type=file]", str(picture))
    page.wait_for_function("() => document.querySelector('#picture img')?.src.includes('gradio')")


def measure_clicks(page: Page, n: int) -> dict[str, Any]:
    """Measure the time from a click on Run to the shown cut-out: the first time, and n more."""
    times = []
    for i in range(1, n + 2):
        page.wait_for_selector("#run:not([disabled]):not(.rt-off)")
        page.wait_for_timeout(200)  # Gradio ignores a click until the previous event has ended
        times.append(page.evaluate(CLICK, i) / 1000)
    warm = times[1:]
    return {
        "first_s": times[0],
        "n": n,
        "p50_s": statistics.median(warm),
        "low_s": min(warm),
        "high_s": max(warm),
    }


def read_runs(page: Page) -> list[dict[str, Any]]:
    """Download runs.json as a visitor does, and return the runs."""
    with page.expect_download() as waiting:
        page.click("text=JSON")
    runs: list[dict[str, Any]] = json.loads(Path(waiting.value.path()).read_text())["runs"]
    return runs


def spread(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the times of the warm runs, and the peaks of all runs."""
    times = [run["total_s"] for run in runs if run["run_index"] > 0]
    peaks = [run["peak_rss_bytes"] / MIB for run in runs]
    return {
        "n": len(times),
        "median_s": statistics.median(times),
        "low_s": min(times),
        "high_s": max(times),
        "peak_mib": max(peaks),
        "median_peak_mib": statistics.median(peaks),
    }


def measure_idle(server: Server, seconds: float) -> float:
    """Return the share of a core that server and workers use while a tab is open but idle."""
    everyone = [server.web, *server.web.children(recursive=True)]
    before = sum(sum(process.cpu_times()[:2]) for process in everyone)
    time.sleep(seconds)
    after = sum(sum(process.cpu_times()[:2]) for process in everyone)
    return (after - before) / seconds


def kill_workers(server: Server, client: Client, picture: Path, n: int) -> dict[str, Any]:
    """Kill the worker during n runs; count the reported crashes and the correct next runs."""
    right = pixels_hash(cut(client, picture)[0] or "")
    told = after = 0
    for i in range(n):
        waiting = client.submit(handle_file(str(picture)), "balanced", {}, api_name="/cut")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            state = json.load(urllib.request.urlopen(f"{server.address}/healthz", timeout=2))
            worker = server.worker()
            if state["running"] and worker is not None:
                time.sleep(0.02 + 0.01 * i)
                worker.send_signal(signal.SIGKILL)
                break
        file, result = waiting.result()
        told += file is None and result["kind"] == "crash" and "SIGKILL" in result["message"]
        file, result = cut(client, picture)
        after += file is not None and pixels_hash(file) == right
    return {"n": n, "told": told, "next_run_right": after}


def visit_at_once(server: Server, pictures: list[Path], n: int) -> dict[str, int]:
    """Run n concurrent visitors with the pictures; count correct, wrong and failed results."""
    client = Client(server.address, verbose=False)
    right = {picture: pixels_hash(cut(client, picture)[0] or "") for picture in pictures}

    def visit(i: int) -> str:
        picture = pictures[i % len(pictures)]
        file, result = cut(Client(server.address, verbose=False), picture)
        if file is None:
            return str(result["kind"])
        return "own" if pixels_hash(file) == right[picture] else "wrong"

    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        answers = list(pool.map(visit, range(n)))
    return {kind: answers.count(kind) for kind in sorted(set(answers))}


def measure(folder: Path, soak: int) -> dict[str, Any]:
    """Run all measurements."""
    pictures = make_pictures(folder)
    found: dict[str, Any] = {}
    server = Server()
    found["served_s"] = server.served_s
    with sync_playwright() as play:
        page = open_page(play, server.address)
        take(page, pictures["1080p.jpg"])
        found["click_to_cutout_1080p"] = measure_clicks(page, 20)
        found["idle_share_of_a_core"] = measure_idle(server, 20)
        page.context.browser.close()  # type: ignore[union-attr]
        page = open_page(play, server.address)  # a new visitor, whose runs count from 1
        take(page, pictures["1080p.jpg"])
        measure_clicks(page, 10)
        found["browser_1080p"] = spread(read_runs(page))
        page.context.browser.close()  # type: ignore[union-attr]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rembg_tuner",
            "cut",
            str(pictures["1080p.jpg"]),
            "-o",
            str(folder / "out.png"),
            "--repeat",
            "11",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found["cut_1080p"] = spread(json.loads(done.stdout)["runs"])
    client = Client(server.address, verbose=False)
    rss = [server.rss_mib()]
    for _ in range(soak):
        file, result = cut(client, pictures["12mp.jpg"])
        assert file is not None, result
        Path(file).unlink()
        rss.append(server.rss_mib())
    found["web_rss_mib"] = {
        "before": rss[0],
        "after": rss[-1],
        "highest": max(rss),
        "runs_12mp": soak,
    }
    file, result = cut(client, pictures["bomb.png"])
    found["bomb_144mp"] = {
        "kind": result["kind"],
        "message": result["message"],
        "web_rss_mib": server.rss_mib(),
    }
    bad = (
        "empty.png",
        "text.jpg",
        "short.png",
        "damaged.png",
        "header.png",
        "page.html.png",
        "drawing.svg",
        "phone.heic",
        "short.jpg",
        "zip.webp",
    )
    found["bad_files"] = {}
    for name in bad:
        file, result = cut(client, pictures[name])
        found["bad_files"][name] = result.get("message", "a cut-out")
    found["web_rss_mib"]["after_bad_files"] = server.rss_mib()
    found["kill_9"] = kill_workers(server, client, pictures["12mp.jpg"], 10)
    small = [EXAMPLES / f"{name}.png" for name in ("astronaut", "chelsea", "coffee")]
    found["twenty_at_once"] = visit_at_once(server, small, 20)
    found["web_rss_mib"]["at_the_end"] = server.rss_mib()
    found["exit_code"] = server.close()
    return found


def main() -> None:
    """Measure, print the report, and write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", default=str(ROOT / "benchmarks" / "results"))
    parser.add_argument("--soak", type=int, default=100, help="runs of 12 MP; default: 100")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.soak)
    host = read_host()
    found |= {"cpu": host.cpu, "cores": host.usable_cpus, "features": sorted(host.features)}
    found["date"] = datetime.now(tz=UTC).date().isoformat()
    text = json.dumps(found, indent=2)
    print(text)  # the output of this command
    (Path(arguments.output) / f"page-{found['date']}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
