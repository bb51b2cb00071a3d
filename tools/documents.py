"""The parts of README.md and docs/ that are derived.

`python -m tools.documents` writes them anew.

A test fails where they and their sources differ, so that no default, figure or name is kept twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rembg_tuner.base.files import replacing
from rembg_tuner.base.units import MIB, format_guess, format_seconds
from rembg_tuner.imaging.quality import STARS
from rembg_tuner.settings.host import fast_formats_of, formats_text
from rembg_tuner.settings.presets import (
    DEFAULT_PRESET,
    Preset,
    measured_on_text,
    read_presets,
    small_subject_of,
)
from rembg_tuner.settings.settings import KNOBS, default_text, flag_of, value_text
from rembg_tuner.tuning.bench.part_tables import (
    limits_table,
    page_start_table,
    start_table,
    write_stage_table,
)
from rembg_tuner.tuning.bench.tables import stage_table, stored_table, summary_table

ROOT = Path(__file__).parent.parent
_BLOCK = "<!-- {name}: derived, see tools/documents.py -->\n{content}\n<!-- /{name} -->"
_BLOCK_PATTERN = r"<!-- {name}: [^\n]*-->\n(?:.*?\n)?<!-- /{name} -->"


def knob_table() -> str:
    """Lay the settings out as a Markdown table."""
    lines = [
        "| flag | values | default | what it is, costs and brings | engines |",
        "|---|---|---|---|---|",
    ]
    for name, knob in KNOBS.items():
        engines = ", ".join(sorted(knob.engines)) or "all"
        lines.append(
            f"| `{flag_of(name)}` | {knob.allowed_text()} | {default_text(name)} | {knob.summary} |"
            f" {engines} |"
        )
    return "\n".join(lines)


def preset_table() -> str:
    """Lay the presets out as a Markdown table."""
    lines = ["| preset | for | settings | median | peak |", "|---|---|---|--:|--:|"]
    measured = next((p.measured for p in read_presets().values() if p.measured), None)
    usual = str(measured_on_text(measured)) if measured else ""
    lines += [_preset_line(preset, usual) for preset in read_presets().values()]
    if measured is not None:
        lines += [
            "",
            (
                f"{measured['picture']}, warm, n = {measured['n']}, {usual}, {measured['date']}. On"
                " another kind of CPU time and memory differ: `rembg-tuner bench --presets`"
                " measures them there."
            ),
        ]
    return "\n".join(lines)


def _preset_line(preset: Preset, usual: str) -> str:
    """Write one preset's row, with its CPU where that is not the usual one."""
    settings = ", ".join(f"{name} {value_text(value)}" for name, value in preset.values.items())
    name = f"`{preset.name}`" + (" (default)" if preset.name == DEFAULT_PRESET else "")
    if preset.measured is None:
        return (
            f"| {name} | {preset.purpose} | {settings} | not measured:"
            f" {preset.why_not_measured} | |"
        )
    seconds = float(str(preset.measured["latency_p50_s"]))
    on = str(measured_on_text(preset.measured))
    where = "" if on == usual else f" (on {on})"
    small = small_subject_of(preset.measured)
    if small is not None:
        where += f"; small subject {small.time_s * 1000:.0f} ms, {small.passes} network runs"
    return (
        f"| {name} | {preset.purpose} | {settings} | {seconds * 1000:.0f} ms{where} |"
        f" {preset.measured['peak_rss_mib']} MiB |"
    )


def focus_table() -> str:
    """Lay out what the presets take that may run the network again, on a usual picture and on a small subject."""
    lines = [
        "| preset | usual picture | network runs | small subject | network runs |",
        "|---|--:|--:|--:|--:|",
    ]
    measured: dict[str, object] = {}
    for preset in read_presets().values():
        small = small_subject_of(preset.measured or {})
        if preset.measured is not None and small is not None:
            measured = {**preset.measured, "share": small.share}
            usual = (
                f"{format_seconds(float(str(measured['latency_p50_s'])))} | {measured['passes']}"
            )
            lines.append(
                f"| `{preset.name}` | {usual} | {format_seconds(small.time_s)} | {small.passes} |"
            )
    if not measured:
        return "Not measured yet: `rembg-tuner bench --presets`."
    where = f"{measured_on_text(measured)}, {measured['date']}"
    return "\n".join(
        [
            *lines,
            "",
            (
                f"{measured['picture']}, warm, n = {measured['n']}, {where}; the small subject's"
                f" box is {measured['share']:.0%} of the picture."
            ),
        ]
    )


