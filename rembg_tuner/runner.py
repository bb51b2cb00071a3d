"""The parent: run pictures through a worker, one at a time, and measure it truly.

Keeps the deadline and the memory limit by ending the worker, tells its deaths apart, keeps it warm
while the settings that it holds stay the same. Whatever happens is a Result or a Failure; the next
run works.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rembg_tuner.cache import open_cache, remove_scratch
from rembg_tuner.errors import ModelError, TunerError
from rembg_tuner.host import read_host
from rembg_tuner.measurement import Environment, Failure, FailureKind, Result
from rembg_tuner.meter import (
    SAMPLING_INTERVAL_S,
    Meter,
    describe_environment,
    load_average,
)
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.freed import freed_copy
from rembg_tuner.models.spec import verify
from rembg_tuner.previewer import Previewer
from rembg_tuner.process import WorkerGoneError, WorkerProcess, WorkerRubbishError
from rembg_tuner.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rembg_tuner.measurement import Sample
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings, Value

START_TIMEOUT_S = 180.0  # numba compiles for most of a minute at rembg's very first import
LOAD_TIMEOUT_S = 180.0
CANCEL_GRACE_S = 0.4  # an engine that can stop does so in 30 ms
_MOST_CURVE_POINTS = 300
_CPU_EVERY_SAMPLES = 10  # CPU time is read at 5 Hz: reading costs as much as the memory does


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is, told while it goes on.

    Attributes:
        stage: start, load, or a stage of the run.
        sample: the newest reading; None before the worker runs.
        baseline_rss_bytes: memory of the worker before it loaded anything; None until that is known.
    """

    stage: str
    sample: Sample | None
    baseline_rss_bytes: int | None = None


class _FailedError(Exception):
    """A run that cannot go on; carries the Failure's kind, sentence and stage."""

    def __init__(self, kind: FailureKind, message: str, stage: str) -> None:
        """Keep what the Failure will say."""
        super().__init__(message)
        self.kind, self.message, self.stage = kind, message, stage


class _DiedIdleError(_FailedError):
    """A warm worker was gone before it took the run up: no fault of this picture's."""


@dataclass(slots=True, kw_only=True)
class _WarmWorker:
    """A worker with its model loaded."""

    process: WorkerProcess
    meter: Meter
    key: tuple[Value, ...]
    start_s: float
    load_s: float
    baseline_rss_bytes: int | None
    load_peak_rss_bytes: int | None
    effective: dict[str, Value]
    warnings: tuple[str, ...]
    environment: Environment
    runs: int = 0


@dataclass(slots=True, kw_only=True)
class _Watch:
    """What is watched while the parent waits for one message."""

    stage: str
    deadline_s: float
    deadline_text: str
    memory_limit_bytes: int | None
    on_progress: Callable[[Progress], None] | None
    baseline_rss_bytes: int | None = None
    started_at: float = field(default_factory=time.perf_counter)
    curve: list[tuple[float, int]] = field(default_factory=list)
    samples: int = 0
    is_warm: bool = False
    is_heard: bool = False
    cancelled_at: float | None = None


