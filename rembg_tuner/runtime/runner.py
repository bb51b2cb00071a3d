"""Run pictures through a worker, one at a time, and measure it from outside.

A worker that exceeds the deadline or the memory limit is killed. Every run returns a Result or a
Failure, and the runner can be used again.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from rembg_tuner.base.errors import TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.known_peaks import picture_bytes_of
from rembg_tuner.runtime.limits import limit_of
from rembg_tuner.runtime.meter import OwnLoad, busy_warning
from rembg_tuner.runtime.outcomes import Readings, failure_of, kind_of, remove_scratch_of, result_of
from rembg_tuner.runtime.picture_processes import Previewer
from rembg_tuner.runtime.watch import DiedIdleError, FailedRunError, Progress, Watch
from rembg_tuner.runtime.worker_source import WorkerSource
from rembg_tuner.runtime.workers import RunPeak, WarmWorker, WarmWorkers, has_room

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.launching import EarlyWorker
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.resolve import ResolvedSettings, WorkerKey
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


def _deadline_text(timeout_s: float, pictures: int) -> Message:
    """Return the message that a run took too long; pictures run together share their total time."""
    if pictures == 1:
        return Message(
            "the run passed its deadline of {limit:seconds} (timeout_s) and was ended; raise it, or"
            " choose a faster setting",
            limit=timeout_s,
        )
    return Message(
        "the run of {n} pictures passed its deadline of {limit:seconds} a picture (timeout_s) and"
        " was ended; raise it, or choose a faster setting",
        n=pictures,
        limit=timeout_s,
    )


def _request(jobs: list[Job], following: Sequence[Job], call: _Call) -> dict[str, Any]:
    """Return the request of a run."""
    request: dict[str, Any] = {"settings": call.settings.to_dict()}
    if not call.is_together:
        return request | {"op": "run", "job": asdict(jobs[0])}
    together = {"jobs": list(map(asdict, jobs)), "following": list(map(asdict, following))}
    return request | {"op": "run_together"} | together


def _may_be_of_others(error: FailedRunError, call: _Call) -> bool:
    """Return whether the failure may be caused by earlier or following pictures."""
    if isinstance(error, DiedIdleError):
        return True
    is_read_ahead = bool(call.following) and error.stage == "write"
    return is_read_ahead and error.kind in ("crash", "out_of_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call of the runner.

    Attributes:
        settings: the requested settings.
        asked: the settings resolved on this machine; None until they are.
        warnings: from the creation of the settings.
        is_together: whether the pictures go through the network in one batch, even a single one.
        following: the pictures of the next call, which the worker may read meanwhile.
    """

    settings: Settings
    asked: ResolvedSettings | None = None
    warnings: tuple[Message, ...]
    on_progress: Callable[[Progress], None] | None = None
    is_together: bool = False
    following: tuple[Job, ...] = ()


