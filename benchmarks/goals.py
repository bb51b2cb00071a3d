"""Print a Markdown table of the goals and the newest records in a folder.

    python benchmarks/goals.py [-r DIR]

Rows "of before" need records that include the previous release: `bench --before DIR`,
`page_start.py DIR`, `page_click.py DIR`, `png_writer.py --before DIR`. The goals are for a CPU with
AVX2 only. The last column has the records with OpenVINO limited to AVX2, if they exist. Their
ratios to stock rembg are lower than on such a CPU, since ONNX Runtime cannot be limited.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
MIB = 2**20
Record = dict[str, Any]
Read = Callable[[Record], str]


def row(record: Record, name: str, picture: str) -> Record:
    """Find a row of the bench.

    Raises:
        KeyError: it was not measured.
    """
    rows: dict[tuple[str, str], Record] = {
        (one["contestant"], one["picture"]): one for one in record["rows"]
    }
    return rows[name, picture]


def speed(name: str, picture: str) -> Read:
    """Return a reader of the speed of a setting relative to stock rembg."""
    return lambda bench: f"{row(bench, name, picture)['times_as_fast']:.1f} x"


def write_of_before(bench: Record) -> str:
    """Read the time of the write stage at 12 MP relative to the previous release."""
    ratios = [r["of_before"] for r in bench["rows"] if r["picture"] == "12 MP" and r["of_before"]]
    return f"{median(one['write'] for one in ratios):.2f}" if ratios else "no release before"


def peaks(name: str) -> Read:
    """Return a reader of the peak at 1080p and of the additional memory for 48 MP."""

    def read(bench: Record) -> str:
        small, large = (row(bench, name, size)["peak_bytes"] / MIB for size in ("1080p", "48 MP"))
        return f"{small:.0f} MiB, +{large - small:.0f}"

    return read


def cold(bench: Record) -> str:
    """Read the time of a cold `cut`, int8 at 320 px, relative to stock rembg."""
    starts = bench["cold_starts"] or {}
    return f"{median(starts['ours_s']['openvino int8']) / median(starts['stock_s']):.2f}"


def cold_to_file(found: Record) -> str:
    """Read the same ratio for the time until the output file exists."""
    return f"{found['medians']['now']['file_s'] / found['medians']['stock']['file_s']:.2f}"


def click(found: Record) -> str:
    """Read the time of a click minus the worker's total, also of the previous release."""
    before = f" ({found['before']['less_total_s']:.2f} s before)" if "before" in found else ""
    return f"{found['now']['less_total_s']:.2f} s{before}"


def page_start(found: Record) -> str:
    """Read the times of the page's start and first run relative to the previous release."""
    ratios = found.get("of_before", {})
    return (
        f"{ratios['served_s']:.2f} / {ratios['first_run_s']:.2f}" if ratios else "no release before"
    )


def article(found: Record) -> str:
    """Read the fastest setting of this project in the table of the article."""
    ours = [
        r for r in found["table"]["rows"] if r["ratios"] and not r["name"].startswith("article")
    ]
    best = max(ours, key=lambda r: r["ratios"][1])
    return f"{best['ratios'][1]:.1f} x, {best['ratios'][0]:.0%} ({best['name']})"


def write_alone(found: Record) -> str:
    """Read wall and CPU time of the separate write stage at 12 MP, relative to before."""
    stage = found["stage"]["12 MP"]
    return f"{stage['wall_s_of_before']:.2f} (CPU {stage['cpu_s_of_before']:.2f})"


def png_size(found: Record) -> str:
    """Read the sizes of PNG files relative to the previous release."""
    sizes = found["sizes"]
    return f"{sizes['median']:.3f} / {sizes['worst']:.3f} (n = {sizes['n']})"


def focus(found: Record) -> str:
    """Read the SAD ratios of focus auto in fp32 on held-out scenes where it applies."""
    groups = found["held-out"]["openvino fp32"]["groups"]
    texts = []
    for name in ("area and number", "all"):
        taken = groups[name]
        texts.append(
            f"{name}: {taken['sad_ratio']:.2f}; {taken['worst_ratio']:.2f};"
            f" {taken['worse_share']:.0%} (n = {taken['applied']})"
        )
    return ", ".join(texts)


GOALS: tuple[tuple[str, str, str, Read], ...] = (
    (
        "1080p JPEG to PNG, warm, fastest, against stock",
        ">= 4.5 x",
        "bench",
        speed("fastest", "1080p"),
    ),
    ("the same, int8 at 320 px", ">= 3.8 x", "bench", speed("openvino int8", "1080p")),
    ("12 MP, fastest", ">= 7.5 x", "bench", speed("fastest", "12 MP")),
    ("48 MP, fastest", ">= 13 x", "bench", speed("fastest", "48 MP")),
    ("write stage at 12 MP, of before", "<= 0.45", "bench", write_of_before),
    ("the same, the stage by itself", "<= 0.45", "png-writer", write_alone),
    (
        "peak at 1080p, and 48 MP above it, int8 320 px",
        "<= 165 MiB, <= +24",
        "bench",
        peaks("openvino int8"),
    ),
    ("peak at 1080p, and 48 MP above it, fastest", "<= 165 MiB, <= +24", "bench", peaks("fastest")),
    (
        "cut, start to file, second start, int8 320 px, of stock",
        "<= 0.27",
        "cold-start",
        cold_to_file,
    ),
    ("the same, start to the process's end", "", "bench", cold),
    ("click to cut-out seen less the worker's total", "<= 0.15 s", "page-click", click),
    ("page served / first run, of before", "<= 0.7 / <= 0.65", "page-start", page_start),
    ("PNG size, median / worst, of before", "<= 1.02 / <= 1.07", "png-writer", png_size),
    (
        "focus auto, SAD: geometric mean; worst; above 1.02",
        "<= 0.55; <= 1.5; <= 8 %",
        "edges",
        focus,
    ),
    ("article with u2net's stand-in, best of ours", ">= 6 x, <= 16 %", "article", article),
)


def newest(folder: Path, name: str) -> Record | None:
    """Read the newest record of a benchmark; None: there is none."""
    files = sorted(folder.glob(f"{name}-[0-9]*.json"))
    found: Record | None = json.loads(files[-1].read_text(encoding="utf-8")) if files else None
    return found


def measured(folder: Path, name: str, read: Read) -> str:
    """Read the newest record of a benchmark; records of older versions can lack rows."""
    record = newest(folder, name)
    if record is None:
        return "not measured"
    try:
        busy = (
            " (busy machine)" if record.get("busy") or record.get("table", {}).get("busy") else ""
        )
        return f"{read(record)}{busy}"
    except KeyError:
        return "not in the newest record"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-r", "--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    print("| what | goal | this CPU | held to AVX2 |")
    print("|---|--:|--:|--:|")
    for what, goal, name, read in GOALS:
        held = measured(folder, f"avx2-{name}", read) if name in ("bench", "article") else ""
        print(f"| {what} | {goal} | {measured(folder, name, read)} | {held} |")


if __name__ == "__main__":
    main()
