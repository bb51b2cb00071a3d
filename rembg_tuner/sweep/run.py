"""The sweep itself: plan, ask what comes next, look whether it is known, measure, keep, tell."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rembg_tuner.errors import OutputError
from rembg_tuner.stats import summarise
from rembg_tuner.sweep.measure import measure_trial
from rembg_tuner.sweep.store import keep_newest, remembered, with_thumbnails
from rembg_tuner.sweep.weights import trial_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rembg_tuner.settings import Settings
    from rembg_tuner.sweep.measure import Bench, Ground
    from rembg_tuner.sweep.search import Search
    from rembg_tuner.sweep.store import TrialStore
    from rembg_tuner.trials import Trial

MOST_THUMBNAILS = 2000  # in the cache: about 20 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        trials: so far, in the order they were run.
        planned: how many there will be.
        elapsed_s: since it began.
        left_s: a guess of what is left, by the median of the trials measured now.
        remembered: how many of the trials were measured on this machine before.
    """

    trials: tuple[Trial, ...]
    planned: int
    elapsed_s: float
    left_s: float
    remembered: int


@dataclass(slots=True, kw_only=True)
class Sweep:
    """A sweep that goes on, or is done.

    Attributes:
        search: says what comes next.
        planned: how many trials.
        ground: pictures and reference.
        bench: runs them.
        context: what the figures depend on besides the setting.
        own: the sweep's own store: what is in it is taken as done.
        known: this machine's store: what is in it is not measured again; None: it is.
        environment: where and when it is measured, for the report.
        guessed_trial_s: how long a trial takes, as long as none was measured.
        thumbnails: where this machine's store keeps its thumbnails, a folder that somebody else sweeps;
            None: the cache's, bounded here.
        trials: what came so far.
        outdated: how many settings its own store has from another context only.
    """

    search: Search
    planned: int
    ground: Ground
    bench: Bench
    context: str
    own: TrialStore
    known: TrialStore | None
    environment: Mapping[str, str] = field(default_factory=dict)
    guessed_trial_s: float = 0.0
    thumbnails: Path | None = None
    trials: list[Trial] = field(default_factory=list)
    outdated: int = 0
    _durations_s: list[float] = field(default_factory=list)

    def resume(self) -> int:
        """Take what the sweep's own store has; gives how many.

        Raises:
            OutputError: the store cannot be read.
        """
        try:
            found, others = self.own.all(self.context), self.own.others(self.context)
        except sqlite3.Error as error:
            raise OutputError(
                f"the sweep's trials cannot be read: {error}; choose another -o"
            ) from error
        for trial in found:
            if trial.failure_kind != "cancelled":
                self.trials.append(trial)
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
        began = time.perf_counter()
        while len(self.trials) < self.planned and not is_cancelled():
            settings = self.search.next()
            if settings is None:
                break
            number = len(self.trials)
            trial = self._remembered(number, settings)
            if trial is None:
                started = time.perf_counter()
                trial = measure_trial(number, settings, self.ground, self.bench)
                if trial.failure_kind == "cancelled":
                    break
                self._durations_s.append(time.perf_counter() - started)
            self._keep(trial)
            self.trials.append(trial)
            self.search.tell(trial)
            on_trial(self.progress(time.perf_counter() - began))
        return self.trials

    def progress(self, elapsed_s: float) -> SweepProgress:
        """Tell how far it is."""
        each_s = summarise(self._durations_s).median if self._durations_s else self.guessed_trial_s  # fmt: skip
        left = self.planned - len(self.trials)
        return SweepProgress(
            trials=tuple(self.trials),
            planned=self.planned,
            elapsed_s=elapsed_s,
            left_s=each_s * left,
            remembered=sum(trial.was_measured_before for trial in self.trials),
        )

    def _remembered(self, number: int, settings: Settings) -> Trial | None:
        """Give what this machine measured before; a failure is tried again."""
        if self.known is None:
            return None
        try:
            found = self.known.find(self.context, settings)
        except sqlite3.Error:  # a damaged memory costs a measurement, and no more
            return None
        if found is None or not found.is_measured:
            return None
        return remembered(found, number, self.ground.folder, self.ground.pictures)

    def _keep(self, trial: Trial) -> None:
        """Write a trial down before the next begins.

        Raises:
            OutputError: the sweep's own store cannot be written.
        """
        try:
            self.own.add(self.context, trial)
        except sqlite3.Error as error:
            raise OutputError(f"a trial cannot be kept: {error}; choose another -o") from error
        if self.known is None or not trial.is_measured or trial.was_measured_before:
            return
        try:
            folder = self.thumbnails or self.known.thumbnails_folder()
            digest = hashlib.sha256(f"{self.context}{trial_key(trial.settings)}".encode())
            kept = with_thumbnails(trial, folder, digest.hexdigest()[:32])
            self.known.add(self.context, replace(kept, number=0))
            if self.thumbnails is None:
                keep_newest(folder, MOST_THUMBNAILS)
        except (
            sqlite3.Error,
            OSError,
        ):  # the sweep has it; only a later sweep will measure it again
            return
