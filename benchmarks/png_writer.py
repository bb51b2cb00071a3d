"""Measure the PNG writer against the previous release: time, file sizes, memory, cancellation.

    python benchmarks/png_writer.py --before DIR --pictures DIR [--only SECTION,...]

--before: a checkout of the previous release with its own .venv. --pictures: a folder with real
pictures; examples/ are added. The matte is a soft ellipse, so no network runs. Sections: stage (CPU
and wall time of the write stage and peak RSS, alternating the releases), sizes (each picture at two
sizes), zlib (its levels, for machines without isal), large (268 MP) and cancel (the time to cancel
at 48 MP). The results are written to benchmarks/results/png-writer-DATE.json. Wall times require
two idle cores; CPU times and sizes do not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.imaging import png_writer
from rembg_tuner.runtime.launching import lean_environment
from rembg_tuner.runtime.meter import load_average
from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.pictures import P12, P48, P1080, BenchPicture

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 7
P268 = BenchPicture(name="268 MP", width=16384, height=16384)
# Runs in a checkout; sys.argv[1] is a JSON task. Supports the APIs of both releases.
CHILD = """
import json, sys, threading, time
from pathlib import Path
task = json.loads(sys.argv[1])
if task.get("zlib"):
    sys.modules["isal"] = None
import numpy as np
from rembg_tuner.base.errors import CancelledError
from rembg_tuner.imaging import compose, libvips, source
if task.get("zlib"):
    try:
        from rembg_tuner.imaging import png_writer as deflate
        deflate.deflate
    except AttributeError:
        from rembg_tuner.imaging import deflate
    deflate._LEVELS["zlib"] = task["zlib"]
try:
    from rembg_tuner.imaging.header import read_header
except ImportError:
    read_header = source.read_header
try:
    from rembg_tuner.imaging.matte import PictureMatte
    wrap = PictureMatte.of
except ImportError:
    wrap = lambda matte: matte
libvips.start_libvips(2)
y, x = np.mgrid[-1:1:320j, -1:1:320j]
matte = np.clip((0.8 - np.hypot(x, y)) * 8, 0, 1).astype(np.float32)
cancelled = threading.Event()
def write(path, max_side=0):
    header = read_header(Path(path))
    cutout = compose.Composition(header=header, matte=wrap(matte), max_side=max_side, background=None)
    cpu, wall = time.process_time(), time.perf_counter()
    size = compose.write_cutout(cutout, Path(task["output"]), is_cancelled=cancelled.is_set)
    return {"bytes": size, "cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
found = []
for path, max_side in task["pictures"]:
    found += [write(path, max_side) for _ in range(task.get("times", 1))]
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) * 1024
waited = []
for after_s in task.get("cancel_after_s", ()):
    cancelled.clear()
    def cancel():
        global cancelled_at
        cancelled_at = time.perf_counter()
        cancelled.set()
    timer = threading.Timer(after_s, cancel)
    timer.start()
    try:
        write(task["pictures"][0][0])
    except CancelledError:
        waited.append(time.perf_counter() - cancelled_at)
    timer.join()
