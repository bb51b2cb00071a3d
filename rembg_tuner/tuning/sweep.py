"""A sweep: measure the settings of a plan one after another, store each trial, report progress."""

from __future__ import annotations

import sqlite3
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.tuning.environment import older_plan_context, plan_context, sweep_environment
from rembg_tuner.tuning.folder import take_folder, written_plan
from rembg_tuner.tuning.measure import SweepContext, join_workers, measure_trial
from rembg_tuner.tuning.recommend import contenders
from rembg_tuner.tuning.reference import Reference, find_masks, make_reference
from rembg_tuner.tuning.search import make_search
from rembg_tuner.tuning.stats import CONFIRMING, left_range_s
from rembg_tuner.tuning.store import STORE_FILE, TrialStore, copy_trial, with_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.budgets import Budgets
    from rembg_tuner.tuning.measure import TrialRunner
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.search import Search
    from rembg_tuner.tuning.trials import Trial


def open_sweep(
    plan: Plan,
    folder: Path,
    runner: TrialRunner,
    comparer: Comparer,
    *,
    resume: bool = False,
    thumbnails: Path | None = None,
) -> Sweep:
    """Prepare a sweep: check the plan, make the reference, read the trials in the folder.

    Args:
        plan: the plan of the sweep.
        folder: for trials, thumbnails and reports; created if it is missing.
        runner: runs the pictures.
        comparer: compares cut-outs.
        resume: whether to continue the sweep in the folder.
        thumbnails: the folder of the thumbnails of this machine's store, whose size the caller
            limits; None: the folder in the cache.

    Raises:
        SettingsError: the axes make no setting, the reference is unknown or has another shape, or
            the folder contains another sweep.
        PictureError: a file is not a picture.
        OutputError: the folder cannot be written, or the reference cannot be made.
    """
    grid, environment = plan.grid(), sweep_environment()  # the load before our own work
    for path in plan.pictures:
        sniff(path)
    take_folder(plan.to_dict(), folder, resume=resume)
    masks = find_masks(plan.reference, plan.pictures, comparer)
    machine = read_machine().shared_by(runner.slots)
    key, count = plan_context(plan, masks, machine, runner.slots), plan.count()
    record = {**plan.to_dict(), "planned": count, "context": key, "environment": environment}
    with written_plan(record, folder):
        context = SweepContext(
            pictures=plan.pictures,
            reference=_reference(plan, masks, runner, folder),
            folder=folder,
            rounds=plan.rounds,
            comparer=comparer,
            max_pixels=plan.pixel_limits(),
        )
    sweep = Sweep(
        search=make_search(plan, grid),
        planned=count,
        context=context,
        runner=runner,
        context_key=key,
        own=TrialStore(folder / STORE_FILE, machine=machine),
        known=TrialStore.of_this_machine(open_cache()[0], machine),
        is_again=plan.again,
        environment=environment,
        guesses_s=plan.guesses_s(),
        thumbnails=thumbnails,
        confirming=plan.confirming,
    )
    if resume:
        sweep.resume(older_plan_context(plan, masks, runner.slots))
    return sweep


