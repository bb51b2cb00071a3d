"""Stress test: run pictures many times in one worker; measure memory growth and throughput."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rembg_tuner.base.messages import Message
from rembg_tuner.base.templates import render
from rembg_tuner.base.units import MIB, format_bytes
from rembg_tuner.runtime.meter import Meter
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure, message_to_dict, setting_peak_bytes
from rembg_tuner.tuning.axes import TEMPLATES, Axis, fit_axis
from rembg_tuner.tuning.stats import MIN_VERDICT_RUNS, summarise
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.results import Result
    from rembg_tuner.settings.settings import Settings

IDLE_S = 2.0
_DAY_S = 86_400
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 480, 220, 46, 34, 28, 12
Verdict = Literal["growing", "steady"]
WORDS = {"memory": "memory after each run, MiB", "run": "run"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StressTest:
    """The outcome of many runs.

    Attributes:
        times_s: total_s of each run, including the cold run.
        rss_bytes: RSS after each run; None: unknown.
        slope_bytes: growth of memory per picture over the second half of the runs, by least
            squares.
        slope_error_bytes: standard error of the slope; None: there are fewer than three runs to
            fit.
        idle_bytes: RSS after the idle time; None: unknown.
        peak_bytes: peak of load and all runs; None: unknown.
        pictures_per_s: by the wall clock, from the end of the first run to the end of the last.
        p50_s: median time of the warm runs.
        p95_s: 95th percentile of the warm runs; None below 20 runs.
        failure: why it ended early; None: it did not.
    """

    times_s: tuple[float, ...]
    rss_bytes: tuple[int | None, ...]
    slope_bytes: float
    slope_error_bytes: float | None
    idle_bytes: int | None
    peak_bytes: int | None
    pictures_per_s: float
    p50_s: float
    p95_s: float | None
    failure: Message | None

    @property
    def pictures_a_day(self) -> int:
        """The number of pictures that one slot could cut out in a day."""
        return int(self.pictures_per_s * _DAY_S)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the slope exceeds zero by three standard errors; None: see `no_verdict`."""
        if self.no_verdict is not None or self.slope_error_bytes is None:
            return None
        return "growing" if self.slope_bytes > 3 * self.slope_error_bytes else "steady"

    @property
    def no_verdict(self) -> Message | None:
        """The reason why there is no verdict; None: there is a verdict."""
        known = sum(value is not None for value in self.rss_bytes)
        if known >= MIN_VERDICT_RUNS:
            return None
        return Message(
            "no verdict on growth from {runs} runs: {needed} are needed, because the first 100 fill"
            " allocators and caches",
            runs=known,
            needed=MIN_VERDICT_RUNS,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
        return {
            **asdict(self),
            "pictures_a_day": self.pictures_a_day,
            "verdict": self.verdict,
            "failure": None if self.failure is None else message_to_dict(self.failure),
            "no_verdict": None if self.no_verdict is None else str(self.no_verdict),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StressPlan:
    """The plan of a stress test.

    Attributes:
        runs: number of runs, at least 1.
        idle_s: wait at the end, before the idle memory is read.
        history: how earlier peaks are used; see `runtime.known_peaks.KnownPeaks`.
        max_pixels: limit of a picture; None: the default.
        open_runner: returns the runner to use; None: a new one.
    """

    runs: int
    idle_s: float = IDLE_S
    history: HistoryUse = "own"
    max_pixels: int | None = None
    open_runner: Callable[[], Runner] | None = None


def run_stress_test(
    pictures: Sequence[Path],
    settings: Settings,
    plan: StressPlan,
    *,
    on_run: Callable[[int, Result], None] = lambda *_: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Runner, Progress], None] = lambda *_: None,
) -> StressTest | Failure:
    """Run pictures one after another in one worker.

    Args:
        pictures: at least one.
        settings: the settings of the runs.
        plan: number and options of the runs.
        on_run: called after each run with its number, from 1.
        is_cancelled: called before each run; earlier runs are kept.
        on_progress: called during each run with the runner, which it may cancel.

    Returns:
        The result; or the Failure if the first run failed or was cancelled.
    """
    open_runner = plan.open_runner or (lambda: Runner(history=plan.history, machine=read_machine()))
    results: list[Result] = []
    failure: Message | None = None
    with (
        tempfile.TemporaryDirectory(prefix="rembg-tuner-soak-") as folder,
        open_runner() as runner,
    ):
        output = str(Path(folder) / "out.png")
        began = ended = time.perf_counter()
        for picture in islice(cycle(pictures), plan.runs):
            job = Job(input=str(picture), output=output, max_pixels=plan.max_pixels)
            run = (
                _cancelled(job, settings)
                if is_cancelled()
                else runner.run(job, settings, on_progress=lambda one: on_progress(runner, one))
            )
            if isinstance(run, Failure):
                if not results:
                    return run
                failure = run.message
                break
            results.append(run)
            ended = time.perf_counter()
            if len(results) == 1:
                began = ended  # start and load happen once
            on_run(len(results), run)
        time.sleep(plan.idle_s)
        pid = runner.worker_pid
        idle_bytes = None if pid is None else Meter(pid).rss_bytes()
    return summarise_stress_test(results, ended - began, idle_bytes, failure)


