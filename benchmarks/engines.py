"""Measure time, peak RSS and agreement of all engines and number formats.

    python benchmarks/engines.py --eval DIR --models DIR [--only SECTION,...]

Run it on an idle machine. --eval: a folder with images/ and u2net/ (the masks of u2net). --models:
a folder with isnet-general-use.onnx and u2net.onnx; u2net.onnx can be a stand-in of the same size
and speed, since its masks are not used. The results are written to
benchmarks/results/engines-DATE.json after each section, so that sections can be measured again
separately.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.base.units import MIB
from rembg_tuner.imaging.quality import intersection_over_union, mean_absolute_error
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import Result, setting_peak_bytes
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.bench.pictures import P48, P1080
from rembg_tuner.worker.pipeline import Job

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
ROUNDS = 7
SIZES = (160, 192, 256, 320, 384, 448, 512, 640, 768)


def cut(runner: Runner, picture: Path, settings: Settings, output: Path) -> Result:
    """Run one picture.

    Raises:
        SystemExit: the run failed.
    """
    run = runner.run(Job(input=str(picture), output=str(output)), settings)
    if not isinstance(run, Result):
        raise SystemExit(f"{settings.changed()}: {run.message}")
    return run


def matte_of(path: Path) -> Any:
    """Read the alpha of a cut-out, or a mask, as float32 (h, w) in [0, 1]."""
    image = pyvips.Image.new_from_file(str(path))
    band = image[image.bands - 1] if image.bands in (2, 4) else image[0]
    return band.numpy().astype(np.float32) / 255


def contest(named: dict[str, Settings], picture: Path, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Run settings alternately, each in its own worker; times exclude the first run of each."""
    runs: dict[str, list[Result]] = {name: [] for name in named}
    with tempfile.TemporaryDirectory() as scratch:
        runners = {name: Runner() for name in named}
        try:
            for _ in range(rounds + 1):
                for name, settings in named.items():
                    runs[name].append(
                        cut(runners[name], picture, settings, Path(scratch) / "out.png")
                    )
        finally:
            for runner in runners.values():
                runner.close()
    return {name: figures(taken) for name, taken in runs.items()}


def figures(taken: list[Result]) -> dict[str, Any]:
    """Summarise the runs of a worker: warm times of the network and in total, and the peak."""
    warm = taken[1:]
    predict = [run.stages_s["predict"] for run in warm]
    return {
        "predict_p50_s": round(statistics.median(predict), 4),
        "predict_low_s": round(min(predict), 4),
        "predict_high_s": round(max(predict), 4),
        "total_p50_s": round(statistics.median(run.total_s for run in warm), 4),
        "peak_mib": round((setting_peak_bytes(taken) or 0) / MIB, 1),
        "load_s": round(taken[0].load_s, 3),
        "n": len(warm),
        "effective": taken[0].effective,
    }


