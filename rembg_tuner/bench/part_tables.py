"""Tables of what the parts of a run take, for docs/performance.md: the network, the write stage, a start.

Take a benchmark's record as its JSON has it, with its date.
"""

from __future__ import annotations

from typing import Any

from rembg_tuner.host import fast_formats_of, formats_text
from rembg_tuner.units import format_seconds

Report = dict[str, Any]
_STARTS = {"stock": "stock rembg in a fresh Python", "before": "`cut` of the release before", "now": "`cut`"}  # fmt: skip


def limits_table(found: Report) -> str:
    """Lay out the network's rate beside that of a matrix product; see benchmarks/limits.py."""
    lines = [
        "| threads | what | time | GFLOP/s | of sgemm |",
        "|--:|---|--:|--:|--:|",
    ]
    for threads, measured in found["threads"].items():
        rates = measured["sgemm_gflops"]
        lines.append(f"| {threads} | numpy's sgemm, 2048 x 2048 | | {rates['p50']:.0f} ({rates['low']:.0f} to {rates['high']:.0f}) | 100% |")  # fmt: skip
        for name, taken in measured["networks"].items():
            lines.append(f"| {threads} | u2netp, {name} | {format_seconds(taken['p50_s'])} | {taken['gflops']:.0f} | {taken['of_sgemm']:.0%} |")  # fmt: skip
    measured = next(iter(found["threads"].values()))
    held = f"; OpenVINO and OpenBLAS held to {found['held_to']}, ONNX Runtime not" if found["held_to"] else ""  # fmt: skip
    lines += [
        "",
        f"{_where(found)}{held}; "
        f"u2netp at {found['side']} px: {found['gflop']:.1f} GFLOP; medians, in turn, n = {measured['n']}.",
    ]
    lines += [f"\nWarning: {text}." for one in found["threads"].values() for text in one["busy"]]
    return "\n".join(lines)


def write_stage_table(found: Report) -> str:
    """Lay out what the parts of the write stage take; see benchmarks/write_stage.py."""
    names = list(next(iter(found["sizes"].values())))
    lines = [
        f"| picture | {' | '.join(names)} | whole, wall |",
        f"|---|{'--:|' * (len(names) + 1)}",
    ]
    for size, parts in found["sizes"].items():
        cells = [format_seconds(parts[name]["cpu_s"]) for name in names]
        lines.append(f"| {size} | {' | '.join(cells)} | {format_seconds(parts['whole']['wall_s'])} |")  # fmt: skip
    return "\n".join([*lines, "", f"CPU time but for the last column; {_where(found)}; medians, in turn, n = {found['n']}."])  # fmt: skip


def start_table(found: Report) -> str:
    """Lay out what a start from nothing takes, and by when each step is reached; see benchmarks/cold_start.py."""
    stock = found["medians"]["stock"]
    lines = ["| start | to the file | of stock's | to the process's end | CPU |", "|---|--:|--:|--:|--:|"]  # fmt: skip
    for name, one in found["medians"].items():
        file_s, exit_s, cpu_s = (format_seconds(one[key]) for key in ("file_s", "exit_s", "cpu_s"))
        share = f"{one['file_s'] / stock['file_s']:.0%}"
        lines.append(f"| {_STARTS[name]} | {file_s} | {share} | {exit_s} | {cpu_s} |")
    lines += ["", "| step of `cut` | reached after |", "|---|--:|"]
    lines += [f"| {name} | {format_seconds(at_s)} |" for name, at_s in found["steps"].items()]
    isa = found.get("onednn_max_cpu_isa")
    held = f"; OpenVINO held to {isa}" if isa else ""
    return "\n".join([*lines, "", f"int8 at 320 px, 1080p, from the second start on; {_where(found)}{held}; medians, in turn, n = {found['n']}."])  # fmt: skip


def _where(found: Report) -> str:
    """Write on which CPU a record was made, and when."""
    formats = formats_text(fast_formats_of(found["features"]))
    return f"{found['cpu']}, {found['cores']} cores {formats}, {found['date']}"
