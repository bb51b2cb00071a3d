"""Workers with a loaded model: start one, and keep several for later runs."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.base.spawning import child_environment, numba_environment
from rembg_tuner.base.units import MIB
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.runtime.launching import launch_worker, lean_environment
from rembg_tuner.runtime.meter import Meter, describe_environment
from rembg_tuner.runtime.watch import FailedRunError, Watch
from rembg_tuner.settings.host import oom_kill_count, read_host

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.base.child_process import ChildProcess
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.runtime.launching import EarlyWorker
    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.results import Environment
    from rembg_tuner.settings.settings import Settings, Value

_LITTLE_BYTES = 32 * MIB  # a decoded WebP of 3 MP
_READ_AHEAD_BYTES = 64 * MIB  # a picture that `read_ahead` reads takes at most 50 MiB
Key = tuple["Value", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPeak:
    """The memory of a run, bytes.

    Attributes:
        peak_bytes: the peak of the run; None: unknown.
        picture_bytes: the approximate share of its pictures; infinite: unknown.
        has_next: whether the next pictures may have been read meanwhile.
    """

    peak_bytes: int | None
    picture_bytes: float = 0.0
    has_next: bool = False


@dataclass(slots=True, kw_only=True)
class WarmWorker:
    """A worker with a loaded model.

    Attributes:
        key: the share of the threads, and the knobs that need a reload.
        peak_bytes: the highest peak of its load and runs; 0: unknown.
        is_stretched: whether it ran a picture that took much memory, part of which stays in its
            heap; the memory of later runs is then not only the setting's.
        is_first: whether it is the first worker of the setting here, which may have compiled.
        runs: the number of runs that it started.
    """

    process: ChildProcess
    meter: Meter
    key: Key
    start_s: float
    load_s: float
    baseline_rss_bytes: int | None
    load_peak_rss_bytes: int | None
    effective: dict[str, Value]
    warnings: tuple[Message, ...]
    environment: Environment
    peak_bytes: int = 0
    is_stretched: bool = False
    is_first: bool = False
    runs: int = 0

    def note_load(self) -> None:
        """Include the peak of its load in `peak_bytes`."""
        self.peak_bytes = max(self.peak_bytes, self.load_peak_rss_bytes or 0)

    def note_run(self, run: RunPeak) -> int:
        """Include the peak of a run in `peak_bytes`.

        Returns:
            The peak of the run without its pictures, bytes; 0: unknown.
        """
        peak_bytes = run.peak_bytes or 0
        is_known = not (self.is_stretched or run.has_next or math.isinf(run.picture_bytes))
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        self.is_stretched |= run.picture_bytes > _LITTLE_BYTES
        return max(0, peak_bytes - int(run.picture_bytes)) if is_known else 0


def has_room(worker: WarmWorker, limit: MemoryLimit | None) -> bool:
    """Return whether a worker, by its earlier runs, stays below its limit while it reads ahead."""
    if limit is None:
        return True
    is_known = worker.runs > 1 and worker.peak_bytes > 0
    return is_known and worker.peak_bytes + _READ_AHEAD_BYTES <= limit.size_bytes


class WarmWorkers:
    """Workers by key, the least recently used first."""

    def __init__(self, bound_bytes: int | None) -> None:
        """Start without workers.

        Args:
            bound_bytes: limit for the sum of the peaks; None: one worker of any size is kept, until
                another one has loaded its model.
        """
        self._bound = bound_bytes
        self._workers: OrderedDict[Key, WarmWorker] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, the least recently used first."""
        return tuple(worker.process.pid for worker in self._workers.values())

    def find(self, key: Key) -> WarmWorker | None:
        """Return the worker with a key, and make it the most recently used; None: there is none."""
        worker = self._workers.get(key)
        if worker is None:
            return None
        if not worker.process.is_alive():
            self.drop(worker)
            return None
        self._workers.move_to_end(key)
        return worker

    def make_room(self, expected_bytes: int) -> None:
        """Stop the least recently used workers until another one fits.

        Args:
            expected_bytes: its earlier peak; 0: the setting never ran.
        """
        if self._bound is not None:
            self._shrink_to(self._bound - expected_bytes)

    def add(self, worker: WarmWorker) -> None:
        """Add a worker; without a limit, it replaces the others."""
        if self._bound is None:
            self.close()
        self._workers[worker.key] = worker

    def settle(self) -> None:
        """Stop the least recently used workers until the others fit.

        The last worker is stopped too if it alone exceeds the limit.
        """
        if self._bound is not None:
            self._shrink_to(self._bound)

    def _shrink_to(self, bytes_left: int) -> None:
        """Stop the least recently used workers until the sum of the peaks is within a limit."""
        while self._workers and sum(w.peak_bytes for w in self._workers.values()) > bytes_left:
            self.drop(next(iter(self._workers.values())))

    def drop(self, worker: WarmWorker) -> None:
        """Stop a worker and remove it."""
        if self._workers.get(worker.key) is worker:
            del self._workers[worker.key]
        worker.process.close()

    def drop_dead(self) -> None:
        """Close the workers that have ended."""
        for worker in [w for w in self._workers.values() if not w.process.is_alive()]:
            self.drop(worker)

    def close(self) -> None:
        """Stop all workers."""
        for worker in list(self._workers.values()):
            self.drop(worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The arguments of a new worker.

    Attributes:
        settings: without `auto`.
        model: the model, with the file for the engine.
        key: the key of the worker.
        threads: number of CPUs it may use.
        cache: the cache folder.
        memory_limit: the limit at which it is killed; None: no limit.
        cancel: set to stop it.
        on_progress: called with every sample.
        early: a worker that was started before; None: there is none.
    """

    settings: Settings
    model: ModelSpec
    key: Key
    threads: int
    cache: Path
    memory_limit: MemoryLimit | None
    cancel: threading.Event
    on_progress: Callable[[Progress], None] | None
    early: EarlyWorker | None = None


def start_worker(start: Start) -> WarmWorker:
    """Start a worker and load the model.

    Raises:
        FailedRunError: the process could not be started, failed, ended or exceeded a limit.
    """
    try:
        early = None if start.early is None else start.early.take(start.settings.engine)
        process = early or _launch(start.settings.engine, start.cache)
    except OSError as error:
        raise FailedRunError(
            "crash",
            Message("no worker could be started: {reason}", reason=error.strerror),
            "start",
        ) from error
    try:
        return _load(process, start)
    except BaseException:
        process.close()
        raise


def _load(process: ChildProcess, start: Start) -> WarmWorker:
    """Wait for the imports of a new worker, then load the model."""
    timeouts, meter = ENGINES[start.settings.engine].timeouts, Meter(process.pid)
    watch = Watch(
        process=process,
        meter=meter,
        cancel=start.cancel,
        stage="start",
        deadline_s=timeouts.start_s,
        deadline_text=Message(
            "the worker's start took more than {limit_s:.0f} s", limit_s=timeouts.start_s
        ),
        memory_limit=start.memory_limit,
        on_progress=start.on_progress,
        started_at=process.started_at,
    )
    ready = watch.wait_for("ready")
    baseline = meter.rss_bytes()
    meter.reset_peak()
    limit_s = timeouts.load_of(start.settings.provider)
    watch = replace(
        watch,
        stage="load",
        deadline_s=limit_s,
        deadline_text=Message("loading the model took more than {limit_s:.0f} s", limit_s=limit_s),
        baseline_rss_bytes=baseline,
        started_at=time.perf_counter(),
    )
    loaded = watch.request(
        {
            "op": "load",
            "settings": start.settings.to_dict(),
            "model": start.model.to_dict(),
            "threads": start.threads,
            "cache": str(start.cache),
            "cpu": read_host().cpu_identity,
        },
        "loaded",
    )
    worker = WarmWorker(
        process=process,
        meter=meter,
        key=start.key,
        # by the worker's own clock: an early worker may have waited for this process
        start_s=ready["ready_at"] - process.started_at,
        load_s=loaded["load_s"],
        baseline_rss_bytes=baseline,
        load_peak_rss_bytes=meter.peak_bytes(),
        effective=loaded["effective"],
        warnings=loaded["warnings"],
        environment=describe_environment(ready["versions"]),
    )
    worker.note_load()
    return worker


def _launch(engine: str, cache: Path) -> ChildProcess:
    """Start a process; the stock pipeline keeps its own environment, to be measured unchanged.

    Raises:
        OSError: the process could not be started.
    """
    oom_kills = oom_kill_count()
    if ENGINES[engine].is_stock:
        environment = {**numba_environment(cache), **child_environment()}
    else:
        environment = lean_environment()
    worker = launch_worker(engine, environment)
    worker.oom_kills = oom_kills
    return worker
