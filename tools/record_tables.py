"""Markdown tables of the records in benchmarks/results, for README.md and docs/; see `documents`.

Each function takes a record as read from its JSON file, with its date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.units import MIB, format_guess, format_seconds
from rembg_tuner.settings.host import fast_formats_of, formats_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT = Path(__file__).parent.parent
Record = dict[str, Any]
_STARTS = {
    "stock": "stock rembg in a fresh Python",
    "before": "`cut` of the release before",
    "now": "`cut`",
}
# The figures of a record of benchmarks/page_start.py: name, description and unit.
PAGE_START = (
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


def table(titles: str, rows: Iterable[Sequence[str]], *notes: str) -> str:
    """Return a Markdown table.

    Args:
        titles: titles of the columns, separated by ` | `; a title with a final `:` is
            right-aligned.
        rows: the cells of each row.
        notes: paragraphs below the table.
    """
    columns = titles.split(" | ")
    lines = [
        _row([column.removesuffix(":") for column in columns]),
        f"|{'|'.join('--:' if column.endswith(':') else '---' for column in columns)}|",
        *map(_row, rows),
    ]
    return "\n".join([*lines, *(f"\n{note}" for note in notes if note)])


def _row(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def newest_record(name: str) -> Record | None:
    """Read the newest record of a benchmark; None: there are no records."""
    files = sorted((ROOT / "benchmarks" / "results").glob(f"{name}-[0-9]*.json"))
    if not files:
        return None
    date = files[-1].stem.removeprefix(f"{name}-")
    record: Record = json.loads(files[-1].read_text(encoding="utf-8"))
    return {"date": date, "left_out": {}, **record}


def record_block(name: str, write: Callable[[Record], str], command: str) -> Callable[[], str]:
    """Return a function that returns the newest record's table, or the command to measure it."""

    def write_block() -> str:
        record = newest_record(name)
        return f"Not measured yet: `{command}`." if record is None else write(record)

    return write_block


def machine_text(record: Record) -> str:
    """Return the CPU of a record and its date."""
    formats = record.get("cpu_formats")
    if formats is None:
        formats = fast_formats_of(record["features"])
    return f"{record['cpu']}, {record['cores']} cores {formats_text(formats)}, {record['date']}"


def left_out_text(record: Record) -> str:
    """Return the contestants that a record's CPU could not run; empty: it ran all of them."""
    left_out = record["left_out"]
    if isinstance(left_out, dict):
        left_out = [f"{name} ({reason})" for name, reason in left_out.items()]
    return f" Left out: {'; '.join(left_out)}." if left_out else ""


def _range(figures: Record) -> str:
    """Return a median and its range."""
    low, high = format_seconds(figures["low_s"]), format_seconds(figures["high_s"])
    return f"{format_seconds(figures.get('p50_s', figures.get('median_s')))} ({low} to {high})"


def page_table(found: Record) -> str:
    """Return the table of benchmarks/page.py."""
    click, web = found["click_to_cutout_1080p"], found["web_rss_mib"]
    browser, cut = found["browser_1080p"], found["cut_1080p"]
    rows = [
        ("from the start to the page served", format_seconds(found["served_s"])),
        (
            "from the click to the cut-out seen, 1080p, the first run",
            format_seconds(click["first_s"]),
        ),
        (f"the same, warm, median of {click['n']}", _range(click)),
        ("idle, a tab open", f"{found['idle_share_of_a_core']:.1%} of a core"),
        (
            f"web process after {web['runs_12mp']} runs of 12 MP, a 144 MP bomb and ten bad files",
            f"{web['after_bad_files']:.0f} MiB",
        ),
        (
            "peak of a run as the browser and as `cut` tell it, medians",
            f"{browser['median_peak_mib']:.0f} and {cut['median_peak_mib']:.0f} MiB",
        ),
        (
            "time of a run as the browser and as `cut` tell it, medians",
            f"{_range(browser)} and {_range(cut)}",
        ),
    ]
    return table("what | measured:", rows, f"{machine_text(found)}.")


