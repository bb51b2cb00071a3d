"""What the bench found, as values ready for JSON."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rembg_tuner.base.units import MIB
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import distinct, is_busy, setting_peak_bytes
from rembg_tuner.tuning.bench.contestants import STOCK, before_name
from rembg_tuner.tuning.bench.release_before import commit_of
from rembg_tuner.tuning.stats import summarise

if TYPE_CHECKING:
    from rembg_tuner.settings.results import Result
    from rembg_tuner.tuning.bench.cold_starts import ColdStarts
    from rembg_tuner.tuning.bench.contest import Bout
    from rembg_tuner.tuning.bench.release_before import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class OfBefore:
    """Ratios to the same setting in the release before, on the same picture."""

    total: float
    write: float
    peak: float | None
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant on one picture.

    Attributes:
        times_as_fast: stock's median time over this one's; None for what stock did not run.
        peak_bytes: the setting's peak: the highest of load and all runs, warm-ups included.
        peak_share: this peak over stock's.
        size_ratio: this file's size over stock's.
        outside_engine_s: median of total less predict.
        of_before: None: it is not compared with the release before, or is that release.
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
    """All rows, the cold starts, what was left out and why, and where and when.

    Attributes:
        held_to: the instruction set that OpenVINO was held to; None: the CPU's own.
        before: the release before; None: it took no part.
        busy: that the machine was busy with other work, once; empty: it was quiet.
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
    """Compute the rows; stock rembg of the same picture is what the others are compared with."""
    found = {(bout.contestant, bout.picture): bout for bout in bouts}
    rows = [
        _row(
            bout,
            found.get((STOCK, bout.picture)),
            found.get((before_name(bout.contestant), bout.picture)),
        )
        for bout in bouts
    ]
    versions: dict[str, str] = {}
    for bout in bouts:
        versions = {**bout.rounds[-1].environment["versions"], **versions}
    return BenchReport(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        commit=commit_of(Path(__file__).parent),
        environment={
            **bouts[0].rounds[-1].environment,
            "versions": versions,
            "features": sorted(read_host().features),
        },
        left_out=left_out,
        rows=rows,
        cold_starts=cold,
        held_to=held_to,
        before=before,
        busy=tuple(
            str(one)
            for one in distinct(
                one
                for bout in bouts
                for run in bout.rounds
                for one in run.warnings
                if is_busy([one])
            )
        ),
    )


def _row(bout: Bout, stock: Bout | None, before: Bout | None) -> Row:
    """Compute one row."""
    total = summarise([run.total_s for run in bout.rounds])
    peak = bout.peak_bytes()
    last = bout.rounds[-1]
    stock_peak = stock.peak_bytes() if stock else None
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
        stages_s={name: _stage_s(bout, name) for name in last.stages_s},
        outside_engine_s=median(run.total_s - run.stages_s["predict"] for run in bout.rounds),
        of_before=_of_before(bout, before) if before else None,
        cpu_s=median(run.cpu_s for run in bout.rounds),
        start_s=last.start_s,
        load_s=last.load_s,
        parent_cpu_s=median(bout.parent_cpu_s) if bout.parent_cpu_s else None,
        warnings=tuple(map(str, last.warnings)),
    )


def _stage_s(bout: Bout, name: str) -> float:
    """Return the median time of a stage; a run that had no such stage spent none in it."""
    return median(run.stages_s.get(name, 0.0) for run in bout.rounds)


def _of_before(bout: Bout, before: Bout) -> OfBefore:
    """Compare a bout with its twin in the release before."""
    peak, peak_before = bout.peak_bytes(), before.peak_bytes()
    return OfBefore(
        total=median(run.total_s for run in bout.rounds)
        / median(run.total_s for run in before.rounds),
        write=_stage_s(bout, "write") / _stage_s(before, "write"),
        peak=peak / peak_before if peak and peak_before else None,
        output=bout.rounds[-1].output_bytes / before.rounds[-1].output_bytes,
    )


def measured_of(results: list[Result], picture: str) -> dict[str, object]:
    """Return what presets.yaml says of a setting that was measured.

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
        "engine": (
            f"{last.effective['engine']}"
            f" {last.environment.versions.get(str(last.effective['engine']), '')}".strip()
        ),
    }
