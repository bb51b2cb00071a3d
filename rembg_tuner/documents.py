"""The parts of the README that are derived: `python -m rembg_tuner.documents` writes them anew.

A test fails where README.md and its sources differ, so that no default, figure or name is kept twice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from rembg_tuner.cache import replacing
from rembg_tuner.presets import DEFAULT_PRESET, Preset, read_presets
from rembg_tuner.settings import KNOBS, default_text, flag_of
from rembg_tuner.units import format_seconds

ROOT = Path(__file__).parent.parent
_BLOCK = "<!-- {name}: derived, see rembg_tuner/documents.py -->\n{content}\n<!-- /{name} -->"
_BLOCK_PATTERN = r"<!-- {name}: [^\n]*-->\n(?:.*?\n)?<!-- /{name} -->"


def knob_table() -> str:
    """Lay the settings out as a Markdown table."""
    lines = [
        "| flag | values | default | what it is, costs and brings | engines |",
        "|---|---|---|---|---|",
    ]
    for name, knob in KNOBS.items():
        values = knob.allowed_text() if knob.choices or knob.low is not None else ""
        values = values or (
            "on, off" if default_text(name) in ("on", "off") else "a name or a path"
        )
        engines = ", ".join(sorted(knob.engines)) or "all"
        lines.append(
            f"| `{flag_of(name)}` | {values} | {default_text(name)} | {knob.summary} | {engines} |"
        )
    return "\n".join(lines)


def preset_table() -> str:
    """Lay the presets out as a Markdown table."""
    lines = ["| preset | for | settings | median | peak |", "|---|---|---|--:|--:|"]
    lines += [_preset_line(preset) for preset in read_presets().values()]
    measured = next((p.measured for p in read_presets().values() if p.measured), None)
    if measured is not None:
        lines += [
            "",
            f"{measured['picture']}, warm, n = {measured['n']}, {measured['cpu']}, {measured['cores']} cores, {measured['date']}.",
        ]
    return "\n".join(lines)


def _preset_line(preset: Preset) -> str:
    """Write one preset's row."""
    settings = ", ".join(f"{name} {_word(value)}" for name, value in preset.values.items())
    name = f"`{preset.name}`" + (" (default)" if preset.name == DEFAULT_PRESET else "")
    if preset.measured is None:
        return f"| {name} | {preset.purpose} | {settings} | not measured: {preset.why_not_measured} | |"
    seconds = float(str(preset.measured["latency_p50_s"]))
    return f"| {name} | {preset.purpose} | {settings} | {seconds * 1000:.0f} ms | {preset.measured['peak_rss_mib']} MiB |"


def _word(value: object) -> str:
    """Write a setting's value as a person would."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def bench_table() -> str:
    """Give the newest bench's table, as it was printed."""
    tables = sorted((ROOT / "benchmarks" / "results").glob("bench-*.md"))
    return tables[-1].read_text(encoding="utf-8").strip() if tables else "Not measured yet."


def page_table() -> str:
    """Lay the newest measurement of the page out as a Markdown table; see benchmarks/page.py."""
    files = sorted((ROOT / "benchmarks" / "results").glob("page-*.json"))
    if not files:
        return "Not measured yet."
    found = json.loads(files[-1].read_text(encoding="utf-8"))
    click, web = found["click_to_cutout_1080p"], found["web_rss_mib"]
    browser, cut = found["browser_1080p"], found["cut_1080p"]
    rows = [
        ("from the start to the page served", format_seconds(found["served_s"])),
        ("from the click to the cut-out seen, 1080p, the first run", format_seconds(click["first_s"])),
        (f"the same, warm, median of {click['n']}", f"{format_seconds(click['p50_s'])} ({format_seconds(click['low_s'])} to {format_seconds(click['high_s'])})"),
        ("idle, a tab open", f"{found['idle_share_of_a_core']:.1%} of a core"),
        (f"web process after {web['runs_12mp']} runs of 12 MP, a 144 MP bomb and ten bad files", f"{web['after_bad_files']:.0f} MiB"),
        ("peak of a run as the browser and as `cut` tell it, medians", f"{browser['median_peak_mib']:.0f} and {cut['median_peak_mib']:.0f} MiB"),
        ("time of a run as the browser and as `cut` tell it, medians", f"{format_seconds(browser['median_s'])} ({format_seconds(browser['low_s'])} to {format_seconds(browser['high_s'])}) and {format_seconds(cut['median_s'])} ({format_seconds(cut['low_s'])} to {format_seconds(cut['high_s'])})"),
    ]  # fmt: skip
    return "\n".join(["| what | measured |", "|---|--:|", *(f"| {a} | {b} |" for a, b in rows)])


def engines_table() -> str:
    """Lay the newest measurement of the engines out as a Markdown table; see benchmarks/engines.py."""
    files = sorted((ROOT / "benchmarks" / "results").glob("engines-*.json"))
    if not files:
        return "Not measured yet."
    found = json.loads(files[-1].read_text(encoding="utf-8"))
    rows = [
        "| u2netp | network | of ONNX Runtime fp32's | peak | mean difference from own fp32 | IoU with u2net |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    first = found["u2netp"]["onnxruntime fp32"]
    for name, taken in found["u2netp"].items():
        agreement = found["agreement"][name]
        share = taken["predict_p50_s"] / first["predict_p50_s"]
        rows.append(
            f"| {name} | {format_seconds(taken['predict_p50_s'])} | {share:.0%} | {taken['peak_mib']:.0f} MiB "
            f"| {agreement['with_own_fp32']['mae']:.4f} | {agreement['with_u2net']['iou']:.3f} |"
        )
    n, pictures = first["n"], found["agreement"]["onnxruntime fp32"]["with_u2net"]["n"]
    date = files[-1].stem.removeprefix("engines-")
    rows += [
        "",
        f"{found['cpu']}, {found['cores']} cores, {date}; 1080p JPEG to PNG, warm workers run in turn, medians, n = {n}; "
        f"peak of the setting; agreement on {pictures} pictures that took no part in making int8. 320 px unless told.",
    ]
    return "\n".join(rows)


def refresh(text: str) -> str:
    """Write the derived blocks of a text anew; what stands between them stays."""
    for name, content in (
        ("settings", knob_table()),
        ("presets", preset_table()),
        ("bench", bench_table()),
        ("page", page_table()),
        ("engines", engines_table()),
    ):
        block = _BLOCK.format(name=name, content=content)
        found = re.search(_BLOCK_PATTERN.format(name=name), text, flags=re.DOTALL)
        if found is not None:
            text = text[: found.start()] + block + text[found.end() :]
    return text


def main() -> None:
    """Refresh README.md."""
    readme = ROOT / "README.md"
    text = refresh(readme.read_text(encoding="utf-8"))
    with replacing(readme) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