class Runner:
    """Runs one picture at a time. Use it with `with`.

    With `warm_bytes`, the caller calls `settle` after each run, once the Result is passed on. A run
    does not stop surplus workers itself, since the caller would wait for it.
    """

    def __init__(
        self,
        *,
        slots: int = 1,
        warm_bytes: int | None = None,
        history: HistoryUse = "own",
        load: OwnLoad | None = None,
        early: EarlyWorker | None = None,
        machine: Machine | None = None,
    ) -> None:
        """Create a runner; the first run starts a worker.

        Args:
            slots: how many runners share the CPUs of this machine.
            warm_bytes: limit for the sum of the peaks of the warm workers; None: one worker of any
                size is kept, until another one has loaded its model.
            history: how earlier peaks on this machine are used; see `KnownPeaks`.
            load: counts the load of the workers of this process; None: only of this runner.
            early: a worker that the first run uses if it has the same engine.
            machine: the machine on which all settings are resolved, so that `auto` does not change;
                None: each run reads the current files, agreements and times.
        """
        self._cancel = threading.Event()
        self._load = load or OwnLoad()
        self._source = WorkerSource(
            slots=slots,
            history=history,
            warm=WarmWorkers(warm_bytes),
            early=early,
            machine=machine,
            cancel=self._cancel,
            load=self._load,
        )
        self._workers = self._source.warm
        self._previewer = Previewer()
        self._slot = threading.Lock()

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the workers and the process that makes previews."""
        self.close()
        self._previewer.close()

    def close(self) -> None:
        """Stop the workers; the next run starts another."""
        self._workers.close()

    def settle(self) -> None:
        """Stop the workers that exceed the limit of warm workers."""
        self._workers.settle()

    @property
    def worker_pid(self) -> int | None:
        """The process id of the last used worker; None: there is no warm worker."""
        return self._workers.pids[-1] if self._workers.pids else None

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the warm workers."""
        return self._workers.pids

    def cancel(self) -> None:
        """Stop the run in progress, from another thread; without a run it has no effect."""
        if self._slot.locked():
            self._cancel.set()

    def run(
        self,
        job: Job,
        settings: Settings,
        *,
        warnings: tuple[Message, ...] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Result | Failure:
        """Run one picture.

        Args:
            job: the picture, and the path of its cut-out.
            settings: the settings of the run.
            warnings: from the creation of the settings; added to the Result.
            on_progress: called about every 20 ms and at the start of each stage, in this thread.

        Returns:
            A Result, or a Failure; its kind is `busy` if another thread runs a picture.
        """
        call = _Call(settings=settings, warnings=warnings, on_progress=on_progress)
        return self._hold_slot([job], call)[0]

    def run_together(
        self,
        jobs: list[Job],
        settings: Settings,
        *,
        warnings: tuple[Message, ...] = (),
        following: Sequence[Job] = (),
    ) -> list[Result | Failure]:
        """Run several pictures with one run of the network.

        `predict` and `cpu_s` are each picture's share of the run. `total_s` is the sum of the
        picture's own stages. The peak is that of the whole run, including the reading of the
        following pictures.

        Args:
            jobs: at least one, at most the settings' batch_size.
            settings: the settings of the run.
            warnings: from the creation of the settings; added to each Result.
            following: the pictures of the next call. They are read while these are written, if
                memory allows it and the engine is not the stock pipeline.

        Returns:
            A Result or Failure for each job.
        """
        is_stock = settings.engine_spec.is_stock
        call = _Call(
            settings=settings,
            warnings=warnings,
            is_together=not is_stock,
            following=() if is_stock else tuple(following),
        )
        return self._hold_slot(jobs, call)

    def warm_up(self, settings: Settings, on_progress: Callable[[Progress], None]) -> None:
        """Start the worker that these settings need, then the process that makes previews.

        `cancel` stops it. If another run is in progress, return at once.

        Raises:
            FailedRunError, TunerError, OSError: it failed; the run that needs the worker starts it.
        """
        if not self._slot.acquire(blocking=False):
            return
        try:
            self._cancel.clear()
            self._source.ready(self._source.resolve(settings), on_progress)
            self._previewer.start()
        finally:
            self._slot.release()

    def worker_key_of(self, settings: Settings) -> WorkerKey | None:
        """Return the key of the worker that settings need; None: they are not possible here."""
        try:
            return self._source.resolve(settings).worker_key
        except TunerError:
            return None

    def _hold_slot(self, jobs: list[Job], call: _Call) -> list[Result | Failure]:
        """Run unless another run is in progress."""
        if not self._slot.acquire(blocking=False):
            busy = FailedRunError(
                "busy",
                Message("another run is going on; try again when it is done"),
                "prepare",
            )
            return [failure_of(job, call.settings, busy, 0) for job in jobs]
        try:
            self._cancel.clear()
            return self._run(jobs, call)
        except BaseException:
            self.close()  # interrupted: the state of the worker is unknown
            remove_scratch_of(jobs)
            raise
        finally:
            self._slot.release()

    def _run(self, jobs: list[Job], call: _Call) -> list[Result | Failure]:
        """Run on a worker with these settings; retry once if other pictures may have ended it."""
        index, worker = 0, None
        try:
            asked = self._source.resolve(call.settings)
            call = replace(call, asked=asked)
            worker = self._source.ready(asked, call.on_progress)
            index = worker.runs
            try:
                return self._run_on(worker, jobs, call)
            except FailedRunError as error:
                if not _may_be_of_others(error, call):
                    raise
                self._workers.drop_dead()
                remove_scratch_of(jobs)
                call = replace(call, following=())
                worker = self._source.ready(asked, call.on_progress)
                index = worker.runs
                return self._run_on(worker, jobs, call)
        except FailedRunError as error:
            if call.asked is not None:
                self._source.note_ended(call.asked, error, worker)
            self._workers.drop_dead()
            if worker is not None and not worker.process.is_alive():
                remove_scratch_of(jobs)
            return [failure_of(job, call.settings, error, index) for job in jobs]
        except TunerError as error:
            told = FailedRunError(kind_of(error), error.message, "prepare")
            return [failure_of(job, call.settings, told, index) for job in jobs]

    def _run_on(self, worker: WarmWorker, jobs: list[Job], call: _Call) -> list[Result | Failure]:
        """Run pictures on a loaded worker.

        Raises:
            FailedRunError: the run failed.
        """
        worker.runs += 1
        watch = Watch(
            process=worker.process,
            meter=worker.meter,
            cancel=self._cancel,
            stage="read_small",
            deadline_s=call.settings.timeout_s * len(jobs),
            deadline_text=_deadline_text(call.settings.timeout_s, len(jobs)),
            memory_limit=limit_of(call.settings, self._source.host),
            on_progress=call.on_progress,
            baseline_rss_bytes=worker.baseline_rss_bytes,
            is_warm=worker.runs > 1,
        )
        following = call.following if has_room(worker, watch.memory_limit) else ()
        done = self._watched(worker, watch, _request(jobs, following, call))
        readings = Readings.read(worker.meter, watch.thinned_curve())
        outcomes = done["outcomes"] if call.is_together else [done]
        took = RunPeak(
            peak_bytes=readings.peak,
            picture_bytes=picture_bytes_of(call.settings, outcomes),
            has_next=bool(following),
        )
        call = replace(call, warnings=self._warnings(worker, call, took))
        if not call.is_together:
            outcomes = [{**done, "total_s": done["renamed_at"] - watch.started_at}]
        return [
            self._outcome(worker, job, call, readings, one)
            for job, one in zip(jobs, outcomes, strict=True)
        ]

    def _watched(self, worker: WarmWorker, watch: Watch, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request, wait until it ends, and count the load of the run."""
        ran_s = worker.meter.runnable_s() or 0.0
        worker.meter.reset_peak()
        watch.started_at = time.perf_counter()
        try:
            return watch.request(request, "done_together" if "jobs" in request else "done")
        finally:
            self._count_load(worker, ran_s, time.perf_counter() - watch.started_at)

    def _warnings(self, worker: WarmWorker, call: _Call, took: RunPeak) -> tuple[Message, ...]:
        """Store the memory of a run, and return the warnings of the whole call."""
        cache, cache_warnings = self._source.open_cache()
        notes: list[Message] = []
        unnoted: tuple[Message, ...] = ()
        if call.asked is not None:
            notes += call.asked.notes
            unnoted = self._source.peaks.note(call.asked, worker, took, cache)
        notes += worker.warnings
        notes += () if cache_warnings else unnoted  # the warning about the cache covers it
        if (busy := busy_warning(self._load)) is not None:
            notes.append(busy)
        return (*call.warnings, *notes)

    def _count_load(self, worker: WarmWorker, before_s: float, elapsed_s: float) -> None:
        """Count the load of a run; for a worker that has ended, assume all threads were busy."""
        now_s = worker.meter.runnable_s()
        ran_s = elapsed_s * self._source.threads if now_s is None else max(0.0, now_s - before_s)
        self._load.add(ran_s, elapsed_s)

    def _outcome(
        self,
        worker: WarmWorker,
        job: Job,
        call: _Call,
        readings: Readings,
        outcome: dict[str, Any],
    ) -> Result | Failure:
        """Return the Result of one picture with its previews, or its Failure."""
        if "kind" in outcome:
            error = FailedRunError(outcome["kind"], outcome["message"], outcome["stage"])
            return failure_of(job, call.settings, error, worker.runs - 1)
        outcome = {"total_s": sum(outcome["stages_s"].values()), **outcome}
        preview_warnings = self._make_previews(job, call.settings)
        if preview_warnings:
            job = replace(job, preview=None, before_preview=None, mask=None)
        return result_of(
            worker,
            job,
            call.settings,
            readings=readings,
            outcome=outcome,
            warnings=(*call.warnings, *outcome["warnings"], *preview_warnings),
        )

    def _make_previews(self, job: Job, settings: Settings) -> tuple[Message, ...]:
        """Make the previews; return a warning if that failed, since the cut-out is complete."""
        if job.preview is None and job.before_preview is None and job.mask is None:
            return ()
        reason = self._previewer.make(job, settings)
        if reason is None:
            return ()
        return (Message("there is no preview: {reason}", code="no_preview", reason=reason),)