def engines_table(found: Record) -> str:
    """Return the table of u2netp in each engine; see benchmarks/engines.py."""
    first = found["u2netp"]["onnxruntime fp32"]
    rows = []
    for name, taken in found["u2netp"].items():
        agreement = found["agreement"][name]
        rows.append(
            (
                name,
                format_seconds(taken["predict_p50_s"]),
                f"{taken['predict_p50_s'] / first['predict_p50_s']:.0%}",
                f"{taken['peak_mib']:.0f} MiB",
                f"{agreement['with_own_fp32']['mae']:.4f}",
                f"{agreement['with_u2net']['iou']:.3f}",
            )
        )
    pictures = found["agreement"]["onnxruntime fp32"]["with_u2net"]["n"]
    return table(
        "u2netp | network: | of ONNX Runtime fp32's: | peak: | mean difference from own fp32: |"
        " IoU with u2net:",
        rows,
        f"{machine_text(found)}; 1080p JPEG to PNG, warm workers run in turn, medians, n ="
        f" {first['n']}; peak of the setting; agreement on {pictures} pictures that took no part in"
        f" making int8. 320 px unless stated.{left_out_text(found)}",
    )


def larger_table(found: Record) -> str:
    """Return the table of ISNet and of a network of u2net's size; see benchmarks/engines.py."""
    rows = []
    for key, model in (("isnet", "ISNet, 1024 px"), ("u2net_like", "u2net's size, 320 px")):
        first = found[key]["onnxruntime"]
        for name, taken in found[key].items():
            time_s, peak = taken["predict_p50_s"], taken["peak_mib"]
            times = format_seconds(time_s), f"{time_s / first['predict_p50_s']:.0%}"
            peaks = f"{peak:,.0f} MiB", f"{peak / first['peak_mib']:.0%}"
            rows.append((model, name, *times, *peaks))
    return table(
        "network | engine | network's time: | of ONNX Runtime's: | peak: | of ONNX Runtime's:",
        rows,
        f"{machine_text(found)}; medians of 5; ONNX Runtime with its"
        f" defaults.{left_out_text(found)}",
    )


def avx2_table(found: Record) -> str:
    """Return the table of u2netp's int8 with AVX2 only; see benchmarks/avx2_agreement.py."""
    fp32, int8 = (found["openvino_network"][name] for name in ("fp32", "int8"))
    keys = ("p50_s", "process_peak_mib")
    shares = {
        "openvino": [f"{int8[key] / fp32[key]:.0%}" for key in keys],
        "onnxruntime": ["not measured"] * 2,
    }
    rows = []
    for engine, share in shares.items():
        one = found[engine]
        mae = f"{one['mae']:.4f} ({one['worst_mae']:.4f})"
        rows.append((engine, *share, mae, f"{one['iou']:.3f} ({one['worst_iou']:.3f})"))
    held = (
        "; OpenVINO held to AVX2 by ONEDNN_MAX_CPU_ISA, ONNX Runtime emulated as a Haswell CPU by"
        " qemu"
        if found["held_to_avx2"]
        else ""
    )
    return table(
        "u2netp int8, AVX2 only | network's time, of fp32's: | process's peak, of fp32's: |"
        " mean difference from fp32 (worst): | IoU with fp32 (worst):",
        rows,
        f"{machine_text(found)}{held}; medians, n = {fp32['n']} in three processes each, in turn;"
        f" {found['openvino']['pictures']} pictures; `python benchmarks/avx2_agreement.py`.",
    )


