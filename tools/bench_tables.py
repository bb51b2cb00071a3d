"""Short Markdown tables of a stored bench report, for README.md and docs/; see `documents`.

Each function takes the report as read from its JSON file. Older records lack figures that were not
measured then.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from rembg_tuner.base.units import MIB, format_seconds
from rembg_tuner.tuning.bench.contestants import FASTEST, STOCK, before_name
from rembg_tuner.tuning.bench.report import machine_text
from tools.record_tables import left_out_text, table

_SIZES = ("1080p", "12 MP", "48 MP")
_SUMMARY = (STOCK, "onnxruntime", "openvino fp32", "openvino bf16", "openvino int8", FASTEST)
_STAGED = ("openvino fp32", "openvino int8", FASTEST)
_STAGES = ("read_small", "normalise", "predict", "matte", "write")
Report = dict[str, Any]
Row = dict[str, Any]


def summary_table(report: Report) -> str:
    """Return one row per setting: time by size, peak, file, and a cold start."""
    rows = []
    for name in _SUMMARY:
        small, middle, large = (_find_row(report, name, size) for size in _SIZES)
        if small is not None:
            rows.append(
                (
                    _name_text(name),
                    *map(_time_text, (small, middle, large)),
                    _peak_text(small),
                    _peak_text(large),
                    _file_text(middle),
                    _cold_text(report, name),
                )
            )
    counts = ", ".join(
        f"{row['n']} at {size}" for size in _SIZES if (row := _find_row(report, STOCK, size))
    )
    return table(
        "setting | 1080p: | 12 MP: | 48 MP: | peak, 1080p: | peak, 48 MP: | file, 12 MP: |"
        " start to file:",
        rows,
        f"{machine_text(report)}; u2netp at 320 px, {FASTEST} at 288 px in int8; JPEG to PNG, warm"
        f" workers run in turn, medians, n = {counts}. x: times as fast as stock; peak: of the"
        " setting (load and all runs); start to file: `cut` in a fresh process at 1080p from the"
        f" second start on, stock in a fresh Python.{left_out_text(report)}",
        *(f"Warning: {text}." for text in report.get("busy", ())),
    )


def stage_table(report: Report) -> str:
    """Return the table of stages by size, with the previous release's write stage if measured."""
    has_before = report.get("before") is not None
    rows = []
    for size in _SIZES:
        for name in _STAGED:
            if (row := _find_row(report, name, size)) is not None:
                stages = [format_seconds(row["stages_s"][stage]) for stage in _STAGES]
                cells = [size, _name_text(name), *stages, format_seconds(row["median_s"])]
                rows.append([*cells, *(_write_before(report, row) if has_before else ())])
    titles = ["picture", "setting", *(f"{stage}:" for stage in (*_STAGES, "in all"))]
    titles += ["write before:", "of it:"] if has_before else []
    return table(" | ".join(titles), rows, f"{machine_text(report)}; medians.")


def stored_table(report: Report) -> str:
    """Return the table of time and memory by the file format of the picture."""
    stored = [row["contestant"] for row in report["rows"] if row["picture"] not in _SIZES]
    name = str(stored[-1]) if stored else FASTEST
    rows = [
        (row["picture"], format_seconds(row["median_s"]), _peak_text(row), _size_text(row))
        for row in report["rows"]
        if row["contestant"] == name and row["picture"] not in _SIZES[:2]
    ]
    note = f"{_name_text(name)}; {machine_text(report)}; medians of 3."
    return table("picture | time: | peak: | file:", rows, note)


def _find_row(report: Report, name: str, size: str) -> Row | None:
    """Return the row of a contestant and a picture size; None: it was not measured."""
    for row in report["rows"]:
        if (row["contestant"], row["picture"]) == (name, size):
            return dict(row)
    return None


def _name_text(name: str) -> str:
    """Return the name of a contestant; that of a preset is formatted as code."""
    return f"`{name}`" if name == FASTEST else name


def _time_text(row: Row | None) -> str:
    """Return a median, and the speed relative to stock."""
    if row is None:
        return ""
    speed = row["times_as_fast"]
    ratio = f" ({speed:.1f} x)" if speed is not None and row["contestant"] != STOCK else ""
    return f"{format_seconds(row['median_s'])}{ratio}"


def _peak_text(row: Row | None) -> str:
    """Return a peak as text; empty: unknown."""
    return f"{row['peak_bytes'] / MIB:,.0f} MiB" if row is not None and row["peak_bytes"] else ""


def _size_text(row: Row) -> str:
    """Return the size of an output file as text."""
    return f"{row['output_bytes'] / MIB:.1f} MiB"


def _file_text(row: Row | None) -> str:
    """Return the size of an output file, with its ratio to stock's."""
    if row is None or row["contestant"] == STOCK:
        return "" if row is None else _size_text(row)
    return f"{_size_text(row)} ({row['size_ratio']:.2f})"


def _cold_text(report: Report, name: str) -> str:
    """Return the duration of a cold start, with its share of stock's."""
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


def _write_before(report: Report, row: Row) -> tuple[str, str]:
    """Return the write stage's time in the previous release, and this release's share of it."""
    twin = _find_row(report, before_name(row["contestant"]), row["picture"])
    if twin is None:
        return "", ""
    return format_seconds(twin["stages_s"]["write"]), f"{row['of_before']['write']:.2f}"
