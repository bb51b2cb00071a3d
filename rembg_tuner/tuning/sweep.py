"""A sweep made ready: its grid, its reference, and the store that it goes on from."""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import CONCURRENT_RUN
from rembg_tuner.tuning.environment import (
    _context,
    _older_context,
    describe_environment,
)
from rembg_tuner.tuning.folder import take_folder, written_plan
from rembg_tuner.tuning.measure import SweepContext, join_workers, measure_trial
from rembg_tuner.tuning.recommend import contenders
from rembg_tuner.tuning.reference import (
    _masks,
    _reference,
)
from rembg_tuner.tuning.search import GuidedSearch, WholeGrid
from rembg_tuner.tuning.stats import CONFIRMING, left_range_s
from rembg_tuner.tuning.store import (
    STORE_FILE,
    TrialStore,
    keep_newest,
    remembered,
    with_inputs,
    with_thumbnails,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rembg_tuner.runtime.comparer import Comparer
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
    """Make a sweep ready to run: the reference is cut out, and what the folder has is taken.

    Args:
        plan: what to sweep.
        folder: where trials, thumbnails and reports go; made if it is not there.
        runner: runs pictures.
        comparer: compares cut-outs.
        resume: go on with the sweep that lies in the folder.
        thumbnails: where what is remembered of this machine's trials keeps its thumbnails, a folder
            that somebody else sweeps; None: the cache's.

    Raises:
        SettingsError: the axes make nothing, the reference is none or has another shape, or the
        folder
            holds another sweep.
        PictureError: a picture is none.
        OutputError: the folder cannot be written, or the reference not made.
    """
    grid, environment = plan.grid(), describe_environment()  # before it is loaded with our own work
    for path in plan.pictures:
        sniff(path)
    take_folder(plan.to_dict(), folder, resume=resume)
    masks = _masks(plan, comparer)
    machine = read_machine().shared_by(runner.slots)
    context = _context(plan, masks, machine, runner.slots)
    trials = plan.count()
    search = (
        WholeGrid(grid, plan.seed)
        if plan.trials is None
        else GuidedSearch(grid, plan.axes, trials=trials, seed=plan.seed)
    )
    record = {
        **plan.to_dict(),
        "planned": trials,
        "context": context,
        "environment": environment,
    }
    with written_plan(record, folder):
        reference = _reference(plan, masks, runner, folder)
    ground = SweepContext(
        pictures=plan.pictures,
        reference=reference,
        folder=folder,
        rounds=plan.rounds,
        comparer=comparer,
        max_pixels=plan.pixel_limits(),
    )
    sweep = Sweep(
        search=search,
        planned=trials,
        ground=ground,
        runner=runner,
        context=context,
        own=TrialStore(folder / STORE_FILE, machine=machine),
        known=TrialStore.of_this_machine(open_cache()[0], machine),
        is_again=plan.again,
        environment=environment,
        guesses_s=plan.guesses_s(),
        thumbnails=thumbnails,
        confirming=plan.confirming,
    )
    if resume:
        sweep.resume(_older_context(plan, masks, runner.slots))
    return sweep


MAX_THUMBNAILS = 2000  # in the cache: about 20 MB


MAX_KNOWN_TRIALS = 5000  # trials in the cache: about 15 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        trials: so far, in the order they were run.
        planned: how many there will be.
        elapsed_s: since it began.
        left_s: between what durations the rest will take, a guess that the trials measured now
            correct; the best again is in it; 0 and 0: nothing is left.
        remembered: how many of the trials were measured on this machine before.
        confirmed: how many workers measured the best again; None: that has not begun.
        newest: the trial that was measured last; None: none was.
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
    """A sweep that goes on, or is done.

    Attributes:
        search: says what comes next.
        planned: how many trials.
        ground: pictures and reference.
        runner: runs them.
        context: what the figures depend on besides the setting.
        own: the sweep's own store: what is in it is taken as done.
        known: this machine's store: what is in it is not measured again; None: there is none.
        is_again: what is in it is measured again all the same, and kept there anew.
        environment: where and when it is measured, for the report.
        guesses_s: how long the trial of each setting takes, guessed before any was measured.
        thumbnails: where this machine's store keeps its thumbnails, a folder that somebody else
            sweeps;
            None: the cache's, bounded here.
        trials: what came so far.
        outdated: how many settings its own store has from another context only.
        confirming: workers more, in which the best are measured again; 0: none.
        confirmed: how many of them did; None: that has not begun.
    """

    search: Search
    planned: int
    ground: SweepContext
    runner: TrialRunner
    context: str
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
    _ratios: list[float] = field(default_factory=list)  # of durations over their guesses
    _began_at: float = field(default_factory=time.perf_counter)

    def resume(self, older_context: str = "") -> int:
        """Take what the sweep's own store has; gives how many.

        Args:
            older_context: as a version named the context that began this sweep without measurement
                keys.

        Raises:
            OutputError: the store cannot be read.
        """
        try:
            self.own.take_over(self.context, older_context)
            found, others = self.own.all(self.context), self.own.others(self.context)
        except sqlite3.Error as error:
            raise OutputError(
                Message(
                    "the sweep's trials cannot be read: {error}; choose another -o",
                    error=Quoted(str(error)),
                )
            ) from error
        for trial in found:
            if trial.failure_kind != "cancelled":
                self.trials.append(with_inputs(trial, self.ground.pictures))
                self.search.tell(trial)
        self.outdated = len({one.settings for one in others} - {one.settings for one in found})
        return len(self.trials)

    def run(
        self,
        *,
        on_trial: Callable[[SweepProgress], None],
        is_cancelled: Callable[[], bool],
    ) -> list[Trial]:
        """Measure until all are done or it is cancelled; what is done is kept in any case.

        Args:
            on_trial: called after each trial.
            is_cancelled: asked before each.

        Raises:
            OutputError: a trial cannot be kept.
        """
        self._began_at = time.perf_counter()
        while len(self.trials) < self.planned and not is_cancelled():
            settings = self.search.next()
            if settings is None:
                break
            number = 1 + max((one.number for one in self.trials), default=-1)
            trial = self._remembered(number, settings)
            is_new = trial is None
            if trial is None:
                started = time.perf_counter()
                trial = measure_trial(number, settings, self.ground, self.runner)
                if trial.failure_kind == "cancelled":
                    break
                guess_s = self.guesses_s.get(settings)
                if guess_s:
                    self._ratios.append((time.perf_counter() - started) / guess_s)
            self._keep(trial, is_new=is_new)
            self.trials.append(trial)
            self.search.tell(trial)
            on_trial(self.progress(self._elapsed_s(), trial))
        return self.trials

    def confirm(
        self,
        budgets: Budgets,
        *,
        on_trial: Callable[[SweepProgress], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Measure the best again, each in another worker, the recommended one first.

        The least of many noisy figures is too low by chance, and how far a setting is from one
        worker to the next no single worker can tell. What was measured in enough workers before is
        left alone; twice as many workers are spent where another setting is recommended by what
        they find.

        Args:
            budgets: under which one is recommended.
            on_trial: called after each.
            is_cancelled: asked before each.

        Raises:
            OutputError: a trial cannot be kept.
        """
        self.confirmed = 0
        while self.confirmed < 2 * self.confirming and not is_cancelled():
            trial = self._least_sure(budgets)
            if trial is None:
                break
            again = measure_trial(trial.number, trial.settings, self.ground, self.runner)
            if again.failure_kind == "cancelled":
                break
            joined = join_workers(trial, again)
            self.trials[self.trials.index(trial)] = joined
            if joined.worker_times_s == trial.worker_times_s and joined.is_measured:
                break  # what kept it from running would keep the next one
            self._keep(joined, is_new=True)
            self.confirmed += 1
            on_trial(self.progress(self._elapsed_s(), joined))

    def _least_sure(self, budgets: Budgets) -> Trial | None:
        """Choose what to measure again; None: enough is known."""
        best = contenders(self.trials, budgets)[: self.confirming]
        if not best:
            return None
        if len(best[0].worker_times_s) < 2:
            return best[0]
        workers = [len(one.worker_times_s) - 1 for one in self.trials if one.is_measured]
        if sum(workers) >= self.confirming:
            return None
        return min(best, key=lambda one: len(one.worker_times_s))

    def progress(self, elapsed_s: float, newest: Trial | None = None) -> SweepProgress:
        """Tell how far it is."""
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
        """Guess between what durations the rest will take, seconds."""
        done = {trial.settings for trial in self.trials}
        every = list(self.guesses_s.values()) or [0.0]
        unmeasured = [guess for settings, guess in self.guesses_s.items() if settings not in done]
        trials = max(0, self.planned - len(self.trials))
        again = max(0, self.confirming - (self.confirmed or 0))
        guessed_s = trials * statistics.fmean(unmeasured or every) + again * statistics.fmean(every)
        return left_range_s(guessed_s, trials + again, self._ratios)

    def _remembered(self, number: int, settings: Settings) -> Trial | None:
        """Give what this machine measured before; a failure is tried again."""
        if self.known is None or self.is_again:
            return None
        try:
            found = self.known.find(self.context, settings)
        except sqlite3.Error:  # a damaged memory costs a measurement, and no more
            return None
        if found is None or not found.is_measured or not _keeps_limits(found):
            return None
        return remembered(found, number, self.ground.folder, self.ground.pictures)

    def _elapsed_s(self) -> float:
        """Give the seconds since the first trial began."""
        return time.perf_counter() - self._began_at

    def _keep(self, trial: Trial, *, is_new: bool) -> None:
        """Write a trial down before the next begins.

        This machine's memory gets what was measured alone; it holds no picture's name or place,
        since a visitor's are nobody else's.

        Args:
            trial: to keep.
            is_new: whether it was measured now, at least in part.

        Raises:
            OutputError: the sweep's own store cannot be written.
        """
        try:
            self.own.add(self.context, trial)
        except sqlite3.Error as error:
            raise OutputError(
                Message(
                    "a trial cannot be kept: {error}; choose another -o", error=Quoted(str(error))
                )
            ) from error
        if self.known is None or not is_new:
            return
        try:
            if not trial.is_measured:
                self.known.forget(self.context, trial.settings)
                return
            if CONCURRENT_RUN in trial.warnings:
                return
            folder = self.thumbnails or self.known.thumbnails_folder()
            identity = "".join((self.context, *self.known.identity(trial.settings)))
            digest = hashlib.sha256(identity.encode())
            kept = with_thumbnails(trial, folder, digest.hexdigest()[:32])
            nameless = tuple(replace(one, input="") for one in kept.pictures)
            self.known.add(self.context, replace(kept, number=0, pictures=nameless))
            self.known.keep_newest(MAX_KNOWN_TRIALS)
            if self.thumbnails is None:
                keep_newest(folder, MAX_THUMBNAILS)
        except (
            sqlite3.Error,
            OSError,
        ):  # the sweep has it; only a later sweep will measure it again
            return


def _keeps_limits(trial: Trial) -> bool:
    """Return whether a trial, perhaps measured under other limits, keeps those of its settings."""
    limit = trial.settings.memory_limit_bytes
    longest_s = max((one for part in trial.pictures for one in part.times_s), default=0.0)
    return longest_s <= trial.settings.timeout_s and (
        limit is None or (trial.peak_bytes or 0) <= limit
    )
