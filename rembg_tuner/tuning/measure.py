"""One trial: a setting measured on every picture, in a worker of its own."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.load import OwnLoad
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure, Result, distinct, setting_peak_bytes
from rembg_tuner.tuning.stats import summarise
from rembg_tuner.tuning.trials import PictureTrial, Trial
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.runtime.comparer import Comparer, Comparison
    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.settings.results import EffectiveValue
    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.reference import Reference

# Failures that are the setting's own; any other says nothing of it.
OF_THE_SETTING = frozenset({"timeout", "out_of_memory", "crash", "engine_error"})


ROUNDS = 3  # timed runs of each picture: from the second on ONNX Runtime's memory pattern is held


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepContext:
    """What every trial of a sweep shares.

    Attributes:
        pictures: their paths.
        reference: of agreement.
        folder: where cut-outs and thumbnails go.
        rounds: timed runs of each picture, from 1 on.
        comparer: compares cut-outs.
        max_pixels: a host's own limit of each picture, by its path; one that is not there has the
            format's.
    """

    pictures: tuple[Path, ...]
    reference: Reference
    folder: Path
    comparer: Comparer
    rounds: int = ROUNDS
    max_pixels: Mapping[str, int] = field(default_factory=dict)


def measure_trial(
    number: int, settings: Settings, ground: SweepContext, runner: TrialRunner
) -> Trial:
    """Measure one setting: a warm-up that is left out, then every picture in turn, `rounds` times.

    Args:
        number: of the trial.
        settings: to measure.
        ground: pictures, reference, rounds.
        runner: runs them.

    Returns:
        Figures, or why there are none.
    """
    jobs = [
        Job(
            input=str(path),
            output=str(ground.folder / f"trial-{number}-{i}.png"),
            max_pixels=ground.max_pixels.get(str(path)),
        )
        for i, path in enumerate(ground.pictures)
    ]
    try:
        runs = runner.measure([jobs[0], *(jobs * ground.rounds)], settings)
        failure = next((run for run in runs if isinstance(run, Failure)), None)
        if failure is not None:
            return Trial(
                number=number, settings=settings, failure=failure.message, failure_kind=failure.kind
            )
        results = [run for run in runs if isinstance(run, Result)]
        return trial_of(
            number,
            settings,
            results,
            _compare(number, jobs, ground),
            [job.input for job in jobs],
            ground.reference.without_foreground,
        )
    except OutputError as error:
        return Trial(
            number=number, settings=settings, failure=error.message, failure_kind=error.kind
        )
    finally:
        for job in jobs:
            Path(job.output).unlink(missing_ok=True)


def _compare(
    number: int, jobs: list[Job], ground: SweepContext
) -> list[tuple[Comparison, str | None]]:
    """Compare each picture's cut-out with its reference, and keep it small.

    Raises:
        OutputError: one could not be.
    """
    found: list[tuple[Comparison, str | None]] = []
    for i, job in enumerate(jobs):
        thumbnail = str(ground.folder / f"trial-{number}-{i}.webp")
        reference = ground.reference.mattes.get(job.input)
        found.append(
            (ground.comparer.compare(job.output, reference, thumbnail=thumbnail), thumbnail)
        )
    return found


def trial_of(
    number: int,
    settings: Settings,
    results: list[Result],
    compared: Sequence[tuple[Comparison, str | None]],
    pictures: Sequence[str],
    without_foreground: frozenset[str] = frozenset(),
) -> Trial:
    """Put a trial together of its runs.

    Args:
        number: of the trial.
        settings: that were measured.
        results: the warm-up, then round after round of every picture.
        compared: for each picture how it compares, and its thumbnail.
        pictures: their paths.
        without_foreground: those that are left out of the averages.
    """
    timed, count = results[1:], len(pictures)
    rounds = [timed[i : i + count] for i in range(0, len(timed), count)]
    parts = tuple(
        PictureTrial(
            input=path,
            times_s=tuple(one[i].total_s for one in rounds),
            mae=comparison.mae,
            iou=comparison.iou,
            boundary_f=comparison.boundary_f,
            has_foreground=comparison.has_foreground and path not in without_foreground,
            thumbnail=thumbnail,
            small_matte=comparison.small_matte,
        )
        for i, (path, (comparison, thumbnail)) in enumerate(zip(pictures, compared, strict=True))
    )
    judged = [one for one in parts if one.has_foreground]
    last = results[-1]
    trial = Trial(
        number=number,
        settings=settings,
        date=datetime.now(UTC).date().isoformat(),
        effective=_of_the_setting(last.effective),
        peak_bytes=setting_peak_bytes(results),
        load_s=last.load_s,
        agreement=_mean([one.iou for one in judged]),
        boundary_f=_mean([one.boundary_f for one in judged]),
        mae=_mean([one.mae for one in judged]),
        pictures=parts,
        warnings=distinct(one for run in results for one in run.warnings),
    )
    timed_trial = _with_times(trial)
    return replace(timed_trial, workers_s=timed_trial.worker_times_s)


def _of_the_setting(effective: dict[str, EffectiveValue]) -> dict[str, Value]:
    """Leave out of what an engine says what it says of one picture: where focus looked."""
    return {name: value for name, value in effective.items() if not isinstance(value, dict)}


def _with_times(trial: Trial) -> Trial:
    """Work out a trial's times of its pictures' runs: of each round the mean over pictures."""
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
    """Join what two workers measured of one setting.

    Args:
        trial: what was measured before, in one worker or more.
        again: what another worker measured, of the same pictures.

    Returns:
        All runs together; the higher peak. Where the other worker failed by the setting's own
        fault, its
        failure: what fails every other time is nothing to recommend. Where it failed for another
            reason,
        what was measured before, with that reason as a warning.
    """
    if not again.is_measured and again.failure_kind not in OF_THE_SETTING:
        warning = Message(
            "it could not be measured again: {reason}",
            code="not_measured_again",
            reason=again.failure,
        )
        return replace(trial, warnings=(*trial.warnings, warning))
    if not again.is_measured:
        failure = Message("measured again, it failed: {reason}", reason=again.failure)
        return replace(again, number=trial.number, failure=failure)
    parts = tuple(
        replace(one, times_s=(*one.times_s, *other.times_s))
        for one, other in zip(trial.pictures, again.pictures, strict=True)
    )
    joined = replace(
        trial,
        pictures=parts,
        workers_s=(*trial.worker_times_s, *again.worker_times_s),
        peak_bytes=max(trial.peak_bytes or 0, again.peak_bytes or 0),
        warnings=distinct((*trial.warnings, *again.warnings)),
        date=again.date,
    )
    return _with_times(joined)


def _mean(values: list[float | None]) -> float | None:
    """Average what is known; None: nothing is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


class TrialRunner(Protocol):
    """Run the pictures of one trial.

    Attributes:
        slots: how many workers share the CPUs of this machine.
    """

    slots: int

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker, and end it.

        Args:
            jobs: in order.
            settings: of all runs.

        Returns:
            One outcome per job, up to the first Failure.
        """


class DirectTrialRunner:
    """Run each trial at once, in a worker of its own."""

    slots = 1

    def __init__(self, history: HistoryUse = "own") -> None:
        """Count the load of all workers together.

        Args:
            history: how earlier peaks on this machine are used; see
                `runtime.known_peaks.KnownPeaks`.
        """
        self._load = OwnLoad()
        self._history = history
        self._machine = read_machine()  # the same for all trials, so that `auto` does not change

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker; see `TrialRunner`."""
        return run_fresh(
            jobs, settings, history=self._history, load=self._load, machine=self._machine
        )
