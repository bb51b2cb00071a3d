"""The waiting line: visitors' runs wait here for a slot, in the order they came.

Each slot is a thread with a Runner, so that whoever waits needs no thread of its own: a page looks at
its ticket now and then, and lets go of it when the visitor leaves.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from rembg_tuner.measurement import Failure, Result
from rembg_tuner.running.fresh import run_fresh
from rembg_tuner.running.runner import Runner
from rembg_tuner.units import MIB, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rembg_tuner.pipeline import Job
    from rembg_tuner.running.watch import Progress
    from rembg_tuner.settings import Settings

MOST_WAITING = 16
_MOST_POINTS = 300
_REMEMBERED_TURNS = 9  # for the guess of the wait
MOST_WARM_BYTES = 1024 * MIB  # what the peaks of the workers kept warm may sum up to
_CLOSE_TIMEOUT_S = 3.0
_COMPANY_WARNING = (
    "another slot was running at the same time, so this took longer than it would alone"
)
_LOG = logging.getLogger(__name__)
State = Literal["waiting", "running", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a visitor asks for.

    Attributes:
        job: the picture, and where its cut-out goes.
        settings: how.
        warnings: what was said while the settings were made.
        repeat: how many times; previews are written once.
        in_turn: pictures that a trial runs one after another in a worker of its own, in the job's place.
    """

    job: Job
    settings: Settings
    warnings: tuple[str, ...] = ()
    repeat: int = 1
    in_turn: tuple[Job, ...] = ()


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


class Ticket:
    """A place in the line, then a turn, then what came of it."""

    def __init__(self, line: WaitingLine, order: Order) -> None:
        """Wait in a line."""
        self._line = line
        self.order = order
        self.state: State = "waiting"
        self.runs: list[Result | Failure] = []
        self.stage = ""
        self.began_at: float | None = None
        self.cpu_cores: float | None = None
        self.baseline_rss_bytes: int | None = None
        self.is_cancelled = False
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


