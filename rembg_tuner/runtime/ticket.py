"""A place in the line: what was asked for, how it stands, its course, and what came of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from rembg_tuner.settings.results import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.runner import Runner
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.results import Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

_MOST_POINTS = 300
State = Literal["waiting", "running", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a visitor asks for.

    Attributes:
        job: the picture, and where its cut-out goes.
        settings: how.
        warnings: what was said while the settings were made.
        repeat: how many times; previews are written once.
        in_turn: pictures that a trial runs one after another in a worker of its own, in the job's
            place.
        machine: on which a trial's settings are resolved, the same for all of a sweep; None: as it
            is then.
    """

    job: Job
    settings: Settings
    warnings: tuple[Message, ...] = ()
    repeat: int = 1
    in_turn: tuple[Job, ...] = ()
    machine: Machine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A turn's course: seconds since it began.

    Attributes:
        points: (t_s, rss_bytes) of the worker, at most 300, of each stretch the highest.
        marks: (t_s, stage) where each stage began.
    """

    points: tuple[tuple[float, int], ...] = ()
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a ticket tells right now.

    Attributes:
        place: 0 once its turn has come; 1: next.
        wait_s: a guess of the wait left; None: nothing to guess by.
        stage: of the run that is going on; empty while waiting.
        run: which of the repeats, from 1.
        elapsed_s: since the turn began.
        cpu_cores: CPU seconds a second over the last fifth of a second or so; None: not known yet.
        is_behind_trials: whether what runs now is a trial of somebody's sweep.
    """

    state: State
    place: int
    waiting: int
    wait_s: float | None
    stage: str
    run: int
    elapsed_s: float
    timeline: Timeline
    cpu_cores: float | None
    is_behind_trials: bool = False


class Holder(Protocol):
    """The line, as its tickets know it."""

    lock: threading.Lock

    def let_go(self, ticket: Ticket) -> None:
        """Take a ticket out of the line, or stop its run."""

    def look_at(self, ticket: Ticket) -> Glance:
        """Tell how a ticket stands."""


class Ticket:
    """A place in the line, then a turn, then what came of it."""

    def __init__(self, line: Holder, order: Order) -> None:
        """Wait in a line."""
        self._line = line
        self.order = order
        self.state: State = "waiting"
        self.runs: list[Result | Failure] = []
        self.stage = ""
        self.asked_at = time.perf_counter()
        self.began_at: float | None = None
        self.cpu_cores: float | None = None
        self.baseline_rss_bytes: int | None = None
        self.is_cancelled = False
        self.runner: Runner | None = None  # that runs it now; under the line's lock
        self.done = threading.Event()
        self._on_done: list[Callable[[], None]] = []
        self._points: list[tuple[float, int]] = []
        self._stride, self._unthinned = 1, 0
        self._marks: list[tuple[float, str]] = []
        self._cpu: tuple[float, float] | None = None

    def cancel(self) -> None:
        """Leave the line, or stop the run; returns at once, from any thread."""
        self._line.let_go(self)

    def call_when_done(self, callback: Callable[[], None]) -> None:
        """Have something called when it is done, in the slot's thread; at once if it is already."""
        with self._line.lock:
            if not self.done.is_set():
                self._on_done.append(callback)
                return
        callback()

    def glance(self) -> Glance:
        """Look how it stands."""
        return self._line.look_at(self)

    def elapsed_s(self) -> float:
        """Give the seconds since the turn began."""
        return 0.0 if self.began_at is None else time.perf_counter() - self.began_at

    def queued_s(self) -> float:
        """Return the seconds from the request to the beginning of the turn.

        Until now if it has not begun.
        """
        began_at = time.perf_counter() if self.began_at is None else self.began_at
        return began_at - self.asked_at

    def timeline(self) -> Timeline:
        """Give the course so far."""
        return Timeline(points=tuple(self._points), marks=tuple(self._marks))

    def begin(self) -> None:
        """Begin the turn."""
        self.state, self.began_at = "running", time.perf_counter()

    def note(self, progress: Progress) -> None:
        """Take down where the run is."""
        now = self.elapsed_s()
        if progress.stage != self.stage:
            self.stage = progress.stage
            self._marks.append((round(now, 4), progress.stage))
        self.baseline_rss_bytes = progress.baseline_rss_bytes or self.baseline_rss_bytes
        sample = progress.sample
        if sample is None:
            return
        self._add_point(round(now, 4), sample.rss_bytes)
        if sample.cpu_s is not None:
            if self._cpu is not None and now > self._cpu[0]:
                self.cpu_cores = max(0.0, (sample.cpu_s - self._cpu[1]) / (now - self._cpu[0]))
            self._cpu = (now, sample.cpu_s)

    def _add_point(self, t_s: float, rss_bytes: int) -> None:
        """Keep a point; when there are too many, of each two the higher, and so on from there."""
        if self._points and 0 < self._unthinned < self._stride:
            if rss_bytes > self._points[-1][1]:
                self._points[-1] = (t_s, rss_bytes)
        else:
            self._points.append((t_s, rss_bytes))
            self._unthinned = 0
        self._unthinned += 1
        if len(self._points) > _MOST_POINTS:
            pairs = zip(self._points[::2], [*self._points[1::2], (0.0, -1)], strict=False)
            self._points = [max(pair, key=lambda point: point[1]) for pair in pairs]
            self._stride, self._unthinned = 2 * self._stride, 0

    def end(self) -> None:
        """Be done; whoever waits is told."""
        with self._line.lock:
            self.state = "done"
            self.done.set()
            callbacks, self._on_done = self._on_done, []
        for callback in callbacks:
            callback()


def failure_of_ticket(
    ticket: Ticket, kind: Literal["busy", "cancelled", "crash"], message: Message
) -> Failure:
    """Make the Failure of a ticket that did not come to run."""
    return Failure(
        kind=kind,
        message=message,
        stage="prepare",
        input=ticket.order.job.input,
        settings=ticket.order.settings,
        run_index=0,
    )
