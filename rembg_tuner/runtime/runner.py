"""The parent: run pictures through a worker, one at a time, and measure it truly.

Keeps the deadline and the memory limit by ending the worker, tells its deaths apart, keeps workers
warm for the settings that they hold. Whatever happens is a Result or a Failure; the next run works.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rembg_tuner.base.errors import ModelError, SettingsError, TunerError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.runtime.known_peaks import KnownPeaks, picture_bytes_of
from rembg_tuner.runtime.limits import limit_of
from rembg_tuner.runtime.load import OwnLoad, busy_warning
from rembg_tuner.runtime.outcomes import Readings, failure_of, kind_of, remove_scratch_of, result_of
from rembg_tuner.runtime.picture_processes import Previewer
from rembg_tuner.runtime.this_machine import read_machine, refresh
from rembg_tuner.runtime.watch import DiedIdleError, FailedRunError, Progress, Watch
from rembg_tuner.runtime.workers import RunPeak, Start, WarmWorker, WarmWorkers, start_worker
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.launching import EarlyWorker
    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.resolve import ResolvedSettings, WorkerKey
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


_READ_AHEAD_BYTES = 64 * MIB  # more than a picture takes that `read_ahead` reads: 50 at most


def _deadline_text(timeout_s: float, pictures: int) -> Message:
    """Say that a run took too long; together, pictures have the time of all of them."""
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


def _has_room(worker: WarmWorker, limit: MemoryLimit | None) -> bool:
    """Return whether a worker, as far as its runs show, stays below its limit while it reads ahead."""
    if limit is None:
        return True
    is_known = worker.runs > 1 and worker.peak_bytes > 0
    return is_known and worker.peak_bytes + _READ_AHEAD_BYTES <= limit.size_bytes


def _may_be_of_others(error: FailedRunError, turn: _Turn) -> bool:
    """Return whether a worker failed before these pictures, or while it may have read the following ones."""
    if isinstance(error, DiedIdleError):
        return True
    is_read_ahead = bool(turn.following) and error.stage == "write"
    return is_read_ahead and error.kind in ("crash", "out_of_memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What one call of the runner is about.

    Attributes:
        settings: as asked.
        asked: what they mean here; None until that is known.
        warnings: what was said while they were made.
        is_together: the pictures go through the network together, be they several or one.
        following: the pictures of the next call, which the worker may read meanwhile.
    """

    settings: Settings
    asked: ResolvedSettings | None = None
    warnings: tuple[Message, ...]
    on_progress: Callable[[Progress], None] | None = None
    is_together: bool = False
    following: tuple[Job, ...] = ()


