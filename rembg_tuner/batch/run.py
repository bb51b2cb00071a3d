"""Run many pictures, `batch_size` of them together, and summarise the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.settings.results import Failure, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_tuner.base.messages import Message
    from rembg_tuner.batch.plan import Found
    from rembg_tuner.runtime.runner import Runner
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """The summary of a batch.

    Attributes:
        inputs: the sum of done, failed, skipped and not_run.
        done: number of successful runs.
        failed: number of failed runs.
        skipped: number of files that are not pictures.
        not_run: number of pictures left when the batch was interrupted.
        elapsed_s: wall time, including start and load.
        cpu_s: CPU time of the successful runs.
        pictures_per_s: successful runs divided by elapsed_s.
        batch_size: number of pictures that run together.
        peak_rss_bytes: the highest peak of a run; None: unknown.
    """

    inputs: int
    done: int
    failed: int
    skipped: int
    not_run: int
    elapsed_s: float
    cpu_s: float
    pictures_per_s: float
    batch_size: int
    peak_rss_bytes: int | None


def run_batch(
    jobs: Sequence[Job],
    settings: Settings,
    runner: Runner,
    *,
    warnings: tuple[Message, ...] = (),
) -> Iterator[Result | Failure]:
    """Run every group of pictures, and yield each outcome when its group is done."""
    size = settings.batch_size
    for i in range(0, len(jobs), size):
        yield from runner.run_together(
            list(jobs[i : i + size]),
            settings,
            warnings=warnings,
            following=list(jobs[i + size : i + 2 * size]),
        )


def sum_up(
    found: Found, runs: Sequence[Result | Failure], *, elapsed_s: float, batch_size: int
) -> BatchSummary:
    """Return the summary of a batch."""
    done = [one for one in runs if isinstance(one, Result)]
    peaks = [one.peak_rss_bytes for one in done if one.peak_rss_bytes is not None]
    return BatchSummary(
        inputs=len(found.images) + len(found.skipped),
        done=len(done),
        failed=len(runs) - len(done),
        skipped=len(found.skipped),
        not_run=len(found.images) - len(runs),
        elapsed_s=elapsed_s,
        cpu_s=sum(one.cpu_s for one in done),
        pictures_per_s=len(done) / elapsed_s,
        batch_size=batch_size,
        peak_rss_bytes=max(peaks, default=None),
    )