class WaitingLine:
    """A bounded line before one or more slots. Use it with `with`."""

    def __init__(self, *, slots: int = 1, most_waiting: int = MOST_WAITING) -> None:
        """Open the slots; no worker is started before the first run.

        Args:
            slots: pictures at once, from 1 on; they share this machine's CPUs.
            most_waiting: how many may wait; the next is told to come back.
        """
        self.lock = threading.Lock()
        self.slots = slots
        self.most_waiting = most_waiting
        self._changed = threading.Condition(self.lock)
        self._waiting: deque[Ticket] = deque()
        self._running: dict[Runner, Ticket] = {}
        self._turns_s: deque[float] = deque(maxlen=_REMEMBERED_TURNS)
        self._is_closed = False
        self._runners = [
            Runner(slots=slots, warm_bytes=MOST_WARM_BYTES // slots) for _ in range(slots)
        ]
        self._threads = [
            threading.Thread(target=self._serve, args=(runner,), daemon=True, name=f"slot-{i}")
            for i, runner in enumerate(self._runners)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        """Keep the slots open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close them."""
        self.close()

    def submit(self, order: Order) -> Ticket:
        """Take a place in the line; where it is full the ticket is done, with a `busy` Failure."""
        ticket = Ticket(self, order)
        with self.lock:
            if self._is_closed:
                refusal = "this server is closing; come back later"
            elif len(self._waiting) >= self.most_waiting:
                guess = self._wait_s(len(self._waiting))
                when = "later" if guess is None else f"in about {format_seconds(max(1.0, guess))}"
                refusal = f"{len(self._waiting)} pictures are waiting already and no more are taken; come back {when}"
            else:
                refusal = ""
                self._waiting.append(ticket)
                self._changed.notify()
        if refusal:
            ticket.runs.append(_failure(ticket, "busy", refusal))
            ticket.end()
        return ticket

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    @property
    def is_busy(self) -> bool:
        """Whether whoever comes now must wait."""
        return len(self._running) >= self.slots or bool(self._waiting)

    def worker_pids(self) -> tuple[int, ...]:
        """Give the warm workers' process ids."""
        return tuple(pid for runner in self._runners for pid in runner.worker_pids)

    def look_at(self, ticket: Ticket) -> Glance:
        """Tell how a ticket stands."""
        with self.lock:
            place = self._waiting.index(ticket) + 1 if ticket in self._waiting else 0  # fmt: skip
            return Glance(
                state=ticket.state,
                place=place,
                waiting=len(self._waiting),
                wait_s=self._wait_s(place - 1) if place else None,
                stage=ticket.stage,
                run=len(ticket.runs) + 1,
                elapsed_s=ticket.elapsed_s(),
                timeline=ticket.timeline(),
                cpu_cores=ticket.cpu_cores,
                is_behind_trials=any(held.order.in_turn for held in self._running.values()),
            )

    def _wait_s(self, before: int) -> float | None:
        """Guess the wait with so many before it: by the median of the last turns."""
        if not self._turns_s:
            return None
        turn_s = statistics.median(self._turns_s)
        left = [max(0.0, turn_s - ticket.elapsed_s()) for ticket in self._running.values()]
        first_free = min(left) if len(left) >= self.slots else 0.0
        return first_free + turn_s * before / self.slots

    def let_go(self, ticket: Ticket) -> None:
        """Take a ticket out of the line, or stop its run."""
        with self.lock:
            ticket.is_cancelled = True
            was_waiting = ticket in self._waiting
            if was_waiting:
                self._waiting.remove(ticket)
            runner = next((r for r, held in self._running.items() if held is ticket), None)
        if runner is not None:
            runner.cancel()
        if was_waiting:
            ticket.runs.append(_failure(ticket, "cancelled", "the run was cancelled"))
            ticket.end()

    def close(self) -> None:
        """Stop what runs, send away who waits, and end the workers."""
        with self.lock:
            self._is_closed = True
            tickets = [*self._waiting, *self._running.values()]
            self._changed.notify_all()
        for ticket in tickets:
            self.let_go(ticket)
        for thread in self._threads:
            thread.join(_CLOSE_TIMEOUT_S)

    def _serve(self, runner: Runner) -> None:
        """Serve one slot until the line closes."""
        with runner:
            while (ticket := self._next(runner)) is not None:
                try:
                    self._run(runner, ticket)
                finally:
                    with self.lock:
                        del self._running[runner]
                        if isinstance(ticket.runs[-1], Result):
                            self._turns_s.append(ticket.elapsed_s())
                    ticket.end()
                runner.settle()

    def _run_trial(self, ticket: Ticket) -> list[Result | Failure]:
        """Run a trial in a worker of its own, the visitors' warm ones left as they are."""

        def watch(runner: Runner, progress: Progress) -> None:
            ticket.note(progress)
            if ticket.is_cancelled:
                runner.cancel()

        try:
            return run_fresh(ticket.order.in_turn, ticket.order.settings, slots=self.slots, on_progress=watch)  # fmt: skip
        except Exception:  # noqa: BLE001  # the slot's edge: it must serve whoever is next
            _LOG.exception("a trial ended in a way nobody foresaw")
            text = "the trial ended in a way nobody foresaw, which stands in the server's log"
            return [_failure(ticket, "crash", text)]

    def _next(self, runner: Runner) -> Ticket | None:
        """Wait for the next ticket; None when the line is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting)
            if self._is_closed:
                return None
            ticket = self._waiting.popleft()
            ticket.begin()
            self._running[runner] = ticket
            return ticket

    def _run(self, runner: Runner, ticket: Ticket) -> None:
        """Run a ticket's picture, as often as it asks, until one fails."""
        was_alone = True

        def watch(progress: Progress) -> None:
            nonlocal was_alone
            was_alone = was_alone and len(self._running) == 1
            ticket.note(progress)
            if ticket.is_cancelled:
                runner.cancel()

        order = ticket.order
        if order.in_turn:
            ticket.runs += self._run_trial(ticket)
            return
        for i in range(order.repeat):
            if ticket.is_cancelled:
                ticket.runs.append(_failure(ticket, "cancelled", "the run was cancelled"))
                return
            job = order.job if i == 0 else replace(order.job, preview=None, before_preview=None)
            try:
                run = runner.run(job, order.settings, warnings=order.warnings, on_progress=watch)
            except Exception:  # noqa: BLE001  # the slot's edge: it must serve whoever is next
                _LOG.exception("a run ended in a way nobody foresaw")
                text = "the run ended in a way nobody foresaw, which stands in the server's log; try again"
                ticket.runs.append(_failure(ticket, "crash", text))
                return
            if isinstance(run, Result) and not was_alone:
                run = replace(run, warnings=(*run.warnings, _COMPANY_WARNING))
            ticket.runs.append(run)
            if isinstance(run, Failure):
                return


def _failure(ticket: Ticket, kind: Literal["busy", "cancelled", "crash"], message: str) -> Failure:
    """Make the Failure of a ticket that did not come to run."""
    return Failure(
        kind=kind,
        message=message,
        stage="prepare",
        input=ticket.order.job.input,
        settings=ticket.order.settings,
        run_index=0,
    )
