"""The long tasks of the page: comparison, sweep, stress test and timing of the number formats.

Only one runs at a time, since each uses the slots repeatedly. The pictures of visitors run between
its trials.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_rough
from rembg_tuner.runtime.lanes import Lane, PlainSlot
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.slots import TRIAL, RunProgress, TrialRun, recorder, runs_of, submit_run
from rembg_tuner.runtime.tasks import Done
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import Failure
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.stress_test import StressTest, run_stress_test

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.runtime.slots import RunnerSlot
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.settings.results import Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.comparison import ComparisonRequest, ComparisonRow
    from rembg_tuner.tuning.plan import Plan
    from rembg_tuner.tuning.stress_test import StressPlan
    from rembg_tuner.tuning.sweep import SweepProgress
    from rembg_tuner.worker.pipeline import Job

T = TypeVar("T")
_POLL_S = 0.2
MAX_TASK_S = 30 * 60.0
_FULL_WAIT_S = 3.0  # before a trial is submitted again to a full lane
_USUAL_WORK = Message(
    "another comparison, sweep or stress test is running here; try again when it is done"
)


class BusyError(SettingsError):
    """Another long task is running; the caller can try again later."""


@dataclass(slots=True, kw_only=True)
class LongTask:
    """A long task, and the values that its tab shows.

    Attributes:
        folder: the folder of its files.
        task: its task in the lane of long tasks; None: it was not started.
        progress: the progress of a sweep; None: none yet.
        question: the request of a comparison; None: it is not a comparison.
        compared: the result of a comparison.
        file_problem: why the report could not be written; None: there is no such problem.
        plan: the plan of a sweep.
        budgets: the budgets of a sweep's recommendation; the visitor can change them at any time.
        shown: number of the trial that the visitor selected; None: the recommended one.
        taken: number of the trial whose setting the visitor last used on the Cut out tab; None:
            none yet.
        sweep: the open sweep, with its trials.
        stress_test: the result of a stress test.
        subject: setting and picture name of a stress test; None: it is not a stress test.
        measuring: the setting that is being measured, or was last measured; None: none yet.
        what: the message for other visitors while it runs.
    """

    folder: Path
    task: Task[None] | None = None
    what: Message = _USUAL_WORK
    progress: SweepProgress | None = None
    question: ComparisonRequest | None = None
    compared: list[ComparisonRow] = field(default_factory=list)
    file_problem: Message | None = None
    plan: Plan | None = None
    budgets: Budgets = field(default_factory=Budgets)
    shown: int | None = None
    taken: int | None = None
    sweep: Any = None
    stress_test: StressTest | None = None
    subject: tuple[Settings, str] | None = None
    measuring: Settings | None = None

    @property
    def problem(self) -> Message | None:
        """The reason of a failure; None: it did not fail. A stopped task is not a failure."""
        failure = None if self.task is None else self.task.failure
        if failure is not None and failure.kind != "cancelled":
            return failure.message
        return self.file_problem

    def stop(self) -> None:
        """Cancel the current run and stop; finished results are kept."""
        if self.task is not None:
            self.task.cancel()

    @property
    def is_running(self) -> bool:
        """Whether it is running."""
        return self.task is not None and self.task.is_running

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped or exceeded its time limit."""
        return self.task is not None and self.task.is_stopped

    def elapsed_s(self) -> float:
        """Return the seconds from the start to the end, or until now."""
        return 0.0 if self.task is None else self.task.elapsed_s()


