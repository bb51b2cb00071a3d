"""The bench's report as Markdown.

Reads the report as its JSON has it, so that a kept record is written alike.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from rembg_tuner.base.units import MIB, format_bytes, format_seconds
from rembg_tuner.settings.host import fast_formats_of, formats_text

_HELD = (
    "OpenVINO held to {isa} (ONEDNN_MAX_CPU_ISA). Stock's ONNX Runtime has no such switch and uses"
    " the whole CPU, so the ratios to stock are lower than on a CPU with {isa} only"
)


def format_report(report: dict[str, Any]) -> str:
    """Lay the whole report out as Markdown."""
    rows = report["rows"]
    has_before = any(row.get("of_before") for row in rows)
    head = (
        "| picture | setting | n | time | range | x stock | peak | of stock's | file | predict |"
        " write | rest |"
    )
    columns = "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    if has_before:
        head, columns = f"{head} of before: time, write, peak, file |", f"{columns}--:|"
    lines = [
        (
            f"{machine_text(report)}; u2netp, JPEG to PNG, warm workers run in turn; "
            "median of n, peak of the setting (load and all runs)."
        ),
        "",
        head,
        columns,
        *(_line(row, has_before=has_before) for row in rows),
    ]
    if report["left_out"]:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in report["left_out"].items())
        lines += ["", f"Left out: {reasons}."]
    lines += [f"\nWarning: {text}." for text in report.get("busy", ())]
    if report["cold_starts"] is not None:
        lines += ["", *cold_lines(report["cold_starts"])]
    return "\n".join(lines)


def machine_text(report: dict[str, Any]) -> str:
    """Write where and when it was measured, and with what it was compared."""
    machine = report["environment"]
    features = machine.get("features")
    formats = f" {formats_text(fast_formats_of(features))}" if isinstance(features, list) else ""
    parts = [f"{machine['cpu']}, {machine['cores']} cores{formats}, {report['date']}"]
    if held_to := report.get("held_to"):
        parts.append(_HELD.format(isa=held_to))
    if before := report.get("before"):
        commit = f", commit {before['commit']}" if before["commit"] else ""
        parts.append(f"before: release {before['version']}{commit}")
    return "; ".join(parts)


def _line(row: dict[str, Any], *, has_before: bool) -> str:
    """Write one row of the table."""
    stages = row["stages_s"]
    cells = [
        row["picture"],
        row["contestant"],
        str(row["n"]),
        format_seconds(row["median_s"]) + (" (unstable)" if row["is_unstable"] else ""),
        f"{format_seconds(row['low_s'])} to {format_seconds(row['high_s'])}",
        f"{row['times_as_fast']:.2f}" if row["times_as_fast"] else "",
        format_bytes(row["peak_bytes"]),
        f"{row['peak_share']:.0%}" if row["peak_share"] else "",
        f"{row['output_bytes'] / MIB:.1f} MiB"
        + (f" ({row['size_ratio']:.2f})" if row["size_ratio"] else ""),
        format_seconds(stages["predict"]),
        format_seconds(stages["write"]) if "write" in stages else "",
        format_seconds(row["outside_engine_s"]),
    ]
    if has_before:
        cells.append(_of_before_text(row.get("of_before")))
    return f"| {' | '.join(cells)} |"


def _of_before_text(ratios: dict[str, Any] | None) -> str:
    """Write the ratios to the release before."""
    if not ratios:
        return ""
    values = (ratios["total"], ratios["write"], ratios["peak"], ratios["output"])
    return ", ".join("unknown" if value is None else f"{value:.2f}" for value in values)


def cold_lines(cold: dict[str, Any]) -> list[str]:
    """Write the cold starts as a table."""
    stock = median(cold["stock_s"])
    lines = [
        f"From a process's start to the file, {cold['picture']}, n = {len(cold['stock_s'])}:",
        "",
        "| setting | second start and on | of stock's | very first start |",
        "|---|--:|--:|--:|",
        f"| stock rembg in a fresh Python | {format_seconds(stock)} | 100% | |",
    ]
    for name, seconds in cold["ours_s"].items():
        ours = median(seconds)
        lines.append(
            f"| `rembg-tuner cut`, {name} | {format_seconds(ours)} | {ours / stock:.0%} |"
            f" {format_seconds(cold['first_s'][name])} |"
        )
    return lines
