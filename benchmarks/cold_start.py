"""Measure cold starts: `python benchmarks/cold_start.py [BEFORE] [-n 7] [-o DIR]`.

Run it on an idle machine.

It alternates stock rembg in a new Python process, `cut` of BEFORE (another checkout with its own
`.venv`) and `cut` of this checkout. Each writes a 1080p JPEG as PNG with u2netp; `cut` uses
OpenVINO in int8 at 320 px. All caches are filled. It measures for each:

- file: from the start of the process to the renamed output file, with the resolution of the
  kernel's clock (some ms);
- exit: from the start to the exit of the process;
- CPU: user and system time of the process and its children.

It then measures each step of this checkout's `cut`. The JSON has all values, the tables the
medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.contest import starting_environment
from rembg_tuner.tuning.bench.pictures import P1080

ROOT = Path(__file__).resolve().parent.parent
STOCK = """
import sys, rembg
session = rembg.new_session("u2netp")
open(sys.argv[2], "wb").write(rembg.remove(open(sys.argv[1], "rb").read(), session=session))
"""
FLAGS = ("--engine", "openvino", "--precision", "int8", "--network-size", "320")
# Runs `cut` and records the time of each step, in seconds since BEGAN.
MARKED = """
import atexit, json, os, sys, time
began, marks = float(os.environ["BEGAN"]), []
def mark(name, at=None):
    marks.append((name, (time.perf_counter() if at is None else at) - began))
mark("Python runs")
class Finder:
    names = {"rembg_tuner.cli.cut": "command line imported"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            mark(self.names[name])
        if name in ("rembg_tuner.runtime.outcomes", "rembg_tuner.running.outcomes"):
            watch()
def watch():
    try:
        from rembg_tuner.base.child_process import ChildProcess as Worker
    except ImportError:  # the layout before
        from rembg_tuner.running.process import WorkerProcess as Worker
    real, end = Worker.receive, Worker.close
    def receive(self, timeout_s):
        if not any(name == "command imported, settings made" for name, _ in marks):
            mark("command imported, settings made")
        message = real(self, timeout_s)
        event = message and message["event"]
        if event == "ready":
            mark("worker has imported", message["ready_at"])
        elif event == "loaded":
            mark("model loaded")
        elif event == "stage":
            mark("stage " + message["stage"] + " begins")
        elif event == "done":
            mark("file has its name", message["renamed_at"])
        return message
    def close(self):
        mark("result written, worker is told to end")
        end(self)
        mark("worker has ended")
    Worker.receive, Worker.close = receive, close
spawn = os.posix_spawn
def launch(*words, **rest):
    pid = spawn(*words, **rest)
    mark("worker launched")
    return pid
os.posix_spawn = launch
sys.meta_path.insert(0, Finder())
from rembg_tuner.cli.main import main
def write():
    with open(os.environ["MARKS"], "w") as file:
        json.dump(marks, file)
atexit.register(write)
sys.exit(main())
"""
Found = dict[str, float]


def main() -> None:
    """Measure the commands alternately, print the medians, and write all values."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", nargs="?", type=Path, help="another checkout with its .venv")
    parser.add_argument("-n", type=int, default=7, help="starts of each; default: 7")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = commands(Path(folder), arguments.before)
        found: dict[str, list[Found]] = {name: [] for name in starts}
        for i in range(-1, arguments.n):  # the first run of each fills the caches
            for name, (command, environment) in starts.items():
                one = start(command, environment, Path(folder) / "out.png")
                if i >= 0:
                    found[name].append(one)
                    print(f"{i + 1} {name}: {one['exit_s']:.3f} s", file=sys.stderr)
        steps = timeline(Path(folder), arguments.n)
    told = report(found, steps)
    print(tables(told))
    (arguments.output / f"cold-start-{told['date']}.json").write_text(
        json.dumps(told, indent=1) + "\n"
    )


def commands(folder: Path, before: Path | None) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the command and the additional environment of each start, stock first."""
    words = [str(P1080.make()), "-o", str(folder / "out.png"), *FLAGS]
    models = {"U2NET_HOME": str(ROOT / "rembg_tuner" / "models")}
    made = {"stock": ([sys.executable, "-c", STOCK, words[0], words[2]], models)}
    trees = {"before": before.resolve(), "now": ROOT} if before is not None else {"now": ROOT}
    for name, tree in trees.items():
        python = sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python")
        environment = {"PYTHONPATH": str(tree), CACHE_VARIABLE: str(folder / f"cache-{name}")}
        # -P: the working directory can contain this release, so it must not be in sys.path
        made[name] = ([python, "-P", "-m", "rembg_tuner", "cut", *words], environment)
    return made


def start(command: list[str], environment: dict[str, str], output: Path) -> Found:
    """Run a command, and return its seconds to the file, to the exit, and of CPU time."""
    output.unlink(missing_ok=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, began_at = time.perf_counter(), time.time()
    subprocess.run(
        command, env=starting_environment(**environment), stdout=subprocess.DEVNULL, check=True
    )
    exit_s = time.perf_counter() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "file_s": output.stat().st_ctime - began_at,
        "exit_s": exit_s,
        "cpu_s": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
    }


def timeline(folder: Path, count: int) -> dict[str, float]:
    """Return the median seconds from the start to each step of this checkout's `cut`."""
    marks = folder / "marks.json"
    words, environment = commands(folder, None)["now"]
    command = [words[0], "-P", "-c", MARKED, *words[4:]]
    steps: dict[str, list[float]] = {}
    for _ in range(count):
        began = time.perf_counter()
        more = {**environment, "BEGAN": str(began), "MARKS": str(marks)}
        start(command, more, folder / "out.png")
        ended_s = time.perf_counter() - began
        seen = dict(reversed(json.loads(marks.read_text(encoding="utf-8"))))
        for name, at_s in {**seen, "process has ended": ended_s}.items():
            steps.setdefault(name, []).append(at_s)
    medians = {name: statistics.median(times) for name, times in steps.items()}
    return dict(sorted(medians.items(), key=lambda step: step[1]))


def report(found: dict[str, list[Found]], steps: dict[str, float]) -> dict[str, Any]:
    """Return the content of the JSON file."""
    host = read_host()
    medians = {
        name: {key: statistics.median(one[key] for one in every) for key in every[0]}
        for name, every in found.items()
    }
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "load_average": os.getloadavg()[0],
        "n": len(next(iter(found.values()))),
        "medians": medians,
        "steps": steps,
        "all": found,
    }


def tables(told: dict[str, Any]) -> str:
    """Return the medians as Markdown tables."""
    stock = told["medians"]["stock"]
    lines = [
        f"{told['cpu']}, {told['cores']} cores, n = {told['n']}",
        "",
        "| start | file | exit | CPU | file to file, of stock | exit to exit |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, one in told["medians"].items():
        times = " | ".join(f"{one[key] * 1000:.0f} ms" for key in ("file_s", "exit_s", "cpu_s"))
        ratios = " | ".join(f"{one[key] / stock[key]:.3f}" for key in ("file_s", "exit_s"))
        lines.append(f"| {name} | {times} | {ratios} |")
    lines += ["", "| step | at | took |", "|---|--:|--:|"]
    last_s = 0.0
    for name, at_s in told["steps"].items():
        lines.append(f"| {name} | {at_s * 1000:.0f} ms | {(at_s - last_s) * 1000:.0f} ms |")
        last_s = at_s
    return "\n".join(lines)


if __name__ == "__main__":
    main()