print(json.dumps({"runs": found, "peak_bytes": peak, "waited_s": waited}))
"""


@dataclass(frozen=True, slots=True)
class Given:
    """The inputs of a section: the previous release, pictures, and a folder for output files."""

    before: Path
    pictures: list[Path]
    folder: str


def run_child(checkout: Path, folder: str, **task: Any) -> dict[str, Any]:
    """Run a task in a process of a checkout, with the environment of a worker."""
    python = checkout / ".venv" / "bin" / "python"
    task["output"] = f"{folder}/out.png"
    done = subprocess.run(
        [str(python) if python.exists() else sys.executable, "-c", CHILD, json.dumps(task)],
        cwd=checkout,
        env={**lean_environment(), "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stage(given: Given) -> dict[str, Any]:
    """Measure writing the pictures of the bench, alternating the releases.

    Each round uses a new process, and measures its second and third write.
    """
    found = {}
    for picture in (P1080, P12, P48):
        path = [[str(picture.make()), 0]]
        rounds: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
        for _ in range(ROUNDS):
            for name, checkout in (("before", given.before), ("now", ROOT)):
                rounds[name].append(run_child(checkout, given.folder, pictures=path, times=3))
        row: dict[str, Any] = {}
        for name, some in rounds.items():
            runs = [run for one in some for run in one["runs"][1:]]
            row[name] = {key: median(run[key] for run in runs) for key in runs[0]}
            row[name]["peak_bytes"] = median(one["peak_bytes"] for one in some)
        for key in ("cpu_s", "wall_s", "bytes"):
            row[f"{key}_of_before"] = row["now"][key] / row["before"][key]
        found[picture.name] = row | {"n": ROUNDS * 2}
    return found


def sizes(given: Given) -> dict[str, Any]:
    """Write each picture at full size and at 256 px, and compare the file sizes."""
    tasks = [[str(path), side] for path in given.pictures for side in (0, 256)]
    sums = [
        [run["bytes"] for run in run_child(checkout, given.folder, pictures=tasks)["runs"]]
        for checkout in (given.before, ROOT)
    ]
    ratios = [now / then for then, now in zip(*sums, strict=True)]
    names = [f"{Path(path).name} {side or 'whole'}" for path, side in tasks]
    return {
        "n": len(ratios),
        "median": median(ratios),
        "worst": max(ratios),
        "best": min(ratios),
        "each": {name: round(ratio, 4) for name, ratio in zip(names, ratios, strict=True)},
    }


def zlib_levels(given: Given) -> dict[str, Any]:
    """Measure each level of zlib, without isal: CPU time at 12 MP, and file sizes."""
    tasks = [[str(path), side] for path in given.pictures for side in (0, 256)]
    then = [run["bytes"] for run in run_child(given.before, given.folder, pictures=tasks)["runs"]]
    found = {}
    for level in (1, 2, 3, 4):
        large = run_child(ROOT, given.folder, pictures=[[str(P12.make()), 0]], times=5, zlib=level)
        small = run_child(ROOT, given.folder, pictures=tasks, zlib=level)
        ratios = [run["bytes"] / size for run, size in zip(small["runs"], then, strict=True)]
        cpu_s = median(run["cpu_s"] for run in large["runs"][1:])
        found[str(level)] = {
            "cpu_s_12mp": cpu_s,
            "bytes_12mp": large["runs"][0]["bytes"],
            "size_median": median(ratios),
            "size_worst": max(ratios),
            "n": len(ratios),
        }
    return found


def large(given: Given) -> dict[str, Any]:
    """Measure one write of 268 MP, the maximum in strips, and the peak at 1080p."""
    one = run_child(ROOT, given.folder, pictures=[[str(P1080.make()), 0]], times=3)
    whole = run_child(ROOT, given.folder, pictures=[[str(P268.make()), 0]])
    return {
        **whole["runs"][0],
        "peak_bytes": whole["peak_bytes"],
        "peak_bytes_1080p": one["peak_bytes"],
        "n": 1,
    }


def cancel(given: Given) -> dict[str, Any]:
    """Cancel the writing of 48 MP at several times; measure the seconds until it has ended."""
    moments = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    path = [[str(P48.make()), 0]]
    found = run_child(ROOT, given.folder, pictures=path, times=1, cancel_after_s=moments)
    return {
        "median_s": median(found["waited_s"]),
        "worst_s": max(found["waited_s"]),
        "n": len(found["waited_s"]),
    }


SECTIONS = {"stage": stage, "sizes": sizes, "zlib": zlib_levels, "large": large, "cancel": cancel}


def main() -> None:
    """Measure the requested sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SECTIONS))
    arguments = parser.parse_args()
    pictures = sorted([*arguments.pictures.iterdir(), *(ROOT / "examples").glob("*.png")])
    host = read_host()
    path = RESULTS / f"png-writer-{datetime.now(UTC).date().isoformat()}.json"
    report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    report |= {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "library": f"{png_writer.DEFLATE_LIBRARY} {png_writer.DEFLATE_VERSION}",
    }
    for name in arguments.only.split(","):
        load = load_average()
        with tempfile.TemporaryDirectory() as folder:
            report[name] = SECTIONS[name](Given(arguments.before.resolve(), pictures, folder))
        report[name]["load_average"] = load
        print(name, json.dumps(report[name], indent=1), flush=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