class Runner:
    """A slot: runs one picture at a time. Use it with `with`.

    With `warm_bytes`, whoever runs pictures calls `settle` after each, once the Result is handed
    on: a run does not end the workers that are too many by itself, since whoever waits for the
    picture would wait for their end too.
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
        """Make a slot; no worker is started before the first run.

        Args:
            slots: how many such slots share this machine's CPUs.
            warm_bytes: what the peaks of the workers that are kept warm may sum up to; None: one is
                kept, whatever its size, until another has its model loaded.
            history: how what settings took here before is used; see `KnownPeaks`.
            load: counts what this process's workers put on the machine; None: no other runner's
                count.
            early: a worker that the first run takes if it is of the right engine; None: there is
                none.
            machine: on which settings are resolved for as long as the slot lives, so that `auto`
                stays what it is; None: each run sees the files, agreements and times of now.
        """
        self._early = early
        self._load = load or OwnLoad()
        self._host = read_host()
        self._slots = slots
        self._fixed = None if machine is None else machine.shared_by(slots)
        self._machine: Machine | None = None
        self._threads = max(1, self._host.usable_cpus // slots)
        self._workers = WarmWorkers(warm_bytes)
        self._peaks = KnownPeaks(history)
        self._previewer = Previewer()
        self._slot = threading.Lock()
        self._cancel = threading.Event()
        self._cache: tuple[Path, tuple[Message, ...]] | None = None

    def __enter__(self) -> Self:
        """Hold the slot's workers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers, and the process that makes previews."""
        self.close()
        self._previewer.close()

    def close(self) -> None:
        """End the workers, if there are any; the next run starts another."""
        self._workers.close()

    def settle(self) -> None:
        """End the workers that are too many to be kept warm."""
        self._workers.settle()

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker that was used last; None where none is warm."""
        return self._workers.pids[-1] if self._workers.pids else None

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The warm workers' process ids."""
        return self._workers.pids

    def cancel(self) -> None:
        """Stop the run that is going on, from another thread; nothing if none is."""
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
        """Run one picture through.

        Args:
            job: the picture, and where its cut-out goes.
            settings: how.
            warnings: what was said while the settings were made; goes into the Result.
            on_progress: called every 20 ms or so, and as each stage begins, in this thread.

        Returns:
            A Result, or a Failure; `busy` if another thread is running one.
        """
        turn = _Turn(settings=settings, warnings=warnings, on_progress=on_progress)
        return self._hold_slot([job], turn)[0]

    def run_together(
        self,
        jobs: list[Job],
        settings: Settings,
        *,
        warnings: tuple[Message, ...] = (),
        following: Sequence[Job] = (),
    ) -> list[Result | Failure]:
        """Run several pictures through, with one run of the network for all of them.

        Their `predict` and `cpu_s` hold each one's share of that run, their `total_s` is the sum of
        their own stages; the peak is that of the whole, with the reading of the following ones.

        Args:
            jobs: at least one, at most the settings' batch_size.
            settings: how.
            warnings: what was said while the settings were made; goes into each Result.
            following: what the next call will be given. They are read while these are written,
                where memory allows it and the engine is not the stock pipeline.

        Returns:
            For each job its Result or Failure.
        """
        is_stock = settings.engine_spec.is_stock
        turn = _Turn(
            settings=settings,
            warnings=warnings,
            is_together=not is_stock,
            following=() if is_stock else tuple(following),
        )
        return self._hold_slot(jobs, turn)

    def warm_up(self, settings: Settings, on_progress: Callable[[Progress], None]) -> None:
        """Start the worker that these settings need, and then the previews' process.

        `cancel` stops it.

        Raises:
            FailedRunError, TunerError, OSError: what is missing is started by the run that needs
            it.
        """
        if not self._slot.acquire(blocking=False):
            return
        try:
            self._cancel.clear()
            self._ready_worker(_Turn(settings=settings, warnings=(), on_progress=on_progress))
            self._previewer.start()
        finally:
            self._slot.release()

    def _hold_slot(self, jobs: list[Job], turn: _Turn) -> list[Result | Failure]:
        """Run with the slot held, so that no two runs share the machine."""
        if not self._slot.acquire(blocking=False):
            busy = FailedRunError(
                "busy",
                Message("another run is going on; try again when it is done"),
                "prepare",
            )
            return [failure_of(job, turn.settings, busy, 0) for job in jobs]
        try:
            self._cancel.clear()
            return self._run(jobs, turn)
        except BaseException:
            self.close()  # interrupted in the middle: the worker's state is not known
            remove_scratch_of(jobs)
            raise
        finally:
            self._slot.release()

    def _run(self, jobs: list[Job], turn: _Turn) -> list[Result | Failure]:
        """Run on a worker that holds the settings.

        Once more if its end was no fault of these pictures.
        """
        index, worker = 0, None
        try:
            turn = replace(turn, asked=self._resolved(turn.settings))
            worker = self._ready_worker(turn)
            index = worker.runs
            try:
                return self._run_on(worker, jobs, turn)
            except FailedRunError as error:
                if not _may_be_of_others(error, turn):
                    raise
                self._workers.drop_dead()
                remove_scratch_of(jobs)
                turn = replace(turn, following=())
                worker = self._ready_worker(turn)
                index = worker.runs
                return self._run_on(worker, jobs, turn)
        except FailedRunError as error:
            if turn.asked is not None:
                self._peaks.note_ended(turn.asked, error, worker, self._open_cache()[0])
            self._workers.drop_dead()
            if worker is not None and not worker.process.is_alive():
                remove_scratch_of(jobs)
            return [failure_of(job, turn.settings, error, index) for job in jobs]
        except TunerError as error:
            told = FailedRunError(kind_of(error), error.message, "prepare")
            return [failure_of(job, turn.settings, told, index) for job in jobs]

    def _ready_worker(self, turn: _Turn) -> WarmWorker:
        """Give the warm worker that holds these settings, else a new one."""
        asked = turn.asked or self._resolved(turn.settings)
        limit = limit_of(turn.settings, self._host)
        cache, cache_warnings = self._open_cache()
        expected_bytes = self._peaks.refuse_what_will_not_fit(asked, limit, cache)
        worker = self._workers.find(asked.worker_key)
        if worker is not None:
            return worker
        model = self._prepared_model(asked, cache, turn)
        # now that there is a model, so that a bad one costs no worker
        self._workers.make_room(expected_bytes)
        worker = start_worker(
            Start(
                settings=asked.worker_settings,
                model=model,
                key=asked.worker_key,
                threads=self._threads,
                cache=cache,
                memory_limit=limit,
                cancel=self._cancel,
                on_progress=turn.on_progress,
                early=self._early,
            )
        )
        self._load.add(worker.meter.runnable_s() or 0.0, worker.start_s + worker.load_s)
        worker.warnings = (*cache_warnings, *worker.warnings)
        self._workers.add(worker)
        return worker

    def _resolved(self, settings: Settings) -> ResolvedSettings:
        """Return what settings mean in this slot.

        Raises:
            SettingsError: they cannot be had here.
            ModelError: the model is not there.
        """
        machine = self._fixed or self._machine_now()
        refused = [one.reason for one in check(settings, machine) if one.missing is None]
        if refused:
            raise SettingsError(refused)
        return resolve(settings, machine)

    def worker_key_of(self, settings: Settings) -> WorkerKey | None:
        """Return what a worker of these settings holds.

        None: they cannot be had here, and the run says why.
        """
        try:
            return self._resolved(settings).worker_key
        except TunerError:
            return None

    def _machine_now(self) -> Machine:
        """Return this slot's machine as it is now: looked at once, but for what lies on disk."""
        if self._machine is None:
            self._machine = read_machine().shared_by(self._slots)
        return refresh(self._machine)

    def _prepared_model(self, asked: ResolvedSettings, cache: Path, turn: _Turn) -> ModelSpec:
        """Make of the model what the engine needs; telling so, since it may take long.

        Raises:
            ModelError: it is not what it should be, or takes no other size.
            EngineError: what converts it is not installed, or failed.
        """

        def tell() -> None:
            if turn.on_progress is not None:
                turn.on_progress(Progress(stage="convert", sample=None))

        model = asked.model.spec
        try:
            return prepare(
                asked.worker_settings, model, cache, is_cancelled=self._cancel.is_set, on_start=tell
            )
        except OSError as error:
            raise ModelError(
                Message(
                    "what the engine needs made of {model} cannot be written to {cache}: {reason}",
                    model=Path(model.path),
                    cache=cache,
                    reason=error.strerror,
                )
            ) from error

    def _open_cache(self) -> tuple[Path, tuple[Message, ...]]:
        """Open the cache once."""
        if self._cache is None:
            self._cache = open_cache()
        return self._cache

    def _run_on(self, worker: WarmWorker, jobs: list[Job], turn: _Turn) -> list[Result | Failure]:
        """Run pictures on a loaded worker.

        Raises:
            FailedRunError: it did not go through.
        """
        settings = turn.settings
        worker.runs += 1
        watch = Watch(
            process=worker.process,
            meter=worker.meter,
            cancel=self._cancel,
            stage="read_small",
            deadline_s=settings.timeout_s * len(jobs),
            deadline_text=_deadline_text(settings.timeout_s, len(jobs)),
            memory_limit=limit_of(settings, self._host),
            on_progress=turn.on_progress,
            baseline_rss_bytes=worker.baseline_rss_bytes,
            is_warm=worker.runs > 1,
        )
        following = turn.following if _has_room(worker, watch.memory_limit) else ()
        request: dict[str, Any] = {"settings": settings.to_dict()}
        if turn.is_together:
            request |= {
                "op": "run_together",
                "jobs": [asdict(job) for job in jobs],
                "following": [asdict(job) for job in following],
            }
        else:
            request |= {"op": "run", "job": asdict(jobs[0])}
        ran_s = worker.meter.runnable_s() or 0.0
        worker.meter.reset_peak()
        watch.started_at = time.perf_counter()
        try:
            done = watch.request(request, "done_together" if turn.is_together else "done")
        finally:
            self._count_load(worker, ran_s, time.perf_counter() - watch.started_at)
        readings = Readings(
            peak=worker.meter.peak_bytes(),
            retained=worker.meter.rss_bytes(),
            rss_file=worker.meter.rss_file_bytes(),
            curve=watch.thinned_curve(),
        )
        outcomes = done["outcomes"] if turn.is_together else [done]
        cache, cache_warnings = self._open_cache()
        took = RunPeak(
            peak_bytes=readings.peak,
            picture_bytes=picture_bytes_of(settings, outcomes),
            has_next=bool(following),
        )
        unnoted = () if turn.asked is None else self._peaks.note(turn.asked, worker, took, cache)
        busy = busy_warning(self._load)
        # A cache that is not kept says so already.
        said = (*(() if cache_warnings else unnoted), *((busy,) if busy else ()))
        notes = () if turn.asked is None else turn.asked.notes
        warnings = (*turn.warnings, *notes, *worker.warnings, *said)
        turn = replace(turn, warnings=warnings)
        if not turn.is_together:
            total_s = done["renamed_at"] - watch.started_at
            return [self._result(worker, jobs[0], turn, readings, {**done, "total_s": total_s})]
        return [
            (
                failure_of(
                    job,
                    settings,
                    FailedRunError(one["kind"], one["message"], one["stage"]),
                    worker.runs - 1,
                )
                if "kind" in one
                else self._result(
                    worker, job, turn, readings, {**one, "total_s": sum(one["stages_s"].values())}
                )
            )
            for job, one in zip(jobs, done["outcomes"], strict=True)
        ]

    def _count_load(self, worker: WarmWorker, before_s: float, elapsed_s: float) -> None:
        """Count what a run put on the machine.

        Of a worker that is gone, all of its threads all the time.
        """
        now_s = worker.meter.runnable_s()
        ran_s = elapsed_s * self._threads if now_s is None else max(0.0, now_s - before_s)
        self._load.add(ran_s, elapsed_s)

    def _result(
        self,
        worker: WarmWorker,
        job: Job,
        turn: _Turn,
        readings: Readings,
        outcome: dict[str, Any],
    ) -> Result:
        """Make the Result of one picture, and its previews, now that the run's figures are read."""
        preview_warnings = self._make_previews(job, turn.settings)
        if preview_warnings:
            job = replace(job, preview=None, before_preview=None, mask=None)
        return result_of(
            worker,
            job,
            turn.settings,
            readings=readings,
            outcome=outcome,
            warnings=(*turn.warnings, *outcome["warnings"], *preview_warnings),
        )

    def _make_previews(self, job: Job, settings: Settings) -> tuple[Message, ...]:
        """Have the previews made.

        Returns:
            A warning where that failed: the cut-out itself is done and stays.
        """
        if job.preview is None and job.before_preview is None and job.mask is None:
            return ()
        reason = self._previewer.make(job, settings)
        if reason is None:
            return ()
        return (Message("there is no preview: {reason}", code="no_preview", reason=reason),)