def mattes(settings: Settings, folder: Path) -> dict[str, Any]:
    """Cut out all evaluation pictures, and return the mattes by name."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch, Runner() as runner:
        for picture in sorted((folder / "images").iterdir()):
            output = Path(scratch) / f"{picture.stem}.png"
            cut(runner, picture, settings, output)
            found[picture.stem] = matte_of(output)
    return found


def agree(found: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    """Return the agreement of the mattes, averaged over the pictures, and the worst MAE."""
    pairs = [(found[name], reference[name]) for name in found]
    return {
        "mae": round(statistics.mean(mean_absolute_error(a, b) for a, b in pairs), 5),
        "worst_mae": round(max(mean_absolute_error(a, b) for a, b in pairs), 5),
        "iou": round(statistics.mean(intersection_over_union(a, b) for a, b in pairs), 5),
        "n": len(pairs),
    }


FORMATS = {
    "onnxruntime fp32": Settings(engine="onnxruntime"),
    "onnxruntime int8": Settings(engine="onnxruntime", precision="int8"),
    "openvino fp32": Settings(engine="openvino"),
    "openvino bf16": Settings(engine="openvino", precision="bf16"),
    "openvino int8": Settings(engine="openvino", precision="int8"),
    "openvino int8 256": Settings(engine="openvino", precision="int8", network_size=256),
    "ncnn fp32": Settings(engine="ncnn"),
    "ncnn bf16": Settings(engine="ncnn", precision="bf16"),
}


LEFT_OUT: dict[str, str] = {}


def possible(named: dict[str, Settings]) -> dict[str, Settings]:
    """Return the settings that this CPU can run; add the others to LEFT_OUT with the reason."""
    machine = read_machine()
    kept = {}
    for name, settings in named.items():
        refusals = check(settings, machine)
        if not refusals:
            kept[name] = settings
        else:
            LEFT_OUT[name] = reason = str(refusals[0].clause or refusals[0].reason)
            print(f"left out: {name}: {reason}", file=sys.stderr, flush=True)
    return kept


def measure_agreement(folder: Path, _models: Path) -> dict[str, Any]:
    """Measure the agreement of u2netp's formats with fp32 of the same engine, others and u2net."""
    found = {name: mattes(settings, folder) for name, settings in possible(FORMATS).items()}
    u2net = {path.stem: matte_of(path) for path in sorted((folder / "u2net").iterdir())}
    return {
        name: {
            "with_own_fp32": agree(taken, found[f"{name.split()[0]} fp32"]),
            "with_onnxruntime_fp32": agree(taken, found["onnxruntime fp32"]),
            "with_u2net": agree(taken, u2net),
        }
        for name, taken in found.items()
    }