class Runner:
    """A slot: runs one picture at a time, and holds at most one worker. Use it with `with`."""

    def __init__(self, *, slots: int = 1) -> None:
        """Make a slot; no worker is started before the first run.

        Args:
            slots: how many such slots share this machine's CPUs.
        """
        host = read_host()
        self._threads = max(1, host.usable_cpus // slots)
        self._memory_limit = host.usable_memory_bytes
        self._worker: _WarmWorker | None = None
        self._previewer = Previewer()
        self._slot = threading.Lock()
        self._cancel = threading.Event()
        self._cache: tuple[Path, tuple[str, ...]] | None = None

    def __enter__(self) -> Self:
        """Hold the slot's worker."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker, and the process that makes previews."""
        self.close()
        self._previewer.close()

    def close(self) -> None:
        """End the worker, if there is one; the next run starts another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.process.close()

    @property
    def worker_pid(self) -> int | None:
        """The warm worker's process id; None where none is warm."""
        return self._worker.process.pid if self._worker else None

    def cancel(self) -> None:
        """Stop the run that is going on, from another thread; nothing if none is."""
        if self._slot.locked():
            self._cancel.set()

    def run(
        self,
        job: Job,
        settings: Settings,
        *,
        warnings: tuple[str, ...] = (),
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
        if not self._slot.acquire(blocking=False):
            return _failure(
                job,
                settings,
                _FailedError(
                    "busy", "another run is going on; try again when it is done", "prepare"
                ),
                0,
            )
        try:
            self._cancel.clear()
            return self._run(job, settings, warnings, on_progress)
        except BaseException:
            self.close()  # interrupted in the middle: the worker's state is not known
            _remove_scratch(job)
            raise
        finally:
            self._slot.release()

    def _run(
        self,
        job: Job,
        settings: Settings,
        warnings: tuple[str, ...],
        on_progress: Callable[[Progress], None] | None,
    ) -> Result | Failure:
        """Run with the slot held."""
        index = 0
        try:
            worker = self._ready_worker(settings, on_progress)
            index = worker.runs
            try:
                return self._run_on(worker, job, settings, warnings, on_progress)
            except _DiedIdleError:
                worker, index = self._ready_worker(settings, on_progress), 0
                return self._run_on(worker, job, settings, warnings, on_progress)
        except _FailedError as error:
            if self._worker is None:
                _remove_scratch(job)
            return _failure(job, settings, error, index)
        except TunerError as error:
            return _failure(
                job, settings, _FailedError(_kind_of(error), str(error), "prepare"), index
            )

    def _ready_worker(
        self, settings: Settings, on_progress: Callable[[Progress], None] | None
    ) -> _WarmWorker:
        """Give the warm worker if it holds these settings, else a new one."""
        key = (self._threads, *settings.reload_key())
        if self._worker is not None and self._worker.key == key and self._worker.process.is_alive():
            return self._worker
        self.close()
        try:
            process = WorkerProcess(settings.engine, threads=self._threads)
        except OSError as error:
            raise _FailedError(
                "crash", f"no worker could be started: {error.strerror}", "start"
            ) from error
        try:
            worker = self._load(process, key, settings, on_progress)
        except BaseException:
            process.close()
            raise
        self._worker = worker
        return worker

    def _load(
        self,
        process: WorkerProcess,
        key: tuple[Value, ...],
        settings: Settings,
        on_progress: Callable[[Progress], None] | None,
    ) -> _WarmWorker:
        """Wait for a new worker's imports, then have it load the model; the model is found meanwhile."""
        meter = Meter(process.pid)
        cache, cache_warnings = self._open_cache()
        model = _prepared_model(settings, cache)
        limit = settings.memory_limit_bytes or self._memory_limit
        watch = _Watch(
            stage="start",
            deadline_s=START_TIMEOUT_S,
            deadline_text=f"the worker's start took more than {START_TIMEOUT_S:.0f} s",
            memory_limit_bytes=limit,
            on_progress=on_progress,
            started_at=process.started_at,
        )
        ready = self._await(process, meter, watch, "ready")
        start_s = time.perf_counter() - process.started_at
        baseline = meter.rss_bytes()
        meter.reset_peak()
        request = {
            "op": "load",
            "settings": settings.to_dict(),
            "model": model.to_dict(),
            "threads": self._threads,
            "cache": str(cache),
        }
        watch = _Watch(
            stage="load",
            deadline_s=LOAD_TIMEOUT_S,
            deadline_text=f"loading the model took more than {LOAD_TIMEOUT_S:.0f} s",
            memory_limit_bytes=limit,
            on_progress=on_progress,
            baseline_rss_bytes=baseline,
        )
        try:
            process.send(request)
        except WorkerGoneError as error:
            raise self._death(process, watch, error) from error
        loaded = self._await(process, meter, watch, "loaded")
        return _WarmWorker(
            process=process,
            meter=meter,
            key=key,
            start_s=start_s,
            load_s=loaded["load_s"],
            baseline_rss_bytes=baseline,
            load_peak_rss_bytes=meter.peak_bytes(),
            effective=loaded["effective"],
            warnings=(*cache_warnings, *loaded["warnings"]),
            environment=describe_environment(ready["versions"]),
        )

    def _open_cache(self) -> tuple[Path, tuple[str, ...]]:
        """Open the cache once."""
        if self._cache is None:
            self._cache = open_cache()
        return self._cache

    def _run_on(
        self,
        worker: _WarmWorker,
        job: Job,
        settings: Settings,
        warnings: tuple[str, ...],
        on_progress: Callable[[Progress], None] | None,
    ) -> Result:
        """Run one picture on a loaded worker.

        Raises:
            _FailedError: it did not go through.
        """
        process, meter = worker.process, worker.meter
        run_index, worker.runs = worker.runs, worker.runs + 1
        watch = _Watch(
            stage="read_small",
            deadline_s=settings.timeout_s,
            deadline_text=f"the run passed its deadline of {format_seconds(settings.timeout_s)} (timeout_s) and was ended; raise it, or choose a faster setting",
            memory_limit_bytes=settings.memory_limit_bytes or self._memory_limit,
            on_progress=on_progress,
            baseline_rss_bytes=worker.baseline_rss_bytes,
            is_warm=run_index > 0,
        )
        meter.reset_peak()
        try:
            watch.started_at = time.perf_counter()
            process.send({"op": "run", "job": asdict(job), "settings": settings.to_dict()})
        except WorkerGoneError as error:
            raise self._death(process, watch, error) from error
        done = self._await(process, meter, watch, "done")
        retained, peak = meter.rss_bytes(), meter.peak_bytes()
        rss_file = meter.rss_file_bytes()
        preview_warnings = self._make_previews(job, settings)
        return Result(
            input=job.input,
            output=job.output,
            preview=None if preview_warnings else job.preview,
            before_preview=None if preview_warnings else job.before_preview,
            run_index=run_index,
            settings=settings,
            effective={**worker.effective, "max_side": settings.max_side},
            stages_s=done["stages_s"],
            total_s=done["renamed_at"] - watch.started_at,
            load_s=worker.load_s,
            start_s=worker.start_s,
            cpu_s=done["cpu_s"],
            baseline_rss_bytes=worker.baseline_rss_bytes,
            load_peak_rss_bytes=worker.load_peak_rss_bytes,
            peak_rss_bytes=peak,
            retained_rss_bytes=retained,
            rss_file_bytes=rss_file,
            peak_source=meter.peak_source,
            output_bytes=done["output_bytes"],
            agreement=None,
            warnings=(*warnings, *worker.warnings, *done["warnings"], *preview_warnings),
            environment=replace(worker.environment, load_average=load_average()),
            curve=_thinned(watch.curve),
        )

    def _make_previews(self, job: Job, settings: Settings) -> tuple[str, ...]:
        """Have the previews made, now that the run's figures are read.

        Returns:
            A warning where that failed: the cut-out itself is done and stays.
        """
        if job.preview is None and job.before_preview is None:
            return ()
        reason = self._previewer.make(job, settings)
        return () if reason is None else (f"there is no preview: {reason}",)

    def _await(
        self, process: WorkerProcess, meter: Meter, watch: _Watch, event: str
    ) -> dict[str, Any]:
        """Wait for an event, sampling, until it comes or a limit is passed.

        Raises:
            _FailedError: the worker failed, died, passed a limit, or was cancelled.
        """
        while True:
            try:
                message = process.receive(SAMPLING_INTERVAL_S)
            except WorkerGoneError as error:
                raise self._death(process, watch, error) from error
            if message is None:
                self._look(process, meter, watch)
                continue
            watch.is_heard = True
            if message["event"] == event:
                self._sample(meter, watch)
                return message
            if message["event"] == "stage":
                watch.stage = message["stage"]
                self._look(process, meter, watch)
            elif message["event"] == "failed":
                raise _FailedError(message["kind"], message["message"], message["stage"])

    def _sample(self, meter: Meter, watch: _Watch) -> Sample | None:
        """Read the worker once and pass it on."""
        sample = meter.sample(
            watch.started_at,
            with_cpu=watch.on_progress is not None and watch.samples % _CPU_EVERY_SAMPLES == 0,
        )
        watch.samples += 1
        if sample is not None:
            watch.curve.append((round(sample.t_s, 4), sample.rss_bytes))
            if watch.on_progress is not None:
                progress = Progress(
                    stage=watch.stage, sample=sample, baseline_rss_bytes=watch.baseline_rss_bytes
                )
                watch.on_progress(progress)
        return sample

    def _look(self, process: WorkerProcess, meter: Meter, watch: _Watch) -> None:
        """Take a sample and hold the run against its limits.

        Raises:
            _FailedError: one was passed, or somebody cancelled and the engine did not stop in time.
        """
        sample, now = self._sample(meter, watch), time.perf_counter()
        limit = watch.memory_limit_bytes
        if limit is not None and sample is not None and sample.rss_bytes > limit:
            self._end(process)
            raise _FailedError(
                "out_of_memory",
                f"the worker held {format_bytes(sample.rss_bytes)}, more than its limit of {format_bytes(limit)} (memory_limit_bytes), and was ended; raise it, or choose a smaller setting",
                watch.stage,
            )
        if now - watch.started_at > watch.deadline_s:
            self._end(process)
            raise _FailedError("timeout", watch.deadline_text, watch.stage)
        if watch.cancelled_at is not None and now - watch.cancelled_at > CANCEL_GRACE_S:
            self._end(process)
            raise _FailedError("cancelled", "the run was cancelled", watch.stage)
        if self._cancel.is_set() and watch.cancelled_at is None:
            watch.cancelled_at = now
            try:
                process.send({"op": "cancel"})
            except WorkerGoneError as error:
                raise self._death(process, watch, error) from error

    def _end(self, process: WorkerProcess) -> None:
        """End a worker that must not run on; the next run starts another."""
        process.kill()
        if self._worker is not None and self._worker.process is process:
            self.close()

    def _death(self, process: WorkerProcess, watch: _Watch, error: WorkerGoneError) -> _FailedError:
        """Tell how a worker ended, and forget it."""
        failure = _DiedIdleError if watch.is_warm and not watch.is_heard else _FailedError
        if isinstance(error, WorkerRubbishError):
            self._end(process)
            return failure("crash", f"{error}, and was ended", watch.stage)
        text, for_memory = process.obituary(), process.was_killed_for_memory()
        self._end(process)
        if for_memory:
            return failure(
                "out_of_memory",
                "the system ran out of memory and ended the worker; choose a smaller setting, or give it more memory",
                watch.stage,
            )
        return failure("crash", text, watch.stage)


def _failure(job: Job, settings: Settings, error: _FailedError, run_index: int) -> Failure:
    """Make the Failure of a run."""
    return Failure(
        kind=error.kind,
        message=error.message,
        stage=error.stage,
        input=job.input,
        settings=settings,
        run_index=run_index,
    )


def _kind_of(error: TunerError) -> FailureKind:
    """Give an error's kind; a test holds the classes against the kinds."""
    kind: FailureKind = error.kind  # type: ignore[assignment]
    return kind


def _prepared_model(settings: Settings, cache: Path) -> ModelSpec:
    """Find the model, and free its input's size where the engine needs that done in the file.

    Raises:
        ModelError: it is not there, not what it should be, or takes no other size.
    """
    model = find_model(settings.model)
    # OpenVINO reshapes what it has read; ONNX Runtime needs a graph whose declared input is free.
    if settings.network_size and settings.engine == "onnxruntime":
        target = cache / f"freed-{verify(model)[:32]}.onnx"
        try:
            return replace(model, graph_path=str(freed_copy(Path(model.path), target)))
        except OSError as error:
            raise ModelError(
                f"the graph's freed copy {target} cannot be written: {error.strerror}"
            ) from error
    return model


def _remove_scratch(job: Job) -> None:
    """Remove what an ended worker was writing."""
    for name in (job.output, job.preview, job.before_preview):
        if name:
            remove_scratch(Path(name))


def _thinned(curve: list[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Keep at most 300 points, of each stretch the highest."""
    step = -(-len(curve) // _MOST_CURVE_POINTS)
    if step <= 1:
        return tuple(curve)
    return tuple(
        max(curve[i : i + step], key=lambda point: point[1]) for i in range(0, len(curve), step)
    )
