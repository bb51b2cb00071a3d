"""The parent: run pictures through a worker, one at a time, and measure it truly.

Keeps the deadline and the memory limit by ending the worker, tells its deaths apart, keeps it warm
while the settings that it holds stay the same. Whatever happens is a Result or a Failure; the next
run works.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_tuner.cache import open_cache, remove_scratch
from rembg_tuner.errors import ModelError, TunerError
from rembg_tuner.host import read_host
from rembg_tuner.measurement import Environment, Failure, FailureKind, Result
from rembg_tuner.meter import (
    Meter,
    describe_environment,
    load_average,
)
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.freed import freed_copy
from rembg_tuner.models.spec import verify
from rembg_tuner.previewer import Previewer
from rembg_tuner.process import WorkerGoneError, WorkerProcess
from rembg_tuner.units import format_seconds
from rembg_tuner.watch import DiedIdleError, FailedRunError, Progress, Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings, Value

START_TIMEOUT_S = 180.0  # numba compiles for most of a minute at rembg's very first import
LOAD_TIMEOUT_S = 180.0


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
                FailedRunError(
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
            except DiedIdleError:
                self._forget_dead_worker()
                worker, index = self._ready_worker(settings, on_progress), 0
                return self._run_on(worker, job, settings, warnings, on_progress)
        except FailedRunError as error:
            self._forget_dead_worker()
            if self._worker is None:
                _remove_scratch(job)
            return _failure(job, settings, error, index)
        except TunerError as error:
            return _failure(
                job, settings, FailedRunError(_kind_of(error), str(error), "prepare"), index
            )

    def _forget_dead_worker(self) -> None:
        """Close what is left of a worker that was ended; the next run starts another."""
        if self._worker is not None and not self._worker.process.is_alive():
            self.close()

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
            raise FailedRunError(
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
        watch = Watch(
            process=process,
            meter=meter,
            cancel=self._cancel,
            stage="start",
            deadline_s=START_TIMEOUT_S,
            deadline_text=f"the worker's start took more than {START_TIMEOUT_S:.0f} s",
            memory_limit_bytes=limit,
            on_progress=on_progress,
            started_at=process.started_at,
        )
        ready = watch.wait_for("ready")
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
        watch = Watch(
            process=process,
            meter=meter,
            cancel=self._cancel,
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
            raise watch.death(error) from error
        loaded = watch.wait_for("loaded")
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
            FailedRunError: it did not go through.
        """
        process, meter = worker.process, worker.meter
        run_index, worker.runs = worker.runs, worker.runs + 1
        watch = Watch(
            process=process,
            meter=meter,
            cancel=self._cancel,
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
            raise watch.death(error) from error
        done = watch.wait_for("done")
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
            curve=watch.thinned_curve(),
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


def _failure(job: Job, settings: Settings, error: FailedRunError, run_index: int) -> Failure:
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
