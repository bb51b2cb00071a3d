"""Start a worker and have it load a model, within limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.runtime.meter import Meter, describe_environment
from rembg_tuner.runtime.process import WorkerGoneError, WorkerProcess
from rembg_tuner.runtime.warm import WarmWorker
from rembg_tuner.runtime.watch import FailedRunError, Watch
from rembg_tuner.settings.host import read_host

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.runtime.launching import EarlyWorker
    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.runtime.warm import Key
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a worker is started with.

    Attributes:
        settings: with no `auto` left in them.
        model: with the file that the engine loads.
        key: what the worker will hold.
        threads: CPUs it may use.
        memory_limit: at which it is ended; None: none.
        cancel: set by whoever wants it stopped.
        on_progress: told of every sample.
        early: a worker that may be of use; None: there is none.
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
    """Start a worker and have it load the model.

    Raises:
        FailedRunError: no process could be started, or it failed, died or passed a limit.
    """
    try:
        launched = None if start.early is None else start.early.take(start.settings.engine)
        process = WorkerProcess(start.settings.engine, cache=start.cache, launched=launched)
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


def _load(process: WorkerProcess, start: Start) -> WarmWorker:
    """Wait for a new worker's imports, then have it load the model."""
    timeouts = ENGINES[start.settings.engine].timeouts
    meter = Meter(process.pid)
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
    # As the worker tells it: one that was launched early may have waited for this process.
    start_s = ready["ready_at"] - process.started_at
    baseline = meter.rss_bytes()
    meter.reset_peak()
    request = {
        "op": "load",
        "settings": start.settings.to_dict(),
        "model": start.model.to_dict(),
        "threads": start.threads,
        "cache": str(start.cache),
        "cpu": read_host().cpu_identity,
    }
    deadline_s = timeouts.load_of(start.settings.provider)
    watch = Watch(
        process=process,
        meter=meter,
        cancel=start.cancel,
        stage="load",
        deadline_s=deadline_s,
        deadline_text=Message(
            "loading the model took more than {limit_s:.0f} s", limit_s=deadline_s
        ),
        memory_limit=start.memory_limit,
        on_progress=start.on_progress,
        baseline_rss_bytes=baseline,
    )
    try:
        process.send(request)
    except WorkerGoneError as error:
        raise watch.death(error) from error
    loaded = watch.wait_for("loaded")
    worker = WarmWorker(
        process=process,
        meter=meter,
        key=start.key,
        start_s=start_s,
        load_s=loaded["load_s"],
        baseline_rss_bytes=baseline,
        load_peak_rss_bytes=meter.peak_bytes(),
        effective=loaded["effective"],
        warnings=loaded["warnings"],
        environment=describe_environment(ready["versions"]),
    )
    worker.note_load()
    return worker
