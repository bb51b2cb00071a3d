"""Measure one trial: a setting on every picture, in a new worker process."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.meter import OwnLoad
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure, Result, distinct, setting_peak_bytes
from rembg_tuner.tuning.reference import jobs_of
from rembg_tuner.tuning.stats import summarise
from rembg_tuner.tuning.trials import PictureTrial, Trial
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.picture_processes import Comparer, Comparison
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.reference import Reference

# Failures caused by the setting; other kinds do not depend on it.
OF_THE_SETTING = frozenset({"timeout", "out_of_memory", "crash", "engine_error"})
ROUNDS = 3  # timed runs of each picture; ONNX Runtime's memory pattern is complete from the second


class TrialRunner(Protocol):
    """Runs the pictures of one trial.

    Attributes:
        slots: how many workers share the CPUs of this machine.
    """

    slots: int

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in a new worker, and stop it.

        Args:
            jobs: in order.
            settings: the settings of all runs.

        Returns:
            One outcome per job, up to the first Failure.
        """


class DirectTrialRunner:
    """Runs each trial at once, in a new worker."""

    slots = 1

    def __init__(self, history: HistoryUse = "own") -> None:
        """Create a runner that counts the load of all its workers together.

        Args:
            history: how earlier peaks on this machine are used; see
                `runtime.known_peaks.KnownPeaks`.
        """
        self._load = OwnLoad()
        self._history = history
        self._machine = read_machine()  # the same for all trials, so that `auto` does not change

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in a new worker; see `TrialRunner`."""
        return run_fresh(
            jobs, settings, history=self._history, load=self._load, machine=self._machine
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepContext:
    """The values that all trials of a sweep share.

    Attributes:
        pictures: their paths.
        reference: the reference of agreement.
        folder: for cut-outs and thumbnails.
        comparer: compares cut-outs.
        rounds: timed runs of each picture, at least 1.
        max_pixels: the host's limit for each picture by path; without an entry, the limit of the
            format applies.
    """

    pictures: tuple[Path, ...]
    reference: Reference
    folder: Path
    comparer: Comparer
    rounds: int = ROUNDS
    max_pixels: Mapping[str, int] = field(default_factory=dict)


def measure_trial(
    number: int, settings: Settings, context: SweepContext, runner: TrialRunner
) -> Trial:
    """Measure one setting: one warm-up, which is not counted, then all pictures in each round.

    Args:
        number: number of the trial.
        settings: the settings to measure.
        context: pictures, reference, rounds.
        runner: runs the pictures.

    Returns:
        The trial with its figures or its failure.
    """
    jobs = jobs_of(context.pictures, context.folder / f"trial-{number}", context.max_pixels)
    try:
        runs = runner.measure([jobs[0], *(jobs * context.rounds)], settings)
        if (failure := first_failure(runs)) is not None:
            return failed_trial(number, settings, failure)
        comparisons = []
        for job in jobs:
            thumbnail = str(Path(job.output).with_suffix(".webp"))
            matte = context.reference.mattes.get(job.input)
            compared = context.comparer.compare(job.output, matte, thumbnail=thumbnail)
            comparisons.append((compared, thumbnail))
        excluded = context.reference.without_foreground
        return trial_of(number, settings, results_of(runs), comparisons, excluded)
    except OutputError as error:
        return failed_trial(number, settings, error)
    finally:
        for job in jobs:
            Path(job.output).unlink(missing_ok=True)


def results_of(runs: Sequence[Result | Failure]) -> list[Result]:
    """Return the runs that did not fail."""
    return [run for run in runs if isinstance(run, Result)]


def first_failure(runs: Sequence[Result | Failure]) -> Failure | None:
    """Return the first failure of some runs; None: there is none."""
    return next((run for run in runs if isinstance(run, Failure)), None)


def failed_trial(number: int, settings: Settings, failure: Failure | OutputError) -> Trial:
    """Return the trial of a setting that failed."""
    return Trial(
        number=number, settings=settings, failure=failure.message, failure_kind=failure.kind
    )


def trial_of(
    number: int,
    settings: Settings,
    results: Sequence[Result],
    comparisons: Sequence[tuple[Comparison, str | None]],
    excluded: frozenset[str] = frozenset(),
) -> Trial:
    """Combine the runs of a setting into a trial.

    Args:
        number: number of the trial.
        settings: the measured settings.
        results: the warm-up, then all pictures in each round.
        comparisons: for each picture its comparison with the reference, and its thumbnail.
        excluded: pictures left out of the averages.
    """
    parts, last = _picture_trials(results[1:], comparisons, excluded), results[-1]
    judged = [one for one in parts if one.has_foreground]
    trial = _with_times(
        Trial(
            number=number,
            settings=settings,
            date=datetime.now(UTC).date().isoformat(),
            # Without values of a single picture, such as the box of focus.
            effective={
                name: value for name, value in last.effective.items() if not isinstance(value, dict)
            },
            peak_bytes=setting_peak_bytes(list(results)),
            load_s=last.load_s,
            agreement=_mean([one.iou for one in judged]),
            boundary_f=_mean([one.boundary_f for one in judged]),
            mae=_mean([one.mae for one in judged]),
            pictures=parts,
            warnings=distinct(one for run in results for one in run.warnings),
        )
    )
    return replace(trial, workers_s=trial.worker_times_s)


def _picture_trials(
    timed: Sequence[Result],
    comparisons: Sequence[tuple[Comparison, str | None]],
    excluded: frozenset[str],
) -> tuple[PictureTrial, ...]:
    """Return the figures of each picture; see `trial_of`."""
    return tuple(
        PictureTrial(
            input=timed[i].input,
            times_s=tuple(run.total_s for run in timed[i :: len(comparisons)]),
            mae=compared.mae,
            iou=compared.iou,
            boundary_f=compared.boundary_f,
            has_foreground=compared.has_foreground and timed[i].input not in excluded,
            thumbnail=thumbnail,
            small_matte=compared.small_matte,
        )
        for i, (compared, thumbnail) in enumerate(comparisons)
    )


def _with_times(trial: Trial) -> Trial:
    """Compute a trial's times from the mean over its pictures in each round."""
    rounds = zip(*(part.times_s for part in trial.pictures), strict=True)
    times = summarise([statistics.fmean(one) for one in rounds])
    return replace(
        trial,
        time_s=times.median,
        time_low_s=times.low,
        time_high_s=times.high,
        spread=times.standard_deviation / times.mean if times.n > 1 and times.mean else None,
        n=times.n,
    )