def measure_u2netp(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure times and peaks of u2netp's formats, alternating, 1080p JPEG to PNG."""
    return contest(possible(FORMATS), P1080.make())


def measure_isnet(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure ISNet at 1024 px in all engines, to compare with ONNX Runtime's defaults."""
    return contest(
        possible(
            {
                "onnxruntime": Settings(model="isnet-general-use", engine="onnxruntime"),
                "openvino fp32": Settings(model="isnet-general-use", engine="openvino"),
                "openvino bf16": Settings(
                    model="isnet-general-use", engine="openvino", precision="bf16"
                ),
                "ncnn fp32": Settings(model="isnet-general-use", engine="ncnn"),
                "ncnn bf16": Settings(model="isnet-general-use", engine="ncnn", precision="bf16"),
            }
        ),
        P1080.make(),
        rounds=5,
    )


def measure_u2net(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure a network of u2net's size in all engines, to compare with ONNX Runtime's defaults."""
    return contest(
        possible(
            {
                "onnxruntime": Settings(model="u2net", engine="onnxruntime"),
                "openvino fp32": Settings(model="u2net", engine="openvino"),
                "openvino bf16": Settings(model="u2net", engine="openvino", precision="bf16"),
                "ncnn fp32": Settings(model="u2net", engine="ncnn"),
                "ncnn bf16": Settings(model="u2net", engine="ncnn", precision="bf16"),
            }
        ),
        EXAMPLE,
        rounds=5,
    )


def measure_sizes(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure how the memory of the network grows with its input size.

    The result has the fitted exponent of the peak RSS minus the RSS after the load.
    """
    ways = {
        "onnxruntime, defaults": Settings(engine="onnxruntime"),
        "onnxruntime, no arena, no pattern": Settings(
            engine="onnxruntime", cpu_mem_arena=False, mem_pattern=False
        ),
        "openvino fp32": Settings(engine="openvino"),
        "openvino bf16": Settings(engine="openvino", precision="bf16"),
        "ncnn fp32": Settings(engine="ncnn"),
    }
    return {name: _growth(settings) for name, settings in possible(ways).items()}


def _growth(settings: Settings) -> dict[str, Any]:
    """Measure settings at each size, with three runs in a new worker."""
    from dataclasses import replace

    rows: list[dict[str, float]] = []
    for side in SIZES:
        with tempfile.TemporaryDirectory() as scratch, Runner() as runner:
            sized = replace(settings, network_size=side)
            runs = [cut(runner, EXAMPLE, sized, Path(scratch) / "out.png") for _ in range(3)]
        after_load = runs[0].curve[0][1]
        peak = max(run.peak_rss_bytes or 0 for run in runs)
        rows.append({"side": side, "after_load_mib": after_load / MIB, "peak_mib": peak / MIB})
    x = [math.log(row["side"]) for row in rows]
    y = [math.log(row["peak_mib"] - row["after_load_mib"]) for row in rows]
    slope = statistics.linear_regression(x, y).slope
    return {"exponent": round(slope, 3), "rows": rows}


def measure_large(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure the additional peak of a 48 MP JPEG over a 1080p one; three runs in new workers."""
    rows: dict[str, Any] = {}
    for name, settings in possible(FORMATS).items():
        peaks = {}
        for picture in (P1080, P48):
            with tempfile.TemporaryDirectory() as scratch, Runner() as runner:
                runs = [
                    cut(runner, picture.make(), settings, Path(scratch) / "out.png")
                    for _ in range(3)
                ]
            peaks[picture.name] = (setting_peak_bytes(runs) or 0) / MIB
        rows[name] = {
            "peaks_mib": peaks,
            "growth_mib": round(peaks[P48.name] - peaks[P1080.name], 1),
        }
    return rows


def measure_stock(folder: Path, _models: Path) -> dict[str, Any]:
    """Measure the agreement of this program with rembg's session, for each architecture."""
    rows: dict[str, Any] = {}
    for model in ("u2netp", "isnet-general-use"):
        theirs = mattes(Settings(model=model, engine="rembg", timeout_s=200.0), folder)
        for engine in ("onnxruntime", "openvino", "ncnn"):
            ours = mattes(Settings(model=model, engine=engine), folder)  # type: ignore[arg-type]
            rows[f"{model} {engine}"] = agree(ours, theirs)
    return rows


def measure_batch(_folder: Path, _models: Path) -> dict[str, Any]:
    """Measure the time per picture and the peak with batches of 1 and 4."""
    rows: dict[str, Any] = {}
    for engine in ("onnxruntime", "openvino"):
        for count in (1, 4):
            settings = Settings(engine=engine, batch_size=count)  # type: ignore[arg-type]
            with tempfile.TemporaryDirectory() as scratch, Runner() as runner:
                jobs = [Job(input=str(EXAMPLE), output=f"{scratch}/{i}.png") for i in range(4)]
                taken: list[Result] = []
                for _ in range(ROUNDS + 1):
                    for i in range(0, 4, count):
                        for one in runner.run_together(jobs[i : i + count], settings):
                            if not isinstance(one, Result):
                                raise SystemExit(one.message)
                            taken.append(one)
            warm = taken[4:]
            rows[f"{engine} {count}"] = {
                "predict_a_picture_p50_s": round(
                    statistics.median(r.stages_s["predict"] for r in warm), 4
                ),
                "peak_mib": round((setting_peak_bytes(taken) or 0) / MIB, 1),
                "n": len(warm),
            }
    return rows


SECTIONS = {
    "agreement": measure_agreement,
    "u2netp": measure_u2netp,
    "isnet": measure_isnet,
    "u2net_like": measure_u2net,
    "sizes": measure_sizes,
    "large": measure_large,
    "stock": measure_stock,
    "batch": measure_batch,
}


def main() -> None:
    """Measure the requested sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SECTIONS))
    arguments = parser.parse_args()
    os.environ["U2NET_HOME"] = str(arguments.models)
    os.environ["MODEL_CHECKSUM_DISABLED"] = "1"  # the files can be stand-ins, or in half precision
    host = read_host()
    path = RESULTS / f"engines-{datetime.now(UTC).date().isoformat()}.json"
    report = json.loads(path.read_text()) if path.is_file() else {}
    report |= {"cpu": host.cpu, "cores": host.usable_cpus, "features": sorted(host.features)}
    for name in arguments.only.split(","):
        print(name, file=sys.stderr, flush=True)
        report[name] = SECTIONS[name](arguments.eval, arguments.models)
        report["left_out"] = report.get("left_out", {}) | LEFT_OUT
        print(json.dumps(report[name], indent=1), flush=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
