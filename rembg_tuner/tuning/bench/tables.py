"""Short tables of a kept bench report, for README.md and docs/benchmarks.md; see `documents`.

Take the report as its JSON has it. A record of an older form lacks what was not measured then.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from rembg_tuner.base.units import MIB, format_seconds
from rembg_tuner.tuning.bench.contestants import FASTEST, STOCK, before_name
from rembg_tuner.tuning.bench.report_text import machine_text

_SIZES = ("1080p", "12 MP", "48 MP")
_SUMMARY = (STOCK, "onnxruntime", "openvino fp32", "openvino bf16", "openvino int8", FASTEST)
_STAGED = ("openvino fp32", "openvino int8", FASTEST)
_STAGES = ("read_small", "normalise", "predict", "matte", "write")
Report = dict[str, Any]
Row = dict[str, Any]


def summary_table(report: Report) -> str:
    """Lay out one line a setting: time by size, peak, file, and a cold start."""
    lines = [
        (
            "| setting | 1080p | 12 MP | 48 MP | peak, 1080p | peak, 48 MP | file, 12 MP | start to"
            " file |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in _SUMMARY:
        rows = [_row(report, name, size) for size in _SIZES]
        if rows[0] is not None:
            small, middle, large = rows
            cells = [
                _name_text(name),
                *(_time_text(row) for row in rows),
                _peak_text(small),
                _peak_text(large),
                _file_text(middle),
                _cold_text(report, name),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    counts = ", ".join(
        f"{row['n']} at {size}" for size in _SIZES if (row := _row(report, STOCK, size))
    )
    lines += [
        "",
        f"{machine_text(report)}; u2netp at 320 px, {FASTEST} at 288 px in int8; JPEG to PNG, warm"
        f" workers run in turn, medians, n = {counts}. x: times as fast as stock; peak: of the"
        " setting (load and all runs); start to file: `cut` in a fresh process at 1080p from the"
        " second start on, stock in a fresh Python." + _left_out_text(report),
    ]
    lines += [f"\nWarning: {text}." for text in report.get("busy", ())]
    return "\n".join(lines)


def stage_table(report: Report) -> str:
    """Lay out what each stage takes, by size.

    With the write stage of the release before where it ran.
    """
    has_before = report.get("before") is not None
    ends = " write before | of it |" if has_before else ""
    lines = [
        f"| picture | setting | {' | '.join(_STAGES)} | in all |{ends}",
        f"|---|---|{'--:|' * (len(_STAGES) + 1)}{'--:|--:|' if has_before else ''}",
    ]
    for size in _SIZES:
        for name in _STAGED:
            if (row := _row(report, name, size)) is not None:
                cells = [size, _name_text(name), *(_stage_text(row, stage) for stage in _STAGES)]
                cells.append(format_seconds(row["median_s"]))
                if has_before:
                    cells += _write_before(report, row)
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{machine_text(report)}; medians."])


def stored_table(report: Report) -> str:
    """Lay out what the way a picture is stored costs in time and memory."""
    name = _stored_name(report)
    lines = ["| picture | time | peak | file |", "|---|--:|--:|--:|"]
    lines += [
        f"| {row['picture']} | {format_seconds(row['median_s'])} | {_peak_text(row)} |"
        f" {row['output_bytes'] / MIB:.1f} MiB |"
        for row in report["rows"]
        if row["contestant"] == name and row["picture"] not in _SIZES[:2]
    ]
    return "\n".join([*lines, "", f"{_name_text(name)}; {machine_text(report)}; medians of 3."])


def _stored_name(report: Report) -> str:
    """Name the setting that ran the pictures stored otherwise."""
    stored = [row["contestant"] for row in report["rows"] if row["picture"] not in _SIZES]
    return str(stored[-1]) if stored else FASTEST


def _row(report: Report, name: str, size: str) -> Row | None:
    """Find a row; None: it was not measured."""
    return next(
        (row for row in report["rows"] if (row["contestant"], row["picture"]) == (name, size)),
        None,
    )


def _name_text(name: str) -> str:
    """Write a contestant's name; a preset's as code."""
    return f"`{name}`" if name == FASTEST else name


def _time_text(row: Row | None) -> str:
    """Write a median, and how many times as fast as stock."""
    if row is None:
        return ""
    speed = row["times_as_fast"]
    ratio = f" ({speed:.1f} x)" if speed is not None and row["contestant"] != STOCK else ""
    return f"{format_seconds(row['median_s'])}{ratio}"


def _peak_text(row: Row | None) -> str:
    """Write a peak."""
    return f"{row['peak_bytes'] / MIB:,.0f} MiB" if row is not None and row["peak_bytes"] else ""


def _file_text(row: Row | None) -> str:
    """Write a file's size, of stock's."""
    if row is None:
        return ""
    ratio = f" ({row['size_ratio']:.2f})" if row["contestant"] != STOCK else ""
    return f"{row['output_bytes'] / MIB:.1f} MiB{ratio}"


def _cold_text(report: Report, name: str) -> str:
    """Write how long a start takes, and of stock's."""
    cold = report["cold_starts"]
    if cold is None:
        return ""
    stock_s = median(cold["stock_s"])
    if name == STOCK:
        return format_seconds(stock_s)
    if name not in cold["ours_s"]:
        return ""
    ours_s = median(cold["ours_s"][name])
    return f"{format_seconds(ours_s)} ({ours_s / stock_s:.0%})"


def _stage_text(row: Row, stage: str) -> str:
    """Write a stage's time."""
    return format_seconds(row["stages_s"][stage])


def _write_before(report: Report, row: Row) -> list[str]:
    """Write the write stage of the release before, and this one's share of it."""
    twin = _row(report, before_name(row["contestant"]), row["picture"])
    if twin is None:
        return ["", ""]
    return [_stage_text(twin, "write"), f"{row['of_before']['write']:.2f}"]


def _left_out_text(report: Report) -> str:
    """Name what the CPU could not run."""
    reasons = "; ".join(f"{name} ({reason})" for name, reason in report["left_out"].items())
    return f" Left out: {reasons}." if reasons else ""