def sweep_table(found: Record) -> str:
    """Return the table of a sweep's promises and their measurements; see benchmarks/sweep.py."""
    sixty, twice, again, soak = (found[name] for name in ("sixty", "twice", "again", "soak"))
    turns = again["turns"]
    widths = sorted(high / low for low, high in (turn["swept"]["expected_s"] for turn in turns))
    growth_mib = soak["rss_mib_every_100"][-1] - soak["rss_mib_every_100"][1]
    rows = [
        (
            f"{sixty['trials']} trials of u2netp, a warm-up and three runs each, one picture"
            " (`--confirm 0`)",
            format_guess(sixty["wall_s"]),
        ),
        (
            f"the same {twice['trials']} settings swept twice: trials on one front only, and of"
            " these not explained by the ranges of their runs or 5 % of the peak",
            f"{twice['on_one_front_only']} and {twice['not_explained_by_the_stated_spread']}"
            f" (fronts of {twice['front'][0]} and {twice['front'][1]})",
        ),
        (
            f"{len(turns)} sweeps of 12 settings, what each recommends then run by hand: worst"
            " difference of the peaks",
            f"{again['worst_peak_difference']:.1%}",
        ),
        (
            "the same: times by hand within the range that the sweep states",
            f"{again['times_within_what_is_expected']} of {len(turns)}; the range's ends are"
            f" {widths[len(widths) // 2]:.1f} times apart (median)",
        ),
        (
            f"soak of the default preset, {soak['runs']:,} runs at 1080p: growth over the second"
            " half",
            f"{soak['slope_bytes'] / 1024:+.2f} ± {soak['slope_error_bytes'] / 1024:.2f} KiB a"
            f" picture, {growth_mib:+.1f} MiB in all after the first 100",
        ),
        ("the same: a day at one slot", f"{soak['pictures_a_day']:,} pictures"),
    ]
    note = f"{machine_text(found)}; `python benchmarks/sweep.py`.{left_out_text(found)}"
    return table("what | measured:", rows, note)


def scaling_table(found: Record) -> str:
    """Return the table of rembg's pipeline with pictures scaled first; see benchmarks/sweep.py."""
    rows = [
        (
            "as it is, 4000 px" if side == "0" else f"{side} px",
            *(format_seconds(taken[key]) for key in ("predict_s", "rest_s", "total_s")),
            f"{taken['peak_bytes'] / MIB:,.0f} MiB",
        )
        for side, taken in found["scaling"].items()
    ]
    note = f"u2netp, warm, medians of 3; {machine_text(found)}."
    return table("longest side | network: | rest: | in all: | peak:", rows, note)


def article_table(found: Record) -> str:
    """Return the article's table; see benchmarks/article.py."""
    rows: list[Sequence[str]] = []
    for row in found["table"]["rows"]:
        name = f"`{row['name']}`"
        if row["time_s"] is None:
            rows.append((name, row["why_not"], *[""] * 6))
            continue
        is_stand_in = found["table"]["is_stand_in"] and row["name"] == "article-default"
        memory, speed = row["ratios"]
        rows.append(
            (
                name + (" (stand-in)" if is_stand_in else ""),
                format_seconds(row["time_s"]),
                f"{format_seconds(row['low_s'])} to {format_seconds(row['high_s'])}",
                str(row["n"]),
                f"{row['peak_bytes'] / MIB:,.0f} MiB",
                f"{memory:.0%}",
                f"{speed:.2f}",
                "not told" if row["stars"] is None else f"{row['stars']:g} ★",
            )
        )
    held = f"; OpenVINO held to {found['held_to']}, ONNX Runtime not" if found["held_to"] else ""
    return table(
        "setting | time: | range: | n: | peak: | of the first's: | times as fast: | edge:",
        rows,
        f"{machine_text(found)}{held}; a 1080p JPEG to PNG.",
    )


