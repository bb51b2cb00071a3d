"""Measure the table of the article through the command line.

Run it on an idle machine; it takes about two minutes.

    python benchmarks/article.py --models DIR [--stand-in] [--avx2] [--rounds N] [-o DIR]

--models: a folder with u2net.onnx, either the released file or a stand-in of its size and speed
(--stand-in). --avx2 limits OpenVINO to AVX2 as `rembg-tuner bench --avx2` does; ONNX Runtime, which
runs the rows of the article, cannot be limited. The results are written to
benchmarks/results/article-DATE.json or avx2-article-DATE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.settings.host import read_host

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print the report, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--rounds", default="7")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    environment = {
        **os.environ,
        "U2NET_HOME": str(arguments.models.resolve()),
        "MODEL_CHECKSUM_DISABLED": "1",
        **({"ONEDNN_MAX_CPU_ISA": "AVX2"} if arguments.avx2 else {}),
    }
    command = [
        sys.executable,
        "-m",
        "rembg_tuner",
        "article",
        "--json",
        "--rounds",
        arguments.rounds,
    ]
    if arguments.stand_in:
        command.append("--stand-in")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    host = read_host()
    report = {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "held_to": "AVX2" if arguments.avx2 else None,
        "table": json.loads(done.stdout),
    }
    date = datetime.now(UTC).date().isoformat()
    name = f"{'avx2-' if arguments.avx2 else ''}article-{date}.json"
    text = json.dumps(report, indent=1)
    print(text)
    (arguments.output / name).write_text(text + "\n")


if __name__ == "__main__":
    main()
