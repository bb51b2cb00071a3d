"""Generate the derived parts of README.md and docs/: `python -m tools.documents`.

A derived block is between two comments with its name, in any of these files. A test fails if a
block differs from its source, so that each default, figure and name is stored once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rembg_tuner.base.files import replacing
from rembg_tuner.base.units import format_seconds
from rembg_tuner.imaging.quality import STARS
from rembg_tuner.settings.presets import DEFAULT_PRESET, read_presets
from rembg_tuner.settings.records import measured_on_text, small_subject_of
from rembg_tuner.settings.settings import KNOBS, default_text, flag_of, value_text
from tools import record_tables as records
from tools.bench_tables import stage_table, stored_table, summary_table
from tools.record_tables import ROOT, record_block, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.settings.presets import Preset

_MEASURE = "python -m tools.presets"
_BLOCK = "<!-- {name}: derived, see tools/documents.py -->\n{content}\n<!-- /{name} -->"
_BLOCK_PATTERN = r"<!-- {name}: [^\n]*-->\n(?:.*?\n)?<!-- /{name} -->"


def knob_table() -> str:
    """Return the table of settings."""
    rows = [
        (
            f"`{flag_of(name)}`",
            knob.allowed_text(),
            default_text(name),
            knob.summary,
            ", ".join(sorted(knob.engines)) or "all",
        )
        for name, knob in KNOBS.items()
    ]
    return table("flag | values | default | what it is, costs and brings | engines", rows)


def preset_table() -> str:
    """Return the table of presets."""
    presets = read_presets().values()
    measured = next((preset.measured for preset in presets if preset.measured), None)
    usual = str(measured_on_text(measured)) if measured else ""
    note = measured and (
        f"{measured['picture']}, warm, n = {measured['n']}, {usual}, {measured['date']}. On another"
        f" kind of CPU time and memory differ: `{_MEASURE}` measures them there."
    )
    rows = [_preset_row(preset, usual) for preset in presets]
    return table("preset | for | settings | median: | peak:", rows, note or "")


def _preset_row(preset: Preset, usual: str) -> Sequence[str]:
    """Return a preset's row, with its CPU if that differs from the usual one."""
    settings = ", ".join(f"{name} {value_text(value)}" for name, value in preset.values.items())
    name = f"`{preset.name}`" + (" (default)" if preset.name == DEFAULT_PRESET else "")
    if preset.measured is None:
        return name, preset.purpose, settings, f"not measured: {preset.why_not_measured}", ""
    on = str(measured_on_text(preset.measured))
    where = "" if on == usual else f" (on {on})"
    small = small_subject_of(preset.measured)
    if small is not None:
        where += f"; small subject {small.time_s * 1000:.0f} ms, {small.passes} network runs"
    median = f"{float(str(preset.measured['latency_p50_s'])) * 1000:.0f} ms{where}"
    return name, preset.purpose, settings, median, f"{preset.measured['peak_rss_mib']} MiB"


def focus_table() -> str:
    """Return the table of presets with focus auto: times of a usual and of a small subject."""
    rows = []
    note = ""
    for preset in read_presets().values():
        measured = preset.measured or {}
        small = small_subject_of(measured)
        if small is not None:
            usual = format_seconds(float(str(measured["latency_p50_s"]))), str(measured["passes"])
            looked = format_seconds(small.time_s), str(small.passes)
            rows.append((f"`{preset.name}`", *usual, *looked))
            note = (
                f"{measured['picture']}, warm, n = {measured['n']}, {measured_on_text(measured)},"
                f" {measured['date']}; the small subject's box is {small.share:.0%} of the picture."
            )
    if not rows:
        return f"Not measured yet: `{_MEASURE}`."
    titles = "preset | usual picture: | network runs: | small subject: | network runs:"
    return table(titles, rows, note)


def stars_table() -> str:
    """Return the table of edge stars."""
    rows = [(f"{minimum:g}", f"{stars:g}") for minimum, stars in STARS]
    return table("F-measure of the boundary, at least: | stars:", [*rows, ("less", "1")])


def _blocks() -> dict[str, Callable[[], str]]:
    """Return the function that writes each block; some records also exist with OpenVINO on AVX2."""
    blocks = {
        "settings": knob_table,
        "presets": preset_table,
        "focus": focus_table,
        "stars": stars_table,
    }
    for block, record, write, command in (
        ("write-stage", "", records.write_stage_table, "benchmarks/write_stage.py"),
        ("cold-start", "", records.start_table, "benchmarks/cold_start.py"),
        ("page-start", "", records.page_start_table, "benchmarks/page_start.py ../before"),
        ("page", "", records.page_table, "benchmarks/page.py"),
        ("engines", "", records.engines_table, "benchmarks/engines.py"),
        ("larger", "engines", records.larger_table, "benchmarks/engines.py"),
        ("avx2", "avx2-agreement", records.avx2_table, "benchmarks/avx2_agreement.py"),
        ("sweep", "", records.sweep_table, "benchmarks/sweep.py"),
        ("scaling", "sweep", records.scaling_table, "benchmarks/sweep.py"),
        ("stored", "bench", stored_table, "-m rembg_tuner bench"),
    ):
        blocks[block] = record_block(record or block, write, f"python {command}")
    for prefix, flag in (("", ""), ("avx2-", " --avx2")):
        for block, record, write, command in (
            ("bench", "bench", summary_table, "-m rembg_tuner bench"),
            ("stages", "bench", stage_table, "-m rembg_tuner bench"),
            ("limits", "limits", records.limits_table, "benchmarks/limits.py"),
            ("article", "article", records.article_table, "benchmarks/article.py"),
        ):
            blocks[f"{prefix}{block}"] = record_block(
                f"{prefix}{record}", write, f"python {command}{flag}"
            )
    return blocks


def refresh(text: str) -> str:
    """Return a text with its derived blocks generated again; the rest is unchanged."""
    for name, write in BLOCKS.items():
        found = re.search(_BLOCK_PATTERN.format(name=name), text, flags=re.DOTALL)
        if found is not None:
            block = _BLOCK.format(name=name, content=write())
            text = text[: found.start()] + block + text[found.end() :]
    return text


BLOCKS = _blocks()
PAGES = (
    "README.md",
    "README.zh.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
)


def main() -> None:
    """Update the pages."""
    for name in PAGES:
        page = ROOT / name
        text = refresh(page.read_text(encoding="utf-8"))
        with replacing(page) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main()
