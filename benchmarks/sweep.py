"""Measure the duration and the repeatability of sweeps through the command line.

Run it on an idle machine; it takes about 15 minutes.

    python benchmarks/sweep.py [--only SECTION,...]

The results are written to benchmarks/results/sweep-DATE.json after each section, so that sections
can be measured again separately.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.settings.host import read_host
from rembg_tuner.tuning.bench.pictures import P12, P1080
from rembg_tuner.tuning.recommend import front_of

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
SIXTY = [
    "--engine",
    "onnxruntime,openvino",
    "--precision",
    "fp32,bf16,int8",
    "--intra-op-threads",
    "1,2",
    "--network-size",
    "192,224,256,288,320",
    "--cpu-mem-arena",
    "on,off",
    "--mem-pattern",
    "on,off",
    "--spinning",
    "on,off",
]
TURNS = 7
FEW = [
    "--engine",
    "onnxruntime,openvino",
    "--intra-op-threads",
    "1,2",
    "--network-size",
    "192,256,320",
]


LEFT_OUT: list[str] = []  # what this CPU cannot run, as the command prints it


def tuner(*words: str) -> str:
    """Run the command line, return its standard output, and record what it left out."""
    command = [sys.executable, "-m", "rembg_tuner", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stderr, file=sys.stderr, end="", flush=True)
    said = done.stderr.splitlines()
    LEFT_OUT.extend(
        line.removeprefix("left out: ") for line in said if line.startswith("left out: ")
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    return done.stdout


def sweep(folder: Path, axes: list[str], *more: str) -> dict[str, Any]:
    """Sweep the example again; return the content of trials.json and the duration."""
    began = time.perf_counter()
    tuner("sweep", str(EXAMPLE), *axes, "--again", "-o", str(folder), *more)
    found: dict[str, Any] = json.loads((folder / "trials.json").read_text())
    return {"wall_s": round(time.perf_counter() - began, 1), **found}


def measure_sixty(scratch: Path) -> dict[str, Any]:
    """Measure the duration of 60 trials of u2netp, chosen by the guided search.

    Each trial has a warm-up and three runs of one picture; no trial is confirmed.
    """
    found = sweep(scratch / "sixty", SIXTY, "--trials", "60", "--confirm", "0")
    failed = [trial["failure"] for trial in found["trials"] if trial["failure"]]
    return {"trials": len(found["trials"]), "wall_s": found["wall_s"], "failed": failed}


def measure_twice(scratch: Path) -> dict[str, Any]:
    """Measure whether two sweeps, in other orders, have the same front within the spread."""
    twice = [sweep(scratch / f"twice-{seed}", FEW, "--seed", str(seed)) for seed in (1, 2)]
    named = [{json.dumps(t["settings"], sort_keys=True): t for t in one["trials"]} for one in twice]
    fronts = [_front(trials) for trials in named]
    only_once = fronts[0] ^ fronts[1]
    unexplained = [key for key in only_once if not _is_within_spread(key, named, fronts)]
    peaks = [abs(a["peak_bytes"] / named[1][key]["peak_bytes"] - 1) for key, a in named[0].items()]
    return {
        "trials": len(named[0]),
        "front": [len(front) for front in fronts],
        "on_one_front_only": len(only_once),
        "not_explained_by_the_stated_spread": len(unexplained),
        "worst_peak_difference": round(max(peaks), 4),
        "wall_s": [one["wall_s"] for one in twice],
    }


def _front(trials: dict[str, Any]) -> set[str]:
    """Return the keys of the trials on the Pareto front of memory, time and agreement."""
    keys = list(trials)
    costs = [(t["peak_bytes"], t["time_s"], -t["agreement"]) for t in trials.values()]
    return {keys[i] for i in front_of(costs)}


def _is_within_spread(key: str, named: list[dict[str, Any]], fronts: list[set[str]]) -> bool:
    """Return whether the spread explains that a trial is on one of the two fronts only.

    This holds if each trial that dominates it in the other sweep has an overlapping range of times,
    or a peak within 5 %.
    """
    away = named[1] if key in fronts[0] else named[0]
    mine = away[key]
    beaten_by = [
        one
        for one in away.values()
        if one["peak_bytes"] <= mine["peak_bytes"]
        and one["time_s"] <= mine["time_s"]
        and one["agreement"] >= mine["agreement"]
        and one is not mine
    ]
    return all(
        one["time_high_s"] >= mine["time_low_s"] or one["peak_bytes"] >= 0.95 * mine["peak_bytes"]
        for one in beaten_by
    )


def measure_again(scratch: Path) -> dict[str, Any]:
    """Compare peak and time of a sweep's recommendation with separate runs of it.

    The sweep measures its best trials again in four more workers, and states a range for 19 of 20
    cases. Then a new worker runs the recommendation with a warm-up and three runs, and their median
    is compared with this range. Both steps are repeated.
    """
    turns = []
    for i in range(TURNS):
        found = sweep(scratch / f"again-{i}", FEW, "--seed", str(i))
        chosen = next(trial for trial in found["trials"] if trial["number"] == found["chosen"])
        flags = [
            word
            for name in ("model", "engine", "precision", "network_size", "intra_op_threads")
            for word in (f"--{name.replace('_', '-')}", str(chosen["settings"][name]))
        ]
        words = ["--repeat", "4", "--json", "-o", str(scratch / "out.png")]
        runs = json.loads(tuner("cut", str(EXAMPLE), *flags, *words))["runs"]
        times = sorted(run["total_s"] for run in runs[1:])
        peak = max(*(run["peak_rss_bytes"] for run in runs), runs[0]["load_peak_rss_bytes"])
        turns.append(
            {
                "settings": " ".join(flags),
                "swept": {
                    "time_s": chosen["time_s"],
                    "workers_s": chosen["workers_s"],
                    "expected_s": found["expected_s"],
                    "peak_bytes": chosen["peak_bytes"],
                },
                "by_hand": {
                    "time_s": times[1],
                    "low_s": times[0],
                    "high_s": times[-1],
                    "peak_bytes": peak,
                },
            }
        )
        print(turns[-1], file=sys.stderr, flush=True)
    return {
        "turns": turns,
        "worst_peak_difference": round(
            max(abs(t["by_hand"]["peak_bytes"] / t["swept"]["peak_bytes"] - 1) for t in turns), 4
        ),
        "times_within_what_is_expected": sum(
            t["swept"]["expected_s"][0] <= t["by_hand"]["time_s"] <= t["swept"]["expected_s"][1]
            for t in turns
        ),
        "times_between_its_workers_medians": sum(
            min(t["swept"]["workers_s"]) <= t["by_hand"]["time_s"] <= max(t["swept"]["workers_s"])
            for t in turns
        ),
    }


def measure_scaling(scratch: Path) -> dict[str, Any]:
    """Measure the effect of scaling a 12 MP picture down on rembg's own pipeline."""
    rows = {}
    for side in (0, 1080, 768, 512):
        words = [
            "--model",
            "u2netp",
            "--engine",
            "rembg",
            "--max-side",
            str(side),
            "--repeat",
            "4",
            "--json",
        ]
        text = tuner("cut", str(P12.make()), *words, "-o", str(scratch / "out.png"))
        runs = json.loads(text)["runs"]
        middle = {
            name: sorted(values)[1]
            for name, values in (
                ("predict_s", [run["stages_s"]["predict"] for run in runs[1:]]),
                ("rest_s", [run["stages_s"]["rest"] for run in runs[1:]]),
                ("total_s", [run["total_s"] for run in runs[1:]]),
            )
        }
        rows[str(side)] = {**middle, "peak_bytes": max(run["peak_rss_bytes"] for run in runs)}
    return rows


def measure_soak(scratch: Path) -> dict[str, Any]:
    """Measure 600 runs of the default preset at 1080p in one worker."""
    text = tuner("soak", str(P1080.make()), "--runs", "600", "--json", "-o", str(scratch / "soak"))
    found: dict[str, Any] = json.loads(text)
    rss = found.pop("rss_bytes")
    found.pop("times_s")
    return {
        **found,
        "runs": len(rss),
        "rss_mib_every_100": [round(v / 2**20, 2) for v in rss[::100]],
    }


SECTIONS = {
    "sixty": measure_sixty,
    "twice": measure_twice,
    "again": measure_again,
    "scaling": measure_scaling,
    "soak": measure_soak,
}


def main() -> None:
    """Measure the requested sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS))
    arguments = parser.parse_args()
    host = read_host()
    path = RESULTS / f"sweep-{datetime.now(UTC).date().isoformat()}.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    report |= {"cpu": host.cpu, "cores": host.usable_cpus, "features": sorted(host.features)}
    for name in arguments.only.split(","):
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            report[name] = SECTIONS[name](Path(scratch))
        report["left_out"] = sorted({*report.get("left_out", []), *LEFT_OUT})
        print(json.dumps(report[name], indent=1), flush=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
