"""The bench's report: its rows as values, and its Markdown.

The Markdown is generated from the report's JSON, so that a stored record results in the same text.
"""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.units import MIB, format_bytes, format_seconds
from rembg_tuner.settings.host import fast_formats_of, formats_text, read_host
from rembg_tuner.settings.results import distinct, is_busy
from rembg_tuner.tuning.bench.contestants import STOCK, before_name
from rembg_tuner.tuning.bench.release_before import commit_of
from rembg_tuner.tuning.stats import summarise

if TYPE_CHECKING:
    from rembg_tuner.tuning.bench.contest import Bout, ColdStarts
    from rembg_tuner.tuning.bench.release_before import Release


_HELD = (
    "OpenVINO held to {isa} (ONEDNN_MAX_CPU_ISA). Stock's ONNX Runtime has no such switch and uses"
    " the whole CPU, so the ratios to stock are lower than on a CPU with {isa} only"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfBefore:
    """Ratios to the same setting and picture in the previous release."""

    total: float
    write: float
    peak: float | None
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant on one picture.

    Attributes:
        times_as_fast: stock's median time divided by this one's; None: stock did not run the
            picture.
        peak_bytes: the setting's peak: the highest of load and all runs, including warm-ups.
        peak_share: this peak divided by stock's.
        size_ratio: this file's size divided by stock's.
        outside_engine_s: median of total minus predict.
        of_before: None: not compared with the previous release, or a row of that release.
        parent_cpu_s: None: another process measured it.
    """

    contestant: str
    picture: str
    n: int
    median_s: float
    low_s: float
    high_s: float
    is_unstable: bool
    times_as_fast: float | None
    peak_bytes: int | None
    peak_source: str
    peak_share: float | None
    output_bytes: int
    size_ratio: float | None
    stages_s: dict[str, float]
    outside_engine_s: float
    of_before: OfBefore | None
    cpu_s: float
    start_s: float
    load_s: float
    parent_cpu_s: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All rows, the cold starts, the omitted contestants with reasons, the machine and the date.

    Attributes:
        held_to: the instruction set that OpenVINO was restricted to; None: all of the CPU's.
        before: the previous release; None: it was not measured.
        busy: the distinct warnings that the machine was busy; empty: it was idle.
    """

    date: str
    commit: str | None
    environment: dict[str, object]
    rows: list[Row]
    cold_starts: ColdStarts | None
    left_out: dict[str, str]
    held_to: str | None = None
    before: Release | None = None
    busy: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the report ready for JSON."""
        return asdict(self)


def make_report(
    bouts: list[Bout],
    cold: ColdStarts | None,
    left_out: dict[str, str],
    *,
    held_to: str | None = None,
    before: Release | None = None,
) -> BenchReport:
    """Compute the rows; each is compared with stock rembg on the same picture."""
    found = {(bout.contestant, bout.picture): bout for bout in bouts}
    rows = [
        _row(
            bout,
            found.get((STOCK, bout.picture)),
            found.get((before_name(bout.contestant), bout.picture)),
        )
        for bout in bouts
    ]
    environments = [bout.rounds[-1].environment for bout in bouts]
    versions: dict[str, str] = {}
    for environment in environments:
        versions = {**environment["versions"], **versions}
    features = sorted(read_host().features)
    warnings = [one for bout in bouts for run in bout.rounds for one in run.warnings]
    return BenchReport(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=commit_of(Path(__file__).parent),
        environment={**environments[0], "versions": versions, "features": features},
        left_out=left_out,
        rows=rows,
        cold_starts=cold,
        held_to=held_to,
        before=before,
        busy=tuple(map(str, distinct(one for one in warnings if is_busy([one])))),
    )


def _row(bout: Bout, stock: Bout | None, before: Bout | None) -> Row:
    """Compute one row of the report."""
    total = summarise([run.total_s for run in bout.rounds])
    last = bout.rounds[-1]
    return Row(
        contestant=bout.contestant,
        picture=bout.picture,
        n=total.n,
        median_s=total.median,
        low_s=total.low,
        high_s=total.high,
        is_unstable=total.is_unstable(),
        times_as_fast=median(run.total_s for run in stock.rounds) / total.median if stock else None,
        peak_bytes=bout.peak_bytes(),
        peak_source=last.peak_source,
        peak_share=_peak_share(bout, stock) if stock else None,
        output_bytes=last.output_bytes,
        size_ratio=last.output_bytes / stock.rounds[-1].output_bytes if stock else None,
        stages_s={name: _stage_s(bout, name) for name in last.stages_s},
        outside_engine_s=median(run.total_s - run.stages_s["predict"] for run in bout.rounds),
        of_before=_of_before(bout, before) if before else None,
        cpu_s=median(run.cpu_s for run in bout.rounds),
        start_s=last.start_s,
        load_s=last.load_s,
        parent_cpu_s=median(bout.parent_cpu_s) if bout.parent_cpu_s else None,
        warnings=tuple(map(str, last.warnings)),
    )


def _peak_share(bout: Bout, other: Bout) -> float | None:
    """Return a bout's peak divided by another's; None: one of them is unknown."""
    peak, others = bout.peak_bytes(), other.peak_bytes()
    return peak / others if peak and others else None


def _stage_s(bout: Bout, name: str) -> float:
    """Return the median time of a stage; 0 for runs without it."""
    return median(run.stages_s.get(name, 0.0) for run in bout.rounds)


def _of_before(bout: Bout, before: Bout) -> OfBefore:
    """Compare a bout with the same setting in the previous release."""
    return OfBefore(
        total=median(run.total_s for run in bout.rounds)
        / median(run.total_s for run in before.rounds),
        write=_stage_s(bout, "write") / _stage_s(before, "write"),
        peak=_peak_share(bout, before),
        output=bout.rounds[-1].output_bytes / before.rounds[-1].output_bytes,
    )


def format_report(report: dict[str, Any]) -> str:
    """Return the whole report as Markdown."""
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
    """Return the machine, the date, and the release of the comparison."""
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
    """Return one row of the table."""
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
    """Return the ratios to the previous release as text."""
    if not ratios:
        return ""
    values = (ratios["total"], ratios["write"], ratios["peak"], ratios["output"])
    return ", ".join("unknown" if value is None else f"{value:.2f}" for value in values)


def cold_lines(cold: dict[str, Any]) -> list[str]:
    """Return the cold starts as a table."""
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