def limits_table(found: Record) -> str:
    """Return the table of the rates of network and matrix product; see benchmarks/limits.py."""
    rows: list[Sequence[str]] = []
    for threads, measured in found["threads"].items():
        sgemm = measured["sgemm_gflops"]
        rate = f"{sgemm['p50']:.0f} ({sgemm['low']:.0f} to {sgemm['high']:.0f})"
        rows.append((threads, "numpy's sgemm, 2048 x 2048", "", rate, "100%"))
        rows += [
            (
                threads,
                f"u2netp, {name}",
                format_seconds(taken["p50_s"]),
                f"{taken['gflops']:.0f}",
                f"{taken['of_sgemm']:.0%}",
            )
            for name, taken in measured["networks"].items()
        ]
    measured = next(iter(found["threads"].values()))
    held = (
        f"; OpenVINO and OpenBLAS held to {found['held_to']}, ONNX Runtime not"
        if found["held_to"]
        else ""
    )
    return table(
        "threads: | what | time: | GFLOP/s: | of sgemm:",
        rows,
        f"{machine_text(found)}{held}; u2netp at {found['side']} px: {found['gflop']:.1f} GFLOP;"
        f" medians, in turn, n = {measured['n']}.",
        *(f"Warning: {text}." for one in found["threads"].values() for text in one["busy"]),
    )


def write_stage_table(found: Record) -> str:
    """Return the table of the parts of the write stage; see benchmarks/write_stage.py."""
    names = list(next(iter(found["sizes"].values())))
    rows = [
        (
            size,
            *(format_seconds(parts[name]["cpu_s"]) for name in names),
            format_seconds(parts["whole"]["wall_s"]),
        )
        for size, parts in found["sizes"].items()
    ]
    return table(
        " | ".join(["picture", *(f"{name}:" for name in names), "whole, wall:"]),
        rows,
        f"CPU time but for the last column; {machine_text(found)}; medians, in turn, n ="
        f" {found['n']}.",
    )


def start_table(found: Record) -> str:
    """Return the table of a cold start and its steps; see benchmarks/cold_start.py."""
    stock = found["medians"]["stock"]
    rows = []
    for name, one in found["medians"].items():
        file_s, exit_s, cpu_s = (format_seconds(one[key]) for key in ("file_s", "exit_s", "cpu_s"))
        rows.append(
            (_STARTS[name], file_s, f"{one['file_s'] / stock['file_s']:.0%}", exit_s, cpu_s)
        )
    steps = [(name, format_seconds(at_s)) for name, at_s in found["steps"].items()]
    isa = found.get("onednn_max_cpu_isa")
    held = f"; OpenVINO held to {isa}" if isa else ""
    return table(
        "start | to the file: | of stock's: | to the process's end: | CPU:",
        rows,
        table("step of `cut` | reached after:", steps),
        f"int8 at 320 px, 1080p, from the second start on; {machine_text(found)}{held}; medians, in"
        f" turn, n = {found['n']}.",
    )


def page_start_table(found: Record) -> str:
    """Return the table of the page's start and loads; see benchmarks/page_start.py."""
    before, now = found["medians"].get("before", {}), found["medians"]["now"]
    rows = []
    for name, what, unit in PAGE_START:
        was = before.get(name)
        old = ["", ""] if not was else [_in_unit(was, unit), f"{now[name] / was:.2f}"]
        rows.append((what, old[0], _in_unit(now[name], unit), old[1]))
    once, again = (found["loads"]["now"][which]["kinds"] for which in ("first", "second"))
    loads = []
    for kind in once:
        counts = [kinds.get(kind, {"requests": 0, "bytes": 0}) for kinds in (once, again)]
        cells = [(str(one["requests"]), f"{one['bytes'] / 1000:.0f}") for one in counts]
        loads.append((kind, *cells[0], *cells[1]))
    return table(
        "what | the release before: | now: | of before:",
        rows,
        f"{machine_text(found)}; medians, n = {found['n']} servers each, in turn.",
        table("of the page now | requests, first load: | kB: | second load: | kB:", loads),
    )


def _in_unit(figure: float, unit: str) -> str:
    """Return a figure with its unit."""
    if unit == "s":
        return format_seconds(figure)
    return f"{figure / 1000 if unit == 'kB' else figure:.0f} {unit}".rstrip()
