"""The waiting line: visitors' runs wait here for a slot, in the order they came.

Each slot is a thread with a Runner, so that whoever waits needs no thread of its own: a page looks
at its ticket now and then, and lets go of it when the visitor leaves.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from rembg_tuner.base.errors import CancelledError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.load import OwnLoad
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.ticket import Glance, Order, Ticket, failure_of_ticket
from rembg_tuner.runtime.watch import FailedRunError
from rembg_tuner.settings.results import CONCURRENT_RUN, Failure, Result

if TYPE_CHECKING:
    from types import TracebackType

    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.settings import Settings

MOST_WAITING = 16
_REMEMBERED_TURNS = 9  # for the guess of the wait
MOST_WARM_BYTES = 1024 * MIB  # what the peaks of the workers kept warm may sum up to
_CLOSE_TIMEOUT_S = 3.0
_LOG = logging.getLogger(__name__)


class WaitingLine:
    """A bounded line before one or more slots. Use it with `with`."""

    def __init__(self, *, slots: int = 1, most_waiting: int = MOST_WAITING) -> None:
        """Open the slots; no worker is started before the first run, unless `warm_up` asks for it.

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
        self._load = OwnLoad()
        self._runners = [
            Runner(
                slots=slots,
                warm_bytes=MOST_WARM_BYTES // slots,
                history="visitors",
                load=self._load,
            )
            for _ in range(slots)
        ]
        self._threads: list[threading.Thread] = []
        self._to_warm: Settings | None = (
            None  # what the first slot starts a worker for when it is free
        )
        self._warming: Settings | None = None  # what it starts one for now

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
                refusal = Message("this server is closing; come back later")
            elif len(self._waiting) >= self.most_waiting:
                refusal = _full(len(self._waiting), self._wait_s(len(self._waiting)))
            else:
                refusal = None
                self._waiting.append(ticket)
                self._join_warm_up()
                self._wake_slot()
        if refusal is not None:
            ticket.runs.append(failure_of_ticket(ticket, "busy", refusal))
            ticket.end()
        return ticket

    def warm_up(self, settings: Settings) -> None:
        """Have the first slot start a worker for these settings, unless there is something to run already.

        A run of the same settings that comes meanwhile goes on with that worker; one of others ends
        it.
        """
        with self.lock:
            if not self._is_closed and not self._running and not self._waiting:
                self._to_warm = settings
                self._wake_slot()

    def _wake_slot(self) -> None:
        """Have a free slot look at the line.

        Slots are opened one by one, so that the first is the warm one.
        """
        wanted = max(1, len(self._running) + len(self._waiting))
        if len(self._threads) < min(self.slots, wanted):
            runner = self._runners[len(self._threads)]
            name = f"slot-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, args=(runner,), daemon=True, name=name)
            self._threads.append(thread)
            thread.start()
        self._changed.notify_all()

    def _join_warm_up(self) -> bool:
        """Let who is next go on with the worker that is being started.

        Returns:
            Whether it is of use still; it is not where they want another, have left, or the line is
            closed.
        """
        runner = self._runners[0]
        if self._warming is None or self._is_closed:
            return False
        if runner not in self._running and self._waiting:
            order = self._waiting[0].order
            wanted, started = map(runner.worker_key_of, (order.settings, self._warming))
            is_same = wanted is not None and wanted == started
            if order.in_turn or not is_same:
                runner.cancel()  # a conversion looks for this only
                return False
            self._begin(runner)
        ticket = self._running.get(runner)
        return ticket is None or not ticket.is_cancelled

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
            place = self._waiting.index(ticket) + 1 if ticket in self._waiting else 0
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
            # Under the lock, or the slot might have gone on to whoever is next.
            if ticket.runner is not None:
                ticket.runner.cancel()
        if was_waiting:
            ticket.runs.append(
                failure_of_ticket(ticket, "cancelled", Message("the run was cancelled"))
            )
            ticket.end()

    def close(self) -> None:
        """Stop what runs, send away who waits, and end the workers."""
        with self.lock:
            self._is_closed = True
            if self._warming is not None:
                self._runners[0].cancel()
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
                        ticket.runner = None
                        if isinstance(ticket.runs[-1], Result):
                            self._turns_s.append(ticket.elapsed_s())
                    ticket.end()
                runner.settle()

    def _run_trial(self, ticket: Ticket) -> list[Result | Failure]:
        """Run a trial in a worker of its own, the visitors' warm ones left as they are."""
        was_alone = True

        def watch(runner: Runner, progress: Progress) -> None:
            nonlocal was_alone
            was_alone = was_alone and len(self._running) == 1
            if ticket.runner is not runner:  # a cancel is the new worker's from here on
                with self.lock:
                    ticket.runner = runner
            ticket.note(progress)
            if ticket.is_cancelled:
                runner.cancel()

        try:
            runs = run_fresh(
                ticket.order.in_turn,
                ticket.order.settings,
                slots=self.slots,
                history="visitors",
                load=self._load,
                on_progress=watch,
                machine=ticket.order.machine,
            )
            return runs if was_alone else [_with_company(run) for run in runs]
        except Exception:  # noqa: BLE001  # the slot's edge: it must serve whoever is next
            _LOG.exception("a trial ended in a way nobody foresaw")
            text = Message(
                "the trial ended in a way nobody foresaw, which stands in the server's log"
            )
            return [failure_of_ticket(ticket, "crash", text)]

    def _next(self, runner: Runner) -> Ticket | None:
        """Wait for the next ticket, with a worker started meanwhile if one is to be.

        None when the line is closed.
        """
        is_first = runner is self._runners[0]
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or self._waiting or (is_first and self._to_warm)
                )
                if self._is_closed:
                    return None
                settings, self._to_warm = self._to_warm, None
                if self._waiting:
                    return self._begin(runner)
                self._warming = settings
            assert settings is not None  # waited for
            ticket = self._start_early(runner, settings)
            if ticket is not None:
                return ticket

    def _begin(self, runner: Runner) -> Ticket:
        """Begin the turn of who is next."""
        ticket = self._waiting.popleft()
        ticket.begin()
        self._running[runner], ticket.runner = ticket, runner
        return ticket

    def _start_early(self, runner: Runner, settings: Settings) -> Ticket | None:
        """Start a worker before there is a picture; what fails is told by the run that needs it.

        Returns:
            Whose turn began meanwhile.
        """

        def watch(progress: Progress) -> None:
            with self.lock:
                is_of_use, ticket = self._join_warm_up(), self._running.get(runner)
            if not is_of_use:  # the start ends its worker, at once
                raise CancelledError(Message("nobody needs this worker any more"))
            if ticket is not None:
                ticket.note(progress)

        try:
            runner.warm_up(settings, watch)
        except (FailedRunError, TunerError, OSError) as error:
            _LOG.info("no worker was started early: %s", error)
        except Exception:  # noqa: BLE001  # the slot's edge: it must serve the next visitor
            _LOG.exception("a worker could not be started early; the first run starts one")
        with self.lock:
            self._warming = None
            ticket = self._running.get(runner)
        if ticket is None:
            runner.settle()
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
                ticket.runs.append(
                    failure_of_ticket(ticket, "cancelled", Message("the run was cancelled"))
                )
                return
            job = (
                order.job
                if i == 0
                else replace(order.job, preview=None, before_preview=None, mask=None)
            )
            try:
                run = runner.run(job, order.settings, warnings=order.warnings, on_progress=watch)
            except Exception:  # noqa: BLE001  # the slot's edge: it must serve whoever is next
                _LOG.exception("a run ended in a way nobody foresaw")
                text = Message(
                    "the run ended in a way nobody foresaw, which stands in the server's log; try"
                    " again"
                )
                ticket.runs.append(failure_of_ticket(ticket, "crash", text))
                return
            ticket.runs.append(run if was_alone else _with_company(run))
            if isinstance(run, Failure):
                return


def _full(waiting: int, guess_s: float | None) -> Message:
    """Return that no more pictures are taken, and when to come back."""
    when = Message("later")
    if guess_s is not None:
        when = Message("in about {duration:seconds}", duration=max(1.0, guess_s))
    return Message(
        "{waiting} pictures are waiting already and no more are taken; come back {when}",
        waiting=waiting,
        when=when,
    )


def _with_company(run: Result | Failure) -> Result | Failure:
    """Say of a run that it had company."""
    if isinstance(run, Failure):
        return run
    return replace(run, warnings=(*run.warnings, CONCURRENT_RUN))
