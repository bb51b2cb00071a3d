"""Tables of what the parts of a run take, for docs/benchmarks.md.

The network, the write stage, starts.

Take a benchmark's record as its JSON has it, with its date.
"""

from __future__ import annotations

from typing import Any

from rembg_tuner.base.units import format_seconds
from rembg_tuner.settings.host import fast_formats_of, formats_text

Report = dict[str, Any]
_STARTS = {
    "stock": "stock rembg in a fresh Python",
    "before": "`cut` of the release before",
    "now": "`cut`",
}


# Of a record of benchmarks/page_start.py: a figure, what it is, and its unit.
_PAGE_START = (
    ("served_s", "from the start to the page's HTML", "s"),
    ("served_cpu_s", "CPU time of the web process up to then", "s"),
    ("usable_s", "from the start to a page in Chromium that takes a picture", "s"),
    ("first_run_s", "first run: from the click to the cut-out seen, 1080p", "s"),
    ("first_cutout_s", "from the start to the first cut-out seen", "s"),
    ("cpu_s", "CPU time up to then, with all processes", "s"),
    ("web_rss_mib", "web process, resident", "MiB"),
    ("first_load_requests", "requests of the first load", ""),
    ("first_load_bytes", "sent for it", "kB"),
    ("second_load_requests", "requests of the second load", ""),
    ("second_load_bytes", "sent for it", "kB"),
    ("other_load_web_cpu_s", "CPU time of the web process for another visitor's load", "s"),
)


def limits_table(found: Report) -> str:
    """Lay out the network's rate beside that of a matrix product; see benchmarks/limits.py."""
    lines = [
        "| threads | what | time | GFLOP/s | of sgemm |",
        "|--:|---|--:|--:|--:|",
    ]
    for threads, measured in found["threads"].items():
        rates = measured["sgemm_gflops"]
        lines.append(
            f"| {threads} | numpy's sgemm, 2048 x 2048 | | {rates['p50']:.0f} ({rates['low']:.0f}"
            f" to {rates['high']:.0f}) | 100% |"
        )
        for name, taken in measured["networks"].items():
            lines.append(
                f"| {threads} | u2netp, {name} | {format_seconds(taken['p50_s'])} |"
                f" {taken['gflops']:.0f} | {taken['of_sgemm']:.0%} |"
            )
    measured = next(iter(found["threads"].values()))
    held = (
        f"; OpenVINO and OpenBLAS held to {found['held_to']}, ONNX Runtime not"
        if found["held_to"]
        else ""
    )
    lines += [
        "",
        (
            f"{_where(found)}{held}; u2netp at {found['side']} px: {found['gflop']:.1f} GFLOP;"
            f" medians, in turn, n = {measured['n']}."
        ),
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
        lines.append(
            f"| {size} | {' | '.join(cells)} | {format_seconds(parts['whole']['wall_s'])} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            (
                f"CPU time but for the last column; {_where(found)}; medians, in turn, n ="
                f" {found['n']}."
            ),
        ]
    )


def start_table(found: Report) -> str:
    """Lay out what a start from nothing takes, and by when each step is reached.

    See benchmarks/cold_start.py.
    """
    stock = found["medians"]["stock"]
    lines = [
        "| start | to the file | of stock's | to the process's end | CPU |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, one in found["medians"].items():
        file_s, exit_s, cpu_s = (format_seconds(one[key]) for key in ("file_s", "exit_s", "cpu_s"))
        share = f"{one['file_s'] / stock['file_s']:.0%}"
        lines.append(f"| {_STARTS[name]} | {file_s} | {share} | {exit_s} | {cpu_s} |")
    lines += ["", "| step of `cut` | reached after |", "|---|--:|"]
    lines += [f"| {name} | {format_seconds(at_s)} |" for name, at_s in found["steps"].items()]
    isa = found.get("onednn_max_cpu_isa")
    held = f"; OpenVINO held to {isa}" if isa else ""
    return "\n".join(
        [
            *lines,
            "",
            (
                f"int8 at 320 px, 1080p, from the second start on; {_where(found)}{held}; medians,"
                f" in turn, n = {found['n']}."
            ),
        ]
    )


def _where(found: Report) -> str:
    """Write on which CPU a record was made, and when."""
    formats = formats_text(fast_formats_of(found["features"]))
    return f"{found['cpu']}, {found['cores']} cores {formats}, {found['date']}"


def page_start_table(found: Report) -> str:
    """Lay out how the page starts and loads, and what of its load is whose.

    See benchmarks/page_start.py.
    """
    before, now = found["medians"].get("before", {}), found["medians"]["now"]
    lines = ["| what | the release before | now | of before |", "|---|--:|--:|--:|"]
    for name, what, unit in _PAGE_START:
        was = before.get(name)
        told = (
            f"{_told(was, unit)} | {_told(now[name], unit)} | {now[name] / was:.2f}"
            if was
            else f"| {_told(now[name], unit)} |"
        )
        lines.append(f"| {what} | {told} |")
    lines += ["", f"{_where(found)}; medians, n = {found['n']} servers each, in turn.", ""]
    lines += [
        "| of the page now | requests, first load | kB | second load | kB |",
        "|---|--:|--:|--:|--:|",
    ]
    once, again = (found["loads"]["now"][which]["kinds"] for which in ("first", "second"))
    for kind in once:
        counts = (kinds.get(kind, {"requests": 0, "bytes": 0}) for kinds in (once, again))
        told = " | ".join(f"{one['requests']} | {one['bytes'] / 1000:.0f}" for one in counts)
        lines.append(f"| {kind} | {told} |")
    return "\n".join(lines)


def _told(figure: float, unit: str) -> str:
    """Write a figure in its unit."""
    if unit == "s":
        return format_seconds(figure)
    return f"{figure / 1000 if unit == 'kB' else figure:.0f} {unit}".rstrip()
