"""What the bench found: first as values, then as a table and a JSON document."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rembg_tuner.host import fast_formats_of, formats_text, read_host
from rembg_tuner.measurement import setting_peak_bytes
from rembg_tuner.stats import summarise
from rembg_tuner.units import MIB, format_bytes, format_seconds

if TYPE_CHECKING:
    from rembg_tuner.bench.contest import Bout, ColdStarts
    from rembg_tuner.measurement import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant on one picture.

    Attributes:
        times_as_fast: stock's median time over this one's; None for what stock did not run.
        peak_bytes: the setting's peak: the highest of load and all runs, warm-ups included.
        peak_share: this peak over stock's.
        size_ratio: this file's size over stock's.
        outside_engine_s: median of total less predict.
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
    cpu_s: float
    start_s: float
    load_s: float
    parent_cpu_s: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All rows, the cold starts, what was left out and why, and where and when."""

    date: str
    commit: str | None
    environment: dict[str, object]
    rows: list[Row]
    cold_starts: ColdStarts | None
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, object]:
        """Give the report ready for JSON."""
        return asdict(self)


def make_report(
    bouts: list[Bout], cold: ColdStarts | None, left_out: dict[str, str]
) -> BenchReport:
    """Compute the rows; the first contestant of each picture is what the others are compared with."""
    rows: list[Row] = []
    for bout in bouts:
        reference = next(other for other in bouts if other.picture == bout.picture)
        rows.append(_row(bout, reference if reference.contestant == "stock rembg" else None))
    environment = asdict(bouts[0].rounds[-1].environment)
    versions: dict[str, str] = {}
    for bout in bouts:
        versions |= bout.rounds[-1].environment.versions
    return BenchReport(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=_commit(),
        environment={
            **environment,
            "versions": versions,
            "features": sorted(read_host().features),
        },
        left_out=left_out,
        rows=rows,
        cold_starts=cold,
    )


def _row(bout: Bout, stock: Bout | None) -> Row:
    """Compute one row."""
    total = summarise([run.total_s for run in bout.rounds])
    peak = setting_peak_bytes([*bout.warm_ups, *bout.rounds])
    last = bout.rounds[-1]
    stock_peak = setting_peak_bytes([*stock.warm_ups, *stock.rounds]) if stock else None
    return Row(
        contestant=bout.contestant,
        picture=bout.picture,
        n=total.n,
        median_s=total.median,
        low_s=total.low,
        high_s=total.high,
        is_unstable=total.is_unstable(),
        times_as_fast=median(r.total_s for r in stock.rounds) / total.median if stock else None,
        peak_bytes=peak,
        peak_source=last.peak_source,
        peak_share=peak / stock_peak if peak and stock_peak else None,
        output_bytes=last.output_bytes,
        size_ratio=last.output_bytes / stock.rounds[-1].output_bytes if stock else None,
        stages_s={
            name: median(run.stages_s[name] for run in bout.rounds) for name in last.stages_s
        },
        outside_engine_s=median(run.total_s - run.stages_s["predict"] for run in bout.rounds),
        cpu_s=median(run.cpu_s for run in bout.rounds),
        start_s=last.start_s,
        load_s=last.load_s,
        parent_cpu_s=median(bout.parent_cpu_s),
        warnings=last.warnings,
    )


def _commit() -> str | None:
    """Name the commit that is measured; None outside a checkout."""
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return asked.stdout.strip() or None


def format_report(report: BenchReport) -> str:
    """Lay the report out as Markdown."""
    machine = report.environment
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores{_formats(machine)}, {report.date}; u2netp, JPEG to PNG, warm workers run in turn; "
        f"median of n, peak of the setting (load and all runs).",
        "",
        "| picture | setting | n | time | range | x stock | peak | of stock's | file | predict | rest |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line(row) for row in report.rows]
    if report.left_out:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in report.left_out.items())
        lines += ["", f"Left out: {reasons}."]
    if report.cold_starts is not None:
        lines += ["", *_cold_lines(report.cold_starts)]
    return "\n".join(lines)


def _formats(machine: dict[str, object]) -> str:
    """Say which number formats the CPU has instructions for; empty where its features are unknown."""
    features = machine.get("features")
    return f" {formats_text(fast_formats_of(features))}" if isinstance(features, list) else ""


def _line(row: Row) -> str:
    """Write one row of the table."""
    predict = row.stages_s["predict"]
    cells = [
        row.picture,
        row.contestant,
        str(row.n),
        format_seconds(row.median_s) + (" (unstable)" if row.is_unstable else ""),
        f"{format_seconds(row.low_s)} to {format_seconds(row.high_s)}",
        f"{row.times_as_fast:.2f}" if row.times_as_fast else "",
        format_bytes(row.peak_bytes),
        f"{row.peak_share:.0%}" if row.peak_share else "",
        f"{row.output_bytes / MIB:.1f} MiB"
        + (f" ({row.size_ratio:.2f})" if row.size_ratio else ""),
        format_seconds(predict),
        format_seconds(row.outside_engine_s),
    ]
    return f"| {' | '.join(cells)} |"


def _cold_lines(cold: ColdStarts) -> list[str]:
    """Write the cold starts as a table."""
    stock = median(cold.stock_s)
    lines = [
        f"From a process's start to the file, {cold.picture}, n = {len(cold.stock_s)}:",
        "",
        "| setting | second start and on | of stock's | very first start |",
        "|---|--:|--:|--:|",
        f"| stock rembg in a fresh Python | {format_seconds(stock)} | 100% | |",
    ]
    for name, seconds in cold.ours_s.items():
        ours = median(seconds)
        lines.append(
            f"| `rembg-tuner cut`, {name} | {format_seconds(ours)} | {ours / stock:.0%} | {format_seconds(cold.first_s[name])} |"
        )
    return lines


def measured_of(results: list[Result], picture: str) -> dict[str, object]:
    """Give what presets.yaml says of a setting that was measured.

    Args:
        results: of one worker, the first being cold.
        picture: its name.
    """
    warm = summarise([run.total_s for run in results[1:]])
    peak = setting_peak_bytes(results)
    last = results[-1]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": last.environment.cpu,
        "cores": last.environment.cores,
        "cpu_formats": list(read_host().fast_formats),
        "picture": picture,
        "n": warm.n,
        "latency_p50_s": round(warm.median, 3),
        "latency_max_s": round(warm.high, 3),
        "peak_rss_mib": round(peak / MIB) if peak else None,
        "engine": f"{last.effective['engine']} {last.environment.versions.get(str(last.effective['engine']), '')}".strip(),
    }