def _reference(plan: Plan, masks: dict[str, str], runner: TrialRunner, folder: Path) -> Reference:
    """Return the masks, or cut out the pictures with the reference settings."""
    if masks:
        return Reference(name=plan.reference_file_name(), mattes=masks, is_ground_truth=True)
    name, settings = plan.reference_settings()
    limits = plan.pixel_limits()
    return make_reference(plan.pictures, settings, name, runner, folder, max_pixels=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProgress:
    """The progress of a sweep.

    Attributes:
        trials: the trials so far, in the order they were run.
        planned: number of trials of the complete sweep.
        elapsed_s: seconds since the start.
        left_s: estimated range of the remaining time, confirmation included; 0 and 0: the sweep is
            complete.
        remembered: number of trials that were measured on this machine before.
        confirmed: number of workers that measured the best settings again; None: not started.
        newest: the last measured trial; None: none was measured.
    """

    trials: tuple[Trial, ...]
    planned: int
    elapsed_s: float
    left_s: tuple[float, float]
    remembered: int
    confirmed: int | None = None
    newest: Trial | None = None


@dataclass(slots=True, kw_only=True)
class Sweep:
    """A sweep that is running or complete.

    Attributes:
        search: returns the next setting.
        planned: number of trials.
        context: pictures and reference.
        runner: runs the pictures.
        context_key: key of everything except the setting that the figures depend on; see
            `context_of`.
        own: the sweep's own store, which contains all of its trials.
        known: this machine's store, whose trials are not measured again; None: there is none.
        is_again: whether trials of this machine's store are measured again and replaced.
        environment: machine and date of the sweep, for the report.
        guesses_s: estimated duration of each setting's trial.
        thumbnails: as in `open_sweep`.
        trials: the trials so far.
        outdated: number of settings that `own` has only from another context.
        confirming: number of additional workers that measure the best settings again.
        confirmed: number of these workers that have run; None: not started.
    """

    search: Search
    planned: int
    context: SweepContext
    runner: TrialRunner
    context_key: str
    own: TrialStore
    known: TrialStore | None
    is_again: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    guesses_s: Mapping[Settings, float] = field(default_factory=dict)
    thumbnails: Path | None = None
    trials: list[Trial] = field(default_factory=list)
    outdated: int = 0
    confirming: int = CONFIRMING
    confirmed: int | None = None
    _ratios: list[float] = field(default_factory=list)  # durations divided by their estimates
    _began_at: float = field(default_factory=time.perf_counter)

    def resume(self, older_context: str = "") -> int:
        """Read the trials of the sweep's own store.

        Args:
            older_context: key of the same context in the form of release 0.1.0.

        Returns:
            The number of trials.

        Raises:
            OutputError: the store cannot be read.
        """
        try:
            self.own.migrate(self.context_key, older_context)
            found, others = self.own.all(self.context_key), self.own.others(self.context_key)
        except sqlite3.Error as error:
            raise OutputError(
                Message(
                    "the sweep's trials cannot be read: {error}; choose another -o",
                    error=Quoted(str(error)),
                )
            ) from error
        for trial in found:
            if trial.failure_kind != "cancelled":
                self.trials.append(with_inputs(trial, self.context.pictures))
                self.search.add(trial)
        self.outdated = len({one.settings for one in others} - {one.settings for one in found})
        return len(self.trials)

    def run(
        self,
        *,
        on_trial: Callable[[SweepProgress], None],
        is_cancelled: Callable[[], bool],
    ) -> list[Trial]:
        """Measure until all trials are complete or the sweep is cancelled; each trial is stored.

        Args:
            on_trial: called after each trial.
            is_cancelled: called before each trial.

        Raises:
            OutputError: a trial cannot be stored.
        """
        self._began_at = time.perf_counter()
        while len(self.trials) < self.planned and not is_cancelled():
            settings = self.search.next()
            if settings is None:
                break
            number = 1 + max((one.number for one in self.trials), default=-1)
            trial = self._known_trial(number, settings)
            is_new = trial is None
            if trial is None:
                started = time.perf_counter()
                trial = measure_trial(number, settings, self.context, self.runner)
                if trial.failure_kind == "cancelled":
                    break
                if guess_s := self.guesses_s.get(settings):
                    self._ratios.append((time.perf_counter() - started) / guess_s)
            self._keep(trial, is_new=is_new)
            self.trials.append(trial)
            self.search.add(trial)
            on_trial(self.progress(self._elapsed_s(), trial))
        return self.trials

    def confirm(
        self,
        budgets: Budgets,
        *,
        on_trial: Callable[[SweepProgress], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Measure the best settings again in other workers, the recommended one first.

        The minimum of many noisy figures is too low by chance, and one worker does not show the
        spread between workers. Settings that enough workers have measured are skipped. If the new
        figures change the recommendation, at most twice `confirming` workers run.

        Args:
            budgets: the budgets of the recommendation.
            on_trial: called after each worker.
            is_cancelled: called before each worker.

        Raises:
            OutputError: a trial cannot be stored.
        """
        self.confirmed = 0
        while self.confirmed < 2 * self.confirming and not is_cancelled():
            trial = self._least_certain(budgets)
            if trial is None:
                break
            again = measure_trial(trial.number, trial.settings, self.context, self.runner)
            if again.failure_kind == "cancelled":
                break
            joined = join_workers(trial, again)
            self.trials[self.trials.index(trial)] = joined
            if joined.worker_times_s == trial.worker_times_s and joined.is_measured:
                break  # it could not run, so the next one is not tried
            self._keep(joined, is_new=True)
            self.confirmed += 1
            on_trial(self.progress(self._elapsed_s(), joined))

    def _least_certain(self, budgets: Budgets) -> Trial | None:
        """Return the trial to measure again; None: enough workers have measured."""
        best = contenders(self.trials, budgets)[: self.confirming]
        if not best:
            return None
        if len(best[0].worker_times_s) < 2:
            return best[0]
        repeated = sum(len(one.worker_times_s) - 1 for one in self.trials if one.is_measured)
        if repeated >= self.confirming:
            return None
        return min(best, key=lambda one: len(one.worker_times_s))

    def progress(self, elapsed_s: float, newest: Trial | None = None) -> SweepProgress:
        """Return the current progress."""
        return SweepProgress(
            trials=tuple(self.trials),
            planned=self.planned,
            elapsed_s=elapsed_s,
            left_s=self._left_s(),
            remembered=sum(trial.was_measured_before for trial in self.trials),
            confirmed=self.confirmed,
            newest=newest,
        )

    def _left_s(self) -> tuple[float, float]:
        """Estimate the range of the remaining time, seconds."""
        done = {trial.settings for trial in self.trials}
        every = list(self.guesses_s.values()) or [0.0]
        unmeasured = [guess for settings, guess in self.guesses_s.items() if settings not in done]
        trials = max(0, self.planned - len(self.trials))
        again = max(0, self.confirming - (self.confirmed or 0))
        guessed_s = trials * statistics.fmean(unmeasured or every) + again * statistics.fmean(every)
        return left_range_s(guessed_s, trials + again, self._ratios)

    def _known_trial(self, number: int, settings: Settings) -> Trial | None:
        """Return the trial that this machine measured before; failures are measured again."""
        if self.known is None or self.is_again:
            return None
        try:
            found = self.known.find(self.context_key, settings)
        except sqlite3.Error:  # a damaged cache only costs another measurement
            return None
        if found is None or not found.is_measured or not _keeps_limits(found):
            return None
        return copy_trial(found, number, self.context.folder, self.context.pictures)

    def _elapsed_s(self) -> float:
        """Return the time since the first trial started, seconds."""
        return time.perf_counter() - self._began_at

    def _keep(self, trial: Trial, *, is_new: bool) -> None:
        """Store a trial before the next one starts.

        Args:
            trial: the trial to store.
            is_new: whether at least a part of it was measured now; then it is also added to this
                machine's store.

        Raises:
            OutputError: the sweep's own store cannot be written.
        """
        try:
            self.own.add(self.context_key, trial)
        except sqlite3.Error as error:
            raise OutputError(
                Message(
                    "a trial cannot be kept: {error}; choose another -o", error=Quoted(str(error))
                )
            ) from error
        if self.known is not None and is_new:
            try:
                self.known.remember(self.context_key, trial, self.thumbnails)
            except (sqlite3.Error, OSError):  # a later sweep measures it again
                return


def _keeps_limits(trial: Trial) -> bool:
    """Return whether a trial, perhaps measured with other limits, keeps those of its settings."""
    limit = trial.settings.memory_limit_bytes
    longest_s = max((one for part in trial.pictures for one in part.times_s), default=0.0)
    return longest_s <= trial.settings.timeout_s and (
        limit is None or (trial.peak_bytes or 0) <= limit
    )