def _record_table(name: str, write: Callable[[dict[str, Any]], str], command: str) -> str:
    """Lay the newest record of a benchmark out, or say how it is measured."""
    found, date = _newest(name)
    return (
        f"Not measured yet: `{command}`."
        if found is None
        else write({"date": date, "left_out": {}, **found})
    )


def _record_blocks() -> dict[str, Callable[[], str]]:
    """Give the blocks of records that docs/benchmarks.md has.

    Some with OpenVINO held to AVX2 too.
    """
    blocks = {
        "write-stage": _block("write-stage", write_stage_table, "python benchmarks/write_stage.py"),
        "cold-start": _block("cold-start", start_table, "python benchmarks/cold_start.py"),
        "page-start": _block(
            "page-start", page_start_table, "python benchmarks/page_start.py ../before"
        ),
        "stored": _block("bench", stored_table, "rembg-tuner bench"),
    }
    for prefix, flag in (("", ""), ("avx2-", " --avx2")):
        bench = f"rembg-tuner bench{flag}"
        blocks |= {
            f"{prefix}bench": _block(f"{prefix}bench", summary_table, bench),
            f"{prefix}stages": _block(f"{prefix}bench", stage_table, bench),
            f"{prefix}limits": _block(
                f"{prefix}limits", limits_table, f"python benchmarks/limits.py{flag}"
            ),
        }
    return blocks


def _block(name: str, write: Callable[[dict[str, Any]], str], command: str) -> Callable[[], str]:
    """Return what writes a record's table; see `_record_table`."""
    return partial(_record_table, name, write, command)


