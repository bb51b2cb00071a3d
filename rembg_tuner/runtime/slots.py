"""The slots: the lane that runs pictures and trials, each slot with a Runner."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, cast

from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.lanes import CANCELLED, MAX_WAITING, Lane
from rembg_tuner.runtime.meter import OwnLoad
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.tasks import TaskFailure
from rembg_tuner.runtime.watch import FailedRunError
from rembg_tuner.settings.results import CONCURRENT_RUN, Failure, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.results import FailureKind
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

Runs = tuple[Result | Failure, ...]
MAX_WARM_BYTES = 1024 * MIB  # limit for the sum of the peaks of the workers kept warm
PICTURE, TRIAL = "picture", "trial"  # kinds of tasks
_MAX_POINTS = 300
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The course of a task, in seconds since its start.

    Attributes:
        points: (t_s, rss_bytes) of the worker: at most 300, the maximum of each interval.
        marks: (t_s, stage) at the start of each stage.
    """

    points: tuple[tuple[float, int], ...] = ()
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(slots=True)
class RunProgress:
    """The progress of a task that runs pictures.

    Attributes:
        runs: the completed runs.
        stage: the stage of the run in progress; empty: no run has started.
        baseline_rss_bytes: memory of the worker before it loaded the model.
        cpu_cores: CPU seconds per second over about the last 0.2 s; None: unknown.
    """

    runs: list[Result | Failure] = field(default_factory=list)
    stage: str = ""
    baseline_rss_bytes: int | None = None
    cpu_cores: float | None = None
    _points: list[tuple[float, int]] = field(default_factory=list)
    _marks: list[tuple[float, str]] = field(default_factory=list)
    _stride: int = 1
    _unthinned: int = 0
    _cpu: tuple[float, float] | None = None

    def timeline(self) -> Timeline:
        """Return the course so far."""
        return Timeline(points=tuple(self._points), marks=tuple(self._marks))

    def note(self, progress: Progress, now_s: float) -> None:
        """Record a sample.

        Args:
            progress: the progress of the run.
            now_s: seconds since the task started.
        """
        if progress.stage != self.stage:
            self.stage = progress.stage
            self._marks.append((round(now_s, 4), progress.stage))
        self.baseline_rss_bytes = progress.baseline_rss_bytes or self.baseline_rss_bytes
        sample = progress.sample
        if sample is None:
            return
        self._add_point(round(now_s, 4), sample.rss_bytes)
        if sample.cpu_s is not None:
            if self._cpu is not None and now_s > self._cpu[0]:
                self.cpu_cores = max(0.0, (sample.cpu_s - self._cpu[1]) / (now_s - self._cpu[0]))
            self._cpu = (now_s, sample.cpu_s)

    def _add_point(self, t_s: float, rss_bytes: int) -> None:
        """Add a point; above the maximum number, keep the higher point of each pair."""
        if self._points and 0 < self._unthinned < self._stride:
            if rss_bytes > self._points[-1][1]:
                self._points[-1] = (t_s, rss_bytes)
        else:
            self._points.append((t_s, rss_bytes))
            self._unthinned = 0
        self._unthinned += 1
        if len(self._points) > _MAX_POINTS:
            pairs = zip(self._points[::2], [*self._points[1::2], (0.0, -1)], strict=False)
            self._points = [max(pair, key=lambda point: point[1]) for pair in pairs]
            self._stride, self._unthinned = 2 * self._stride, 0


