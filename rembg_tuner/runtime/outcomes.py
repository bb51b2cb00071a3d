"""The outcome of a run: its Result, or its Failure after removing unfinished files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.files import remove_scratch
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.meter import load_average
from rembg_tuner.settings.address_space import with_limit
from rembg_tuner.settings.results import Failure, FailureKind, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rembg_tuner.base.errors import TunerError
    from rembg_tuner.runtime.meter import Meter
    from rembg_tuner.runtime.watch import FailedRunError
    from rembg_tuner.runtime.workers import WarmWorker
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The readings of the meter right after a run, bytes."""

    peak: int | None
    retained: int | None
    rss_file: int | None
    curve: tuple[tuple[float, int], ...]

    @classmethod
    def read(cls, meter: Meter, curve: tuple[tuple[float, int], ...]) -> Readings:
        """Read the meter."""
        return cls(
            peak=meter.peak_bytes(),
            retained=meter.rss_bytes(),
            rss_file=meter.rss_file_bytes(),
            curve=curve,
        )


def failure_of(job: Job, settings: Settings, error: FailedRunError, run_index: int) -> Failure:
    """Return the Failure of a run."""
    return Failure(
        kind=error.kind,
        message=with_limit(error.message, error.kind),
        stage=error.stage,
        input=job.input,
        settings=settings,
        run_index=run_index,
    )


def kind_of(error: TunerError) -> FailureKind:
    """Return the kind of an error; a test compares the classes with the kinds."""
    kind: FailureKind = error.kind  # type: ignore[assignment]
    return kind


def remove_scratch_of(jobs: list[Job]) -> None:
    """Remove the unfinished files of a worker that has ended."""
    for job in jobs:
        for name in (job.output, job.preview, job.before_preview, job.mask):
            if name:
                remove_scratch(Path(name))


def result_of(
    worker: WarmWorker,
    job: Job,
    settings: Settings,
    *,
    readings: Readings,
    outcome: dict[str, Any],
    warnings: Iterable[Message],
) -> Result:
    """Return the Result of one picture.

    Args:
        worker: the worker that ran it.
        job: the picture; its previews exist.
        settings: the requested settings.
        readings: the readings of the meter.
        outcome: reported by the worker: stages_s, total_s and cpu_s in seconds, output_bytes in
            bytes, and focus.
        warnings: all warnings of the run.
    """
    return Result(
        input=job.input,
        output=job.output,
        preview=job.preview,
        before_preview=job.before_preview,
        run_index=worker.runs - 1,
        settings=settings,
        effective={**worker.effective, "max_side": settings.max_side, "focus": outcome["focus"]},
        stages_s=outcome["stages_s"],
        total_s=outcome["total_s"],
        load_s=worker.load_s,
        start_s=worker.start_s,
        cpu_s=outcome["cpu_s"],
        baseline_rss_bytes=worker.baseline_rss_bytes,
        load_peak_rss_bytes=worker.load_peak_rss_bytes,
        peak_rss_bytes=readings.peak,
        retained_rss_bytes=readings.retained,
        rss_file_bytes=readings.rss_file,
        peak_source=worker.meter.peak_source,
        output_bytes=outcome["output_bytes"],
        agreement=None,
        warnings=tuple(warnings),
        environment=replace(worker.environment, load_average=load_average()),
        curve=readings.curve,
    )