class QueuedTrialRunner:
    """Runs each trial as one task in the lane of the slots; see `trial_runner.TrialRunner`."""

    def __init__(self, slots_lane: Lane[RunnerSlot], long_task: LongTask) -> None:
        """Create a runner for the trials of a long task."""
        self.slots = len(slots_lane.slots)
        self._slots_lane = slots_lane
        self._long_task = long_task
        self._machine = read_machine()  # the same for all trials, so that `auto` does not change

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run a trial; it is submitted again while the lane is full."""
        self._long_task.measuring = settings
        work = TrialRun(jobs=tuple(jobs), settings=settings, machine=self._machine)
        runs = runs_of(self._run(lambda: submit_run(self._slots_lane, work)))
        last = runs[-1]
        if isinstance(last, Failure) and last.kind == "busy":  # not caused by the setting
            runs = (replace(last, kind="cancelled"),)
        return [_public(run) for run in runs]

    def stress(self, picture: Path, settings: Settings, plan: StressPlan) -> StressTest:
        """Run a stress test as one task in the lane of the slots.

        Raises:
            OutputError: no run succeeded.
        """

        def work(task: Task[StressTest | Failure], slot: RunnerSlot) -> StressTest | Failure:
            return run_stress_test(
                [picture],
                settings,
                replace(plan, open_runner=lambda: slot.trial_runner(self._machine)),
                is_cancelled=lambda: task.is_cancelled,
                on_progress=lambda runner, progress: recorder(task, runner)(progress),
            )

        task = self._run(lambda: self._slots_lane.submit(work, kind=TRIAL, progress=RunProgress()))
        found = task.outcome.result if isinstance(task.outcome, Done) else task.failure
        if not isinstance(found, StressTest):
            assert found is not None  # the task is done
            raise OutputError(found.message.public())
        return found

    def _run(self, submit: Callable[[], Task[T]]) -> Task[T]:
        """Submit a task and wait for it; submit it again while the lane is full."""
        while True:
            task = submit()
            while not task.done.wait(_POLL_S):
                if self._long_task.is_stopped:
                    task.cancel()
            is_full = task.failure is not None and task.failure.kind == "busy"
            if not is_full or self._long_task.is_stopped:
                return task
            time.sleep(_FULL_WAIT_S)


def _public(run: Result | Failure) -> Result | Failure:
    """Return a run with public messages only, since its report and lists are public too."""
    if isinstance(run, Failure):
        return replace(run, message=run.message.public())
    return replace(run, warnings=tuple(one.public() for one in run.warnings))


class LongTasks:
    """The lane of the long tasks."""

    def __init__(self, slots_lane: Lane[RunnerSlot]) -> None:
        """Create the lane; the trials themselves run in the lane of the slots."""
        self._slots_lane = slots_lane
        self._latest = LongTask(folder=Path())
        self._lane = Lane(
            [PlainSlot()],
            max_waiting=0,
            full_text=lambda _: _busy_text(self._latest),
            time_limit_s=MAX_TASK_S,
        )

    def start(
        self,
        folder: Path,
        work: Callable[[LongTask, QueuedTrialRunner, Comparer], None],
        *,
        what: Message = _USUAL_WORK,
    ) -> LongTask:
        """Start a long task.

        Args:
            folder: for its files.
            work: runs in a separate thread and checks `is_stopped`.
            what: the message for other visitors while it runs.

        Raises:
            BusyError: another long task is running; the message has its progress, if known.
        """
        started = LongTask(folder=folder, what=what)

        def run(task: Task[None], _: PlainSlot) -> None:
            started.task = task
            with Comparer() as comparer:
                work(started, QueuedTrialRunner(self._slots_lane, started), comparer)

        task = self._lane.submit(run, kind="long")
        if task.failure is not None and task.failure.kind == "busy":
            raise BusyError([task.failure.message])
        started.task = task
        self._latest = started
        return started


def _busy_text(other: LongTask) -> Message:
    """Return the message that another long task is running, with its progress if known."""
    progress = other.progress
    if progress is None:
        return other.what
    low, high = map(format_rough, progress.left_s)
    return Message(
        "another sweep is running here: {done} of {planned} trials are done, {low} to {high} are"
        " left; try again then",
        done=len(progress.trials),
        planned=progress.planned,
        low=low,
        high=high,
    )