def join_workers(trial: Trial, again: Trial) -> Trial:
    """Combine the measurements of a setting by two workers.

    Args:
        trial: measured before, in one or more workers.
        again: measured by another worker on the same pictures.

    Returns:
        All runs and the higher peak. If the other worker failed because of the setting, its
        failure: an unreliable setting is not recommended. If it failed for another reason, the
        trial with that reason as a warning.
    """
    if not again.is_measured and again.failure_kind not in OF_THE_SETTING:
        warning = Message(
            "it could not be measured again: {reason}",
            code="not_measured_again",
            reason=again.failure,
        )
        return replace(trial, warnings=(*trial.warnings, warning))
    if not again.is_measured:
        failure = Message("it failed when it was measured again: {reason}", reason=again.failure)
        return replace(again, number=trial.number, failure=failure)
    parts = tuple(
        replace(one, times_s=(*one.times_s, *other.times_s))
        for one, other in zip(trial.pictures, again.pictures, strict=True)
    )
    return _with_times(
        replace(
            trial,
            pictures=parts,
            workers_s=(*trial.worker_times_s, *again.worker_times_s),
            peak_bytes=max(trial.peak_bytes or 0, again.peak_bytes or 0),
            warnings=distinct((*trial.warnings, *again.warnings)),
            date=again.date,
        )
    )


def _mean(values: list[float | None]) -> float | None:
    """Return the mean of the known values; None: all are unknown."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
