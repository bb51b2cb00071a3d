"""Score `focus auto` on scenes with known alpha, for several engines.

    python -m benchmarks.edges [--engines "openvino fp32,openvino int8"] [--set held-out] [-o DIR]

Run it in the project's folder, with requirements-dev.txt installed. The name of an engine has the
engine, the precision and optionally the network size: `openvino int8 256`. The results are written
to benchmarks/results/edges-DATE.json. Thresholds must be chosen on `--set tuning` only.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from PIL import Image

from benchmarks.edges.scenes import Scene, SetName, plan
from benchmarks.edges.scoring import Score, record, score_scene, table
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.settings import Settings

RESULTS = Path(__file__).parent.parent / "results"
_PACKAGES = ("openvino", "onnxruntime", "ncnn", "numpy", "scipy", "scikit-image", "pyvips")


def read_engine(text: str) -> tuple[Settings, Settings]:
    """Parse the name of an engine; return its settings with focus off and with focus auto."""
    engine, precision, *size = text.split()
    network_size = int(size[0]) if size else 0
    chosen: dict[str, Any] = {
        "engine": engine,
        "precision": precision,
        "network_size": network_size,
    }
    return Settings(**chosen, focus="off"), Settings(**chosen, focus="auto")


def score_scenes(scenes: list[Scene], engines: list[str]) -> dict[str, list[Score]]:
    """Score all scenes with all engines; each engine has one worker for all scenes."""
    settings = {name: read_engine(name) for name in engines}
    scores: dict[str, list[Score]] = {name: [] for name in engines}
    runners = {name: Runner() for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "scene.png", Path(folder) / "cut-out.png"
        try:
            for i, scene in enumerate(scenes, start=1):
                picture, alpha = scene.make()
                Image.fromarray(picture).save(files[0], compress_level=1)
                for name in engines:
                    score = score_scene(
                        runners[name], settings[name], (scene.name, scene.kind), alpha, files
                    )
                    scores[name].append(score)
                print(f"\r{i} of {len(scenes)} scenes", end="", file=sys.stderr)
        finally:
            for runner in runners.values():
                runner.close()
    print(file=sys.stderr)
    return scores


def describe_machine() -> dict[str, Any]:
    """Return the machine and the versions that the results depend on."""
    host = read_host()
    return {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def main() -> None:
    """Score the scenes, print the tables, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engines", default="openvino fp32,openvino int8", help="comma-separated")
    parser.add_argument("--set", dest="set_name", choices=get_args(SetName), default="held-out")
    parser.add_argument("--every", type=int, default=1, help="score each n-th scene only")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    engines = [name.strip() for name in arguments.engines.split(",")]
    started = time.perf_counter()
    scores = score_scenes(plan(arguments.set_name)[:: arguments.every], engines)
    for name, found in scores.items():
        print(f"\n{name}, {arguments.set_name} scenes: focus off > focus auto where it applies")
        print("\n".join(table(found)))
    date = datetime.now(tz=UTC).date().isoformat()
    path = arguments.output / f"edges-{date}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept[arguments.set_name] = kept.get(arguments.set_name, {}) | {
        name: record(found) for name, found in scores.items()
    }
    kept["machine"] = describe_machine()
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"\n{time.perf_counter() - started:.0f} s; written to {path}")


if __name__ == "__main__":
    main()