def _cancelled(job: Job, settings: Settings) -> Failure:
    """Return the Failure of a run that was cancelled before it started."""
    return Failure(
        kind="cancelled",
        message=Message("the stress test was cancelled", code="cancelled"),
        stage="prepare",
        input=job.input,
        settings=settings,
        run_index=0,
    )


def summarise_stress_test(
    results: Sequence[Result], elapsed_s: float, idle_bytes: int | None, failure: Message | None
) -> StressTest:
    """Summarise the runs of a stress test.

    Args:
        results: at least one.
        elapsed_s: from the end of the first run to the end of the last.
        idle_bytes: RSS after the idle time; None: unknown.
        failure: why it ended early; None: it did not.
    """
    warm = [run.total_s for run in results[1:]] or [results[0].total_s]
    times = summarise(warm)
    rss = [run.retained_rss_bytes for run in results]
    known = [(float(i), float(value)) for i, value in enumerate(rss) if value is not None]
    slope, error = fit_slope(known[len(known) // 2 :])
    return StressTest(
        times_s=tuple(run.total_s for run in results),
        rss_bytes=tuple(rss),
        slope_bytes=slope,
        slope_error_bytes=error,
        idle_bytes=idle_bytes,
        peak_bytes=setting_peak_bytes(list(results)),
        pictures_per_s=(
            (len(results) - 1) / elapsed_s
            if len(results) > 1 and elapsed_s > 0
            else 1 / results[0].total_s
        ),
        p50_s=times.median,
        p95_s=times.p95,
        failure=failure,
    )


def fit_slope(points: Sequence[tuple[float, float]]) -> tuple[float, float | None]:
    """Fit a line by least squares.

    Args:
        points: x and y.

    Returns:
        The slope, 0 for fewer than two points; and the standard error of the slope, None for fewer
        than three points.
    """
    if len(points) < 2:
        return 0.0, None
    xs, ys = zip(*points, strict=True)
    line = statistics.linear_regression(xs, ys)
    if len(points) < 3:
        return line.slope, None
    left = sum((y - line.intercept - line.slope * x) ** 2 for x, y in points) / (len(points) - 2)
    middle = statistics.fmean(xs)
    return line.slope, (left / sum((x - middle) ** 2 for x in xs)) ** 0.5


def draw_stress_test(soak: StressTest, words: Mapping[str, str] = WORDS) -> str:
    """Draw memory after each run, and the fitted line over the second half, as SVG."""
    points = [(i, value / MIB) for i, value in enumerate(soak.rss_bytes) if value is not None]
    if not points:
        return ""
    second = points[len(points) // 2 :]
    middle_x = statistics.fmean(i for i, _ in second)
    middle_y = statistics.fmean(mib for _, mib in second)
    slope = soak.slope_bytes / MIB
    count = len(soak.rss_bytes)
    return render(
        TEMPLATES / "soak.svg",
        words={**WORDS, **words},
        width=_WIDTH,
        height=_HEIGHT,
        runs=Axis(low=0, high=max(1, count - 1), begin=_LEFT, end=_WIDTH - _RIGHT),
        memory=fit_axis(
            [mib for _, mib in points],
            _HEIGHT - _BOTTOM,
            _TOP,
            write=lambda mib: f"{mib:,.0f}",
            resolution=1.0,
        ),
        points=points,
        fitted=[(i, middle_y + slope * (i - middle_x)) for i in (second[0][0], second[-1][0])],
        last=format_bytes(int(points[-1][1] * MIB)),
        count=count,
    )
