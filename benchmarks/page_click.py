"""Measure the time from a click on Run to the shown cut-out.

    python benchmarks/page_click.py [BEFORE] [-n 15] [-o DIR]

BEFORE is another checkout with its own `.venv`, such as the previous release. Servers of both are
started alternately (A B A B). Each gets some warm-up clicks, then n clicks, with a 1080p JPEG. The
worker's total in the record of the run is subtracted from the time of each click. The rest is the
browser's event, the queue, the preview, the response, decoding and painting. CPU times are those
of the server with its preview process, without the worker, and of the browser. Run it on an idle
machine with Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from page import CLICK, open_page, read_runs, take
from page_start import free_port, make_picture, wait_until_served
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.contest import starting_environment

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 3  # clicks that are excluded
PAUSE_S = 0.5  # between clicks, so that the work after the previous click has ended
Found = dict[str, Any]


def main() -> None:
    """Measure the checkouts alternately, print the medians, and write all values."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", nargs="?", type=Path, help="another checkout with its .venv")
    parser.add_argument("-n", type=int, default=15, help="clicks of each server; default: 15")
    parser.add_argument("--rounds", type=int, default=2, help="servers of each; default: 2")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    trees = (
        {"now": ROOT}
        if arguments.before is None
        else {"before": arguments.before.resolve(), "now": ROOT}
    )
    found: dict[str, list[Found]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        picture = make_picture(Path(folder))
        for i in range(arguments.rounds):
            for name, root in trees.items():
                found[name] += measure(root, picture, arguments.preset, arguments.n)
                print(f"{i + 1} {name}: {summary(found[name][-arguments.n :])}", file=sys.stderr)
    host = read_host()
    told = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "preset": arguments.preset,
        "load_average": os.getloadavg()[0],
        **{name: summary(clicks) for name, clicks in found.items()},
        "clicks": found,
    }
    print(json.dumps({k: v for k, v in told.items() if k not in ("clicks", "features")}, indent=2))
    path = arguments.output / f"page-click-{told['date']}.json"
    path.write_text(json.dumps(told, indent=1) + "\n")


def measure(root: Path, picture: Path, preset: str, n: int) -> list[Found]:
    """Serve the page of a checkout, click Run, and return the values of each click."""
    port = free_port()
    process = subprocess.Popen(
        [
            str(root / ".venv" / "bin" / "python"),
            str(root / "app.py"),
            "--port",
            str(port),
            "--preset",
            preset,
        ],
        stderr=subprocess.DEVNULL,
        cwd=root,
        env=starting_environment(),
    )
    clicks: list[Found] = []
    try:
        wait_until_served(f"http://127.0.0.1:{port}", process)
        with sync_playwright() as play:
            page = open_page(play, f"http://127.0.0.1:{port}")
            take(page, picture)
            page.wait_for_timeout(1500)  # so that the preview of the upload is not measured
            for i in range(1, WARM_UP + n + 1):
                page.wait_for_selector("#run:not([disabled]):not(.rt-off)")
                page.wait_for_timeout(PAUSE_S * 1000)
                web_s, browser_s = cpu_s(process.pid), chromium_s()
                seen_s = page.evaluate(CLICK, i) / 1000
                page.wait_for_timeout(PAUSE_S * 1000)
                clicks.append(
                    {
                        "seen_s": seen_s,
                        "web_cpu_s": cpu_s(process.pid) - web_s,
                        "browser_cpu_s": chromium_s() - browser_s,
                    }
                )
            for click, run in zip(clicks, read_runs(page), strict=True):
                click["total_s"] = run["total_s"]
                click["less_total_s"] = click["seen_s"] - run["total_s"]
            page.context.browser.close()  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.wait(20)
    return clicks[WARM_UP:]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of the server and its children, except the worker."""
    web = psutil.Process(pid)
    others = [
        one for one in web.children() if "rembg_tuner.worker.worker" not in " ".join(one.cmdline())
    ]
    return float(sum(sum(one.cpu_times()[:2]) for one in (web, *others)))


def chromium_s() -> float:
    """Return the CPU seconds of the browser that this process started."""
    every = psutil.Process().children(recursive=True)
    times = [sum(one.cpu_times()[:2]) for one in every if "chrom" in one.name()]
    return float(sum(times))


def summary(clicks: list[Found]) -> Found:
    """Return the medians, and the range of the time without the worker's total."""
    less = [click["less_total_s"] for click in clicks]
    medians = {
        name: round(statistics.median(click[name] for click in clicks), 4) for name in clicks[0]
    }
    return {
        "n": len(clicks),
        **medians,
        "less_total_low_s": round(min(less), 4),
        "less_total_high_s": round(max(less), 4),
    }


if __name__ == "__main__":
    main()