def page_table() -> str:
    """Lay the newest measurement of the page out as a Markdown table; see benchmarks/page.py."""
    found, _ = _newest("page")
    if found is None:
        return "Not measured yet."
    click, web = found["click_to_cutout_1080p"], found["web_rss_mib"]
    browser, cut = found["browser_1080p"], found["cut_1080p"]
    rows = [
        ("from the start to the page served", format_seconds(found["served_s"])),
        (
            "from the click to the cut-out seen, 1080p, the first run",
            format_seconds(click["first_s"]),
        ),
        (
            f"the same, warm, median of {click['n']}",
            (
                f"{format_seconds(click['p50_s'])} ({format_seconds(click['low_s'])} to"
                f" {format_seconds(click['high_s'])})"
            ),
        ),
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
            (
                f"{format_seconds(browser['median_s'])} ({format_seconds(browser['low_s'])} to"
                f" {format_seconds(browser['high_s'])}) and {format_seconds(cut['median_s'])}"
                f" ({format_seconds(cut['low_s'])} to {format_seconds(cut['high_s'])})"
            ),
        ),
    ]
    where = f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {found['date']}."
    lines = ["| what | measured |", "|---|--:|", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join([*lines, "", where])


def engines_table() -> str:
    """Lay the newest measurement of the engines out as a Markdown table.

    See benchmarks/engines.py.
    """
    found, date = _newest("engines")
    if found is None:
        return "Not measured yet."
    rows = [
        (
            "| u2netp | network | of ONNX Runtime fp32's | peak | mean difference from own fp32 |"
            " IoU with u2net |"
        ),
        "|---|--:|--:|--:|--:|--:|",
    ]
    first = found["u2netp"]["onnxruntime fp32"]
    for name, taken in found["u2netp"].items():
        agreement = found["agreement"][name]
        share = taken["predict_p50_s"] / first["predict_p50_s"]
        rows.append(
            f"| {name} | {format_seconds(taken['predict_p50_s'])} | {share:.0%} |"
            f" {taken['peak_mib']:.0f} MiB | {agreement['with_own_fp32']['mae']:.4f} |"
            f" {agreement['with_u2net']['iou']:.3f} |"
        )
    n, pictures = first["n"], found["agreement"]["onnxruntime fp32"]["with_u2net"]["n"]
    rows += [
        "",
        (
            f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {date}; 1080p JPEG to PNG,"
            f" warm workers run in turn, medians, n = {n}; peak of the setting; agreement on"
            f" {pictures} pictures that took no part in making int8. 320 px unless"
            f" stated.{_left_out(found)}"
        ),
    ]
    return "\n".join(rows)


def avx2_table() -> str:
    """Lay out how u2netp's int8 does with AVX2 only; see benchmarks/avx2_agreement.py."""
    found, date = _newest("avx2-agreement")
    if found is None:
        return "Not measured yet."
    network = found["openvino_network"]
    fp32, int8 = network["fp32"], network["int8"]
    share = {
        "openvino": (
            f"{int8['p50_s'] / fp32['p50_s']:.0%} |"
            f" {int8['process_peak_mib'] / fp32['process_peak_mib']:.0%}"
        ),
        "onnxruntime": "not measured | not measured",
    }
    rows = [
        (
            "| u2netp int8, AVX2 only | network's time, of fp32's | process's peak, of fp32's |"
            " mean difference from fp32 (worst) | IoU with fp32 (worst) |"
        ),
        "|---|--:|--:|--:|--:|",
    ]
    rows += [
        f"| {engine} | {share[engine]} | {found[engine]['mae']:.4f}"
        f" ({found[engine]['worst_mae']:.4f}) | {found[engine]['iou']:.3f}"
        f" ({found[engine]['worst_iou']:.3f}) |"
        for engine in share
    ]
    held = (
        "; OpenVINO held to AVX2 by ONEDNN_MAX_CPU_ISA, ONNX Runtime emulated as a Haswell CPU by"
        " qemu"
        if found["held_to_avx2"]
        else ""
    )
    return "\n".join(
        [
            *rows,
            "",
            (
                f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {date}{held}; medians, n"
                f" = {fp32['n']} in three processes each, in turn; {found['openvino']['pictures']}"
                " pictures; `python benchmarks/avx2_agreement.py`."
            ),
        ]
    )


def larger_table() -> str:
    """Lay the newest measurement of ISNet and of a network of u2net's size out as a Markdown table."""
    found, date = _newest("engines")
    if found is None:
        return "Not measured yet."
    rows = [
        "| network | engine | network's time | of ONNX Runtime's | peak | of ONNX Runtime's |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for key, model in (("isnet", "ISNet, 1024 px"), ("u2net_like", "u2net's size, 320 px")):
        first = found[key]["onnxruntime"]
        for name, taken in found[key].items():
            time, peak = taken["predict_p50_s"], taken["peak_mib"]
            rows.append(
                f"| {model} | {name} | {format_seconds(time)} | {time / first['predict_p50_s']:.0%}"
                f" | {peak:,.0f} MiB | {peak / first['peak_mib']:.0%} |"
            )
    return "\n".join(
        [
            *rows,
            "",
            (
                f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {date}; medians of 5;"
                f" ONNX Runtime with its defaults.{_left_out(found)}"
            ),
        ]
    )


def stars_table() -> str:
    """Lay the stars of an edge out as a Markdown table."""
    rows = [f"| {least:g} | {stars:g} |" for least, stars in STARS]
    return "\n".join(
        ["| F-measure of the boundary, at least | stars |", "|--:|--:|", *rows, "| less | 1 |"]
    )


def sweep_table() -> str:
    """Lay what a sweep promises, and what was measured of it, out as a Markdown table.

    See benchmarks/sweep.py.
    """
    found, date = _newest("sweep")
    if found is None:
        return "Not measured yet."
    sixty, twice, again, soak = (found[name] for name in ("sixty", "twice", "again", "soak"))
    turns = again["turns"]
    widths = sorted(high / low for low, high in (turn["swept"]["expected_s"] for turn in turns))
    rows = [
        (
            (
                f"{sixty['trials']} trials of u2netp, a warm-up and three runs each, one picture"
                " (`--confirm 0`)"
            ),
            format_guess(sixty["wall_s"]),
        ),
        (
            (
                f"the same {twice['trials']} settings swept twice: trials on one front only, and of"
                " these not explained by the ranges of their runs or 5 % of the peak"
            ),
            (
                f"{twice['on_one_front_only']} and {twice['not_explained_by_the_stated_spread']}"
                f" (fronts of {twice['front'][0]} and {twice['front'][1]})"
            ),
        ),
        (
            (
                f"{len(turns)} sweeps of 12 settings, what each recommends then run by hand: worst"
                " difference of the peaks"
            ),
            f"{again['worst_peak_difference']:.1%}",
        ),
        (
            "the same: times by hand within the range that the sweep states",
            (
                f"{again['times_within_what_is_expected']} of {len(turns)}; the range's ends are"
                f" {widths[len(widths) // 2]:.1f} times apart (median)"
            ),
        ),
        (
            (
                f"soak of the default preset, {soak['runs']:,} runs at 1080p: growth over the"
                " second half"
            ),
            (
                f"{soak['slope_bytes'] / 1024:+.2f} ± {soak['slope_error_bytes'] / 1024:.2f} KiB a"
                f" picture, {soak['rss_mib_every_100'][-1] - soak['rss_mib_every_100'][1]:+.1f} MiB"
                " in all after the first 100"
            ),
        ),
        ("the same: a day at one slot", f"{soak['pictures_a_day']:,} pictures"),
    ]
    return "\n".join(
        [
            "| what | measured |",
            "|---|--:|",
            *(f"| {a} | {b} |" for a, b in rows),
            "",
            (
                f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {date}; `python"
                f" benchmarks/sweep.py`.{_left_out(found)}"
            ),
        ]
    )


def article_table(name: str = "article") -> str:
    """Lay the article's table out as it was measured last; see benchmarks/article.py."""
    found, date = _newest(name)
    if found is None:
        return "Not measured yet."
    table = found["table"]
    rows = [
        "| setting | time | range | n | peak | of the first's | times as fast | edge |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in table["rows"]:
        if row["time_s"] is None:
            rows.append(f"| `{row['name']}` | {row['why_not']} | | | | | | |")
            continue
        memory, speed = row["ratios"]
        mark = " (stand-in)" if table["is_stand_in"] and row["name"] == "article-default" else ""
        stars = "not told" if row["stars"] is None else f"{row['stars']:g} ★"
        rows.append(
            f"| `{row['name']}`{mark} | {format_seconds(row['time_s'])} |"
            f" {format_seconds(row['low_s'])} to {format_seconds(row['high_s'])} | {row['n']} |"
            f" {row['peak_bytes'] / MIB:,.0f} MiB | {memory:.0%} | {speed:.2f} | {stars} |"
        )
    held = f"; OpenVINO held to {found['held_to']}, ONNX Runtime not" if found["held_to"] else ""
    return "\n".join(
        [
            *rows,
            "",
            (
                f"{found['cpu']}, {found['cores']} cores{_formats(found)}, {date}{held}; a 1080p"
                " JPEG to PNG."
            ),
        ]
    )


def scaling_table() -> str:
    """Lay out what scaling the picture down first does to rembg's own pipeline.

    See benchmarks/sweep.py.
    """
    found, date = _newest("sweep")
    if found is None:
        return "Not measured yet."
    rows = ["| longest side | network | rest | in all | peak |", "|---|--:|--:|--:|--:|"]
    for side, taken in found["scaling"].items():
        name = "as it is, 4000 px" if side == "0" else f"{side} px"
        rows.append(
            f"| {name} | {format_seconds(taken['predict_s'])} | {format_seconds(taken['rest_s'])} |"
            f" {format_seconds(taken['total_s'])} | {taken['peak_bytes'] / MIB:,.0f} MiB |"
        )
    return "\n".join(
        [
            *rows,
            "",
            (
                f"u2netp, warm, medians of 3; {found['cpu']}, {found['cores']}"
                f" cores{_formats(found)}, {date}."
            ),
        ]
    )


def _formats(found: dict[str, Any]) -> str:
    """Say which number formats the CPU of a record had besides fp32."""
    formats = found.get("cpu_formats")
    return f" {formats_text(fast_formats_of(found['features']) if formats is None else formats)}"


def _left_out(found: dict[str, Any]) -> str:
    """Name what a record's CPU could not run; empty where it ran everything."""
    left_out = found.get("left_out", {})
    if isinstance(left_out, dict):
        left_out = [f"{name} ({reason})" for name, reason in left_out.items()]
    return f" Left out: {'; '.join(left_out)}." if left_out else ""


def _newest(name: str) -> tuple[dict[str, Any] | None, str]:
    """Read the newest record of a benchmark, and its date; None: there is none."""
    files = sorted((ROOT / "benchmarks" / "results").glob(f"{name}-[0-9]*.json"))
    if not files:
        return None, ""
    return json.loads(files[-1].read_text(encoding="utf-8")), files[-1].stem.removeprefix(
        f"{name}-"
    )


def refresh(text: str) -> str:
    """Write the derived blocks of a text anew; what stands between them stays."""
    for name, write in BLOCKS.items():
        found = re.search(_BLOCK_PATTERN.format(name=name), text, flags=re.DOTALL)
        if found is not None:
            block = _BLOCK.format(name=name, content=write())
            text = text[: found.start()] + block + text[found.end() :]
    return text


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": knob_table,
    "presets": preset_table,
    "focus": focus_table,
    **_record_blocks(),
    "page": page_table,
    "engines": engines_table,
    "avx2": avx2_table,
    "larger": larger_table,
    "stars": stars_table,
    "sweep": sweep_table,
    "article": article_table,
    "avx2-article": partial(article_table, "avx2-article"),
    "scaling": scaling_table,
}
PAGES = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))


def main() -> None:
    """Refresh the pages."""
    for name in PAGES:
        page = ROOT / name
        text = refresh(page.read_text(encoding="utf-8"))
        with replacing(page) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