class RunnerSlot:
    """A slot with a Runner for pictures, and another Runner for each trial."""

    def __init__(self, size: int, load: OwnLoad) -> None:
        """Create a slot.

        Args:
            size: how many slots share the CPUs of this machine.
            load: the load of all slots.
        """
        self.size, self.load = size, load
        self.runner = Runner(
            slots=size, warm_bytes=MAX_WARM_BYTES // size, history="visitors", load=load
        )

    def __enter__(self) -> Self:
        """Open the runner."""
        self.runner.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers."""
        self.runner.__exit__(None, None, None)

    def trial_runner(self, machine: Machine | None = None) -> Runner:
        """Return a new runner with a share of the CPUs; the warm workers are not used."""
        return Runner(slots=self.size, history="visitors", load=self.load, machine=machine)

    def cancel(self) -> None:
        """Stop the run in progress."""
        self.runner.cancel()

    def settle(self) -> None:
        """Stop the workers that exceed the limit of warm workers."""
        self.runner.settle()


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRun:
    """Work: run a picture.

    Attributes:
        job: the picture, and the path of its cut-out.
        settings: the settings of the run.
        warnings: from the creation of the settings.
        repeat: the number of runs; previews are written once.
    """

    job: Job
    settings: Settings
    warnings: tuple[Message, ...] = ()
    repeat: int = 1

    def __call__(self, task: Task[Runs], slot: RunnerSlot) -> Runs:
        """Run the picture `repeat` times, or until a run fails."""
        runs, job = task.progress.runs, self.job
        for _ in range(self.repeat):
            if task.is_cancelled:
                runs.append(_failure(self, "cancelled", CANCELLED))
            else:
                run = slot.runner.run(
                    job,
                    self.settings,
                    warnings=self.warnings,
                    on_progress=recorder(task, slot.runner),
                )
                runs.append(_marked(run, task))
            if isinstance(runs[-1], Failure):
                break
            job = replace(job, preview=None, before_preview=None, mask=None)
        task.is_typical = isinstance(runs[-1], Result)
        return tuple(runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRun:
    """Work: run pictures one after another in a new worker.

    The warm workers are not used.

    Attributes:
        jobs: at least one.
        settings: the settings of the runs.
        machine: the machine on which the settings are resolved; the same for all trials of a sweep.
    """

    jobs: tuple[Job, ...]
    settings: Settings
    machine: Machine | None = None

    @property
    def job(self) -> Job:
        """The first picture."""
        return self.jobs[0]

    def __call__(self, task: Task[Runs], slot: RunnerSlot) -> Runs:
        """Run the pictures until one fails."""
        runs = run_fresh(
            self.jobs,
            self.settings,
            slots=slot.size,
            history="visitors",
            load=slot.load,
            on_progress=lambda runner, progress: recorder(task, runner)(progress),
            machine=self.machine,
        )
        task.progress.runs += [_marked(run, task) for run in runs]
        task.is_typical = isinstance(runs[-1], Result)
        return tuple(task.progress.runs)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Preparation: start the worker of the first run before a picture is submitted."""

    settings: Settings

    def run(self, slot: RunnerSlot, on_progress: Callable[[Progress], None]) -> None:
        """Start the worker; errors are logged, since the run that needs it reports them."""
        try:
            slot.runner.warm_up(self.settings, on_progress)
        except (FailedRunError, TunerError, OSError) as error:
            _LOG.info("no worker was started early: %s", error)

    def suits(self, slot: RunnerSlot, task: Task[Any]) -> bool:
        """Return whether a task needs the same worker."""
        if not isinstance(task.work, PictureRun):
            return False
        wanted = slot.runner.worker_key_of(task.work.settings)
        return wanted is not None and wanted == slot.runner.worker_key_of(self.settings)

    def note(self, task: Task[Any], progress: Progress) -> None:
        """Record the progress of the start."""
        task.progress.note(progress, task.elapsed_s())


def open_slots(size: int = 1, *, max_waiting: int = MAX_WAITING) -> Lane[RunnerSlot]:
    """Create the lane of the slots; the first run or `prepare` starts a worker.

    Args:
        size: maximum number of pictures at the same time, at least 1; they share the CPUs.
        max_waiting: maximum number of queued tasks; more are refused.
    """
    load = OwnLoad()
    return Lane([RunnerSlot(size, load) for _ in range(size)], max_waiting=max_waiting)


def submit_run(
    lane: Lane[RunnerSlot], work: PictureRun | TrialRun, *, owner: Hashable = None
) -> Task[Runs]:
    """Put a picture or a trial into the queue of the slots."""
    kind = TRIAL if isinstance(work, TrialRun) else PICTURE
    return lane.submit(work, owner=owner, kind=kind, progress=RunProgress())


def runs_of(task: Task[Runs]) -> Runs:
    """Return the runs of a task that is done; the last may be a Failure."""
    runs = tuple(task.progress.runs)
    if isinstance(task.outcome, TaskFailure):
        work = cast("PictureRun | TrialRun", task.work)
        kind = cast("FailureKind", task.outcome.kind)
        return (*runs, _failure(work, kind, task.outcome.message))
    return runs


def worker_pids(lane: Lane[RunnerSlot]) -> tuple[int, ...]:
    """Return the process ids of the warm workers."""
    return tuple(pid for slot in lane.slots for pid in slot.runner.worker_pids)


def recorder(task: Task[Any], runner: Runner) -> Callable[[Progress], None]:
    """Return a function that records progress, and passes a cancellation to the runner."""

    def record(progress: Progress) -> None:
        task.progress.note(progress, task.elapsed_s())
        if task.stop != runner.cancel:  # from now on a cancellation stops the runner of the trial
            task.stop_with(runner.cancel)
        if task.is_cancelled:
            runner.cancel()

    return record


def _marked(run: Result | Failure, task: Task[Runs]) -> Result | Failure:
    """Return a run with a warning if other tasks ran at the same time."""
    if task.ran_alone or isinstance(run, Failure):
        return run
    return replace(run, warnings=(*run.warnings, CONCURRENT_RUN))


def _failure(work: PictureRun | TrialRun, kind: FailureKind, message: Message) -> Failure:
    """Return the Failure of work that did not run."""
    return Failure(
        kind=kind,
        message=message,
        stage="prepare",
        input=work.job.input,
        settings=work.settings,
        run_index=0,
    )
