"""Longer work that a visitor asks for, a comparison or a sweep.

In a thread, its trials in the page's line.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_rough
from rembg_tuner.runtime.comparer import Comparer
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.ticket import Order
from rembg_tuner.settings.results import Failure
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.sweep import SweepProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rembg_tuner.runtime.line import WaitingLine
    from rembg_tuner.settings.results import Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.comparison import ComparisonRequest, ComparisonRow
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.stress_test import StressTest
    from rembg_tuner.worker.pipeline import Job

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
MOST_STUDY_S = 30 * 60.0
_FULL_WAIT_S = 3.0  # before a trial asks a full line again
_USUAL_WORK = Message(
    "another comparison, sweep or soak is going on here; try again when it is done"
)


class BusyError(SettingsError):
    """Another study goes on; waiting helps."""


@dataclass(slots=True, kw_only=True)
class Study:
    """What a visitor's longer work has come to.

    Attributes:
        folder: of its files.
        progress: of a sweep; None: none yet.
        question: of a comparison; None: it is none.
        compared: what came of it.
        problem: why it ended early; None: it did not.
        is_running: whether it goes on.
        began_at: by time.monotonic.
        ended_at: the same; None: it goes on.
        plan: of a sweep.
        budgets: under which it recommends; the visitor may change them while it goes on.
        shown: the trial that the visitor looks at; None: the recommended one.
        taken: the trial whose setting the visitor took to the first tab last; None: none yet.
        sweep: with its trials, once it is open.
        soaked: what a soak came to.
        subject: of a soak: the setting, and the picture's name; None: it is none.
        measuring: the setting that is being measured, or was last; None: none yet.
        what: tells others that it runs.
    """

    folder: Path
    what: Message = _USUAL_WORK
    progress: SweepProgress | None = None
    question: ComparisonRequest | None = None
    compared: list[ComparisonRow] = field(default_factory=list)
    problem: Message | None = None
    is_running: bool = True
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    plan: Plan | None = None
    budgets: Budgets = field(default_factory=Budgets)
    shown: int | None = None
    taken: int | None = None
    sweep: Any = None
    soaked: StressTest | None = None
    subject: tuple[Settings, str] | None = None
    measuring: Settings | None = None
    _is_stopped: bool = False

    def stop(self) -> None:
        """End it after what runs is cancelled; what is done is kept.

        What has ended stays as it is.
        """
        if self.is_running:
            self._is_stopped = True

    @property
    def is_stopped(self) -> bool:
        """Whether somebody ended it, or it took too long: its files are kept for an hour."""
        return self._is_stopped or self.elapsed_s() > MOST_STUDY_S

    def elapsed_s(self) -> float:
        """Give the seconds since it began, until it ended."""
        ended_at = time.monotonic() if self.ended_at is None else self.ended_at
        return ended_at - self.began_at


class LineBench:
    """Runs each trial as one turn of the page's line, so that visitors' pictures go between them."""

    def __init__(self, line: WaitingLine, study: Study) -> None:
        """Run for a study, as long as it is not stopped."""
        self.slots = line.slots
        self._line = line
        self._study = study
        self._machine = read_machine()  # the same for all trials, so that `auto` stays what it is

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Wait for a turn and run; see `trial_runner.TrialRunner`. A full line is asked again."""
        self._study.measuring = settings
        while True:
            ticket = self._line.submit(
                Order(job=jobs[0], settings=settings, in_turn=tuple(jobs), machine=self._machine)
            )
            while not ticket.done.wait(_POLL_S):
                if self._study.is_stopped:
                    ticket.cancel()
            last = ticket.runs[-1]
            if not isinstance(last, Failure) or last.kind != "busy":
                return [_public(run) for run in ticket.runs]
            if self._study.is_stopped:  # a full line says nothing of the setting
                return [replace(last, kind="cancelled")]
            time.sleep(_FULL_WAIT_S)


def _public(run: Result | Failure) -> Result | Failure:
    """Return a run whose messages a visitor may have.

    The sweep's report and lists hold them in English.
    """
    if isinstance(run, Failure):
        return replace(run, message=run.message.public())
    return replace(run, warnings=tuple(one.public() for one in run.warnings))


class Studies:
    """The page's studies: one at a time, since each takes the slot again and again."""

    def __init__(self, line: WaitingLine) -> None:
        """Run them in a line."""
        self._line = line
        self._lock = threading.Lock()
        self._running: Study | None = None

    def start(
        self,
        folder: Path,
        work: Callable[[Study, LineBench, Comparer], None],
        *,
        what: Message = _USUAL_WORK,
    ) -> Study:
        """Begin a study.

        Args:
            folder: for its files.
            work: does it, in a thread of its own; looks at `is_stopped`.
            what: tells others that it runs.

        Raises:
            BusyError: another one goes on; how far it is, is told where it is known.
        """
        with self._lock:
            if self._running is not None and self._running.is_running:
                raise BusyError([_busy_text(self._running)])
            study = self._running = Study(folder=folder, what=what)
        threading.Thread(target=self._run, args=(study, work), daemon=True, name="study").start()
        return study

    def _run(self, study: Study, work: Callable[[Study, LineBench, Comparer], None]) -> None:
        """Do a study's work."""
        try:
            with Comparer() as comparer:
                work(study, LineBench(self._line, study), comparer)
        except TunerError as error:
            if not study.is_stopped:  # what a stop keeps from being done is no problem
                study.problem = error.message
        except Exception:  # noqa: BLE001  # a thread's edge: nobody else would see it
            _LOG.exception("a study ended in a way nobody foresaw")
            study.problem = Message(
                "the study ended in a way nobody foresaw, which stands in the server's log; try"
                " again"
            )
        finally:
            study.ended_at = time.monotonic()
            study.is_running = False


def _busy_text(other: Study) -> Message:
    """Return that another study runs, and how far it is."""
    progress = other.progress
    if progress is None:
        return other.what
    low, high = map(format_rough, progress.left_s)
    return Message(
        "another sweep is going on here: {done} of {planned} trials are done, {low} to {high} are"
        " left; try again then",
        done=len(progress.trials),
        planned=progress.planned,
        low=low,
        high=high,
    )
